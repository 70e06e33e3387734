"""Derived series on the real archive: units by hand, policy in force, nothing from the future."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.calendar import as_of_instant
from tasks.errors import RegistryError
from tasks.panel.derived import derive, with_derived
from tasks.panel.join import build_panel
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
