"""Families compared on the same origins: figures with intervals, skill over the better naive, Diebold-Mariano."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.errors import TrainingFailed
from tasks.evaluation.bootstrap import block_length, bounds, resampled_rows
from tasks.evaluation.groups import group_length, interval
from tasks.evaluation.metrics import annual_sharpe, direction_reliability, figures, measure, moments, sign_strategy
from tasks.quantiles import column, pinball

NAIVE = ("curve", "no_change", "historical", "long_run", "drift")
SHARES = ("coverage_", "direction_hit_rate", "calibration_error")
FEWEST_BLOCKS = 3  # of trades: with fewer there is no interval of a Sharpe ratio


@dataclass(frozen=True)
class DieboldMariano:
    """A positive statistic: the first forecast has the lower loss. ``p_value`` is one-sided."""

    statistic: float
    p_value: float


def overlapping_origins(sessions: int, step: int) -> int:
    """How many consecutive origins, ``step`` sessions apart, have targets that overlap."""
    return -(-sessions // step)


def diebold_mariano(loss: np.ndarray, reference_loss: np.ndarray, *, overlap: int) -> DieboldMariano:
    """Test of equal loss (Diebold and Mariano 1995), small-sample corrected (Harvey, Leybourne and Newbold 1997).

    The variance of the mean difference counts autocovariances up to lag ``overlap`` - 1; if that sum is not
    positive, which equal weights allow, Bartlett weights are used (Newey and West 1987). The statistic is
    multiplied by sqrt((n + 1 - 2h + h(h - 1)/n) / n), h the overlap, and compared with Student's t with n - 1 degrees.
    NaN with fewer than two blocks of origins that do not overlap, and if the losses never differ.
    """
    difference = np.asarray(reference_loss, dtype="float64") - np.asarray(loss, dtype="float64")
    n = len(difference)
    if n < 2 * overlap or n < 2 or not difference.any():
        return DieboldMariano(float("nan"), float("nan"))
    from scipy import stats

    centred = difference - difference.mean()
    covariances = np.array([centred[lag:] @ centred[: n - lag] for lag in range(overlap)]) / n
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:
        variance = covariances[0] + 2 * ((1 - np.arange(1, overlap) / overlap) * covariances[1:]).sum()
    if variance <= 0:
        return DieboldMariano(float("nan"), float("nan"))
    correction = (n + 1 - 2 * overlap + overlap * (overlap - 1) / n) / n
    statistic = float(difference.mean() / np.sqrt(variance / n) * np.sqrt(correction))
    return DieboldMariano(statistic, float(stats.t.sf(statistic, df=n - 1)))


def paired(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both frames, cut to the origins that have a forecast in both, by date.

    Raises:
        TrainingFailed: the two have different outcomes, so they are not of the same data.
    """
    left, right = first.set_index("date").sort_index(), second.set_index("date").sort_index()
    shared = left.index.intersection(right.index)
    left, right = left.loc[shared], right.loc[shared]
    known = left["p50"].notna() & right["p50"].notna()
    left, right = left[known], right[known]
    if not np.allclose(left["target_log_return"], right["target_log_return"], rtol=0, atol=1e-12):
        raise TrainingFailed(
            "the forecasts to compare have other outcomes at the same origin; fit both families again on "
            "the same training file (`cbi train`)"
        )
    return left.reset_index(), right.reset_index()


def better_naive(oofs: Mapping[str, pd.DataFrame], levels: tuple[float, ...], *, on: pd.DataFrame) -> str:
    """The naive family with the lowest mean pinball loss on the origins of ``on``; families without them all are out.

    It is chosen in hindsight, on the scored origins: the naive forecast that is hardest to beat.

    Raises:
        TrainingFailed: no naive family has a forecast of each of these origins.
    """
    losses = {}
    for family in NAIVE:
        if family in oofs:
            _, naive = paired(on, oofs[family])
            if len(naive) == len(on):
                losses[family] = float(_losses(naive, levels).mean())
    if not losses:
        raise TrainingFailed(f"none of {', '.join(NAIVE)} has forecasts of all {len(on)} origins to compare with")
    return min(losses, key=lambda family: losses[family])


