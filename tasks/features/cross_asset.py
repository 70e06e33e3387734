"""Other markets: their returns, and how ZL has moved with them."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import log_return, rolling_correlation

MARKETS = {
    "zs": "zs_last",
    "zm": "zm_last",
    "zc": "zc_last",
    "zw": "zw_last",
    "cl": "cl_last",
    "bz": "bz_last",
    "ho": "ho_last",
    "rb": "rb_last",
    "ng": "ng_last",
    "cpo": "cpo_last",
    "gc": "gc_last",
    "hg": "hg_last",
    "sb": "sb_last",
    "sp500": "sp500_last",
    "brl": "brl_last",
    "cny": "cny_last",
    "myr": "myr_last",
    "eur": "eur_last",
    "dxy": "dxy_last",
}
CORRELATED = ("zs", "zm", "zc", "cl", "ho", "cpo", "gc", "hg", "sp500", "brl", "myr", "dxy")


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Month and quarter returns of each market, 63-session correlations of daily returns, lagged palm and crude."""
    zl = log_return(panel["zl_last"], 1)
    out = {}
    for name, column in MARKETS.items():
        out[f"{name}_return_21d"] = log_return(panel[column], 21)
    for name in ("zs", "zm", "zc", "cl", "ho", "cpo", "brl", "sp500"):
        out[f"{name}_return_63d"] = log_return(panel[MARKETS[name]], 63)
    for name in CORRELATED:
        daily = log_return(panel[MARKETS[name]], 1)
        out[f"zl_{name}_correlation_63d"] = rolling_correlation(zl, daily, 63)
    for name in ("cl", "cpo", "zs"):
        out[f"{name}_return_5d"] = log_return(panel[MARKETS[name]], 5)
    out["zl_cl_correlation_252d"] = rolling_correlation(zl, log_return(panel["cl_last"], 1), 252)
    return out
