"""Policy tables: kept by hand in the registry, refused by line, the same from every origin, known when announced."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.errors import RegistryError
from tasks.features.policy import features
from tasks.panel.join import AGE, panel_at, value_columns
from tasks.registry import JoinSpec
from tasks.registry.sources import KeptTable
from tasks.registry.tables import POLICY_TABLES, MandateVolume, TariffStep, load_policy_events, read_table
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import known_by, stage_payloads, stage_source

AS_OF = pd.Timestamp("2023-12-29")
LATER = pd.Timestamp("2030-01-01", tz="UTC")
TARIFF, MANDATE = "tariff.china_us_soybeans", "mandate.biomass_based_diesel"
EXEMPTED, RINS = "tariff.china_us_soybeans_exempted", "mandate.biomass_based_diesel_rins"
NEXT_YEAR = {name: KeptTable(edited=date(2027, 1, 1), complete_until=date(2026, 12, 31)) for name in POLICY_TABLES}


@pytest.fixture
def spec(registry):
    return registry.sources.source("policy_events")


@pytest.fixture
def folder(registry, tmp_path, monkeypatch) -> Path:
    """The registry again, for a test that edits it."""
    monkeypatch.setenv("CBI_REGISTRY", str(tmp_path / "registry"))
    return Path(shutil.copytree(registry.folder, tmp_path / "registry"))


@pytest.fixture
def ingest(zones):
    def run(spec, origin: str | Path = "live"):
        return ingest_source(zones, "policy_events", spec, origin=origin, as_of=AS_OF.date(), progress=lambda *a: None)

    return run


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"the test no longer fits {path.name}"
    path.write_text(text.replace(old, new, 1))


def at(series: str, staged) -> pd.DataFrame:
    held = staged.by_source["policy_events"].observations
    return held[held["series"] == series].set_index(held["observation_date"][held["series"] == series].astype(str))


@pytest.mark.parametrize(
    ("table", "old", "new", "named"),
    [
        ("policy_events", "2018-07-06,2018-07-06,tariff", "2018-17-06,2018-07-06,tariff", [":4: ", "announced"]),
        ("policy_events", "2018-07-06,tariff,down", "2018-07-06,tarif,down", [":4: ", "kind"]),
        ("policy_events", "2018-07-06,tariff,down", "2018-07-06,tariff,sideways", [":4: ", "direction_for_zl"]),
        ("policy_events", "effective,kind", "efective,kind", [":1: ", "efective"]),
        ("policy_events", "announced,", "announced_on,", [":1: ", "announced_on"]),
        ("tariff_timeline", ",why", "", [":1: ", "why"]),
        ("policy_events", "goods,23:59", "goods,late", [":6: ", "known_time"]),
        ("tariff_timeline", "2018-07-06,25", "2018-07-06,-25", [":2: ", "added_tariff_pct"]),
        ("mandate_volumes", "2018,2016-11-23,2.1", "2018,2016-11-23,2.1,x", [":3: "]),
        ("mandate_volumes", "2018,2016-11-23,2.1,,", "2018,2016-11-23,2.1,3.4,", [":3: ", "either billion_gallons"]),
        ("tariff_timeline", "2018-07-06,25,,", "2018-07-06,,,", [":2: ", "exempted_tariff_pct is needed"]),
        ("mandate_paths", "2023-01-01,20.94,,", "2023-01-01,20.94,5,", [":7: ", "exactly one"]),
        ("mandate_paths", "\nrfs_total,2023", "\nrfs_sum,2023", [":7: ", "path"]),
        ("mandate_paths", ",source,", ",origin,", [":1: ", "origin"]),
        ("mandate_volumes", "\n2018,", "\n2017,2015-11-30,2.0,,EPA final RFS 2014-2016,\n2018,", [":3: ", "already"]),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_file_line_and_column_and_nothing_lands(
    folder, spec, ingest, zones, table, old, new, named
):
    edit(folder / f"{table}.csv", old, new)
    only = spec.model_copy(update={"tables": {table: spec.tables[table]}})
    with pytest.raises(RegistryError) as raised:
        ingest(only)
    for part in [f"{table}.csv", *named]:
        assert part in str(raised.value)
    assert landed(zones, "policy_events") == []


def test_the_tables_land_from_the_registry_whatever_the_origin_and_only_once(spec, ingest, archive, zones, registry):
    assert (ingest(spec).status, ingest(spec, archive).new_payloads) == ("ok", 0)
    held = landed(zones, "policy_events")
    assert [payload.series for payload in held] == [
        "mandate_paths",
        "mandate_volumes",
        "policy_events",
        "tariff_timeline",
    ]
    for payload in held:
        assert payload.path.read_bytes() == (registry.folder / f"{payload.series}.csv").read_bytes()
        assert payload.fetched_at.date() > spec.tables[payload.series].edited, "known to us by the end of that day"


def test_a_table_that_was_edited_under_its_old_date_is_refused(folder, spec, ingest):
    ingest(spec)
    edit(folder / "policy_events.csv", "conflict,up", "conflict,down")
    with pytest.raises(RegistryError, match=r"policy_events.csv was edited after .*data_sources.yaml"):
        ingest(spec)


def test_a_judgement_changed_later_is_a_new_vintage_and_does_not_reach_back(folder, spec, ingest, zones):
    ingest(spec)
    edit(folder / "policy_events.csv", "2022-02-24,2022-02-24,conflict,up", "2022-02-24,2022-02-24,conflict,down")
    moved = spec.model_copy(update={"tables": NEXT_YEAR})
    assert ingest(moved).new_payloads == 1, "the other tables are as they were"
    held, refused = stage_payloads("policy_events", moved, landed(zones, "policy_events"), through=LATER)
    invaded = held[(held["observation_date"] == "2022-02-24") & (held["field"] == "direction")]
    assert refused.empty and invaded["value"].tolist() == [1, -1]
    assert [f"{known:%Y-%m-%d %H:%M}" for known in invaded["available_at"]] == ["2022-02-24 23:00", "2027-01-02 00:00"]


def test_events_are_counted_by_kind_and_known_at_six_in_the_evening_unless_told_later(staged, registry):
    held = staged.by_source["policy_events"].observations
    events = load_policy_events(registry.folder)
    assert staged.by_source["policy_events"].quarantine.empty
    assert held[held["field"] == "events"]["value"].sum() == sum(e.announced <= AS_OF.date() for e in events) == 35
    assert held[held["field"] == "direction"].groupby("series", observed=True)["value"].sum().to_dict() == {
        "event.conflict": 1, "event.export_ban": 0, "event.lcfs": 2, "event.mandate": 4, "event.tariff": -3,
        "event.tax": 2, "event.trade_deal": 1,
    }  # fmt: skip
    known = held["available_at"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    late = held["observation_date"] == "2018-09-17"
    assert set(known[late]) == {"23:59"} and set(known[~late]) == {"18:00"}
    assert "event.mandate" in set(known_by(held, pd.Timestamp("2007-12-19"))["series"].astype(str))


def test_a_tariff_stands_at_the_day_it_takes_effect_and_is_known_from_its_announcement(staged):
    steps = at(TARIFF, staged)
    assert steps["value"].to_dict() == {"2018-07-06": 25, "2019-09-01": 30, "2020-02-14": 27.5}
    assert set(steps["unit"].astype(str)) == {"%"}
    before = known_by(steps, pd.Timestamp("2019-08-22"))["value"].tolist()
    after = known_by(steps, pd.Timestamp("2019-08-23"))["value"].tolist()
    assert (before, after) == ([25], [25, 30])


def test_a_years_volume_is_known_from_its_final_rule_and_not_before(staged):
    volumes = at(MANDATE, staged)
    assert volumes["value"].tolist() == [2.0, 2.1, 2.1, 2.43, 2.43, 2.76, 2.82, 3.04, 3.35]
    assert known_by(volumes, pd.Timestamp("2023-06-20")).index[-1] == "2022-01-01"
    assert known_by(volumes, pd.Timestamp("2023-06-21")).index[-1] == "2025-01-01"


@pytest.fixture
def known_now(spec, ingest, zones) -> pd.DataFrame:
    """All that the tables say, whatever day it is."""
    ingest(spec)
    held, refused = stage_payloads("policy_events", spec, landed(zones, "policy_events"), through=LATER)
    assert refused.empty
    return held


def values(held: pd.DataFrame, series: str) -> dict[str, float]:
    rows = held[held["series"] == series]
    return dict(zip(rows["observation_date"].astype(str), rows["value"], strict=True))


def test_chinas_tariff_is_two_series_as_written_and_as_exempted_buyers_pay_it(known_now):
    written, paid = values(known_now, TARIFF), values(known_now, EXEMPTED)
    assert {day: v for day, v in written.items() if day > "2020-02-14"} == {
        "2025-03-10": 37.5, "2025-04-10": 121.5, "2025-04-12": 162.5, "2025-05-14": 47.5, "2025-11-10": 37.5,
    }  # fmt: skip
    assert paid == {
        "2020-03-02": 0, "2025-03-10": 10, "2025-04-10": 94, "2025-04-12": 135, "2025-05-14": 20, "2025-11-10": 10,
    }  # fmt: skip
    assert all(written[day] - paid[day] == 27.5 for day in set(written) & set(paid)), "what 2018 and 2019 added"


def test_gallons_and_rins_are_never_one_series(known_now, registry):
    assert max(values(known_now, MANDATE)) == "2025-01-01"
    assert values(known_now, RINS) == {"2026-01-01": 9.07, "2027-01-01": 9.20}
    units = known_now.drop_duplicates("series").set_index("series")["unit"].astype(str)
    assert (units[MANDATE], units[RINS]) == ("billion gal", "billion RIN")


def test_a_row_says_how_sure_it_is(registry):
    said = {event.announced: event.certainty for event in load_policy_events(registry.folder)}
    assert said[date(2024, 3, 1)] == "known; day of decision to check"
    assert all(certainty for announced, certainty in said.items() if announced.year > 2023)


def test_a_live_day_after_a_table_ends_asserts_none_of_its_last_rows(known_now, registry):
    """The tables are complete until 27 March 2026: China's tariff of today is not known, nor that nothing happened."""
    policy = JoinSpec(joins=tuple(join for join in registry.joins.joins if join.source == "policy_events"))
    panel = panel_at(known_now, policy, sessions("2025-11-03", "2026-06-30")).set_index("date")
    columns = value_columns(panel.reset_index())
    assert panel.loc["2025-11-07":"2025-11-10", "china_added_tariff_pct"].tolist() == [47.5, 37.5]
    assert panel.loc["2026-03-27", "china_added_tariff_pct"] == 37.5
    assert panel.loc["2026-03-27", "event_mandate__age_days"] == 0
    assert len(panel.loc["2026-03-28":]) > 60
    assert panel.loc["2026-03-28":, [*columns, *(name + AGE for name in columns)]].isna().all(axis=None)
    gallons = panel["biomass_mandate_billion_gal"]
    assert (gallons["2025-12-31"], gallons["2026-01-02":].notna().any()) == (3.35, False), "2026 is set in RINs"


