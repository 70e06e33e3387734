"""The smaller flows: one source, a backfill over real HTTP, the state of every source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import OriginError
from tasks.settings import PROJECT
from tasks.sources.payloads import landed
from tasks.zones import Zones
from tests.conftest import FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("homes")]


def test_one_source_and_one_series_of_it(prefect_server, archive, tmp_path, monkeypatch):
    from flows.ingest import ingest_flow

    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    came, staged = ingest_flow("fred")(str(archive), "2023-12-29", ["DFF"])
    assert (came.status, set(staged.observations["series"])) == ("ok", {"DFF"})
    assert {payload.series for payload in landed(Zones(tmp_path), "fred")} == {"DFF"}
    with pytest.raises(
        OriginError, match="--start None --end 2023-01-01: give dates as YYYY-MM-DD, the start at least"
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


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    hidden = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=PROJECT,
        env={**hidden, "CBI_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_health_tells_every_source_and_fails_only_for_what_is_critical(first_run: FinishedRun, registry, tmp_path):
    ended = run(first_run.home, "flows.health", "--json", "--as-of", "2011-12-30")
    assert ended.returncode == 0, ended.stderr
    told = {row["source"]: row for row in json.loads(ended.stdout)}
    assert set(told) == set(registry.sources.sources)
    assert told["eia"]["state"].startswith("disabled: needs EIA_API_KEY; ")
    assert (told["sina"]["state"], told["sina"]["last"]) == ("ok", "2011-12-30")
    assert told["gdelt"]["state"] == "nothing held"
    later = run(first_run.home, "flows.health", "--as-of", "2012-02-01")
    assert later.returncode == 1 and "critical: ZL=F; stale" in later.stdout
    empty = run(tmp_path / "empty", "flows.health", "--json")
    assert empty.returncode == 1
    assert "critical: ZL=F; nothing held" in json.loads(empty.stdout)[0]["state"]
    assert not (tmp_path / "empty").exists(), "looking writes nothing"
