"""Derived series on the real archive: units by hand, policy in force, nothing from the future."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from tasks.calendar import as_of_instant
from tasks.errors import RegistryError
from tasks.panel.derived import derive, summarise_derived, with_derived
from tasks.panel.join import AGE, build_panel
from tasks.registry import DerivedSeries, JoinSpec, load_derived
from tasks.staging.stage import known_by
from tests.conftest import AS_OF


@pytest.fixture(scope="module")
def spec(registry) -> DerivedSeries:
    return load_derived(registry.folder, registry.sources)


@pytest.fixture(scope="module")
def derived(staged, spec, documents) -> pd.DataFrame:
    return derive(staged.observations, spec, as_of=AS_OF, documents=documents)


def at(derived: pd.DataFrame, series: str) -> pd.Series:
    held = derived[derived["series"] == series]
    return held.set_index("observation_date")["value"]


def test_every_series_of_the_registry_has_values_in_its_range_and_no_other_is_there(derived, spec):
    assert set(derived["series"].cat.categories) == set(spec.series)
    for name, entry in spec.series.items():
        assert at(derived, name).between(*entry.range).all() and len(at(derived, name)) > 200, name


def test_oils_are_in_cents_per_pound(derived, staged):
    """2022-04-28, the day Indonesia's export ban began."""
    day, held = pd.Timestamp("2022-04-28"), staged.observations
    close = held[(held["field"] == "close") & (held["observation_date"] == day)].drop_duplicates("series", keep="last")
    price = close.set_index(close["series"].astype(str))["value"]
    assert at(derived, "oil.palm_cme")[day] == pytest.approx(price["CPO=F"] * 100 / 2204.62)
    assert at(derived, "oil.palm_dalian")[day] == pytest.approx(price["P0"] / price["CNY=X"] * 100 / 2204.62)
    assert at(derived, "oil.zl_over_palm")[day] == pytest.approx(price["ZL=F"] - price["CPO=F"] * 100 / 2204.62)
    assert 60 < at(derived, "oil.palm_dalian")[day] < 110, "palm oil cost about as much as soybean oil, at 90 cents"


def test_chinas_crush_margin_by_hand(derived, staged):
    day, held = pd.Timestamp("2021-10-28"), staged.by_source["sina"].observations
    close = held[(held["field"] == "close") & (held["observation_date"] == day)].drop_duplicates("series", keep="last")
    price = close.set_index(close["series"].astype(str))["value"]
    margin = 0.185 * price["Y0"] + 0.785 * price["M0"] - price["B0"]
    assert at(derived, "china.crush_margin")[day] == pytest.approx(margin)


def test_a_tariff_is_in_force_from_its_day_and_a_mandate_from_its_year_not_from_the_announcement(derived):
    tariff, mandate = at(derived, "policy.china_added_tariff"), at(derived, "policy.biomass_based_diesel_mandate")
    assert tariff.index[0] == pd.Timestamp("2018-07-06")
    assert tariff.loc["2019-08-30":"2019-09-03"].tolist() == [25.0, 30.0], "announced on 23 August"
    assert tariff.loc["2020-02-13":"2020-02-14"].tolist() == [30.0, 27.5]
    assert mandate.index[0] == pd.Timestamp("2017-01-03"), "2.0 billion gallons were announced in November 2015"
    assert (mandate.iloc[0], mandate["2023-12-29"]) == (2.0, 2.82)


def test_without_two_components_there_is_no_composite_and_coverage_says_how_many(derived):
    composite, coverage = at(derived, "china.demand_composite"), at(derived, "china.demand_coverage")
    assert set(coverage.round(3)) <= {0.333, 0.667, 1.0}
    assert set(composite.index) == set(coverage.index[coverage > 0.5])
    assert composite.abs().max() < 6