def test_a_table_brought_up_to_date_changes_no_earlier_day(known_now, registry):
    joins = [join for join in registry.joins.joins if join.source == "policy_events"]
    days = sessions("2025-11-03", "2026-06-30")
    ends = {name: date(2026, 6, 12) for join in joins for name in join.columns}
    later = tuple(join.model_copy(update={"complete_until": ends}) for join in joins)
    now, then = (panel_at(known_now, JoinSpec(joins=some), days) for some in (tuple(joins), later))
    same = days <= pd.Timestamp("2025-12-31")
    pd.testing.assert_frame_equal(now[same], then[same])
    assert then.loc[days == "2026-06-12", "china_added_tariff_pct"].tolist() == [37.5]
    assert then.loc[days > "2026-06-12", "china_added_tariff_pct"].isna().all()


def test_events_that_nobody_counted_are_missing_not_none(panel):
    """A window of days whose end lies behind the table's has no count, and no day since the last event."""
    ended = panel.tail(200).reset_index(drop=True)
    after = ended["date"] > ended["date"].iloc[150]
    lost = ["policy_events_total", "policy_events_tariff_total", "event_tariff__age_days", "china_added_tariff_pct"]
    ended.loc[after, lost] = float("nan")
    made = features(ended)
    for name in (
        "policy_events_90d",
        "policy_events_tariff_180d",
        "policy_days_since_tariff",
        "china_added_tariff_pct",
    ):
        assert made[name][after].isna().all(), name
    assert made["policy_events_90d"][:151].notna().any()


