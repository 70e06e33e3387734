"""Futures positions by class of trader (CFTC commitments, legacy report), known from Friday 15:30 New York."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import percentile

THREE_YEARS = 756


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Net positions by class as a share of open interest, their three-year percentiles and changes."""
    out = {}
    for market in ("zl", "zs", "zm", "zc"):
        net = _net_share(panel, market, "noncommercial")
        out[f"cot_{market}_noncommercial_net_share"] = net
        out[f"cot_{market}_noncommercial_net_percentile_756d"] = percentile(net, THREE_YEARS)
        out[f"cot_{market}_noncommercial_net_change_20d"] = net - net.shift(20)
    for holder in ("commercial", "nonreportable"):
        net = _net_share(panel, "zl", holder)
        out[f"cot_zl_{holder}_net_share"] = net
        out[f"cot_zl_{holder}_net_percentile_756d"] = percentile(net, THREE_YEARS)
    interest = panel["cot_zl_open_interest"]
    out["cot_zl_open_interest_change_20d"] = interest / interest.shift(20) - 1
    out["cot_zl_open_interest_percentile_756d"] = percentile(interest, THREE_YEARS)
    long, short = panel["cot_zl_noncommercial_long"], panel["cot_zl_noncommercial_short"]
    out["cot_zl_noncommercial_long_share"] = long / (long + short)
    return out


def _net_share(panel: pd.DataFrame, market: str, holder: str) -> pd.Series:
    prefix = f"cot_{market}_"
    return (panel[f"{prefix}{holder}_long"] - panel[f"{prefix}{holder}_short"]) / panel[f"{prefix}open_interest"]
