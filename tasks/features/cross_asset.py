"""Other markets: their returns. How ZL has moved with them is in sql/correlations.sql."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import log_return

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
# continuous contracts of Dalian and Zhengzhou, CNY/t
CHINA = {
    "dalian_soyoil": "dalian_soyoil_cny_t",
    "dalian_palm": "dalian_palm_cny_t",
    "zhengzhou_rapeseed_oil": "zhengzhou_rapeseed_oil_cny_t",
    "dalian_meal": "dalian_meal_cny_t",
    "dalian_beans1": "dalian_beans1_cny_t",
}


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Log returns of each market, in its own currency."""
    out = {}
    for name, column in MARKETS.items():
        out[f"{name}_return_21d"] = log_return(panel[column], 21)
    for name in ("zs", "zm", "zc", "cl", "ho", "cpo", "brl", "sp500"):
        out[f"{name}_return_63d"] = log_return(panel[MARKETS[name]], 63)
    for name in ("cl", "cpo", "zs"):
        out[f"{name}_return_5d"] = log_return(panel[MARKETS[name]], 5)
    for name, column in CHINA.items():
        for sessions in (5, 21):
            out[f"{name}_return_{sessions}d"] = log_return(panel[column], sessions)
    return out
