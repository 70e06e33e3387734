"""Price and returns of ZL itself."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import LogPrice, percentile


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Level, log returns, position in trailing ranges, drawdown."""
    lags = returns(panel)
    return {"zl_close_cents_lb": panel["zl_last"]} | lags | ranges(panel, lags["zl_return_1d"])


def returns(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Log returns over a day to a year."""
    log = LogPrice.of(panel["zl_last"])
    return {f"zl_return_{sessions}d": log.change(sessions) for sessions in (1, 2, 3, 5, 10, 21, 42, 63, 126, 252)}


def ranges(panel: pd.DataFrame, daily: pd.Series) -> dict[str, pd.Series]:
    """Where the close stands in trailing windows, and how it got there: ``daily`` are ZL's log returns of a session."""
    close = panel["zl_last"]
    out = {}
    for sessions in (21, 63, 252):
        rolling = close.rolling(sessions, min_periods=sessions * 2 // 3)
        low, high = rolling.min(), rolling.max()
        out[f"zl_range_position_{sessions}d"] = (close - low) / (high - low).where(high > low)
    out["zl_drawdown_252d_pct"] = 100 * (close / close.rolling(252, min_periods=126).max() - 1)
    out["zl_percentile_1260d"] = percentile(close, 1260)
    out["zl_up_days_21d"] = (daily > 0).astype(float).where(daily.notna()).rolling(21, min_periods=14).mean()
    out["zl_open_gap_pct"] = 100 * (panel["zl_open"] / close.shift() - 1)
    out["zl_bar_age_days"] = panel["zl_last__age_days"].where(close.notna())
    return out
