"""The Big 8: signals of unusual market states that move soybean oil, each in [0, 1]; 1 is the extreme.

A signal is the mean of its drivers. Each driver is mapped to [0, 1] by its rank within the trailing five years (WASDE's
yearly figures, known from 2010: within all the past; a count of events: 1 - 2^-events). A signal is missing if one of
its drivers is: that lowers the coverage and is never filled with 0.5.

| signal | drivers | 1 means |
|---|---|---|
| vix_stress | rank of the VIX | fear |
| harvest_pace | rank of the shortfall of three countries' crops against WASDE's first projection | crop losses |
| china_relations | rank of weak Chinese demand (derived composite); rank of the yuan's fall over 63 sessions | strain |
| tariff_threat | tariff events of the past 180 days | escalation |
| geopolitical_volatility | ranks of 21-session volatility of gold, crude and wheat | war, upheaval |
| biofuel_cascade | rank of the oil share; rank of biofuel's share of US oil use (WASDE) | fuel rules the price |
| hidden_correlation | rank of ZL's mean absolute 63-session return correlation with six other markets | one trade |
| biofuel_margin | rank of BOHO (thin biodiesel margin); rank of corn for a gallon of ethanol less gasoline | thin |

Gasoline stands for ethanol, whose price is not available. NASS harvest progress is recorded only for 2017 to 2019.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tasks.features.policy import change_over_days
from tasks.features.roll_free import ROLL_FREE
from tasks.features.rolling import SESSIONS_A_YEAR, log_return, percentile, rolling_correlation
from tasks.features.soy_complex import boho_usd_gal, oil_share

YEARS_5 = 1260
MOST_OF_EIGHT = 5
GALLONS_A_BUSHEL = 2.8  # ethanol from a bushel of corn
OTHERS = ("cl_last", "gc_last", "hg_last", "sp500_last", "dxy_last")
# codes of master_regime_classification: the highest applicable one
FUNDAMENTALS, BIOFUEL, SUPPLY, TRADE, GEOPOLITICAL, FINANCIAL = range(6)
LEGEND = {
    FUNDAMENTALS: "fundamentals: no signal is extreme",
    BIOFUEL: "biofuel: biofuel_cascade or biofuel_margin at least 0.9",
    SUPPLY: "supply: harvest_pace at least 0.9",
    TRADE: "trade conflict: tariff_threat or china_relations at least 0.85",
    GEOPOLITICAL: "geopolitical: geopolitical_volatility at least 0.9",
    FINANCIAL: "financial stress: vix_stress at least 0.95",
}

Drivers = dict[str, pd.Series]


def _rank_in_the_past(values: pd.Series) -> pd.Series:
    return values.expanding(min_periods=SESSIONS_A_YEAR).rank(pct=True)


def _vix_stress(panel: pd.DataFrame) -> Drivers:
    return {"vix": percentile(panel["vix_last"], YEARS_5)}


def _harvest_pace(panel: pd.DataFrame) -> Drivers:
    return {"crop_shortfall": _rank_in_the_past(panel["crop_shortfall"])}


def _china_relations(panel: pd.DataFrame) -> Drivers:
    return {
        "weak_demand": percentile(-panel["china_demand_composite"], YEARS_5),
        "yuan_fall": percentile(log_return(panel["cny_last"], 63), YEARS_5),
    }


def _tariff_threat(panel: pd.DataFrame) -> Drivers:
    events = change_over_days(panel["policy_events_tariff_total"], panel["date"], 180)
    return {"tariff_events": 1 - 2.0**-events}


def _geopolitical_volatility(panel: pd.DataFrame) -> Drivers:
    return {
        name: percentile(log_return(panel[column], 1).rolling(21, min_periods=14).std(), YEARS_5)
        for name, column in {"gold": "gc_last", "crude": "cl_last", "wheat": "zw_last"}.items()
    }


def _biofuel_cascade(panel: pd.DataFrame) -> Drivers:
    return {
        "oil_share": percentile(oil_share(panel["zl_last"], panel["zm_last"]), YEARS_5),
        "biofuel_use": _rank_in_the_past(panel["oil_biofuel_share"]),
    }


def _hidden_correlation(panel: pd.DataFrame) -> Drivers:
    zl = log_return(panel[ROLL_FREE], 1)
    # the real's price is of 18:00 Chicago of the previous session
    alike = {c: rolling_correlation(zl, log_return(panel[c], 1), 63).abs() for c in OTHERS}
    alike["real"] = rolling_correlation(zl.shift(), log_return(panel["brl_last"], 1), 63).abs()
    strength = pd.DataFrame(alike)
    return {"correlation": percentile(strength.mean(axis=1).where(strength.notna().sum(axis=1) >= 4), YEARS_5)}


def _biofuel_margin(panel: pd.DataFrame) -> Drivers:
    corn_usd_gal = panel["zc_last"] / 100 / GALLONS_A_BUSHEL
    return {
        "biodiesel": percentile(boho_usd_gal(panel["zl_last"], panel["ho_last"]), YEARS_5),
        "ethanol": percentile(corn_usd_gal - panel["rb_last"], YEARS_5),
    }


DRIVERS: dict[str, Callable[[pd.DataFrame], Drivers]] = {
    "vix_stress": _vix_stress,
    "harvest_pace": _harvest_pace,
    "china_relations": _china_relations,
    "tariff_threat": _tariff_threat,
    "geopolitical_volatility": _geopolitical_volatility,
    "biofuel_cascade": _biofuel_cascade,
    "hidden_correlation": _hidden_correlation,
    "biofuel_margin": _biofuel_margin,
}


def drivers(panel: pd.DataFrame) -> pd.DataFrame:
    """Every driver of every signal in [0, 1], `<signal>.<driver>`: shown to readers as the parts of a signal."""
    columns = {f"{name}.{of}": values for name, make in DRIVERS.items() for of, values in make(panel).items()}
    return pd.DataFrame({"date": panel["date"]} | columns)


def signal(panel: pd.DataFrame, name: str) -> pd.Series:
    """One signal: the mean of its drivers where all of them are known."""
    return pd.DataFrame(DRIVERS[name](panel)).mean(axis=1, skipna=False)


def classify(signals: pd.DataFrame) -> pd.Series:
    """The highest applicable code of LEGEND; an unknown signal counts as not extreme."""
    high = {
        BIOFUEL: (signals["biofuel_cascade"] >= 0.9) | (signals["biofuel_margin"] >= 0.9),
        SUPPLY: signals["harvest_pace"] >= 0.9,
        TRADE: (signals["tariff_threat"] >= 0.85) | (signals["china_relations"] >= 0.85),
        GEOPOLITICAL: signals["geopolitical_volatility"] >= 0.9,
        FINANCIAL: signals["vix_stress"] >= 0.95,
    }
    code = pd.Series(float(FUNDAMENTALS), index=signals.index)
    for number, applies in high.items():
        code = code.mask(applies, float(number))
    return code


def composite(panel: pd.DataFrame) -> pd.Series:
    """Mean of the signals where most of the eight are known."""
    return _mean_of_most(_signals(panel))


def _signals(panel: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: signal(panel, name) for name in DRIVERS})


def _mean_of_most(signals: pd.DataFrame) -> pd.Series:
    return signals.mean(axis=1).where(signals.notna().sum(axis=1) >= MOST_OF_EIGHT)


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """The signals, their mean, how many are known, the three highest, and the regime they name."""
    signals = _signals(panel)
    enough = signals.notna().sum(axis=1) >= MOST_OF_EIGHT
    highest = np.sort(signals.fillna(-1.0).to_numpy(), axis=1)[:, -3:].mean(axis=1)
    return {f"big8_{name}": values for name, values in signals.items()} | {
        "big8_composite": _mean_of_most(signals),
        "big8_coverage": signals.notna().mean(axis=1),
        "crisis_intensity_score": pd.Series(100 * highest, index=panel.index).where(enough),
        "master_regime_classification": classify(signals).where(enough),
    }
