"""Intervals of figures over overlapping forecasts, from groups of neighboring origins.

The groups are longer than the targets overlap, so that their means are nearly independent, and few. Student's t with as
few degrees of freedom holds what it says where a bootstrap of short blocks does not (Ibragimov and Mueller 2010): with
no skill, the lower 5% bound lies above zero in 5 to 8% of simulations, with blocks as long as the overlap in 8 to 13%
(docs/results/promotion.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SHORTEST = 26
"""Origins: half a year of weekly ones, for slow swings of volatility."""
FEWEST = 5
"""With fewer groups there is no interval: the few years of a long horizon prove nothing."""
TAIL = 0.05  # beyond each bound


def group_length(overlap: int, *, shortest: int = SHORTEST) -> int:
    """Origins per group: twice as many as have overlapping targets, and ``shortest`` at least."""
    return max(shortest, 2 * overlap)


def groups_of(values: np.ndarray, *, length: int) -> list[np.ndarray]:
    """Neighboring rows in groups of about ``length``, all rows in one; what is left over makes some longer."""
    return np.array_split(values, max(1, len(values) // length))


def interval(
    values: np.ndarray, figures: Callable[[np.ndarray], np.ndarray], *, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """The 90% interval of figures of column means, by the delete-one-group jackknife (Quenouille 1949, Tukey 1958).

    Args:
        values: rows x columns, in time order. figures: rows of column means to rows of figures.

    Returns:
        lower and upper bounds; missing with fewer than five groups.
    """
    from scipy import stats

    parts = groups_of(values, length=length)
    whole = figures(values.mean(axis=0, keepdims=True))[0]
    if len(parts) < FEWEST:
        return np.full(len(whole), np.nan), np.full(len(whole), np.nan)
    sums, sizes = np.stack([part.sum(axis=0) for part in parts]), np.array([len(part) for part in parts])
    without = figures((values.sum(axis=0) - sums) / (len(values) - sizes)[:, None])
    q = len(parts)
    error = np.sqrt((q - 1) / q * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = stats.t.ppf(1 - TAIL, q - 1) * error
    return whole - reach, whole + reach
