"""Other markets: their returns, and how ZL has moved with them."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import log_return, rolling_beta, rolling_correlation

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
# continuous contracts of Dalian and Zhengzhou, CNY/t
CHINA = {
    "dalian_soyoil": "dalian_soyoil_cny_t",
    "dalian_palm": "dalian_palm_cny_t",
    "zhengzhou_rapeseed_oil": "zhengzhou_rapeseed_oil_cny_t",
    "dalian_meal": "dalian_meal_cny_t",
    "dalian_beans1": "dalian_beans1_cny_t",
}


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns of each market; correlation and beta of ZL's daily returns to theirs.

    ``zl_after_*``: ZL's return against the other market's of the session before, which closed half a day earlier.
    """
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
    for name, column in CHINA.items():
        for sessions in (5, 21):
            out[f"{name}_return_{sessions}d"] = log_return(panel[column], sessions)
    for name, column in {"dalian_soyoil": CHINA["dalian_soyoil"], "dalian_palm": CHINA["dalian_palm"]}.items():
        daily = bar_return(panel, column)
        out[f"zl_{name}_correlation_63d"] = rolling_correlation(zl, daily, 63)
        out[f"zl_{name}_correlation_252d"] = rolling_correlation(zl, daily, 252)
        out[f"zl_{name}_beta_63d"] = rolling_beta(zl, daily, 63)
        out[f"zl_after_{name}_correlation_63d"] = rolling_correlation(zl, daily.shift(), 63)
    palm = bar_return(panel, "cpo_last")
    out["zl_cpo_beta_63d"] = rolling_beta(zl, palm, 63)
    out["zl_after_cpo_correlation_63d"] = rolling_correlation(zl, palm.shift(), 63)
    return out


def bar_return(panel: pd.DataFrame, column: str) -> pd.Series:
    """Log return into a session with a bar of its own: a price carried over a holiday has no return of zero."""
    return log_return(panel[column], 1).where(panel[f"{column}__age_days"] == 0)
