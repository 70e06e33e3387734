"""A second place for what cannot be made again: what goes there, that it never shrinks, and what an empty home gets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ManifestMismatch, NothingStored, SettingsError, WarehouseError
from tasks.model_store.folder import FolderStore
from tasks.operations.backup import Manifest, back_up, state_path
from tasks.operations.health import OK, WARNING, take_health
from tasks.operations.restore import restore
from tasks.outcome import DayResult
from tasks.run import RunContext, open_run
from tasks.settings import PROJECT, Settings
from tasks.sources.pauses import pause, pauses, pauses_path, resume
from tasks.storage.files import read_json, write_json
from tasks.storage.zones import Zones
from tasks.warehouse import record
from tasks.warehouse import tables as declared
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import tables
from tests.conftest import FinishedRun, tables_of

SESSIONS = ("2023-11-29", "2023-11-30", "2023-12-01")
KEPT = {
    "forecasts.zl_forecasts_daily",
    "forecasts.zl_explainers_daily",
    "forecasts.zl_explanations_daily",
    "forecasts.zl_changes_daily",
    "forecasts.zl_scenarios_daily",
    "forecasts.zl_surface_daily",
    "forecasts.zl_surface_checks",
    "forecasts.zl_contracts_daily",
    "forecasts.zl_replays_daily",
    "forecasts.record_chain",
    "forecasts.zl_shadow_daily",
    "performance.promotions",
    "forecasts.zl_decisions_daily",
    "forecasts.zl_purchases_daily",
    "performance.leaderboard",
    "performance.forecast_outcomes",
    "ops.ingest_runs",
    "ops.gate_results",
    "ops.quarantine_summary",
    "ops.alerts",
    "ops.alert_events",
}
VALUES = {"FLOAT64": 1.5, "INT64": 3, "BOOL": True, "STRING": "x", "TIMESTAMP": pd.Timestamp("2023-12-01", tz="UTC")}


def rows(name: str, session: str, **given: Any) -> pd.DataFrame:
    """One row of a table, of a session."""
    columns = {
        c: pd.Timestamp(session) if kind == "DATE" else VALUES[kind] for c, kind in tables()[name].columns.items()
    }
    return pd.DataFrame([{**columns, **given}])


def published(zones: Zones, session: str, **given: Any) -> None:
    """The tables of a session as a run would publish them."""
    frames = {name: rows(name, session) for name in KEPT - {record.CHAIN}}  # the warehouse seals by itself
    for name in ("ops.ingest_runs", "ops.gate_results"):
        frames[name] = rows(name, session, run=session)
    frames["ops.alert_events"] = rows("ops.alert_events", session, number=int(session.replace("-", "")))
    frames["forecasts.zl_forecasts_daily"] = pd.concat(
        [rows("forecasts.zl_forecasts_daily", session, horizon=h, **given) for h in ("1w", "1m")]
    )
    DuckDbWarehouse(zones).publish(frames, as_of=session, staging=zones.staging, session=session)


def promoted(zones: Zones, identity: str, files: Path) -> None:
    """One more version in the store, champion of its horizon."""
    files.mkdir()
    write_json(files / "model.json", {"identity": identity})
    store = FolderStore(zones.models)
    told = {"family": "no_change", "horizon": "1w", "horizons": {"1w": 5}, "identity": identity, "run": identity}
    version = store.add(files, {**told, "trained_as_of": "2023-11-29", "columns": []}, {"coverage_80": 0.8})
    store.promote(version, run=identity)


def payload(zones: Zones, name: str) -> None:
    folder = zones.raw / "fred" / "DGS10"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(f"a payload of {name}")
    (folder / f"{name}.csv.sidecar.json").write_text("{}")
    (folder / f"recorded-{name}.csv.sidecar.json").write_text("{}")


def run_of(home: Path, place: Path | str | None, session: str = SESSIONS[-1]) -> RunContext:
    settings = Settings(home=home, backup=None if place is None else str(place))
    return open_run(settings, origin="live", as_of=session)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "second"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two sessions, a champion and a payload."""
    zones = Zones(tmp_path / "home")
    for session in SESSIONS[:2]:
        published(zones, session)
    promoted(zones, "a", tmp_path / "files-a")
    payload(zones, "2023-11-30T010203.000000Z")
    return zones.home


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in files(folder).items()}


def kept(home: Path) -> dict[str, pd.DataFrame]:
    """Every kept table, clock times included."""
    warehouse = DuckDbWarehouse(Zones(home))
    return {
        name: warehouse.query(f"SELECT * FROM {name} ORDER BY {', '.join(f'`{k}`' for k in tables()[name].key)}")
        for name in sorted(KEPT)
    }


