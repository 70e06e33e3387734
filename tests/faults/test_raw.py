"""A payload or its sidecar lost or damaged in raw/, of which there is no copy: the source is asked for it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.calendar import last_finished_session
from tasks.http import Limits
from tasks.sources.ingest import Ingested, ingest_source
from tasks.sources.payloads import landed
from tasks.staging.arrivals import judged
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
from tests.conftest import LocalServer, Registry
from tests.faults.every_file import DAMAGES

pytestmark = pytest.mark.faults
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
DAYS = pd.date_range("2023-10-02", "2023-12-29")
RATES = {f"{day:%Y-%m-%d}": f"{5 + number / 100:.2f}" for number, day in enumerate(DAYS)}
Run = Callable[[str], tuple[Ingested, pd.Series]]


@pytest.fixture
def run(registry: Registry, server: LocalServer, zones: Zones) -> Run:
    """The ingest of a day: FRED on loopback, asked again for its last week only."""
    spec = registry.sources.source("fred")
    spec = spec.model_copy(
        update={
            "endpoint": f"{server.url}/graph/fredgraph.csv",
            "series": {"DFF": spec.series["DFF"]},
            "refetch_days": 7,
        }
    )

    def day(today: str) -> tuple[Ingested, pd.Series]:
        def answer(request: Any) -> tuple[int, bytes]:
            asked = [day for day in RATES if request.query["cosd"] <= day <= min(request.query["coed"], today)]
            return 200, "\n".join(["observation_date,DFF", *(f"{day},{RATES[day]}" for day in asked), ""]).encode()

        server.by_request = answer
        given: dict[str, Any] = {"as_of": date.fromisoformat(today), "progress": lambda *step: None, "limits": QUICK}
        came = ingest_source(zones, "fred", spec, origin="live", **given)
        # what is fetched here is fetched now, by the clock: staged as of the last session there is
        staged = stage_source(zones, "fred", spec, as_of=last_finished_session() + pd.Timedelta(days=7), code="tests")
        known = staged.observations.set_index("observation_date")["value"].sort_index().groupby(level=0).last()
        return judged(came, staged.quarantine, spec, lost=staged.lost), known

    return day


def of(known: pd.Series) -> dict[str, float]:
    return {f"{day:%Y-%m-%d}": value for day, value in known.items()}


def wanted(today: str) -> dict[str, float]:
    return {day: float(rate) for day, rate in RATES.items() if day <= today}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_payload_lost_from_raw_is_asked_for_again(how: str, run: Run, zones: Zones, record_property: Any) -> None:
    run("2023-11-20")
    run("2023-12-01")
    first, _ = landed(zones, "fred")
    DAMAGES[how](first.path)
    if how == "zeroed":  # as long as it was: only who reads it sees it, says it, and what it told is missing meanwhile
        came, known = run("2023-12-04")
        assert came.status == "partial" and f"{first.path}: sha256" in came.message, came
        assert "or delete it: `cbi ingest fred` fetches it again" in came.message
        assert run("2023-12-04")[0].status == "partial", "it is told until it is mended"
        assert len(known) < len(wanted("2023-12-04"))
        first.path.unlink()
    began = time.monotonic()
    came, known = run("2023-12-05")
    record_property("healed_s", time.monotonic() - began)
    assert came.status == "ok", came
    assert of(known) == wanted("2023-12-05")
    asked = [payload.asked_from for payload in landed(zones, "fred")]
    came, known = run("2023-12-07")
    assert came.status == "ok" and of(known) == wanted("2023-12-07")
    assert landed(zones, "fred")[-1].asked_from > min(day for day in asked if day), "once is enough"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_payload_that_is_served_again_as_it_was_takes_the_lost_ones_place(how: str, run: Run, zones: Zones) -> None:
    _, before = run("2023-11-20")
    (only,) = landed(zones, "fred")
    content = only.path.read_bytes()
    DAMAGES[how](only.path)
    if how == "zeroed":
        only.path.unlink()
    came, known = run("2023-11-20")
    assert came.status == "ok" and of(known) == of(before)
    assert landed(zones, "fred") == [only] and only.path.read_bytes() == content


@pytest.mark.parametrize("how", DAMAGES)
def test_a_sidecar_lost_from_raw_is_told_by_name_and_nothing_is_missing(
    how: str, run: Run, zones: Zones, record_property: Any
) -> None:
    run("2023-11-20")
    run("2023-12-01")
    first, _ = landed(zones, "fred")
    sidecar = Path(f"{first.path}.sidecar.json")
    DAMAGES[how](sidecar)
    began = time.monotonic()
    came, known = run("2023-12-05")
    record_property("healed_s", time.monotonic() - began)
    assert of(known) == wanted("2023-12-05")
    if how in ("truncated", "emptied"):
        assert came.status == "partial" and f"{sidecar} is not a sidecar; delete it and run" in came.message
        sidecar.unlink()
    came, known = run("2023-12-07")
    assert came.status == "ok" and of(known) == wanted("2023-12-07")