def evaluate(
    oof: pd.DataFrame,
    reference: pd.DataFrame,
    levels: tuple[float, ...],
    *,
    sessions: int,
    step: int,
    round_trip_cost_cents_lb: float,
) -> dict[str, float | int | str]:
    """Every figure of one family with its 90% interval (``<name>_low``, ``<name>_high``), and skill over a reference.

    Args:
        oof: the scored origins of a family. reference: forecasts of the better naive, for at least some of them.
        sessions: the horizon. step: sessions between two origins. round_trip_cost_cents_lb: cost of one trade and back.

    Returns:
        ``measure`` of the common origins, ``sharpe`` with its number of ``periods``, ``skill_pct`` (100 x
        (1 - pinball / reference's pinball)), ``dm_statistic``, ``dm_p_value``. The Sharpe ratio is the median over the
        origins at which trading could begin. Intervals are missing where there are fewer than five groups of origins
        (tasks/evaluation/groups.py): at twelve months a group is two years.
    """
    own, naive = paired(oof, reference)
    if own.empty:
        raise TrainingFailed("no origin has a forecast of both the family and the reference; nothing to compare")
    overlap = overlapping_origins(sessions, step)
    rows = moments(own, levels).assign(reference=_losses(naive, levels))
    observed = _with_skill(rows.mean().to_frame().T, levels).iloc[0]
    found: dict[str, float | int | str] = {**measure(own, levels), "skill_pct": float(observed["skill_pct"])}

    def figured(means: np.ndarray) -> np.ndarray:
        return _with_skill(pd.DataFrame(means, columns=rows.columns), levels).to_numpy()

    low, high = (
        pd.Series(bound, index=observed.index)
        for bound in interval(rows.to_numpy(), figured, length=group_length(overlap))
    )
    for name in observed.index:
        most = 1.0 if name.startswith(SHARES) else np.inf
        least = -np.inf if name == "skill_pct" else 0.0
        found |= {f"{name}_{end}": float(np.clip(at[name], least, most)) for end, at in (("low", low), ("high", high))}
    tested = diebold_mariano(rows["pinball"].to_numpy(), rows["reference"].to_numpy(), overlap=overlap)
    traded = median_phase(own, sessions=sessions, starts=overlap, round_trip_cost_cents_lb=round_trip_cost_cents_lb)
    return (
        found
        | direction_reliability(own, overlap=overlap)
        | {
            "dm_statistic": tested.statistic,
            "dm_p_value": tested.p_value,
            "periods": len(traded),
            **_sharpe(traded, sessions),
        }
    )