def test_every_step_and_volume_rests_on_an_announced_event(registry):
    announced = {(event.announced, event.kind) for event in load_policy_events(registry.folder)}
    steps = read_table(registry.folder / "tariff_timeline.csv", TariffStep)
    volumes = read_table(registry.folder / "mandate_volumes.csv", MandateVolume)
    assert {(step.announced, "tariff") for _, step in steps if step.added_tariff_pct is not None} <= announced
    assert {(volume.announced, "mandate") for _, volume in volumes} <= announced


def test_staged_as_of_an_earlier_day_the_tables_tell_what_was_known_then(spec, ingest, zones, staged, tmp_path):
    ingest(spec)
    early = pd.Timestamp("2019-08-30")
    held = stage_source(zones, "policy_events", spec, as_of=early, code="t").observations
    cut = known_by(staged.by_source["policy_events"].observations, early)
    assert 0 < len(held) < 82
    columns = ["series", "observation_date", "field", "value", "available_at", "vintage"]
    pd.testing.assert_frame_equal(held[columns], cut[columns].reset_index(drop=True), check_categorical=False)


def test_a_mandate_path_is_known_from_its_announcement_and_a_later_line_replaces_an_earlier_one(spec, ingest, zones):
    ingest(spec)
    held = stage_source(zones, "policy_events", spec, as_of=pd.Timestamp("2026-06-30"), code="t").observations
    path = held[held["series"].str.startswith("path.").to_numpy(bool)]

    def known(series: str, begins: str, day: str) -> list[float]:
        rows = path[(path["series"] == series) & (path["observation_date"] == pd.Timestamp(begins))]
        rows = rows[rows["available_at"] <= pd.Timestamp(f"{day} 23:00", tz="America/New_York")]
        return rows.sort_values("vintage")["value"].tolist()[-1:]

    assert known("path.rfs_total", "2024-01-01", "2023-06-20") == []
    assert known("path.rfs_total", "2024-01-01", "2023-06-21") == [21.54]
    assert known("path.rfs_total", "2027-01-01", "2026-03-27") == [27.02]
    assert known("path.renovabio", "2024-01-01", "2023-11-29") == [50.81]
    assert known("path.renovabio", "2024-01-01", "2023-11-30") == [38.78]
    assert known("path.renovabio", "2025-01-01", "2024-12-31") == [40.39]
    assert known("path.indonesia_blend", "2025-01-01", "2025-01-02") == []
    assert known("path.brazil_blend", "2025-08-01", "2025-06-25") == [15.0]
    assert known("path.eu_saf", "2030-01-01", "2023-10-30") == []
    assert [known("path.eu_saf", f"{year}-01-01", "2023-10-31") for year in range(2025, 2051, 5)] == [
        [2.0], [6.0], [20.0], [34.0], [42.0], [70.0],
    ]  # fmt: skip
    units = dict(zip(path["series"].astype(str), path["unit"].astype(str), strict=True))
    assert units["path.renovabio"] == "million CBIO" and units["path.brazil_blend"] == "%"
    assert spec.complete_until("path.rfs_total") == date(2026, 3, 27), "after it the path is not known to be whole"
