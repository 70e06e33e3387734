"""Derived series: oils in one unit, China's demand, policy in force, balances, weather, as known at each session.

A derived value is an observation of source ``derived``, dated at a session and known at its as_of. The registry names
the inputs; a formula gets a frame with one row per session and may look back, never ahead. Series that need more than
the newest value of their inputs have their own module: wasde.py for balances of several marketing years, weather.py for
calendar days of weather stations, curve.py for dated contracts.

Counts of events and documents are running totals of everything known by the session, starting with the first known
item of their source. A feature takes the difference over its window, so days without a session lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant
from tasks.errors import RegistryError
from tasks.panel import curve, wasde, weather
from tasks.panel.join import AGE, build_panel
from tasks.registry import DerivedSeries, JoinSpec
from tasks.staging.gather import stack
from tasks.texts.lexicon import score_documents
from tasks.units import LB_PER_TONNE

SOURCE = "derived"
YEAR_SESSIONS = 252
STALE_LIMIT_DAYS = 14  # its inputs have limits of their own; two weeks without a value are reported
OIL_YIELD, MEAL_YIELD = 0.185, 0.785
MILLION_T_PER_MILLION_BU = 0.0272155  # soybeans, 60 lb per bushel


def usd_t_to_cents_lb(price_usd_t: pd.Series) -> pd.Series:
    """USD per tonne in US cents per pound."""
    return price_usd_t * 100 / LB_PER_TONNE


def expanding_zscore(values: pd.Series) -> pd.Series:
    """Standard deviations from the mean of past and present values; missing before a year of values."""
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


def _crop_shortfall(known: pd.DataFrame) -> pd.Series:
    now, first = pd.Series(0.0, index=known.index), pd.Series(0.0, index=known.index)
    for column, tonnes in {"us_crop": MILLION_T_PER_MILLION_BU, "brazil_crop": 1, "argentina_crop": 1}.items():
        year = known["date"] - pd.to_timedelta(known[column + AGE], unit="D")  # the marketing year of the value
        # the first stored year has no first projection: the reports begin in its middle
        crop = (known[column] * tonnes).where(year > year.min())
        now, first = now + crop, first + crop.groupby(year).transform("first")
    return 1 - now / first


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
    "policy.biomass_based_diesel_mandate_ahead": lambda known: (
        known["biomass_based_diesel_furthest"] - known["biomass_based_diesel_mandate"]
    ),
    "supply.crop_shortfall": _crop_shortfall,
    "supply.oil_biofuel_share": lambda known: known["oil_biofuel_use"] / known["oil_total_use"],
}


KINDS = ("tariff", "mandate", "tax", "lcfs", "export_ban", "conflict", "trade_deal")
TOPICS = ("renewable_fuel_standard", "biodiesel", "section_301", "soybeans", "vegetable_oils", "trade_remedies")
# running totals: source, series and field that are added up
TOTALS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "policy.events": ("policy_events", tuple(f"event.{kind}" for kind in KINDS), "events"),
    "policy.events_tariff": ("policy_events", ("event.tariff",), "events"),
    **{f"policy.register_{topic}": ("federal_register", (topic,), "documents") for topic in TOPICS},
}
REGISTER_AGE = "policy.register_age"
READ_WHOLE = (wasde.SOURCE, "policy_events", "federal_register")


def read_whole(spec: DerivedSeries) -> set[str]:
    """Sources that are read completely, not only by the inputs in the registry."""
    of_curve = () if spec.roll_rule is None else spec.roll_rule.sources
    return {*READ_WHOLE, *of_curve, *(region.source for region in spec.weather_regions.values())}


TEXTS = {
    f"text.{theme}_{what}": (theme, what) for theme in ("mandate", "tariff", "subsidy") for what in ("score", "scored")
}


def known_total(
    observations: pd.DataFrame, names: tuple[str, ...], field: str, instants: np.ndarray, *, first: pd.Timestamp | None
) -> np.ndarray:
    """Sum of the newest vintages known at each instant (int64 microseconds) of the named series.

    Missing before ``first``, when the count began: not counted yet is not 0.
    """
    rows = observations[(observations["field"] == field) & observations["series"].isin(names)]
    rows = rows.sort_values(["series", "observation_date", "available_at", "vintage"])
    before = rows.groupby(["series", "observation_date"], observed=True)["value"].shift().fillna(0.0)
    total = _running(rows["available_at"], rows["value"] - before, instants)
    return (
        np.full(len(instants), np.nan) if first is None else np.where(instants >= _microseconds(first), total, np.nan)
    )


def _microseconds(instant: pd.Timestamp) -> int:
    return instant.value // 1000  # always in nanoseconds, whatever the unit


def _running(available: pd.Series, amounts: pd.Series, instants: np.ndarray) -> np.ndarray:
    when = available.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    order = np.argsort(when, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(amounts.to_numpy(dtype="float64")[order])])
    return sums[np.searchsorted(when[order], instants, side="right")]


def _register_age(register: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """Calendar days from the newest document known to the session."""
    rows = register.sort_values("available_at")
    when = rows["available_at"].astype("int64").to_numpy()
    newest = np.concatenate([[np.nan], rows["observation_date"].astype("int64").cummax().to_numpy(dtype="float64")])
    instants = known["as_of_instant"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    at = newest[np.searchsorted(when, instants, side="right")]
    return (known["date"].astype("datetime64[us]").astype("int64").to_numpy() - at) / 86_400_000_000


def _text_total(scored: pd.DataFrame, theme: str, what: str, instants: np.ndarray) -> np.ndarray:
    """Running total of scores, or of scored documents; a later wording replaces the earlier one."""
    rows = scored[scored["theme"] == theme]
    amounts = rows["score"] if what == "score" else pd.Series(1.0, index=rows.index)
    taken_back = rows["replaced"].notna()
    when = pd.concat([rows["available_at"], rows.loc[taken_back, "replaced"]])
    return _running(when, pd.concat([amounts, -amounts[taken_back]]), instants)


def _totals(
    observations: pd.DataFrame, documents: pd.DataFrame | None, spec: DerivedSeries, known: pd.DataFrame
) -> dict[str, pd.Series]:
    instants = known["as_of_instant"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    of_source = {name: observations[observations["source"] == name] for name in ("policy_events", "federal_register")}
    out = {}
    for name, (source, names, field) in TOTALS.items():
        # a topic without documents is 0 while the feed runs; a kind without events may be missing in the table
        begun = of_source[source]
        begun = begun if source == "federal_register" else begun[begun["series"].isin(names)]
        first = begun["available_at"].min() if len(begun) else None
        total = known_total(of_source[source], names, field, instants, first=first)
        ends = [pd.Timestamp(spec.complete_until[series]) for series in names if series in spec.complete_until]
        out[name] = np.where(known["date"] <= min(ends), total, np.nan) if ends else total
    out[REGISTER_AGE] = _register_age(of_source["federal_register"], known)
    if documents is None or documents.empty or spec.lexicon is None:
        out |= {name: np.full(len(instants), np.nan) for name in TEXTS}
    else:
        scored = score_documents(documents, spec.lexicon)
        first = _microseconds(documents["available_at"].min())
        for name, (theme, what) in TEXTS.items():
            out[name] = np.where(instants >= first, _text_total(scored, theme, what, instants), np.nan)
    return {name: pd.Series(values, index=known.index) for name, values in out.items()}


def with_derived(
    observations: pd.DataFrame, spec: DerivedSeries, *, as_of: pd.Timestamp, documents: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The observations and, after them, every derived series."""
    return stack([observations, derive(observations, spec, as_of=as_of, documents=documents)])


