"""When features begin and how much of them is there: declared as measured, and nothing counted that is not a value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cli.app import main
from tasks.calendar import sessions
from tasks.features.coverage import coverage_by_year, first_dates, summarise_starts
from tasks.features.first_dates import with_first_dates
from tasks.registry import FeatureEntry, FeatureRegistry


def entry(first_date: str, *sources: str) -> FeatureEntry:
    return FeatureEntry(
        formula="x",
        unit="x",
        sources=sources or ("yahoo ZL=F",),
        point_in_time="lagged",
        sign="?",
        first_date=first_date,
    )


SMALL = FeatureRegistry(
    categories={"price": {"a": entry("2000-01-03"), "b": entry("2001-01-02")}, "absent": {"c": entry("2000-01-03")}}
)


PANEL_SUMMARY = pd.DataFrame(
    {
        "source": "yahoo",
        "series": ["ZL=F", "ZS=F"],
        "first_known": pd.to_datetime(["2000-03-15", "2000-06-01"]).astype("datetime64[us]"),
    }
)


@pytest.fixture
def small() -> pd.DataFrame:
    """Two years: ``a`` is known throughout, ``b`` in the second year, ``c`` never."""
    days = sessions("2000-01-03", "2001-12-31")
    return pd.DataFrame({"date": days, "a": 1.0, "b": np.where(days.year == 2001, 2.0, np.nan), "c": np.nan})


def test_every_declared_first_date_is_the_one_measured_on_the_archive(registry, features):
    measured = first_dates(features)
    declared = {name: pd.Timestamp(entry.first_date) for name, entry in registry.features.features.items()}
    wrong = {name: f"{day:%Y-%m-%d}" for name, day in measured.items() if day != declared[name]}
    assert wrong == {}, "run `cbi project first-dates` and read the diff"


def test_a_category_without_values_has_its_rows_with_nothing(small):
    coverage = coverage_by_year(small, SMALL).set_index(["category", "year"])
    assert list(coverage.index) == [("price", 2000), ("price", 2001), ("absent", 2000), ("absent", 2001)]
    assert list(coverage["share"]) == [0.5, 1.0, 0.0, 0.0]
    assert list(coverage["features"]) == [2, 2, 1, 1]
    assert coverage.loc[("price", 2000), "sessions"] == len(sessions("2000-01-01", "2000-12-31"))
    assert coverage["first_date"].isna().tolist() == [False, False, True, True]


def test_coverage_of_the_archive_counts_cells(registry, features):
    coverage = coverage_by_year(features, registry.features)
    known = (coverage["share"] * coverage["features"] * coverage["sessions"]).sum()
    assert round(known) == int(features.drop(columns="date").notna().sum().sum())
    assert set(coverage["category"]) == set(registry.features.categories)
    assert (coverage.groupby("category")["share"].max() > 0).all(), "every category has values in the archive"


def test_a_feature_that_is_not_due_is_not_missing(small, registry):
    early = small[small["date"].dt.year == 2000]
    starts = summarise_starts(early, SMALL, registry.sources, PANEL_SUMMARY).set_index("column")
    assert starts["due"].to_dict() == {"a": True, "b": False, "c": True}
    assert starts["missing"].to_dict() == {"a": False, "b": False, "c": True}
    assert starts.loc["a", "begins"] == pd.Timestamp("2000-01-03") and pd.isna(starts.loc["b", "begins"])


def test_only_the_calendar_and_critical_series_may_never_be_absent(small, registry):
    entries = {"a": entry("2000-01-03", "calendar", "yahoo ZL=F"), "b": entry("2000-01-03", "yahoo ZL=F", "yahoo ZS=F")}
    made_of = FeatureRegistry(categories={"price": entries})
    starts = summarise_starts(small, made_of, registry.sources, PANEL_SUMMARY)
    assert list(starts["critical"]) == [True, False]


def test_first_dates_are_written_as_measured_and_nothing_else_changes(registry, small):
    text = (
        "# head\ncategories:\n  price:\n"
        '    a: {formula: "x", first_date: 1999-01-04}\n'
        '    b: {formula: "{y}"}\n'
        '    c: {formula: "z", first_date: 2005-01-03}\n'
    )
    written = with_first_dates(text, first_dates(small))
    assert written.splitlines()[3:] == [
        '    a: {formula: "x", first_date: 2000-01-03}',
        '    b: {formula: "{y}", first_date: 2001-01-02}',
        '    c: {formula: "z", first_date: 2005-01-03}',
    ]
    assert with_first_dates(written, first_dates(small)) == written


def test_the_committed_registry_is_as_the_command_writes_it(registry, features):
    text = (registry.folder / "feature_registry.yaml").read_text()
    assert with_first_dates(text, first_dates(features)) == text


def test_a_feature_begins_no_earlier_than_the_first_of_its_inputs(small, registry):
    """``a`` has a value on the first session, and the panel knows nothing of its series before March."""
    entries = {"a": entry("2000-01-03"), "b": entry("2001-01-02", "yahoo ZS=F", "usda_wasde"), "c": entry("2000-01-03")}
    starts = summarise_starts(small, FeatureRegistry(categories={"p": entries}), registry.sources, PANEL_SUMMARY)
    assert list(starts["inputs_begin"].dt.strftime("%Y-%m-%d")) == ["2000-03-15", "2000-06-01", "2000-03-15"]
    assert list(starts["inputs_begin"] > starts["begins"]) == [True, False, False]


def test_first_dates_of_a_home_without_features_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "home"))
    assert main(["project", "first-dates"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("NothingStored: ") and "features.parquet does not exist; run `make demo` first" in told
