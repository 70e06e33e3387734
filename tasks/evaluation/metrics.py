"""The metrics of a forecast, on out-of-fold origins.

Out-of-fold frames have ``date, target_date, target_log_return, last_price, fold, scored, direction_probability`` and
one column per quantile of the log return. Every figure is a function of means over the origins (``moments``), so that
an interval needs only the means of parts of them (tasks/evaluation/groups.py).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.evaluation.groups import group_length, interval
from tasks.quantiles import BANDS, column, pinball

SESSIONS_A_YEAR = 252
COIN_BRIER = 0.25
"""The mean squared error of a chance of one half, always."""
FEWEST_VIEWS = 50


def moments(oof: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    """Each origin's part of the means that ``figures`` reads; one row per origin."""
    target = oof["target_log_return"].to_numpy()
    quantiles = oof[[column(level) for level in levels]].to_numpy()
    last = oof["last_price"].to_numpy()
    actual, median = last * np.exp(target), last * np.exp(oof["p50"].to_numpy())
    called_up, moved = oof["direction_probability"].to_numpy() > 0.5, target != 0
    rows = {
        "pinball": pinball(target, quantiles, levels),
        "absolute_percentage_error": np.abs(median / actual - 1),
        "squared_error": (median - actual) ** 2,
        "moved": moved.astype("float64"),
        "hit": (moved & (called_up == (target > 0))).astype("float64"),
    }
    for band, (low, high) in BANDS.items():
        lower, upper = oof[low].to_numpy(), oof[high].to_numpy()
        rows[f"inside_{band}"] = ((target >= lower) & (target <= upper)).astype("float64")
        rows[f"width_{band}"] = upper - lower
    for i, level in enumerate(levels):
        rows[f"below_{column(level)}"] = (target <= quantiles[:, i]).astype("float64")
    return pd.DataFrame(rows, index=oof.index)


def figures(means: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    """The figures of the leaderboard from rows of means of ``moments``, one row each.

    Units: pinball, CRPS and widths in log return; RMSE in cents/lb; the rest as named, shares from 0 to 1.
    CRPS is twice the quantile loss integrated over the levels (Gneiting and Ranjan 2011), here approximated by twice
    its mean over the published levels: these are denser in the tails than evenly spaced ones, and the part beyond the
    outermost is left out, so it compares families on the same levels only.
    Calibration error is the mean over the quantiles of |observed share at or below it - its level|; parts of the
    origins have more noise than all, so that its interval is wide.
    """
    shares = means[[f"below_{column(level)}" for level in levels]].to_numpy()
    found = {
        "pinball_log_return": means["pinball"],
        "crps_log_return": 2 * means["pinball"],
        "mape_pct": 100 * means["absolute_percentage_error"],
        "rmse_cents_lb": np.sqrt(means["squared_error"]),
        **{f"coverage_{band}": means[f"inside_{band}"] for band in BANDS},
        **{f"width_{band}_log_return": means[f"width_{band}"] for band in BANDS},
        "calibration_error": np.abs(shares - np.asarray(levels)).mean(axis=1),
        "direction_hit_rate": means["hit"] / means["moved"].where(means["moved"] > 0),
    }
    return pd.DataFrame(found, index=means.index)


def measure(oof: pd.DataFrame, levels: tuple[float, ...]) -> dict[str, float | int | str]:
    """The figures of the leaderboard that need one frame only, with its origins; see ``figures``."""
    means = moments(oof, levels).mean().to_frame().T
    return {
        "origins": len(oof),
        "folds": int(oof["date"].dt.year.nunique()),
        "first_origin": f"{oof['date'].min():%Y-%m-%d}",
        "last_origin": f"{oof['date'].max():%Y-%m-%d}",
        **{str(name): float(value) for name, value in figures(means, levels).iloc[0].items()},
        **direction_reliability(oof),
    }


def direction_reliability(oof: pd.DataFrame, *, overlap: int | None = None) -> dict[str, float]:
    """How good the chances of a higher price were, on origins where the median is not the last price.

    Args:
        overlap: consecutive origins whose targets overlap; without it there is no ``brier_high``.

    Returns:
        ``brier`` (mean squared error of the chance; a coin has 0.25), ``brier_high`` (the upper end of its 90%
        interval, from groups of neighboring views; missing with fewer than five) and ``direction_slope`` (of the
        outcome, 0 or 1, regressed on the chance; 1 is right, 0 or less says nothing). Missing with fewer than 50
        origins that have a view, the slope also where the chance never changes.
    """
    view = oof[(oof["p50"] != 0) & oof["direction_probability"].notna()]
    if len(view) < FEWEST_VIEWS:
        return dict.fromkeys(("brier", "brier_high", "direction_slope"), float("nan"))
    chance = view["direction_probability"].to_numpy(dtype="float64")
    higher = (view["target_log_return"] > 0).to_numpy(dtype="float64")
    around = chance - chance.mean()
    spread = float(around @ around)
    squared, high = (chance - higher) ** 2, float("nan")
    if overlap:
        ordered = squared[np.argsort(view["date"].to_numpy(), kind="stable"), None]
        high = float(interval(ordered, lambda means: means, length=group_length(overlap))[1][0])
    return {
        "brier": float(squared.mean()),
        "brier_high": high,
        "direction_slope": float(around @ higher / spread) if spread > 0 else float("nan"),
    }


def sign_strategy(oof: pd.DataFrame, *, round_trip_cost_cents_lb: float, start: int = 0) -> pd.Series:
    """Return after cost of trading the predicted direction, over periods that do not overlap, by origin date.

    Long where the direction probability is above one half, short below, flat (without cost) at one half. The position
    is kept to the target. The origin at row ``start`` is taken, then the next at or after its target, and so on. The
    return is that of the continuous front-month price: the cost or gain of rolling is not included.
    """
    ordered = oof.sort_values("date")
    dates, targets = ordered["date"].to_numpy(), ordered["target_date"].to_numpy()
    taken, row = [], start
    while row < len(ordered):
        taken.append(row)
        row = max(row + 1, int(np.searchsorted(dates, targets[row], side="left")))
    trades = ordered.iloc[taken]
    position = np.sign(trades["direction_probability"].to_numpy() - 0.5)
    gain = position * np.expm1(trades["target_log_return"].to_numpy())
    cost = np.abs(position) * round_trip_cost_cents_lb / trades["last_price"].to_numpy()
    return pd.Series(gain - cost, index=pd.DatetimeIndex(trades["date"]), name="return_after_cost")


def annual_sharpe(returns: np.ndarray, *, sessions: int) -> np.ndarray:
    """Mean over standard deviation (n - 1) of returns over ``sessions`` each, times sqrt(252 / sessions); last axis.

    No risk-free rate is subtracted: a futures position needs no capital.
    """
    if returns.shape[-1] < 2:
        return np.full(returns.shape[:-1], np.nan)
    spread = returns.std(axis=-1, ddof=1)
    ratio = np.divide(returns.mean(axis=-1), spread, out=np.full(spread.shape, np.nan), where=spread > 0)
    return ratio * np.sqrt(SESSIONS_A_YEAR / sessions)