def median_phase(oof: pd.DataFrame, *, sessions: int, starts: int, round_trip_cost_cents_lb: float) -> np.ndarray:
    """Returns of ``sign_strategy`` from the start whose Sharpe ratio is the median: one start by itself is luck.

    Args:
        starts: first origins to try, one after another: as many as have overlapping targets.
    """
    trades = [
        sign_strategy(oof, round_trip_cost_cents_lb=round_trip_cost_cents_lb, start=start).to_numpy()
        for start in range(min(starts, len(oof)))
    ]
    ratios = np.array([float(annual_sharpe(returns, sessions=sessions)) for returns in trades])
    known = np.flatnonzero(np.isfinite(ratios))
    if not len(known):
        return trades[0]
    return trades[int(known[np.argsort(ratios[known], kind="stable")[(len(known) - 1) // 2]])]


def leaderboard(
    oofs: Mapping[str, pd.DataFrame],
    levels: tuple[float, ...],
    *,
    sessions: int,
    step: int,
    round_trip_cost_cents_lb: float,
) -> pd.DataFrame:
    """One row per family at one horizon, by pinball loss. Each is compared with the better naive on its origins."""
    rows = []
    for family, oof in oofs.items():
        scored = oof[oof["scored"] & oof["p50"].notna()]
        if scored.empty:
            continue
        naive = better_naive(oofs, levels, on=scored)
        found = evaluate(
            scored,
            oofs[naive],
            levels,
            sessions=sessions,
            step=step,
            round_trip_cost_cents_lb=round_trip_cost_cents_lb,
        )
        rows.append({"family": family, "better_naive": naive, **found})
    return pd.DataFrame(rows).sort_values("pinball_log_return", ignore_index=True) if rows else pd.DataFrame()


def by_year(oof: pd.DataFrame) -> pd.Series:
    """The calendar year of each origin, as the name of its slice."""
    return oof["date"].dt.year.astype(str)


def by_regime(oof: pd.DataFrame, regimes: pd.DataFrame) -> pd.Series:
    """The regime of each origin by registry/regime_calendar.csv; missing before the first and between two.

    The last regime continues until the next one is listed.
    """
    ordered = regimes.sort_values("start").reset_index(drop=True)
    dates = oof["date"].to_numpy().astype("datetime64[ns]")
    begins = ordered["start"].to_numpy().astype("datetime64[ns]")
    at = np.searchsorted(begins, dates, side="right") - 1
    within = dates <= ordered["end"].to_numpy().astype("datetime64[ns]")[at]
    inside = (at >= 0) & (within | (at == len(ordered) - 1))
    return pd.Series(ordered["regime"].to_numpy()[at], index=oof.index).where(inside)


def sliced(
    oofs: Mapping[str, pd.DataFrame],
    slices: Mapping[str, pd.Series],
    levels: tuple[float, ...],
    *,
    sessions: int,
    step: int,
    round_trip_cost_cents_lb: float,
) -> pd.DataFrame:
    """``leaderboard`` per slice, with the slice's name in column ``slice``.

    Args:
        slices: by family, the slice of each origin (``by_year``, ``by_regime``), indexed like the frame.

    Every family is compared with the naive that was better over all origins, so that slices add up to the whole.
    """
    rows = []
    for family, oof in oofs.items():
        scored = oof[oof["scored"] & oof["p50"].notna()]
        if scored.empty:
            continue
        naive = better_naive(oofs, levels, on=scored)
        for name, part in scored.groupby(slices[family].loc[scored.index], sort=True):
            found = evaluate(
                part,
                oofs[naive],
                levels,
                sessions=sessions,
                step=step,
                round_trip_cost_cents_lb=round_trip_cost_cents_lb,
            )
            rows.append({"slice": str(name), "family": family, "better_naive": naive, **found})
    return (
        pd.DataFrame(rows).sort_values(["slice", "pinball_log_return"], ignore_index=True) if rows else pd.DataFrame()
    )


def _losses(oof: pd.DataFrame, levels: tuple[float, ...]) -> np.ndarray:
    return pinball(oof["target_log_return"].to_numpy(), oof[[column(level) for level in levels]].to_numpy(), levels)


def _with_skill(means: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    return figures(means, levels).assign(skill_pct=100 * (1 - means["pinball"] / means["reference"]))


def _sharpe(returns: np.ndarray, sessions: int) -> dict[str, float]:
    found = {"sharpe": float(annual_sharpe(returns, sessions=sessions)), "sharpe_low": np.nan, "sharpe_high": np.nan}
    block = block_length(len(returns), overlap=1)
    if len(returns) >= FEWEST_BLOCKS * block:
        drawn = annual_sharpe(returns[resampled_rows(len(returns), block=block)], sessions=sessions)
        low, high = bounds(drawn[np.isfinite(drawn)]) if np.isfinite(drawn).any() else (np.nan, np.nan)
        found |= {"sharpe_low": float(low), "sharpe_high": float(high)}
    return found
