"""A typo in registry/ is an error that names the file and the entry, never a default."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tasks.errors import RegistryError
from tasks.features.build import build_features
from tasks.registry import (
    DataSources,
    FeatureEntry,
    FeatureRegistry,
    complete_until,
    ended_tables,
    load_derived,
    load_features,
    load_horizons,
    load_join_spec,
    load_sources,
    provenance,
)
from tasks.registry.entry import read_entries
from tasks.registry.tables import PolicyEvent, read_table
from tasks.settings import PROJECT
from tasks.sources.payloads import adapter


@pytest.fixture
def folder(registry, tmp_path) -> Path:
    return Path(shutil.copytree(registry.folder, tmp_path / "registry"))


def mend(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"the test no longer fits {path.name}"
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("refetch_days: 30", "refetch_day: 30", ["yahoo", "refetch_day"]),
        ('"ZS=F": {title', '"ZS=F": {titel', ["yahoo", "ZS=F", "titel"]),
        ("range: [300, 2500]}", "range: [2500, 300]}", ["yahoo", "ZS=F", "2500"]),
        ("round_to: 0.5", "round_to: 0", ["yahoo", "ZL=F", "round_to"]),
        ('["05-01", "11-01"]', '["05-01", "11-31x"]', ["yahoo", "ZL=F", "effective"]),
        ("rule: same_day", "rule: sameday", ["yahoo", "availability", "rule"]),
        ("min_abs_return: 0.25", "min_abs_return: -1", ["yahoo", "jump"]),
        ("ranges: {total:", "ranges: {totl:", ["noaa", "totl"]),
        ("weekday: friday\n", "weekday: caturday\n", ["cftc", "weekday"]),
        ("kind: bars", "kind: bras", ["yahoo", "kind"]),
        ('cron: "30 18 * * 1-5"', 'cron: "99 99 * * *"', ["yahoo", "schedule.cron", "99 99 * * *"]),
        ('cron: "30 18 * * 1-5"', 'cron: "0 0 31 2 *"', ["yahoo", "schedule.cron", "0 0 31 2 *"]),
        ('cron: "30 18 * * 1-5"', 'cron: "0 30 18 * * 1-5"', ["yahoo", "schedule.cron", "five fields"]),
        ("timezone: America/Chicago", "timezone: Mars/Base", ["yahoo", "timezone", "Mars/Base"]),
        ('time: "18:00", timezone', 'time: "99:99", timezone', ["yahoo", "availability.time", "99:99"]),
        ("timezone: America/Chicago", "timezone: America", ["yahoo", "timezone", "'America'"]),
        (
            'time: "18:00", timezone: America/',
            'time: "18:00", timezone: Amerika/',
            ["availability.timezone", "Amerika/"],
        ),
    ],
)
def test_a_mistake_in_a_source_names_the_file_and_the_entry(folder, old, new, named):
    mend(folder / "data_sources.yaml", old, new)
    with pytest.raises(RegistryError) as raised:
        load_sources(folder)
    for part in ["data_sources.yaml", *named]:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("complete_until: 2026-03-27", "complete_until: 2029-03-27", ["policy_events", "2029-03-27", "edited"]),
        (", complete_until: 2026-03-27", "", ["policy_events", "complete_until"]),
        ("{table: tariff_timeline, ", "{table: tarif_timeline, ", ["china_us_soybeans", "tarif_timeline"]),
        ("{table: tariff_timeline, ", "{", ["china_us_soybeans", "table ''"]),
    ],
)
def test_a_table_kept_by_hand_says_until_when_it_is_complete(folder, old, new, named):
    mend(folder / "data_sources.yaml", old, new)
    with pytest.raises(RegistryError) as raised:
        load_sources(folder)
    for part in ["data_sources.yaml", *named]:
        assert part in str(raised.value)


def test_every_table_that_is_kept_by_hand_and_ends_says_when(registry):
    ends = complete_until(registry.folder, registry.sources)
    tables = {path.name for path in registry.folder.glob("*.csv")} | {"release_calendar.yaml"}
    assert set(ends) | {"regime_calendar.csv"} == tables
    assert ended_tables(registry.folder, registry.sources, date(2023, 12, 29)) == {}
    told = ended_tables(registry.folder, registry.sources, date(2026, 3, 30))
    assert set(told) == tables - {"regime_calendar.csv"}
    assert "its features are missing" in told["tariff_timeline.csv"] and "2026-03-27" in told["tariff_timeline.csv"]
    assert "a shutdown" in told["release_calendar.yaml"]


@pytest.mark.parametrize(("end", "told"), [("2029-01-20", True), ("", False)])
def test_a_regime_that_runs_has_no_end_and_one_that_has_ended_is_told(folder, registry, end, told):
    path = folder / "regime_calendar.csv"
    *rows, last = path.read_text().splitlines()
    regime, start, _, weight = last.split(",")
    path.write_text("\n".join([*rows, f"{regime},{start},{end},{weight}"]) + "\n")
    assert ("regime_calendar.csv" in ended_tables(folder, registry.sources, date(2029, 1, 22))) is told


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("data_sources.yaml", "release: wpsr", "release: wspr", ["eia", "wspr", "wpsr", "release_calendar.yaml"]),
        ("data_sources.yaml", "release: wpsr", "calendar: {eves: true}", ["eia", "calendar", "name a `release`"]),
        ("release_calendar.yaml", "cot: 2013-11-08", "cto: 2013-11-08", ["no release cto", "cot"]),
        ("release_calendar.yaml", "day: 2018-12-05", "day: 2004-06-11", ["2004-06-11", "twice"]),
        ("release_calendar.yaml", "kind: mourning", "kind: morning", ["closures.0.kind"]),
        ("release_calendar.yaml", "released: 2023-11-15", "released: 2023-11-01", ["late.wpsr", "2023-11-01"]),
        ("release_calendar.yaml", "complete_until: 2026-03-27", "", ["complete_until"]),
    ],
)
def test_a_mistake_in_the_release_calendar_names_the_file_and_the_entry(folder, file, old, new, named):
    mend(folder / file, old, new)
    with pytest.raises(RegistryError) as raised:
        load_sources(folder)
    for part in [file, *named]:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("zs_last: ZS=F.close", "zs_last: ZSS=F.close", ["zs_last", "ZSS=F.close", "yahoo"]),
        ("zs_last: ZS=F.close", "zs_last: ZS=F.clos", ["zs_last", "ZS=F.clos", "yahoo"]),
        ("zm_last: ZM=F.close", "zs_last: ZM=F.close", ["zs_last"]),
        ("max_age_days: 45", "max_age_day: 45", ["max_age_day"]),
        ("- source: noaa", "- source: nooa", ["nooa"]),
        ("zm_last: ZM=F.close", "zl_last: ZM=F.close", ["zl_last"]),
    ],
)
def test_a_mistake_in_a_join_names_the_file_and_the_column(folder, registry, old, new, named):
    mend(folder / "join_spec.yaml", old, new)
    with pytest.raises(RegistryError) as raised:
        load_join_spec(folder, registry.sources)
    for part in ["join_spec.yaml", *named]:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("A901, A904", "A901, A999", ["brazil_center_west", "A999", "inmet"]),
        ("source: inmet, stations: [A901", "source: imnet, stations: [A901", ["brazil_center_west", "imnet"]),
        ("planting: 10-01", "planting: October", ["brazil_center_west", "planting"]),
    ],
)
def test_a_mistake_in_a_weather_region_names_the_file_and_the_region(folder, registry, old, new, named):
    mend(folder / "derived_series.yaml", old, new)
    with pytest.raises(RegistryError) as raised:
        load_derived(folder, registry.sources)
    for part in ["derived_series.yaml", *named]:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('formula: "last ZL close known"', 'formla: "last ZL close known"', ["zl_close_cents_lb", "formla"]),
        ("point_in_time: lagged", "point_in_time: sometimes", ["zl_close_cents_lb", "point_in_time"]),
        ("first_date: 2000-03-15", "first_date: soon", ["zl_close_cents_lb", "first_date"]),
        ("zl_return_2d:", "zl_return_1d:", ["zl_return_1d"]),
        ("first_date: 2000-03-15", "first_date: 2000-03", ["zl_close_cents_lb", "first_date"]),
        (", first_date: 2000-03-15}", "}", ["zl_close_cents_lb", "first_date"]),
        ('sources: ["yahoo ZL=F"]', "sources: []", ["zl_close_cents_lb", "sources"]),
        ('sources: ["yahoo ZL=F"]', 'sources: ["yaho ZL=F"]', ["zl_close_cents_lb", "sources", "yaho", "yahoo"]),
        ('sources: ["yahoo ZL=F"]', 'sources: ["yahoo ZL"]', ["zl_close_cents_lb", "sources", "`ZL`", "yahoo"]),
        ('sources: ["yahoo ZL=F"]', 'sources: ["derived oil.palm"]', ["zl_close_cents_lb", "sources", "oil.palm"]),
        ('sources: ["yahoo ZL=F"]', 'sources: ["derived policy.events"]', ["zl_close_cents_lb", "name the source"]),
        ('sources: ["yahoo ZL=F"]', 'sources: ["fred"]', ["zl_close_cents_lb", "fred differ", "name the series"]),
        ('sources: ["yahoo ZL=F"]', 'sources: ["fred NFCI"]', ["zl_close_cents_lb", "lagged, but", "revised"]),
    ],
)
def test_a_mistake_in_a_feature_names_the_file_and_the_feature(folder, old, new, named):
    mend(folder / "feature_registry.yaml", old, new)
    with pytest.raises(RegistryError) as raised:
        load_features(folder, load_sources(folder))
    for part in ["feature_registry.yaml", *named]:
        assert part in str(raised.value)


def test_a_missing_file_is_told_with_the_command_that_brings_it_back(folder):
    with pytest.raises(RegistryError, match=r"restore it with `git checkout registry/no_such\.yaml`"):
        read_entries(PROJECT / "registry" / "no_such.yaml", DataSources)
    with pytest.raises(RegistryError, match=r"restore it with `git checkout registry/no_such\.csv`"):
        read_table(PROJECT / "registry" / "no_such.csv", PolicyEvent)
    (folder / "data_sources.yaml").unlink()
    with pytest.raises(RegistryError, match=rf"a copy of {PROJECT}/registry/data_sources\.yaml"):
        load_sources(folder)


def test_a_bad_quantile_and_a_missing_file_are_named(folder):
    mend(folder / "horizons.yaml", "0.05,", "1.05,")
    with pytest.raises(RegistryError, match=r"horizons\.yaml: quantiles\.0"):
        load_horizons(folder)
    (folder / "horizons.yaml").write_text("quantiles: [0.5\n")
    with pytest.raises(RegistryError, match=r"horizons\.yaml is not YAML"):
        load_horizons(folder)
    (folder / "horizons.yaml").unlink()
    with pytest.raises(RegistryError, match=r"horizons\.yaml is missing"):
        load_horizons(folder)


def test_an_unknown_source_or_module_lists_what_there_is(registry):
    known = ", ".join(sorted(registry.sources.sources))
    with pytest.raises(RegistryError, match=f"unknown source `yaho`; known: {known}"):
        registry.sources.source("yaho")
    spec = registry.sources.source("fred").model_copy(update={"module": "fredd"})
    with pytest.raises(RegistryError, match=r"tasks/sources/fredd\.py"):
        adapter(spec)


ENTRY = FeatureEntry(
    formula="x",
    unit="x",
    sources=("x",),
    point_in_time="lagged",
    sign="?",
    first_date="2000-01-03",
)


def changed(registry, category: str, entries: dict[str, FeatureEntry]) -> FeatureRegistry:
    categories = registry.features.categories | {category: entries}
    return FeatureRegistry(categories=categories, overrides=registry.features.overrides)


def test_an_entry_without_a_feature_is_refused_by_name(registry, panel):
    entries = registry.features.categories["price"] | {"zl_magic": ENTRY}
    with pytest.raises(RegistryError, match=r"tasks/features/price\.py disagree: .*not built: \['zl_magic'\]"):
        build_features(panel.tail(300), changed(registry, "price", entries))


def test_a_feature_without_an_entry_is_refused_by_name(registry, panel):
    entries = {k: v for k, v in registry.features.categories["price"].items() if k != "zl_return_21d"}
    with pytest.raises(RegistryError, match=r"tasks/features/price\.py disagree: not registered: \['zl_return_21d'\]"):
        build_features(panel.tail(300), changed(registry, "price", entries))


def test_entries_in_another_order_are_refused(registry, panel):
    entries = dict(reversed(registry.features.categories["price"].items()))
    with pytest.raises(RegistryError, match="order differs"):
        build_features(panel.tail(300), changed(registry, "price", entries))


def test_a_category_without_a_module_is_refused_by_name(registry, panel):
    with pytest.raises(RegistryError, match=r"tasks/features/wether\.py"):
        build_features(panel.tail(300), changed(registry, "wether", {"rain": ENTRY}))


def test_every_feature_says_its_formula_unit_and_sources(registry, features):
    entries = registry.features.features
    assert list(features.columns) == ["date", *entries]
    assert len(entries) > 150
    for name, entry in entries.items():
        assert len(entry.formula) > 5 and entry.unit and entry.sources, name


def test_no_production_feature_looks_at_a_revised_series(registry, panel, features):
    """Proved on the values: with every column of a revised series blanked, no production feature changes."""
    sources = registry.sources.sources
    revised = [
        column
        for join in registry.joins.joins
        for column, target in join.columns.items()
        if join.source != "derived"
        and sources[join.source].series[target.rpartition(".")[0]].point_in_time == "revised"
    ]
    assert {"nfci", "oni_degc", "payems"} <= set(revised)
    blanked = panel.assign(**{name: float("nan") for column in revised for name in (column, f"{column}__age_days")})
    without = build_features(blanked, registry.features)
    production = registry.features.production()
    pd.testing.assert_frame_equal(without[production], features[production], check_exact=True)
    changed = [name for name in registry.features.features if not without[name].equals(features[name])]
    assert set(changed) == set(registry.features.features) - set(production), "and every revised one does look at one"


@pytest.mark.parametrize(
    ("sources", "worth"),
    [
        (["calendar"], ("daily", "high", "exact")),
        (["fred DGS10"], ("daily", "high", "lagged")),
        (["yahoo ZL=F", "fred DGS10"], ("daily", "medium", "lagged")),
        (["usda_wasde"], ("monthly", "high", "exact")),
        (["yahoo ZL=F", "usda_wasde"], ("monthly", "medium", "lagged")),
        (["derived china.crush_margin"], ("daily", "low", "lagged")),  # of sina
        (["derived china.demand_composite"], ("monthly", "low", "lagged")),  # of sina, yahoo and WASDE
        (["fred DGS10", "fred GDP"], ("quarterly", "high", "revised")),
        (["cftc", "policy_events"], ("event", "low", "lagged")),
        (["usda_nass soybeans.stocks"], ("quarterly", "high", "revised")),
    ],
)
def test_a_feature_is_worth_the_worst_of_its_sources(registry, sources, worth):
    found = provenance(sources, registry.sources, registry.derived)
    assert (found.frequency, found.reliability, found.point_in_time) == worth


def test_no_feature_looks_at_a_source_it_does_not_name(registry, panel):
    """Proved on the values: with every column of a source blanked, only features that name it change."""
    columns: dict[str, list[str]] = {}
    for join in registry.joins.joins:
        columns.setdefault(join.source, []).extend(join.columns)
    assert len(columns) > 5
    recent = panel.tail(2000)
    features = build_features(recent, registry.features)
    for source, names in columns.items():
        blanked = recent.assign(**{n: float("nan") for name in names for n in (name, f"{name}__age_days")})
        without = build_features(blanked, registry.features)
        for name, entry in registry.features.features.items():
            named = {text.partition(" ")[0] for text in entry.sources}
            if not without[name].equals(features[name]):
                assert named & ({source} if source != "derived" else {"derived"} | BEHIND_DERIVED), (name, source)


# a derived series may be named by itself, or by one of these that it is made of
BEHIND_DERIVED = {"inmet", "ghcnd", "usda_wasde", "policy_events", "federal_register", "sina"}


def test_no_derived_series_is_made_of_a_revised_one(registry):
    """So no feature of a derived series is: the check above sees panel columns only."""
    sources = registry.sources.sources
    inputs = {
        c: sources[join.source].series[t.rpartition(".")[0]]
        for join in registry.derived.inputs
        for c, t in join.columns.items()
    }
    for source in ("usda_wasde", "inmet", "ghcnd", "open_meteo"):
        inputs |= sources[source].series
    assert [name for name, series in inputs.items() if series.point_in_time == "revised"] == []


# series that the archive has no payload of
LIVE_ONLY = {
    "yahoo": 37,
    "open_meteo": 10,
    "ghcnd": 8,
    "usda_psd": 1,
    "gdelt": 3,
    "databento": 12,
    "alphavantage": 40,
    "fred": 20,
    "eia_biofuels": 9,
    "epa_rin": 1,
    "carb_lcfs": 1,
    "comtrade": 4,
    "comexstat": 4,
    "conab": 1,
    "usda_ams": 2,
    "magyp_fob": 1,
    "mpob": 3,
    "mpob_cpo": 1,
    "ag_transport": 2,
    "bcb": 1,
    "magyp_crush": 1,
    "usda_psd_livestock": 1,
    "conab_progress": 1,
    "ec_oilseeds": 1,
}


def test_every_payload_folder_of_a_source_is_recorded_but_for_those_named(registry, archive):
    folders = {name: archive / (spec.folder or name) for name, spec in registry.sources.sources.items()}
    missing = {
        name: sum(not list((folders[name] / part).glob("20??-??-??.*")) for part in spec.replayed_in(folders[name]))
        for name, spec in registry.sources.sources.items()
        if not spec.tables
    }
    contracts = {"yahoo_contracts": len(registry.sources.source("yahoo_contracts").series)}  # more of them every year
    assert {name: count for name, count in missing.items() if count} == LIVE_ONLY | contracts


def test_every_row_of_the_manifest_is_landed_or_a_named_sample(registry, archive):
    listed = pd.read_csv(archive / "MANIFEST.csv")
    landed, samples = set(), {}
    for name, spec in registry.sources.sources.items():
        folder = spec.folder or name
        landed |= {(folder, part) for part in (() if spec.tables else spec.replayed_in(archive / folder))}
        samples |= {(folder, part): told for part, told in spec.samples.items()}
    rows = set(zip(listed["source"], listed["series"], strict=True))
    assert rows - landed - set(samples) == set(), "neither consumed nor a named sample"
    assert set(samples) <= rows and not landed & set(samples), "a sample is not landed"
    assert all(len(told) > 20 for told in samples.values()), "and says of what it is a sample"


def test_contracts_become_series_by_delivery_month_each_with_its_last_day(registry):
    dalian, chicago = registry.sources.source("dce"), registry.sources.source("databento")
    assert {name[1:] for name in dalian.series if name[0] == "y" and name[1:3] == "22"} == {
        f"22{month:02d}" for month in (1, 3, 5, 7, 8, 9, 11, 12)
    }
    assert "".join(name[2] for name in chicago.series if name.startswith("ZL") and name.endswith("24")) == "FHKNQUVZ"
    soybean_oil = dalian.series["y2209"]
    assert (soybean_oil.title, str(soybean_oil.ended)) == ("Soybean oil, Dalian, Sep 2022", "2022-09-30")
    for source, december in ((dalian, "m{year:02d}12"), (chicago, "ZLZ{year:02d}")):
        ahead = [december.format(year=(date.today().year + years) % 100) for years in (1, 2)]
        assert set(ahead) <= set(source.series), "the list goes on with the years"
    assert dalian.unit_of("y2209", "open_interest") == "contracts" and dalian.unit_of("y2209", "settle") == "CNY/t"


@pytest.mark.parametrize("lacking", ["roll", "contract_name"])
def test_a_name_with_nothing_to_fill_it_is_refused(registry, tmp_path, lacking):
    entries = yaml.safe_load((registry.folder / "data_sources.yaml").read_text())
    entries["sources"]["databento"].pop(lacking)
    (tmp_path / "data_sources.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(RegistryError, match=rf"databento.*{lacking}"):
        load_sources(tmp_path)
