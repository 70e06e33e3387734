"""The audit names what is altered, orphaned or unregistered; health tells what came of forecasts. Both only look."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from tasks.alerts.of_run import raise_alerts
from tasks.calendar import last_finished_session
from tasks.model_store.folder import FolderStore
from tasks.operations.audit import take_inventory
from tasks.operations.health import take_health
from tasks.registry import ended_tables
from tasks.run import RunContext, open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import Fetched, land
from tasks.staging.stage import stage_source
from tasks.storage.files import write_bytes, write_identified, write_json, write_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import tables

NOW = pd.Timestamp("2024-01-02T12:00", tz="UTC")


@pytest.fixture
def run(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    zones.home.mkdir(parents=True)
    return open_run(load_settings(), origin="live", as_of="2024-01-10")


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def planted(run: RunContext, tmp_path: Path) -> None:
    """A home with one of each: sound, altered, orphaned, unregistered, lost."""
    zones, fred = run.zones, run.sources.source("fred")
    for day, series in enumerate(("DFF", "DGS10", "DGS30")):
        body = f"observation_date,{series}\n2023-12-28,5.3\n".encode()
        land(zones, "fred", Fetched(series, "csv", body, "u"), fred, fetched_at=NOW + pd.Timedelta(days=day))
    next((zones.raw / "fred" / "DGS10").glob("*.csv")).write_text("altered")
    next((zones.raw / "fred" / "DGS30").glob("*.csv")).unlink()
    (zones.raw / "fred" / "DFF" / "2024.csv").write_text("no sidecar")
    table = pd.DataFrame({"date": pd.to_datetime(["2023-12-28", "2023-12-29"]), "value": [1.0, 2.0]})
    write_identified(zones.panel / "panel.parquet", table, inputs="i")
    write_identified(zones.labels / "labels.parquet", table, inputs="i")
    (zones.labels / "labels.parquet").write_bytes(b"PAR1 cut")
    write_parquet(zones.staging / "unheard_of" / "observations.parquet", table)
    write_json(zones.fits / "0123456789abcdef" / "done.json", {"family": "har", "horizons": ["1w"], "year": 2019})
    files = tmp_path / "files"
    write_json(files / "har.json", {"a": 1})
    store = FolderStore(zones.models)
    for identity in ("first", "second"):
        named = {"family": "har", "horizon": "1w", "identity": identity, "trained_as_of": "2023-12-29"}
        store.add(files, named, {})
    store.promote(store.versions("har", "1w")[0], run="r")
    write_json(store.folder / "har" / "1w" / "v0002" / "har.json", {"a": 2})
    (zones.home / "stray.txt").write_text("whose?")


def test_the_audit_tells_whose_each_file_is_and_what_to_do_with_it(run, tmp_path):
    planted(run, tmp_path)
    before = tree(run.zones.home)
    found = take_inventory(run)
    assert tree(run.zones.home) == before, "an audit changes nothing"
    by_name = found.set_index("name")
    advice = {name: row["advice"] for name, row in by_name.iterrows() if row["advice"] != "keep"}
    sidecar = {path.parent.name: path.relative_to(run.zones.home) for path in run.zones.raw.rglob("*.sidecar.json")}
    assert advice == {
        str(sidecar["DGS10"]): "replace",
        str(sidecar["DGS30"]): "replace",
        "raw/fred/DFF/2024.csv": "quarantine",
        "labels/labels.parquet": "replace",
        "staging/unheard_of/observations.parquet": "quarantine",
        "fits/0123456789abcdef": "delete",
        "models/har/1w/v0002": "replace",
        "stray.txt": "quarantine",
    }
    panel = by_name.loc["panel/panel.parquet"]
    assert panel[["owner", "rows", "columns", "first_date", "last_date", "state"]].to_list() == [
        "daily",
        2,
        2,
        "2023-12-28",
        "2023-12-29",
        "ok",
    ]
    assert by_name.loc[str(sidecar["DFF"]), "owner"] == "ingest-fred"
    assert by_name.loc["models/har/1w/v0001", "state"] == "champion"
    held = {str(path.relative_to(run.zones.home)) for path in run.zones.home.rglob("*") if path.is_file()}
    spoken_for = {name for name in held if any(name.startswith(item) for item in by_name.index)}
    payloads = {
        str(next((run.zones.raw / "fred" / s).glob("*Z.csv")).relative_to(run.zones.home)) for s in ("DFF", "DGS10")
    }
    assert held - spoken_for == payloads, "a payload is told in its sidecar's line; nothing is left out"


def test_the_audit_names_what_was_staged_and_changed_since(run):
    """It said ok of an edited price."""
    zones, fred = run.zones, run.sources.source("fred")
    body = b"observation_date,DFF\n2023-12-28,5.3\n"
    land(zones, "fred", Fetched("DFF", "csv", body, "u"), fred, fetched_at=NOW)
    stage_source(zones, "fred", fred, as_of=pd.Timestamp("2024-01-10"), code="1")
    assert set(take_inventory(run)["advice"]) == {"keep"}
    staged = zones.staging / "fred" / "observations.parquet"
    pd.read_parquet(staged).assign(value=57.84).to_parquet(staged, index=False)
    told = take_inventory(run).set_index("name")
    changed = told[told["advice"] != "keep"]
    assert list(changed.index) == ["staging/fred/observations.parquet"]
    assert changed["state"].iloc[0].startswith("not the file that was written")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("models/champions.json", "not what history.jsonl says"),
        ("models/history.jsonl", "line 1 is not readable"),
        ("warehouse/cbi.duckdb", "no DuckDB file"),
        ("warehouse/published/CURRENT", "cannot be read"),
    ],
)
def test_a_zeroed_file_that_others_hang_on_is_named_and_the_rest_is_told(run, tmp_path, file, told):
    planted(run, tmp_path)
    open_warehouse(run.settings).publish({}, as_of=run.as_of, staging=tmp_path / "none")
    sound = take_inventory(run)
    (run.zones.home / file).write_bytes(bytes((run.zones.home / file).stat().st_size))
    found = take_inventory(run)
    new = found[~found["state"].isin(sound["state"])]
    assert new["state"].str.contains(told).any() and (new["advice"] == "replace").any()
    assert set(sound["zone"]) <= set(found["zone"])


def test_the_command_ends_with_1_when_something_is_to_be_done(run, tmp_path, capsys):
    from cli.app import main

    planted(run, tmp_path)
    assert main(["audit", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told[0]["advice"] == "quarantine"
    [path] = run.zones.reports.glob("audit_*.csv")
    assert len(pd.read_csv(path)) == len(told)
    for item in set(run.zones.home.iterdir()) - {run.zones.reports}:
        shutil.rmtree(item) if item.is_dir() else item.unlink()
    assert main(["audit", "--json"]) == 0, "a home with nothing wrong"


def test_what_vanishes_while_the_audit_looks_is_passed_over(run):
    for number in range(3):
        write_json(run.zones.home / "prefect" / f"{number}.json", number)
    (run.zones.home / "prefect" / "2.json").unlink()
    (run.zones.home / "prefect" / "2.json").symlink_to("gone")  # is listed, and cannot be looked at
    stop = threading.Event()

    def work() -> None:
        folder = run.zones.home / "prefect" / "storage"
        while not stop.is_set():
            for number in range(50):
                write_bytes(folder / f"{number}", b"result")
            shutil.rmtree(folder)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(20):
            told = take_inventory(run).set_index("name").loc["prefect"]
            assert (told["owner"], told["rows"] >= 2) == ("prefect", True)
    finally:
        stop.set()
        worker.join()
    told = take_inventory(run).set_index("name").loc["prefect"]
    assert (told["rows"], told["bytes"]) == (2, 4)


def closes(run: RunContext, days: list[str], values: list[float]) -> None:
    """Staged closes of ZL, as `flows.ingest yahoo` leaves them."""
    known = pd.to_datetime(days).tz_localize("UTC") + pd.Timedelta(hours=22)
    rows = {"source": "yahoo", "series": "ZL=F", "observation_date": pd.to_datetime(days), "field": "close"}
    held = pd.DataFrame(
        {**rows, "value": values, "unit": "c/lb", "available_at": known, "fetched_at": known, "vintage": 0}
    )
    write_parquet(run.zones.staging / "yahoo" / "observations.parquet", held)
    empty = held.iloc[:0].assign(rule="", reason="", payload="", row=0)
    write_parquet(run.zones.quarantine / "yahoo" / "cells.parquet", empty)


def publish(run: RunContext, horizon: str, rows: list[tuple[str, str, float, float]]) -> None:
    frame = pd.DataFrame(rows, columns=["as_of", "target_date", "p10", "p90"])
    frame = frame.assign(horizon=horizon, model_version=f"har/{horizon}/v0001", is_baseline=False, created_at=NOW)
    frame[["as_of", "target_date"]] = frame[["as_of", "target_date"]].apply(pd.to_datetime)
    whole = frame.reindex(columns=list(tables()["forecasts.zl_forecasts_daily"].columns))
    published = {"forecasts.zl_forecasts_daily": whole}
    open_warehouse(run.settings).publish(published, as_of=run.as_of, staging=run.zones.staging)


def test_realised_coverage_counts_only_forecasts_whose_day_has_come_and_has_a_close(run):
    closes(run, ["2024-01-08", "2024-01-09"], [47.0, 60.0])
    past = [("2023-12-29", "2024-01-08", 45.0, 50.0), ("2024-01-02", "2024-01-09", 45.0, 50.0)]
    no_close, to_come = ("2024-01-03", "2024-01-10", 1.0, 99.0), ("2024-01-10", "2024-01-18", 1.0, 99.0)
    publish(run, "1w", [*past, no_close, to_come])
    publish(run, "1m", [("2024-01-10", "2024-02-09", 45.0, 50.0)])
    health = take_health(run, now=datetime(2024, 1, 10, tzinfo=UTC))
    told = health.champions.set_index("horizon")
    assert told["realised_coverage_80"].to_dict() == dict.fromkeys(told.index, "not yet") | {"1w": "50% of 2"}
    checks = health.checks.set_index("check")["state"].to_dict()
    assert (checks["warehouse"], checks["forecast"], checks["champions"]) == ("ok", "ok", "not yet")
    yahoo = health.sources.set_index("source").loc["yahoo"]
    assert (yahoo["age_days"], yahoo["next_run"]) == (1, "2024-01-09 18:30 CST"), (
        "midnight in London is evening in Chicago"
    )


def test_a_table_that_is_kept_by_hand_and_does_not_reach_the_session_is_a_warning(run):
    tables = take_health(run).checks.set_index("check").loc["tables"]
    assert (tables["state"], tables["told"]) == ("ok", "all reach 2024-01-10")
    late = replace(run, as_of=pd.Timestamp("2026-06-30"))
    assert take_health(late).checks.set_index("check").loc["tables", "state"] == "not yet", "an empty home is well"
    closes(run, ["2024-01-10"], [47.0])
    later = take_health(late).checks.set_index("check").loc["tables"]
    assert later["state"] == "warning"
    assert "tariff_timeline.csv: complete until 2026-03-27 only: its features are missing since then" in later["told"]


def test_the_run_says_which_tables_end_before_it(run):
    ended = ended_tables(run.settings.registry, run.sources, date(2026, 6, 30))
    none = pd.DataFrame({"degraded": pd.Series(dtype=bool)})
    series = pd.DataFrame(columns=["source", "series", "observations", "age_days", "stale_limit_days"])
    told = raise_alerts([], series, none, ended=ended).set_index("subject")
    assert set(told["kind"]) == {"table"} and "mandate_volumes.csv" in told.index
    assert told.loc["policy_events.csv", "message"].startswith("complete until 2026-03-27 only")


def test_a_warehouse_that_cannot_be_read_fails_and_leaves_the_rest_told(run):
    closes(run, ["2024-01-10"], [47.0])
    publish(run, "1w", [("2024-01-10", "2024-01-18", 1.0, 99.0)])
    for path in (run.zones.warehouse / "published").glob("*.duckdb"):
        path.write_bytes(b"no database")
    health = take_health(run)
    checks = health.checks.set_index("check")
    assert (checks.loc["warehouse", "state"], health.state, health.exit_code) == ("failing", "failing", 2)
    assert "cannot be read" in checks.loc["warehouse", "told"]
    assert checks.loc["disk", "state"] != "failing"
    json.dumps(health.to_json(), allow_nan=False)


@pytest.mark.parametrize("kind", ["a cut table", "an empty sidecar", "a sidecar of something else"])
def test_a_damaged_file_of_a_source_fails_by_name_and_the_rest_is_told(run, kind):
    closes(run, ["2024-01-10"], [47.0])
    table, sidecar = (
        run.zones.staging / "fred" / "observations.parquet",
        run.zones.raw / "fred" / "DFF" / "x.sidecar.json",
    )
    for path in (table, run.zones.quarantine / "fred" / "cells.parquet", sidecar):
        path.parent.mkdir(parents=True)
    if kind == "a cut table":
        table.write_bytes(b"PAR1 cut")
        (run.zones.quarantine / "fred" / "cells.parquet").write_bytes(b"PAR1 cut")
    else:
        sidecar.write_text("" if kind == "an empty sidecar" else '{"series": "DFF"}')
    health = take_health(run)
    told = health.checks.set_index("check").loc["sources"]
    assert (told["state"], health.exit_code) == ("failing", 2)
    assert f"fred: damaged: {run.zones.staging if kind == 'a cut table' else run.zones.raw}" in told["told"]
    sources = health.sources.set_index("source")
    assert sources.loc["yahoo", "last"] == "2024-01-10" and pd.isna(sources.loc["fred", "observations"])
    json.dumps(health.to_json(), allow_nan=False)


def test_a_home_in_which_nothing_was_made_yet_is_well_and_one_that_lost_its_price_is_not(run):
    health = take_health(run)
    told = health.checks.set_index("check").loc["sources", "told"]
    assert (health.exit_code, told.partition(":")[0]) == (0, "nothing has run yet")
    closes(run, [], [])
    assert take_health(run).exit_code == 2


def test_what_was_not_foreseen_is_one_line_and_ends_with_2(run):
    write_json(run.zones.exports / "manifest.json", ["no", "manifest"])
    command = [sys.executable, "-m", "cli", "health", "--json"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("AttributeError: ") and ended.stderr.count("\n") == 1
    assert "cbi support" in ended.stderr
    assert json.loads(ended.stdout) == {"state": "failing", "exit_code": 2, "error": ended.stderr.strip()}


def test_what_is_private_and_open_to_others_is_a_warning(run):
    (run.zones.home / "prefect").mkdir(mode=0o755)
    (run.zones.home / "prefect").chmod(0o755)
    told = take_health(run).checks.set_index("check").loc["permissions"]
    assert (told["state"], f"chmod 700 {run.zones.home / 'prefect'}" in told["told"]) == ("warning", True)


def test_a_folder_that_others_may_write_to_is_a_warning(run):
    run.zones.models.mkdir()
    run.zones.models.chmod(0o777)
    told = take_health(run).checks.set_index("check").loc["permissions"]
    assert told["state"] == "warning"
    assert f"others may write to {run.zones.models}: chmod -R o-w {run.zones.home};" in told["told"]


def test_a_home_of_recorded_payloads_is_judged_as_of_its_own_session(tmp_path, monkeypatch):
    from flows.health import open_health_here

    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    newest = last_finished_session()
    assert (open_health_here(None).as_of, open_health_here(None).dated) == (newest, "the last finished session")
    write_json(tmp_path / "collection" / "asked.json", {"as_of": "2023-12-29", "recorded": True})
    health = open_health_here(None)
    assert health.as_of == pd.Timestamp("2023-12-29") and health.to_json()["as_of"] == "2023-12-29"
    assert health.to_json()["dated"].startswith("the session of the recorded payloads here")
    assert open_health_here("2023-12-27").as_of == pd.Timestamp("2023-12-27")
    # a live run since then: what has not come by today is late
    write_json(tmp_path / "collection" / "asked.json", {"as_of": "2023-12-29", "recorded": False})
    assert open_health_here(None).as_of == newest
