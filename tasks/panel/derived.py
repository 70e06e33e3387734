"""Derived series: oils in one unit, China's demand, policy in force, balances, weather, as known at each session.

What is computed here is an observation of source ``derived``, dated at a session and known at its 18:00 Chicago. The
registry names the inputs; a formula sees a frame with a row a session and may look back, never ahead. What needs more
than the newest value of its inputs has a module of its own: balances of several marketing years in wasde.py, calendar
days of weather stations in weather.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant
from tasks.errors import RegistryError
from tasks.panel import wasde, weather
from tasks.panel.join import build_panel
from tasks.registry import DerivedSeries, JoinSpec
from tasks.staging.gather import stack

SOURCE = "derived"
LB_PER_TONNE = 2204.62
YEAR_SESSIONS = 252
STALE_LIMIT_DAYS = 14  # its inputs have limits of their own; a fortnight without any is worth a word
OIL_YIELD, MEAL_YIELD = 0.185, 0.785


def usd_t_to_cents_lb(price_usd_t: pd.Series) -> pd.Series:
    """USD per tonne in US cents per pound."""
    return price_usd_t * 100 / LB_PER_TONNE


def expanding_zscore(values: pd.Series) -> pd.Series:
    """Standard deviations from the mean of the past and present values; missing before a year of them."""
    past = values.expanding(min_periods=YEAR_SESSIONS)
    return (values - past.mean()) / past.std()


def _crush_margin_cny_t(known: pd.DataFrame) -> pd.Series:
    return OIL_YIELD * known["soyoil_dalian"] + MEAL_YIELD * known["meal_dalian"] - known["beans_dalian"]


def _in_cents_lb(known: pd.DataFrame, column: str) -> pd.Series:
    return usd_t_to_cents_lb(known[column] / known["cny"])


def _imports_growth_pct(known: pd.DataFrame) -> pd.Series:
    return 100 * (known["china_soybean_imports"] / known["china_soybean_imports"].shift(YEAR_SESSIONS) - 1)


def _china_components(known: pd.DataFrame) -> pd.DataFrame:
    premium = _in_cents_lb(known, "soyoil_dalian") - known["zl"]
    parts = {"margin": _crush_margin_cny_t(known), "premium": premium, "imports": _imports_growth_pct(known)}
    return pd.DataFrame({name: expanding_zscore(values) for name, values in parts.items()})


def _china_demand(known: pd.DataFrame) -> pd.Series:
    components = _china_components(known)
    return components.mean(axis=1).where(components.notna().sum(axis=1) >= 2)


FORMULAS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "oil.palm_cme": lambda known: usd_t_to_cents_lb(known["palm_cme"]),
    "oil.palm_dalian": lambda known: _in_cents_lb(known, "palm_dalian"),
    "oil.soybean_dalian": lambda known: _in_cents_lb(known, "soyoil_dalian"),
    "oil.rapeseed_zhengzhou": lambda known: _in_cents_lb(known, "rapeseed_oil_zhengzhou"),
    "oil.zl_over_palm": lambda known: known["zl"] - usd_t_to_cents_lb(known["palm_cme"]),
    "oil.soybean_over_palm_dalian": lambda known: (
        _in_cents_lb(known, "soyoil_dalian") - _in_cents_lb(known, "palm_dalian")
    ),
    "china.crush_margin": _crush_margin_cny_t,
    "china.soyoil_premium": lambda known: _in_cents_lb(known, "soyoil_dalian") - known["zl"],
    "china.soybean_imports_growth": _imports_growth_pct,
    "china.demand_composite": _china_demand,
    "china.demand_coverage": lambda known: _china_components(known).notna().mean(axis=1).replace(0.0, np.nan),
    "policy.china_added_tariff": lambda known: known["china_added_tariff"],
    "policy.biomass_based_diesel_mandate": lambda known: known["biomass_based_diesel_mandate"],
}


def with_derived(observations: pd.DataFrame, spec: DerivedSeries, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """The observations and, after them, every derived series."""
    return stack([observations, derive(observations, spec, as_of=as_of)])


def derive(observations: pd.DataFrame, spec: DerivedSeries, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Every derived series at every session to ``as_of``, in the columns of staged observations.

    A value outside its registered range is not published: its inputs are wrong, or the range is.

    Raises:
        RegistryError: the registry and the formulas here do not name the same series.

    Invariants: the value of session t depends on observations with ``available_at`` by 18:00 Chicago of t only.
    """
    tabled = set(spec.series) & {*wasde.columns(), *weather.columns()}
    apart = sorted(set(spec.series) ^ (set(FORMULAS) | tabled))
    if apart:
        raise RegistryError(f"registry/derived_series.yaml and tasks/panel/derived.py differ: {', '.join(apart)}")
    known = build_panel(observations, JoinSpec(joins=spec.inputs), as_of=as_of)
    moments = known["date"], known["as_of_instant"]
    regions = {name: held for name, held in weather.REGIONS.items() if any(f"weather.{name}." in s for s in tabled)}
    balances = wasde.wasde_known(observations, *moments)
    tables = pd.concat([balances, weather.weather_known(observations, regions, *moments)], axis=1)
    parts = []
    for name, entry in spec.series.items():
        values = tables[name] if name in tabled else FORMULAS[name](known)
        rows = pd.DataFrame(
            {"observation_date": known["date"], "value": values, "available_at": known["as_of_instant"]}
        )
        low, high = entry.range
        parts.append(rows[values.between(low, high)].assign(series=name, unit=entry.unit))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(source=SOURCE, field="value", fetched_at=rows["available_at"], vintage=1)
    kinds = {name: observations[name].dtype for name in ("observation_date", "available_at", "fetched_at", "vintage")}
    rows = rows[list(observations.columns)].astype(kinds)
    return rows.astype({name: "category" for name in ("source", "series", "field", "unit")})


def summarise_derived(observations: pd.DataFrame, spec: DerivedSeries, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """One row a derived series, in the columns of tasks/staging/summary.summarise_series."""
    held = observations[observations["source"] == SOURCE].groupby("series", observed=True)["observation_date"]
    told = held.agg(["size", "min", "max"]).reindex(list(spec.series))
    last = told["max"].astype("datetime64[us]")
    instant = as_of_instant(as_of)
    rows = {
        "source": SOURCE,
        "series": list(spec.series),
        "priority": "P1",
        "critical": False,
        "observations": told["size"].fillna(0).astype("int64").to_numpy(),
        "first_date": told["min"].astype("datetime64[us]").to_numpy(),
        "last_date": last.to_numpy(),
        "last_available_at": pd.DatetimeIndex([as_of_instant(day) if pd.notna(day) else pd.NaT for day in last]),
        "as_of_instant": instant,
        "age_days": (as_of - last).dt.days.astype("float64").to_numpy(),
        "stale_limit_days": STALE_LIMIT_DAYS,
        "ended": False,
        "key_dates": told["size"].fillna(0).astype("int64").to_numpy(),
        "refused_dates": 0,
        "refused_share": 0.0,
        "max_refused_share": 1.0,
    }
    frame = pd.DataFrame(rows)
    frame["last_available_at"] = pd.to_datetime(frame["last_available_at"], utc=True).astype("datetime64[us, UTC]")
    return frame
