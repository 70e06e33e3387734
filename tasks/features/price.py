"""Price and returns of ZL itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.features.roll_free import ROLL_FREE, roll_free_bars
from tasks.features.rolling import LogPrice, percentile


def features(panel: pd.DataFrame) -> dict[str, np.ndarray]:
    """Level, log returns, position in trailing ranges, drawdown."""
    lags = returns(panel)
    return {"zl_close_cents_lb": panel["zl_last"].to_numpy()} | lags | ranges(panel, lags["zl_return_1d"])


def returns(panel: pd.DataFrame) -> dict[str, np.ndarray]:
    """Log returns over one day to one year."""
    log = LogPrice.of(panel[ROLL_FREE])
    return {f"zl_return_{sessions}d": log.change(sessions) for sessions in (1, 2, 3, 5, 10, 21, 42, 63, 126, 252)}


def ranges(panel: pd.DataFrame, moves: np.ndarray) -> dict[str, np.ndarray]:
    """Position of the close in trailing windows, and its path; ``moves`` are ZL's log returns per session."""
    close = panel[ROLL_FREE]
    price = close.to_numpy(dtype="float64")
    out = {}
    for sessions in (21, 63, 252):
        rolling = close.rolling(sessions, min_periods=sessions * 2 // 3)
        low, high = rolling.min().to_numpy(), rolling.max().to_numpy()
        out[f"zl_range_position_{sessions}d"] = (price - low) / np.where(high > low, high - low, np.nan)
    out["zl_drawdown_252d_pct"] = 100 * (price / close.rolling(252, min_periods=126).max().to_numpy() - 1)
    out["zl_percentile_1260d"] = percentile(panel["zl_last"], 1260).to_numpy()
    up = pd.Series(np.where(np.isnan(moves), np.nan, moves > 0))
    out["zl_up_days_21d"] = up.rolling(21, min_periods=14).mean().to_numpy()
    before = np.concatenate([[np.nan], price])[:-1]
    out["zl_open_gap_pct"] = 100 * (roll_free_bars(panel)["zl_open"].to_numpy(dtype="float64") / before - 1)
    out["zl_bar_age_days"] = np.where(np.isnan(price), np.nan, panel["zl_last__age_days"].to_numpy())
    return out
