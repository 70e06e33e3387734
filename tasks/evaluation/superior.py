"""Is a family better than the reference, or only the luckiest of many? Family-wise p-values of mean gains.

Origins are cut into groups of neighbors that are longer than the targets overlap, so that the groups' mean gains are
nearly independent (Ibragimov and Mueller 2010). Without skill the sign of each group is arbitrary: the largest
t-statistic of all families is compared with those under every change of signs (Canay, Romano and Shaikh 2017; max-t of
Westfall and Young 1993). The p-value of a family so counts how many others were tried. Families that are clearly worse
than the reference do not count as tried (Hansen 2005): they could not have won by luck.
"""

from __future__ import annotations

import numpy as np

from tasks.evaluation.groups import FEWEST, group_length, groups_of

LONGEST_LISTED = 12
"""Up to so many groups every change of signs is listed; above, as many are drawn."""
SEED = 20260101
SHORTEST_GROUP = 65
"""Origins: five quarters of weekly ones. With shorter groups more than 6% err where 5% is meant: promotion.md."""


def family_wise_p_values(gains: np.ndarray, *, overlap: int) -> np.ndarray:
    """By family, the chance of a t-statistic as high as its own in any family, if none had skill.

    Args:
        gains: origins x families: loss of the reference less the loss of what is served if the family is champion.
        overlap: consecutive origins whose targets overlap.

    Returns:
        one p-value per family; missing with fewer than five groups, and for a family that never differs.
    """
    length = group_length(overlap, shortest=SHORTEST_GROUP)
    means = np.stack([part.mean(axis=0) for part in groups_of(gains, length=length)])
    groups, families = means.shape
    if groups < FEWEST or families == 0:
        return np.full(families, np.nan)
    observed = _t_statistics(np.ones((1, groups)), means)[0]
    rivals = observed > -np.sqrt(2 * np.log(np.log(groups)))
    if not rivals.any():
        return np.where(np.isnan(observed), np.nan, 1.0)
    drawn = _t_statistics(_signs(groups), means[:, rivals])
    highest = np.where(np.isnan(drawn), -np.inf, drawn).max(axis=1)
    p_values = (highest[:, None] >= observed - 1e-12).mean(axis=0)
    return np.where(np.isnan(observed), np.nan, p_values)


def _t_statistics(signs: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Changes of signs x families. A change of signs leaves the sum of squares as it is."""
    groups = len(means)
    mean = signs @ means / groups
    variance = ((means**2).sum(axis=0) - groups * mean**2) / (groups - 1)
    variance = np.where(variance > 1e-12 * (means**2).mean(axis=0), variance, np.nan)
    return mean / np.sqrt(variance / groups)


def _signs(groups: int) -> np.ndarray:
    """Every change of signs, or as many drawn at random; the first changes nothing."""
    if groups <= LONGEST_LISTED:
        rows = np.arange(2**groups)
        return 1.0 - 2.0 * ((rows[:, None] >> np.arange(groups)) & 1)
    drawn = np.random.default_rng(SEED).choice((-1.0, 1.0), size=(2**LONGEST_LISTED, groups))
    drawn[0] = 1.0
    return drawn
