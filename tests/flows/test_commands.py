"""The smaller flows: one source, a backfill over real HTTP, the state of every source."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import OriginError
from tasks.settings import PROJECT
from tasks.sources.payloads import landed
from tasks.storage.zones import Zones
from tests.conftest import FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]


def test_one_source_and_one_series_of_it(prefect_server, archive, tmp_path, monkeypatch):
    from flows.ingest import ingest_flow

    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    came, staged = ingest_flow("fred")(str(archive), "2023-12-29", ["DFF"])
    assert (came.status, set(staged.observations["series"])) == ("ok", {"DFF"})
    assert {payload.series for payload in landed(Zones(tmp_path), "fred")} == {"DFF"}
    with pytest.raises(
        OriginError, match="--start None --end 2023-01-01: give dates as YYYY-MM-DD, at least the start"
    ):
        ingest_flow("fred")("live", "2023-12-29", None, None, "2023-01-01")


def test_a_backfill_asks_by_chunk_and_stages_what_came(prefect_server, server, tmp_path, monkeypatch):
    from flows.backfill import backfill

    registry = Path(shutil.copytree(PROJECT / "registry", tmp_path / "registry"))
    sources = registry / "data_sources.yaml"
    asked_at = "https://fred.stlouisfed.org/graph/fredgraph.csv"
    assert asked_at in sources.read_text()
    sources.write_text(sources.read_text().replace(asked_at, f"{server.url}/graph/fredgraph.csv"))
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CBI_REGISTRY", str(registry))
    monkeypatch.delenv("FRED_API_KEY", raising=False)
    server.by_request = lambda r: (200, f"observation_date,DFF\n{r.query['cosd']},1.5\n".encode())
    done, staged = backfill("fred", "2018-01-02", "2020-06-30", ["DFF"], 366)
    assert (done.chunks, done.done_before, done.failures) == (3, 0, {})
    assert [(r.query["cosd"], r.query["coed"]) for r in server.requests] == [
        ("2018-01-02", "2019-01-02"),
        ("2019-01-03", "2020-01-03"),
        ("2020-01-04", "2020-06-30"),
    ]
    dates = staged.observations["observation_date"]
    assert list(dates) == [pd.Timestamp(r.query["cosd"]) for r in server.requests]


def test_health_tells_every_source_and_fails_only_for_what_is_critical(
    first_run: FinishedRun, registry, tmp_path, monkeypatch, capsys
):
    from cli.app import main

    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)

    def asked(home: Path, *words: str) -> tuple[int, str]:
        monkeypatch.setenv("CBI_HOME", str(home))
        return main(["health", *words]), capsys.readouterr().out

    code, told = asked(first_run.home, "--json", "--as-of", "2011-12-30")
    health = json.loads(told)
    checks = {check["check"]: check["state"] for check in health["checks"]}
    assert (code, health["exit_code"], checks["sources"]) == (1, 1, "warning"), told
    assert (checks["warehouse"], checks["forecast"], checks["champions"]) == ("ok", "ok", "ok")
    told = {row["source"]: row for row in health["sources"]}
    assert set(told) == set(registry.sources.sources)
    assert told["eia"]["state"].startswith("disabled: needs EIA_API_KEY; ")
    assert (told["sina"]["state"], told["sina"]["last"], told["sina"]["age_days"]) == ("ok", "2011-12-30", 0)
    assert told["gdelt"]["state"] == "nothing stored"
    code, printed = asked(first_run.home, "--as-of", "2012-02-01")
    assert code == 2 and "critical: ZL=F; stale" in printed
    code, printed = asked(tmp_path / "empty", "--json")
    told = json.loads(printed)
    assert (code, told["exit_code"], told["state"]) == (0, 0, "not yet"), "as --help says"
    assert "nothing has run yet" in {check["check"]: check["told"] for check in told["checks"]}["sources"]
    assert not (tmp_path / "empty").exists(), "looking writes nothing"


def test_a_key_in_a_task_is_in_no_log_no_artifact_and_no_state(prefect_server, tmp_path, monkeypatch):
    from prefect import flow
    from prefect.artifacts import Artifact

    from flows.health import health
    from flows.report import publish_markdown, publish_table
    from flows.runtime import as_task, note_run
    from tasks.run import open_run
    from tasks.settings import load_settings

    key = "pl4nted-k3y-0f-0urs"
    monkeypatch.setenv("EIA_API_KEY", key)
    monkeypatch.setenv("CBI_HOME", str(tmp_path))

    def fail(word: str) -> None:
        logging.getLogger("tasks.planted").warning("asked with %s", word)
        publish_table("planted-table", pd.DataFrame({"told": [word]}), word)
        publish_markdown("planted-page", f"# {word}", word)
        raise RuntimeError(f"refused {word}")

    @flow(name="planted", persist_result=False)
    def planted(as_of: str) -> None:
        note_run(open_run(load_settings(), origin="live", as_of=as_of))
        as_task(fail, "fail")(key)

    state = planted("2012-02-01", return_state=True)
    assert "refused ***" in str(state.message) and key not in str(state.message)
    table, page = Artifact.get("planted-table"), Artifact.get("planted-page")
    assert [(one.data, one.description) for one in (table, page)] == [('[{"told": "***"}]', "***"), ("# ***", "***")]
    [log] = (tmp_path / "logs").glob("planted-*.jsonl")
    assert key not in log.read_text()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [asked] = [line for line in lines if line["logger"] == "tasks.planted"]
    assert (asked["message"], asked["task"], asked["as_of"]) == ("asked with ***", "fail", "2012-02-01")
    assert any("RuntimeError: refused ***" in line.get("error", "") for line in lines), "Prefect's own lines too"
    # the same as a flow: nothing has been made here yet; once something was and is lost it fails, and says of what
    state = health("2012-02-01", return_state=True)
    assert state.is_completed() and "nothing has run yet" in str(state.message)
    (tmp_path / "raw" / "yahoo" / "ZL=F").mkdir(parents=True)
    (tmp_path / "raw" / "yahoo" / "ZL=F" / "2012.csv.sidecar.json").touch()
    state = health("2012-02-01", return_state=True)
    assert state.is_failed() and "yahoo: damaged: " in str(state.message)
    assert '"check": "warehouse"' in str(Artifact.get("health-checks").data)