@pytest.mark.parametrize("day", ["2012-12-31", "2018-07-05", "2020-03-16"])
def test_a_derived_value_is_the_same_whether_or_not_later_data_exists(staged, spec, documents, derived, day):
    cut = pd.Timestamp(day)
    known = documents[documents["available_at"] <= as_of_instant(cut)]
    alone = derive(known_by(staged.observations, cut), spec, as_of=cut, documents=known)
    whole = derived[derived["observation_date"] <= cut].reset_index(drop=True)
    order = ["series", "observation_date"]
    alone, whole = (f.astype({"series": str}).sort_values(order).reset_index(drop=True) for f in (alone, whole))
    pd.testing.assert_frame_equal(alone[[*order, "value"]], whole[[*order, "value"]], check_exact=True)


def test_a_panel_column_may_be_a_derived_series(staged, spec):
    held = with_derived(staged.observations, spec, as_of=AS_OF)
    join = {"source": "derived", "max_age_days": 0, "columns": {"palm_cents_lb": "oil.palm_cme.value"}}
    panel = build_panel(held, JoinSpec(joins=[join]), as_of=AS_OF)
    held = panel.set_index("date")["palm_cents_lb"].dropna()
    pd.testing.assert_series_equal(
        held,
        at(with_derived(staged.observations, spec, as_of=AS_OF), "oil.palm_cme").loc[held.index],
        check_names=False,
    )


def test_a_formula_without_an_entry_is_refused_by_name(staged, spec):
    less = spec.model_copy(update={"series": {k: v for k, v in spec.series.items() if k != "oil.palm_cme"}})
    with pytest.raises(RegistryError, match=r"differ: oil\.palm_cme"):
        derive(staged.observations, less, as_of=AS_OF)


@pytest.fixture(scope="module")
def inputs(staged, spec) -> pd.DataFrame:
    """What the formulas see: one row per session, by date."""
    return build_panel(staged.observations, JoinSpec(joins=spec.inputs), as_of=AS_OF).set_index("date")


def z_by_hand(values: list[float]) -> float:
    """Sample standard deviations of the last value from the mean of all known ones; none with fewer than 252."""
    known = [value for value in values if not math.isnan(value)]
    if math.isnan(values[-1]) or len(known) < 252:
        return math.nan
    mean = sum(known) / len(known)
    return (known[-1] - mean) / math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))


@pytest.mark.parametrize("day", ["2008-10-24", "2010-06-30", "2013-05-15", "2022-04-28", "2023-12-29"])
def test_china_s_demand_by_hand(derived, inputs, day):
    """Crush margin, premium of soybean oil over Chicago, and growth of imports over a year of sessions, each a z."""
    past = inputs.loc[:day]
    oil, meal, beans, cny, zl, imports = (
        past[name].tolist()
        for name in ("soyoil_dalian", "meal_dalian", "beans_dalian", "cny", "zl", "china_soybean_imports")
    )
    margin = [0.185 * o + 0.785 * m - b for o, m, b in zip(oil, meal, beans, strict=True)]
    premium = [o / c * 100 / 2204.62 - z for o, c, z in zip(oil, cny, zl, strict=True)]
    growth = [math.nan] * min(252, len(imports)) + [
        100 * (now / then - 1) for then, now in zip(imports[:-252], imports[252:], strict=True)
    ]
    parts = [z for z in map(z_by_hand, (margin, premium, growth)) if not math.isnan(z)]
    when = pd.Timestamp(day)
    assert at(derived, "china.demand_coverage").get(when, 0.0) == pytest.approx(len(parts) / 3)
    if len(parts) >= 2:
        assert at(derived, "china.demand_composite")[when] == pytest.approx(sum(parts) / len(parts))
    else:
        assert when not in at(derived, "china.demand_composite").index
    if not math.isnan(growth[-1]):
        assert at(derived, "china.soybean_imports_growth")[when] == pytest.approx(growth[-1])
    assert at(derived, "china.soyoil_premium").get(when, math.nan) == pytest.approx(premium[-1], nan_ok=True)


