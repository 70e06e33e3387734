"""Volatility of ZL."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.features.roll_free import ROLL_FREE
from tasks.features.rolling import ANNUAL_PCT, annualised_pct, ewma_volatility, log_return, percentile
from tasks.features.technical import complete_bars


def features(panel: pd.DataFrame) -> dict[str, np.ndarray]:
    """Realised, exponentially weighted and range-based volatility (annualised, %), its shape and its own changes."""
    returns = log_return(panel[ROLL_FREE], 1)
    moves = returns.to_numpy(dtype="float64")
    out = {f"zl_volatility_{w}d_pct": annualised_pct(returns, w).to_numpy() for w in (5, 10, 21, 63, 126, 252)}
    for decay in (94, 97, 99):
        out[f"zl_ewma_volatility_{decay}_pct"] = ewma_volatility(returns, decay / 100).to_numpy() * ANNUAL_PCT
    out["zl_volatility_ratio_21_63"] = out["zl_volatility_21d_pct"] / out["zl_volatility_63d_pct"]
    out["zl_volatility_ratio_63_252"] = out["zl_volatility_63d_pct"] / out["zl_volatility_252d_pct"]
    out["zl_volatility_percentile_1260d"] = percentile(pd.Series(out["zl_volatility_63d_pct"]), 1260).to_numpy()
    own_moves = pd.Series(np.diff(np.log(out["zl_ewma_volatility_94_pct"]), prepend=np.nan))
    out["zl_volatility_of_volatility_63d"] = own_moves.rolling(63, min_periods=42).std().to_numpy()
    falls = pd.Series(np.minimum(moves, 0) ** 2)
    out["zl_downside_volatility_63d_pct"] = np.sqrt(falls.rolling(63, min_periods=42).mean().to_numpy()) * ANNUAL_PCT
    out["zl_parkinson_21d_pct"] = parkinson_pct(panel["zl_high"], panel["zl_low"], 21)
    half_a_year = returns.rolling(126, min_periods=84)
    out["zl_skew_126d"], out["zl_kurtosis_126d"] = half_a_year.skew().to_numpy(), half_a_year.kurt().to_numpy()
    out["zl_largest_move_21d"] = pd.Series(np.abs(moves)).rolling(21, min_periods=14).max().to_numpy()
    for window, values in garman_klass_pct(panel, 21, 63).items():
        out[f"zl_garman_klass_{window}d_pct"] = values
    out["zl_range_to_close_volatility_63d"] = out["zl_garman_klass_63d_pct"] / out["zl_volatility_63d_pct"]
    return out


def parkinson_pct(high: pd.Series, low: pd.Series, window: int) -> np.ndarray:
    """Range volatility, annualised %: sqrt(mean(ln(H/L)^2) / (4 ln 2)) (Parkinson 1980); over valid bars only."""
    squared = pd.Series(np.log(high.to_numpy() / low.to_numpy()) ** 2, high.index)
    mean = squared.rolling(window, min_periods=window * 2 // 3).mean().to_numpy()
    return np.sqrt(mean / (4 * np.log(2))) * ANNUAL_PCT


def garman_klass_pct(panel: pd.DataFrame, *windows: int) -> dict[int, np.ndarray]:
    """Volatility of whole bars, annualised %: sqrt(mean(0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2)) (Garman-Klass 1980).

    Over complete bars only (technical.complete_bars), if two thirds of a window's sessions have one.
    """
    complete = complete_bars(panel).to_numpy()
    opened, high, low, close = (
        np.log(np.where(complete, panel[f"zl_{name}"].to_numpy(dtype="float64"), np.nan))
        for name in ("open", "high", "low", "close")
    )
    daily = pd.Series(0.5 * (high - low) ** 2 - (2 * np.log(2) - 1) * (close - opened) ** 2, panel.index)
    means = {window: daily.rolling(window, min_periods=window * 2 // 3).mean().to_numpy() for window in windows}
    return {window: np.sqrt(np.maximum(mean, 0)) * ANNUAL_PCT for window, mean in means.items()}
