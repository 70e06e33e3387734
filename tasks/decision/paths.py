"""Simulated prices at several dates together: what the published quantiles say, with the dependence of past moves.

The risk of a total over months is not the total of the months' quantiles, which would let every month be the worst at
once. So prices of all dates are drawn together.

- Marginals. At each date the simulated prices are exactly the published quantiles: path number i of n has the quantile
  of rank (i - 0.5) / n. Between levels the logarithm of the price is linear in the quantile of the normal distribution;
  beyond the outermost levels it goes on along the last piece (a normal tail).
- Between horizons the median is linear in the sessions, and the square of each quantile's distance from the median is
  linear in the sessions (as a variance is). At zero sessions all quantiles are the price. Nothing is known beyond the
  farthest horizon.
- Dependence. A Gaussian copula: the correlation of the moves over m and over n > m sessions from one day is (m / n) to
  a power, fitted on past moves of the quote. A random walk has the power one half. The matrix is always valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
import pandas as pd

from tasks.errors import DecisionFailed
from tasks.quantiles import column

PATHS = 4_000
ORIGIN_STEP = 5  # sessions between two origins of past moves
FEWEST_SESSIONS = 1_000
POWERS = (0.1, 2.0)
"""Limits of the fitted power; beyond them the moves of two horizons are one, or have nothing in common."""


def fit_dependence(closes: pd.Series, sessions: Sequence[int]) -> float:
    """The power of the copula, from past moves of the quote.

    For each pair of horizons the correlation of normal scores (ranks as quantiles of the normal distribution) of the
    moves from the same origins; the power is the regression of their logarithms on log(m / n), without a constant.

    Args:
        closes: by session, to the day; a missing close stays missing. sessions: of the horizons.

    Raises:
        DecisionFailed: fewer than 1,000 sessions, or moves that have nothing in common.

    Invariants: depends on closes given only; a move that has not ended by the last of them is not used.
    """
    counts = sorted(sessions)
    if closes.notna().sum() < max(FEWEST_SESSIONS, 2 * counts[-1]):
        raise DecisionFailed(
            f"ZL=F: {closes.notna().sum()} closes are too few to fit how prices of different months move together "
            f"({max(FEWEST_SESSIONS, 2 * counts[-1])} are needed); run `cbi backfill yahoo --start 2000-01-01`"
        )
    logs = np.log(closes)
    moves = pd.DataFrame({count: logs.shift(-count) - logs for count in counts}).iloc[::ORIGIN_STEP]
    known, distance = [], []
    for at, near in enumerate(counts):
        for far in counts[at + 1 :]:
            both = moves[[near, far]].dropna().rank()
            scores = _normal(((both - 0.5) / len(both)).to_numpy())
            correlation = float(np.corrcoef(scores.T)[0, 1])
            if correlation > 0:
                known.append(np.log(correlation))
                distance.append(np.log(near / far))
    if not known:
        raise DecisionFailed("ZL=F: past moves over different horizons have nothing in common; look at its closes")
    fitted = float(np.dot(known, distance) / np.dot(distance, distance))
    return float(np.clip(fitted, *POWERS))


def log_quantiles_at(
    published: Mapping[int, np.ndarray], last_price: float, median: int, at: Sequence[int]
) -> np.ndarray:
    """Quantiles of the log price at some numbers of sessions, dates x levels; missing beyond the farthest horizon.

    Args:
        published: by sessions of a horizon, quantiles of the price. median: the place of the median among them.
    """
    horizons = np.array([0, *sorted(published)], dtype="float64")
    levels = len(next(iter(published.values())))
    logs = np.log(np.vstack([np.full(levels, last_price), *(published[count] for count in sorted(published))]))
    middle = logs[:, median]
    away = logs - middle[:, None]
    wanted = np.asarray(at, dtype="float64")
    center = np.interp(wanted, horizons, middle)
    squares = np.stack([np.interp(wanted, horizons, away[:, k] ** 2) for k in range(levels)], axis=1)
    signs = np.sign(np.arange(levels) - median)
    out = center[:, None] + signs * np.sqrt(squares)
    out[(wanted > horizons[-1]) | (wanted < 0)] = np.nan
    return out


def simulate(
    published: Mapping[int, np.ndarray],
    levels: tuple[float, ...],
    last_price: float,
    at: Sequence[int],
    *,
    power: float,
    seed: int,
    count: int = PATHS,
) -> np.ndarray:
    """Joint prices at some numbers of sessions, paths x dates, in cents/lb.

    Args:
        published: by sessions of a horizon, quantiles of the price at ``levels``. at: sessions, one per date, in order.
            power: of ``fit_dependence``. seed: the same seed gives the same paths.

    Invariants: the prices of a date are those of its quantiles whatever the dates beside it; only their order among
        paths is random. A date beyond the farthest horizon is missing.
    """
    logs = log_quantiles_at(published, last_price, levels.index(0.5), at)
    ranks = _joint_ranks(np.asarray(at, dtype="float64"), power, seed, count)
    known = np.array([NormalDist().inv_cdf(level) for level in levels])
    scores = _scores(count)
    prices = np.full((count, len(logs)), np.nan)
    for date, row in enumerate(logs):
        if not np.isnan(row).any():
            prices[:, date] = np.exp(_through(scores, known, row))[ranks[:, date]]
    return prices


def published_quantiles(
    forecasts: pd.DataFrame, sessions: Mapping[str, int], levels: tuple[float, ...]
) -> dict[int, np.ndarray]:
    """By sessions of a horizon, the quantiles of the price of the rows of ``forecasts.zl_forecasts_daily`` of a day.

    A row with a missing quantile is left out.

    Raises:
        DecisionFailed: quantiles of a row cross, or no horizon has any.
    """
    found = {}
    for row in forecasts.to_dict("records"):
        values = np.array([row[column(level)] for level in levels], dtype="float64")
        if np.isnan(values).any():
            continue
        if (np.diff(values) < 0).any() or values[0] <= 0:
            raise DecisionFailed(f"forecasts.zl_forecasts_daily: {row['horizon']}: quantiles {list(values)} cross")
        found[sessions[str(row["horizon"])]] = values
    if not found:
        raise DecisionFailed("forecasts.zl_forecasts_daily: no horizon has quantiles; run `cbi daily`")
    return found


def _joint_ranks(at: np.ndarray, power: float, seed: int, count: int) -> np.ndarray:
    """Ranks 0 to count - 1 of each path at each date: a Gaussian copula, as a chain from date to date."""
    random = np.random.default_rng(seed)
    latent = random.standard_normal((count, len(at)))
    for date in range(1, len(at)):
        shared = float((at[date - 1] / at[date]) ** power) if at[date] > 0 else 1.0
        latent[:, date] = shared * latent[:, date - 1] + np.sqrt(1 - shared**2) * latent[:, date]
    return latent.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")


@cache
def _scores(count: int) -> np.ndarray:
    return _normal((np.arange(count) + 0.5) / count)


def _normal(shares: np.ndarray) -> np.ndarray:
    """The normal quantile of each share."""
    unique, places = np.unique(shares, return_inverse=True)
    inverse = NormalDist().inv_cdf
    return np.array([inverse(float(share)) for share in unique])[places].reshape(shares.shape)


def _through(x: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear through the known points, and on along the outermost pieces."""
    piece = np.clip(np.searchsorted(known, x, side="right") - 1, 0, len(known) - 2)
    slope = (values[piece + 1] - values[piece]) / (known[piece + 1] - known[piece])
    return values[piece] + slope * (x - known[piece])
