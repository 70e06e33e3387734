"""Other markets: their returns, and how ZL has moved with them (sql/correlations.sql is the same in SQL)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from tasks.features.roll_free import ROLL_FREE
from tasks.features.rolling import LogPrice, correlation, correlation_and_slope

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


QUARTERLY = ("zs", "zm", "zc", "cl", "ho", "cpo", "brl", "sp500")
WEEKLY = ("cl", "cpo", "zs")
CORRELATED = ("zs", "zm", "zc", "cl", "ho", "cpo", "gc", "hg", "sp500", "brl", "myr", "dxy")

# their price is of 18:00 Chicago of the previous session (registry/join_spec.yaml)
CURRENCIES = ("brl", "cny", "myr", "eur")

Logs = dict[str, LogPrice]


def features(panel: pd.DataFrame) -> dict[str, np.ndarray]:
    """Log returns of each market in its own currency, and correlation and beta of ZL's daily returns with them."""
    logs = log_prices(panel)
    return (
        returns(logs, 21, MARKETS)
        | returns(logs, 63, QUARTERLY)
        | correlations(logs, 63, CORRELATED)
        | returns(logs, 5, WEEKLY)
        | correlations(logs, 252, ("cl",))
        | chinas_returns(logs)
        | with_own_bars(panel, logs)
    )


def log_prices(panel: pd.DataFrame) -> Logs:
    """The log price of ZL and of each market."""
    return {name: LogPrice.of(panel[column]) for name, column in {"zl": ROLL_FREE, **MARKETS, **CHINA}.items()}


def returns(logs: Logs, sessions: int, markets: Iterable[str]) -> dict[str, np.ndarray]:
    """Log returns of some markets over a number of sessions."""
    return {f"{name}_return_{sessions}d": logs[name].change(sessions) for name in markets}


def chinas_returns(logs: Logs) -> dict[str, np.ndarray]:
    """Log returns of Dalian and Zhengzhou over a week and a month."""
    return {f"{name}_return_{sessions}d": logs[name].change(sessions) for name in CHINA for sessions in (5, 21)}


def correlations(logs: Logs, window: int, markets: Iterable[str]) -> dict[str, np.ndarray]:
    """Correlation of ZL's daily log returns with those of some markets on the same days, over the trailing window."""
    zl = logs["zl"].change(1)
    before = _session_before(zl)
    return {
        f"zl_{name}_correlation_{window}d": correlation(
            before if name in CURRENCIES else zl, logs[name].change(1), window
        )
        for name in markets
    }


def with_own_bars(panel: pd.DataFrame, logs: Logs) -> dict[str, np.ndarray]:
    """ZL against markets with other trading days: only sessions with a new bar there, same day and one day later.

    A price carried over a holiday is not a return of zero. Their session closes half a day before ZL's.
    """
    zl = logs["zl"].change(1)

    def own(name: str, column: str) -> np.ndarray:
        return np.where(panel[f"{column}__age_days"].to_numpy() == 0, logs[name].change(1), np.nan)

    out = {}
    for name in ("dalian_soyoil", "dalian_palm"):
        other = own(name, CHINA[name])
        alike, beta = correlation_and_slope(zl, other, 63)
        out[f"zl_{name}_correlation_63d"] = alike
        out[f"zl_{name}_correlation_252d"] = correlation(zl, other, 252)
        out[f"zl_{name}_beta_63d"] = beta
        out[f"zl_after_{name}_correlation_63d"] = correlation(zl, _session_before(other), 63)
    palm = own("cpo", MARKETS["cpo"])
    out["zl_cpo_beta_63d"] = correlation_and_slope(zl, palm, 63)[1]
    out["zl_after_cpo_correlation_63d"] = correlation(zl, _session_before(palm), 63)
    return out


def _session_before(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[np.nan], values[:-1]])