@pytest.mark.parametrize("day", ["2012-07-11", "2013-02-08", "2022-03-09", "2023-12-29"])
def test_the_crop_shortfall_by_hand(derived, inputs, day):
    """Of each country's newest crop year: million tonnes now over those of the first projection of that year."""
    past, now, first = inputs.loc[:day], 0.0, 0.0
    for column, tonnes in (("us_crop", 0.0272155), ("brazil_crop", 1.0), ("argentina_crop", 1.0)):
        years = [d - pd.to_timedelta(age, unit="D") for d, age in zip(past.index, past[column + AGE], strict=True)]
        same = [value for year, value in zip(years, past[column], strict=True) if year == years[-1]]
        now, first = now + same[-1] * tonnes, first + same[0] * tonnes
    assert at(derived, "supply.crop_shortfall")[pd.Timestamp(day)] == pytest.approx(1 - now / first)
    assert at(derived, "supply.oil_biofuel_share").get(pd.Timestamp(day), math.nan) == pytest.approx(
        inputs.at[day, "oil_biofuel_use"] / inputs.at[day, "oil_total_use"], nan_ok=True
    )


def test_the_crop_year_that_the_reports_begin_in_has_no_shortfall(derived, inputs):
    """Its first projection is not held: the first report is of April 2010, the crop was projected from May 2009."""
    assert inputs["us_crop"].first_valid_index() < pd.Timestamp("2010-05-11")
    assert at(derived, "supply.crop_shortfall").index.min() == pd.Timestamp("2010-05-11"), "the May report of 2010"


def test_oils_and_mandates_by_hand(derived, inputs):
    day = pd.Timestamp("2021-06-30")
    known = inputs.loc[day]
    for name, column in {
        "oil.soybean_dalian": "soyoil_dalian",
        "oil.palm_dalian": "palm_dalian",
        "oil.rapeseed_zhengzhou": "rapeseed_oil_zhengzhou",
    }.items():
        assert at(derived, name)[day] == pytest.approx(known[column] / known["cny"] / 22.0462), name
    over = (known["soyoil_dalian"] - known["palm_dalian"]) / known["cny"] / 22.0462
    assert at(derived, "oil.soybean_over_palm_dalian")[day] == pytest.approx(over)
    ahead = known["biomass_based_diesel_furthest"] - known["biomass_based_diesel_mandate"]
    assert at(derived, "policy.biomass_based_diesel_mandate_ahead").get(day, math.nan) == pytest.approx(
        ahead, nan_ok=True
    )


def test_what_a_derived_value_says_of_itself(derived, spec):
    """Known at 18:00 Chicago of its session, in the unit of the registry, the first and only vintage."""
    shown = derived[derived["observation_date"] == AS_OF]
    assert len(shown) > 50
    for row in shown.itertuples():
        assert row.available_at == row.fetched_at == as_of_instant(row.observation_date)
        assert (row.source, row.field, row.vintage, row.unit) == ("derived", "value", 1, spec.series[row.series].unit)


def test_a_derived_series_in_the_summary_of_series(derived, spec):
    told = summarise_derived(derived, spec, as_of=AS_OF).set_index("series")
    palm = told.loc["oil.palm_cme"]
    held = at(derived, "oil.palm_cme")
    assert (palm["observations"], palm["first_date"], palm["last_date"]) == (len(held), held.index[0], held.index[-1])
    assert palm["age_days"] == (AS_OF - held.index[-1]).days and palm["stale_limit_days"] == 14
    assert palm["last_available_at"] == as_of_instant(held.index[-1])
    assert palm["recorded"] and not palm["never_recorded"] and not palm["critical"] and not palm["ended"]
    assert (palm["cells"], palm["refused_cells"], palm["refused_share"]) == (len(held), 0, 0.0)
    none = summarise_derived(derived[derived["series"] != "oil.palm_cme"], spec, as_of=AS_OF).set_index("series")
    assert none.loc["oil.palm_cme", "never_recorded"] and none.loc["oil.palm_cme", "observations"] == 0