def derive(
    observations: pd.DataFrame, spec: DerivedSeries, *, as_of: pd.Timestamp, documents: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Every derived series at every session to ``as_of``, in the columns of staged observations.

    ``documents`` are staged documents (tasks/staging/documents.py); without them the text series have no values.

    A value outside its registered range is left out: its inputs or the range are wrong.

    Raises:
        RegistryError: the registry and the formulas here name different series.

    Invariants: the value of session t depends on observations with ``available_at`` by 18:00 Chicago of t only.
    """
    of_curve = curve.columns(spec.series)
    tabled = set(spec.series) & {*wasde.columns(), *weather.columns(spec.weather_regions), *of_curve}
    apart = sorted(set(spec.series) ^ {*FORMULAS, *TOTALS, *TEXTS, REGISTER_AGE, *tabled})
    if apart:
        raise RegistryError(f"registry/derived_series.yaml and tasks/panel/derived.py differ: {', '.join(apart)}")
    known = build_panel(observations, JoinSpec(joins=spec.inputs), as_of=as_of)
    moments = known["date"], known["as_of_instant"]
    regions = {
        name: region for name, region in spec.weather_regions.items() if any(f"weather.{name}." in s for s in tabled)
    }
    balances = wasde.wasde_known(observations, *moments)
    curves = curve.curve_known(observations, spec.roll_rule, known, of_curve)
    tables = pd.concat([balances, weather.weather_known(observations, regions, *moments), curves], axis=1)
    computed = _totals(observations, documents, spec, known) | {name: tables[name] for name in tabled}
    parts = []
    for name, entry in spec.series.items():
        values = FORMULAS[name](known) if name in FORMULAS else computed[name]
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
    """One row per derived series, in the columns of tasks/staging/summary.summarise_series."""
    dates = observations[observations["source"] == SOURCE].groupby("series", observed=True)["observation_date"]
    spans = dates.agg(["size", "min", "max"]).reindex(list(spec.series))
    last = spans["max"].astype("datetime64[us]")
    instant = as_of_instant(as_of)
    rows = {
        "source": SOURCE,
        "series": list(spec.series),
        "priority": "P1",
        "critical": False,
        "observations": spans["size"].fillna(0).astype("int64").to_numpy(),
        "first_date": spans["min"].astype("datetime64[us]").to_numpy(),
        "last_date": last.to_numpy(),
        "last_available_at": pd.DatetimeIndex([as_of_instant(day) if pd.notna(day) else pd.NaT for day in last]),
        "as_of_instant": instant,
        "age_days": (as_of - last).dt.days.astype("float64").to_numpy(),
        "stale_limit_days": STALE_LIMIT_DAYS,
        "ended": False,
        "key_dates": spans["size"].fillna(0).astype("int64").to_numpy(),
        "refused_dates": 0,
        "recent_dates": 0,
        "recent_refused": 0,
        "refused_share": 0.0,
        "critical_refused_share": 0.0,
        "critical_newest_refused": None,
        "recorded": spans["size"].notna().to_numpy(),
        "never_recorded": spans["size"].isna().to_numpy(),
        "max_refused_share": 1.0,
        "cells": spans["size"].fillna(0).astype("int64").to_numpy(),
        "refused_cells": 0,
        "year_cells": 0,
        "year_refused": 0,
        "worst_field": None,
        "worst_refused_share": np.nan,
    }
    frame = pd.DataFrame(rows)
    frame["last_available_at"] = pd.to_datetime(frame["last_available_at"], utc=True).astype("datetime64[us, UTC]")
    return frame.astype({"critical_newest_refused": "object", "worst_field": "object"})