def the_same(found: dict[str, pd.DataFrame], wanted: dict[str, pd.DataFrame]) -> None:
    assert set(found) == set(wanted)
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True, obj=name)


def test_every_table_says_whether_a_run_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name for name, table in tables().items() if not table.rebuilt} == KEPT
    untold = tmp_path / "x.sql"
    untold.write_text("CREATE TABLE a.b (x DATE NOT NULL, PRIMARY KEY (x) NOT ENFORCED);")
    monkeypatch.setattr(declared, "SCHEMA", tmp_path)
    tables.cache_clear()
    try:
        with pytest.raises(WarehouseError, match=r"a\.b does not say whether a run makes it again"):
            tables()
    finally:
        tables.cache_clear()


def test_an_empty_home_gets_tables_models_and_payloads_and_goes_on_in_the_same_backup(
    home: Path, place: Path, tmp_path: Path
) -> None:
    assert back_up(run_of(home, place)) == ""
    other = tmp_path / "restored"
    done = restore(Settings(home=other), str(place))
    assert done.rows["forecasts.zl_forecasts_daily"] == 4 and done.payloads == 2 and done.versions == 1
    the_same(kept(other), kept(home))
    latest = "SELECT * FROM api.vw_latest_forecast"
    pd.testing.assert_frame_equal(
        DuckDbWarehouse(Zones(other)).query(latest), DuckDbWarehouse(Zones(home)).query(latest), check_exact=True
    )
    assert contents(other / "models") == contents(home / "models")
    assert {n for n in contents(other / "raw")} == {n for n in contents(home / "raw") if "/recorded-" not in n}
    names = {path.name for where in (home, other) for path in (where / "warehouse" / "published").glob("*.duckdb")}
    assert done.snapshot not in {path.name for path in (home / "warehouse" / "published").iterdir()} and len(names) > 1
    before = files(place)
    assert back_up(run_of(other, place)) == ""
    assert files(place) == before, "the same content writes nothing"
    published(Zones(other), SESSIONS[2])
    promoted(Zones(other), "b", tmp_path / "files-b")
    assert back_up(run_of(other, place)) == ""
    third = restore(Settings(home=tmp_path / "third"), str(place))
    assert third.rows["forecasts.zl_forecasts_daily"] == 6 and third.versions == 2
    the_same(kept(tmp_path / "third"), kept(other))


def test_paused_sources_come_back_and_a_damaged_list_replaces_nothing(home: Path, place: Path, tmp_path: Path) -> None:
    zones = Zones(home)
    assert back_up(run_of(home, place)) == "" and not (place / "pauses").exists()
    one = pause(zones, "gdelt", "its terms are being read")
    pause(zones, "dce", "the exchange asked for a break")
    assert back_up(run_of(home, place)) == ""
    before = files(place)
    assert back_up(run_of(home, place)) == "" and files(place) == before, "the same list writes nothing"
    resume(zones, "dce")
    assert back_up(run_of(home, place)) == ""
    pauses_path(zones).write_text("[", encoding="utf-8")
    failure = back_up(run_of(home, place))
    assert failure.startswith("the paused sources are not backed up: ") and "cbi sources pause" in failure
    restored = tmp_path / "restored"
    restore(Settings(home=restored), str(place))
    assert pauses(Zones(restored)) == {"gdelt": one}, "the last sound list, without the source that was resumed"
    pauses_path(zones).unlink()
    assert back_up(run_of(home, place)) == ""
    restore(Settings(home=tmp_path / "later"), str(place))
    assert pauses(Zones(tmp_path / "later")) == {}, "a deleted list means that no source is paused"


