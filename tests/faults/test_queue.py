"""Two hundred ingests of one source that wait for each other, and a clock that moves between the steps of a run."""

from __future__ import annotations

import json
import time
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks import clock
from tasks.calendar import last_finished_session
from tasks.errors import CbiError
from tasks.registry import SourceSpec
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
from tests.conftest import LocalServer, Registry

pytestmark = pytest.mark.faults
QUEUED, PROCESSES = 200, 40
CONTENT = "observation_date,DFF\n2023-12-27,5.33\n2023-12-28,{}\n"


def fred(registry: Registry, server: LocalServer) -> SourceSpec:
    spec = registry.sources.source("fred")
    address = {"endpoint": f"{server.url}/graph/fredgraph.csv", "series": {"DFF": spec.series["DFF"]}}
    return spec.model_copy(update=address)


def _ingests(home: Path, spec: SourceSpec, number: int) -> None:
    """In a process of its own: its share of the queue, and how each ended."""
    ended = []
    for _ in range(QUEUED // PROCESSES):
        try:
            given: dict[str, Any] = {"as_of": date(2023, 12, 29), "progress": lambda *step: None}
            came = ingest_source(Zones(home), "fred", spec, origin="live", **given)
            stage_source(Zones(home), "fred", spec, as_of=last_finished_session(), code="tests")
            ended.append(came.status)
        except CbiError as error:
            ended.append(f"{type(error).__name__}: {error}")
    (home.parent / f"ended-{number}.json").write_text(json.dumps(ended))


@pytest.mark.more
def test_two_hundred_queued_ingests_of_one_source_end_with_its_rows_once(
    registry: Registry, server: LocalServer, tmp_path: Path, record_property: Any
) -> None:
    """Each waits for the lock of the one before; the source serves all of them the same."""
    server.script = [(200, CONTENT.format("5.33").encode())]
    home, spec = tmp_path / "home", fred(registry, server)
    spec = spec.model_copy(update={"rate_limit_per_minute": 60_000, "burst": 1000})
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.test_queue"])
    processes = [context.Process(target=_ingests, args=(home, spec, number)) for number in range(PROCESSES)]
    began = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    record_property("healed_s", time.monotonic() - began)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    ended = [one for path in tmp_path.glob("ended-*.json") for one in json.loads(path.read_text())]
    assert len(ended) == QUEUED and "ok" in ended
    assert all(one == "ok" or one.startswith("ZoneBusy: ") for one in ended), set(ended)
    assert len(landed(Zones(home), "fred")) == 1, "the same answer is one payload"
    staged = stage_source(Zones(home), "fred", spec, as_of=last_finished_session(), code="tests")
    assert not staged.changed and staged.observations["value"].tolist() == [5.33, 5.33]
    assert not list(home.rglob(".tmp-*"))


@pytest.mark.parametrize("moved", ["1D", "-1h"])
def test_a_clock_moved_between_the_steps_of_a_run_loses_nothing_and_shows_nothing_of_the_future(
    moved: str, registry: Registry, server: LocalServer, zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved after the ingest, before staging; then a revision is fetched; then the clock is right again."""
    spec, right = fred(registry, server), pd.Timestamp("2024-01-02T18:30-06:00")
    began = pd.Timestamp.now(tz="UTC")

    def at(instant: pd.Timestamp) -> None:
        monkeypatch.setenv(clock.NAME, (instant + (pd.Timestamp.now(tz="UTC") - began)).isoformat())

    def ingest(value: str) -> str:
        server.script = [(200, CONTENT.format(value).encode())]
        given: dict[str, Any] = {"as_of": date(2024, 1, 2), "progress": lambda *step: None}
        return ingest_source(zones, "fred", spec, origin="live", **given).status

    def known(session: str) -> dict[str, float]:
        staged = stage_source(zones, "fred", spec, as_of=pd.Timestamp(session), code="tests").observations
        assert (staged["available_at"] <= pd.Timestamp(f"{session} 18:00", tz="America/Chicago")).all()
        newest = staged.sort_values("available_at").groupby("observation_date")["value"].last()
        return {f"{day:%Y-%m-%d}": value for day, value in newest.items()}

    at(right)
    assert ingest("5.33") == "ok"
    at(right + pd.Timedelta(moved))
    first = known("2024-01-03")
    assert first["2023-12-28"] == 5.33
    assert ingest("5.40") == "ok"
    assert len(landed(zones, "fred")) == 2, "what was fetched at an instant before the last one stands beside it"
    at(right + pd.Timedelta(days=2))
    assert ingest("5.40") == "ok"
    assert known("2024-01-05")["2023-12-28"] == 5.40, "the revision, known from its next fetch on at the latest"
