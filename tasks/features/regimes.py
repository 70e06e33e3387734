"""Causal regimes: thresholds on the past only. The dated calendar weights and slices; it is never a feature."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import annualised_pct, log_return, percentile

CALM, STRESSED = 0.33, 0.8


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Volatility regime by its five-year percentile, trend regime by the 200-session mean."""
    close = panel["zl_last"]
    rank = percentile(annualised_pct(log_return(close, 1), 63), 1260)
    fear = percentile(panel["vix_last"], 756)
    trend = close / close.rolling(200, min_periods=150).mean() - 1
    return {
        "regime_calm": (rank <= CALM).astype(float).where(rank.notna()),
        "regime_stressed": (rank >= STRESSED).astype(float).where(rank.notna()),
        "regime_uptrend": (trend > 0.05).astype(float).where(trend.notna()),
        "regime_downtrend": (trend < -0.05).astype(float).where(trend.notna()),
        "regime_risk_off": (fear >= STRESSED).astype(float).where(fear.notna()),
    }


def regime_name(row: pd.Series) -> str | None:
    """`calm`, `normal` or `stressed` of one feature row; None where it is not known."""
    if pd.isna(row["regime_calm"]):
        return None
    return "calm" if row["regime_calm"] else "stressed" if row["regime_stressed"] else "normal"