def test_a_manifest_of_before_pauses_is_read(home: Path, place: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    (manifest,) = (place / "manifests").glob("*.json")
    content = json.loads(manifest.read_bytes())
    del content["pauses"]
    assert Manifest.of(json.dumps(content).encode(), "x").pauses is None


def test_a_backup_is_written_once_and_grows_by_what_is_new(home: Path, place: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    first = files(place)
    assert back_up(run_of(home, place)) == ""
    assert files(place) == first
    payload(Zones(home), "2023-12-01T010203.000000Z")
    published(Zones(home), SESSIONS[2])
    assert back_up(run_of(home, place)) == ""
    second = files(place)
    assert {name for name in first if name not in second} == set(), "the manifest before stays whole"
    assert all(second[name] == first[name] for name in first if name != "latest.json")
    assert sum(name.startswith("raw/") and name.endswith(".tar.gz") for name in second) == 2
    published(Zones(home), SESSIONS[2], point=2.5)
    assert back_up(run_of(home, place)) == ""
    third = files(place)
    assert sum(name.startswith("manifests/") for name in third) == 2
    assert sum(name.startswith("tables/forecasts.zl_forecasts_daily/2023-12") for name in third) == 2


def test_what_the_warehouse_has_lost_stays_in_the_backup(home: Path, place: Path, tmp_path: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    before = kept(home)
    shutil.rmtree(home / "warehouse")
    shutil.rmtree(home / "raw")
    published(Zones(home), SESSIONS[1], point=9.0)
    assert back_up(run_of(home, place)) == ""
    restore(Settings(home=tmp_path / "restored"), str(place))
    found = kept(tmp_path / "restored")
    forecasts = found["forecasts.zl_forecasts_daily"].set_index("as_of")
    assert forecasts.loc[SESSIONS[0], "point"].tolist() == [1.5, 1.5], "lost, and kept"
    assert forecasts.loc[SESSIONS[1], "point"].tolist() == [9.0, 9.0], "written again"
    chain = found.pop(record.CHAIN)
    assert chain.groupby("chain")["number"].agg(list).tolist() == [[1, 1, 2]] * 2, "no link replaces another"
    assert before.pop(record.CHAIN).groupby("chain")["number"].agg(list).tolist() == [[1, 2]] * 2
    for state in record.check_record(DuckDbWarehouse(Zones(tmp_path / "restored"))):
        assert "broken link" in {one.what for one in state.findings}, "a record that was begun again says so"
    assert {name: len(frame) for name, frame in found.items()} == {name: len(frame) for name, frame in before.items()}
    assert len(contents(tmp_path / "restored" / "raw")) == 2


def test_an_alert_that_a_rerun_takes_back_is_taken_back(home: Path, place: Path, tmp_path: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    frames = {"ops.alerts": rows("ops.alerts", SESSIONS[1], subject="another")}
    zones = Zones(home)
    DuckDbWarehouse(zones).publish(frames, as_of=SESSIONS[1], staging=zones.staging, session=SESSIONS[1])
    assert back_up(run_of(home, place)) == ""
    restore(Settings(home=tmp_path / "restored"), str(place))
    the_same(kept(tmp_path / "restored"), kept(home))


def test_a_store_that_lost_its_history_does_not_replace_the_one_backed_up(
    home: Path, place: Path, tmp_path: Path
) -> None:
    assert back_up(run_of(home, place)) == ""
    shutil.rmtree(home / "models")
    promoted(Zones(home), "other", tmp_path / "files-b")
    published(Zones(home), SESSIONS[2])
    assert "has lost 1 of 1 promotions" in back_up(run_of(home, place))
    done = restore(Settings(home=tmp_path / "restored"), str(place))
    assert done.rows["forecasts.zl_forecasts_daily"] == 6, "the tables are backed up all the same"
    assert FolderStore(tmp_path / "restored" / "models").history()[0]["run"] == "a"


def test_another_home_does_not_write_into_a_backup(home: Path, place: Path, tmp_path: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    before = files(place)
    published(Zones(tmp_path / "demo"), SESSIONS[2])
    assert "has the backup of another home (of 2023-12-01)" in back_up(run_of(tmp_path / "demo", place))
    assert files(place) == before


def test_a_disk_that_is_gone_or_empty_is_told_and_nothing_is_made_in_its_place(home: Path, place: Path) -> None:
    assert "is not a folder now: plug its disk in" in back_up(run_of(home, place / "gone"))
    assert not (place / "gone").exists()
    assert back_up(run_of(home, place)) == ""
    shutil.rmtree(place)
    assert "is not a folder now" in back_up(run_of(home, place))
    place.mkdir()  # the mount point without its disk
    assert "had the backup of 2023-12-01 and has none now" in back_up(run_of(home, place))
    assert not list(place.iterdir())
    assert "is inside CBI_HOME" in back_up(run_of(home, home / "inside"))


@pytest.mark.more
@pytest.mark.faults
def test_a_file_of_the_backup_that_was_deleted_is_written_again(home: Path, place: Path, tmp_path: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    whole = contents(place)
    for name in whole:
        if name == "latest.json" or name.startswith("manifests/"):
            continue
        (place / name).unlink()
        assert back_up(run_of(home, place)) == "", name
    restore(Settings(home=tmp_path / "restored"), str(place))
    the_same(kept(tmp_path / "restored"), kept(home))
    assert contents(tmp_path / "restored" / "models") == contents(home / "models")


@pytest.mark.faults
def test_every_damaged_file_of_a_backup_is_refused_by_name_and_nothing_is_placed(
    home: Path, place: Path, tmp_path: Path
) -> None:
    assert back_up(run_of(home, place)) == ""
    kinds = set()
    for number, (name, content) in enumerate(sorted(contents(place).items())):
        kinds.add(name.split("/")[0])
        for damaged in (content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], None):
            if damaged is None:
                (place / name).unlink()
            else:
                (place / name).write_bytes(damaged)
            other = tmp_path / f"restored-{number}"
            wanted = NothingStored if damaged is None and name == "latest.json" else ManifestMismatch
            with pytest.raises(wanted) as told:
                restore(Settings(home=other), str(place))
            assert (name in str(told.value)) or name == "latest.json"
            assert not [part for part in ("raw", "models", "warehouse") if (other / part).exists()]
            (place / name).write_bytes(content)
    assert kinds == {"latest.json", "manifests", "models", "raw", "tables"}


def test_a_home_with_history_is_left_alone(home: Path, place: Path, tmp_path: Path) -> None:
    assert back_up(run_of(home, place)) == ""
    before = files(home)
    with pytest.raises(SettingsError, match="has a warehouse already, and a restore would mix two histories"):
        restore(Settings(home=home), str(place))
    promoted(Zones(tmp_path / "models"), "x", tmp_path / "files-x")
    with pytest.raises(SettingsError, match="has promoted models already"):
        restore(Settings(home=tmp_path / "models"), str(place))
    assert {name: held for name, held in files(home).items() if "locks" not in name} == {
        name: held for name, held in before.items() if "locks" not in name
    }


# One process pays for the imports, then forks a child per kill, which dies at its Nth durable write.
KILLER = """
import json, os, signal, sys
from pathlib import Path
from tasks.run import open_run
from tasks.operations.backup import back_up
from tasks.operations.restore import restore
from tasks.settings import Settings

def act(job):
    if job["what"] == "backup":
        settings = Settings(home=Path(job["home"]), backup=job["place"])
        told = back_up(open_run(settings, origin="live", as_of="2023-12-01"))
        assert told == "", told
    else:
        restore(Settings(home=Path(job["home"])), job["place"])

def die_at(number):
    count, replace, rename = [0], Path.replace, Path.rename
    def counted(move):
        def moved(self, target):
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return move(self, target)
        return moved
    Path.replace, Path.rename = counted(replace), counted(rename)

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            die_at(job["at"])
            act(job)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def killer() -> Iterator[Callable[..., int]]:
    with subprocess.Popen(
        [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def run(what: str, home: Path, place: Path, at: int) -> int:
            process.stdin.write(
                json.dumps({"what": what, "home": str(home), "place": str(place), "at": at}).encode() + b"\n"
            )
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def without_leftovers(folder: Path) -> dict[str, bytes]:
    """What the manifest in use names; a killed backup may leave files that nothing names."""
    pointer = json.loads((folder / "latest.json").read_bytes())
    manifest = json.loads((folder / pointer["manifest"]).read_bytes())
    manifest.pop("home")
    return {"manifest": json.dumps(manifest, sort_keys=True).encode()}


@pytest.mark.more
@pytest.mark.faults
def test_a_backup_killed_at_any_write_is_whole_after_the_next(
    home: Path, place: Path, tmp_path: Path, killer: Callable[..., int]
) -> None:
    assert killer("backup", home, place, 0) == 0
    wanted, at = without_leftovers(place), 0
    while True:
        at += 1
        copy, second = tmp_path / f"home-{at}", tmp_path / f"place-{at}"
        shutil.copytree(home, copy)
        shutil.rmtree(copy / "backup")
        second.mkdir()
        died = killer("backup", copy, second, at)
        assert died in (0, -signal.SIGKILL)
        assert killer("backup", copy, second, 0) == 0
        assert without_leftovers(second) == wanted, at
        assert not list(copy.glob(".tmp-*")), at
        if died == 0:
            break
    assert at > 10


@pytest.mark.more
@pytest.mark.faults
def test_a_restore_killed_at_any_write_is_run_again_and_ends_the_same(
    home: Path, place: Path, tmp_path: Path, killer: Callable[..., int]
) -> None:
    assert back_up(run_of(home, place)) == ""
    at = 0
    while True:
        at += 1
        other = tmp_path / f"restored-{at}"
        died = killer("restore", other, place, at)
        assert died in (0, -signal.SIGKILL)
        if died == 0:
            break
        if (other / "warehouse" / "published" / "CURRENT").exists() and not (other / "backup/restoring.json").exists():
            continue  # all is there; only the last word was not said
        assert killer("restore", other, place, 0) == 0, at
        the_same(kept(other), kept(home))
        assert contents(other / "models") == contents(home / "models")
        assert not list(other.glob(".tmp-*")), at
    assert at > 10


@pytest.mark.more
def test_health_says_whether_there_is_a_backup_and_how_old(home: Path, place: Path, tmp_path: Path) -> None:
    def told(run: RunContext) -> tuple[str, str]:
        checks = take_health(run).checks.set_index("check")
        return checks.loc["backup", "state"], checks.loc["backup", "told"]

    assert told(run_of(tmp_path / "recorded", None)) == (OK, "none; nothing here was fetched live")
    state, words = told(run_of(home, None))
    assert state == WARNING and words.startswith("nothing is backed up: set CBI_BACKUP to a folder on another disk")
    assert told(run_of(home, "none")) == (OK, "none, as CBI_BACKUP says")
    assert told(run_of(home, place))[0] == WARNING
    assert back_up(run_of(home, place)) == ""
    assert told(run_of(home, place)) == (OK, f"{place}: last written 0.0 days ago, as of 2023-12-01")
    shutil.rmtree(place)
    assert back_up(run_of(home, place))
    state, words = told(run_of(home, place))
    assert state == WARNING and "is not a folder now" in words and "Last written: 0.0 days ago, as of" in words
    path = state_path(Zones(home))
    write_json(path, {**(read_json(path) or {}), "failed": None, "at": "2023-12-01T00:00:00Z"})
    assert told(run_of(home, place))[0] == WARNING


def test_the_command_restores_and_ends_with_one_line_where_it_cannot(home: Path, place: Path, tmp_path: Path) -> None:
    assert back_up(run_of(home, place)) == ""

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CBI_HOME": str(tmp_path / "restored")}
        line = [sys.executable, "-m", "cli", "restore", *words]
        return subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True)

    assert command("--from", str(place)).returncode == 0
    the_same(kept(tmp_path / "restored"), kept(home))
    again = command("--from", str(place))
    assert again.returncode == 1 and again.stderr.startswith("SettingsError: ") and again.stderr.count("\n") == 1


@pytest.mark.more
@pytest.mark.slow
@pytest.mark.xdist_group("daily")
def test_two_days_of_a_home_come_back_in_an_empty_one_and_the_next_day_goes_on(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path, place: Path, tmp_path: Path
) -> None:
    """Real runs: two sessions in one home, a backup after each, an empty home restored, the third in both."""
    settings = {"CBI_BACKUP": str(place)}
    run_daily(copied_home, first_run.archive, "2012-01-03", **settings)
    other = tmp_path / "restored"
    restore(Settings(home=other), str(place))
    before, after = tables_of(copied_home), tables_of(other)
    for name in KEPT:
        pd.testing.assert_frame_equal(after[name], before[name], check_exact=True, obj=name)
    assert len(before["forecasts.zl_forecasts_daily"]) == 10
    pd.testing.assert_frame_equal(
        DuckDbWarehouse(Zones(other)).query("SELECT * FROM api.vw_latest_forecast"),
        DuckDbWarehouse(Zones(copied_home)).query("SELECT * FROM api.vw_latest_forecast"),
        check_exact=True,
    )
    assert read_json(other / "models" / "champions.json") == read_json(copied_home / "models" / "champions.json")
    gone = place.with_name("unplugged")
    place.rename(gone)  # the disk is unplugged under the third day: the forecast is published, and it is told
    told = run_daily(copied_home, first_run.archive, "2012-01-04", **settings)
    alert = told.alerts.set_index("kind").loc["backup", "message"]
    assert "is not a folder now" in alert
    stored = DuckDbWarehouse(Zones(copied_home)).query("SELECT message FROM api.vw_alerts WHERE kind = 'backup'")
    assert list(stored["message"]) == [alert]
    gone.rename(place)
    goes_on = run_daily(other, first_run.archive, "2012-01-04", **settings)
    assert not goes_on.trained
    columns = ["horizon", "model_version", "point", "p05", "p95", "direction_probability"]
    pd.testing.assert_frame_equal(goes_on.forecasts[columns], told.forecasts[columns], check_exact=True)
    assert np.isfinite(goes_on.forecasts["point"]).all()
    assert len(DuckDbWarehouse(Zones(other)).read("forecasts.zl_forecasts_daily")) == 15
