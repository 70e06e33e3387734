"""What is measured of a forecast, on origins it had not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.models.forecaster import column


def pinball(target: np.ndarray, quantiles: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantile loss of each row, averaged over the levels (Koenker and Bassett 1978)."""
    error = target[:, None] - quantiles
    p = np.asarray(levels)
    return np.maximum(p * error, (p - 1) * error).mean(axis=1)


def coverage(target: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Share of targets inside the band, its ends included."""
    return float(((target >= lower) & (target <= upper)).mean())


def measure(oof: pd.DataFrame, levels: tuple[float, ...]) -> dict[str, float | int | str]:
    """Every figure of the leaderboard, from out-of-fold forecasts.

    Args:
        oof: ``date, last_price, target_log_return, direction_probability`` and one column a quantile of the log return.
    """
    target = oof["target_log_return"].to_numpy()
    quantiles = oof[[column(level) for level in levels]].to_numpy()
    last = oof["last_price"].to_numpy()
    actual, median = last * np.exp(target), last * np.exp(oof["p50"].to_numpy())
    called_up = oof["direction_probability"].to_numpy() > 0.5
    moved = target != 0
    return {
        "origins": len(oof),
        "folds": int(oof["date"].dt.year.nunique()),
        "first_origin": f"{oof['date'].min():%Y-%m-%d}",
        "last_origin": f"{oof['date'].max():%Y-%m-%d}",
        "pinball_log_return": float(pinball(target, quantiles, levels).mean()),
        "mape_pct": float(100 * np.mean(np.abs(median / actual - 1))),
        "coverage_50": coverage(target, oof["p25"].to_numpy(), oof["p75"].to_numpy()),
        "coverage_80": coverage(target, oof["p10"].to_numpy(), oof["p90"].to_numpy()),
        "coverage_90": coverage(target, oof["p05"].to_numpy(), oof["p95"].to_numpy()),
        "direction_hit_rate": float((called_up == (target > 0))[moved].mean()),
    }
