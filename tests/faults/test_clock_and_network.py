"""The clock jumps, and the network is gone for a month."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.calendar import CHICAGO, as_of_instant, last_finished_session, sessions
from tasks.http import Limits
from tasks.sources.ingest import Ingested, ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
from tests.conftest import LocalServer, Registry

pytestmark = pytest.mark.faults
SLOW_S = 65.0  # a whole answer takes so long, and comes within the limits
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)


def jumps() -> list[pd.Timestamp]:
    """Every change of the clock in Chicago and every New Year there, 2001 to 2025, as instants."""
    hours = pd.date_range("2001-01-01", "2025-12-31", freq="h", tz="UTC")
    offsets = pd.Series(hours.tz_convert(CHICAGO).tz_localize(None) - hours.tz_localize(None))
    changes = hours[(offsets != offsets.shift()).to_numpy()][1:]
    years = pd.DatetimeIndex([pd.Timestamp(f"{year}-01-01", tz=CHICAGO) for year in range(2002, 2026)])
    return [*changes, *years.tz_convert("UTC")]


@settings(deadline=None)  # the first asks for the whole calendar
@given(st.sampled_from(jumps()), st.integers(-72 * 60, 72 * 60), st.integers(0, 24 * 60))
def test_a_clock_that_jumps_never_makes_a_session_of_the_future(at: pd.Timestamp, minutes: int, later: int) -> None:
    now = at + pd.Timedelta(minutes=minutes)
    found = last_finished_session(now)
    assert as_of_instant(found) <= now < as_of_instant(sessions(found)[1])
    assert last_finished_session(now + pd.Timedelta(minutes=later)) >= found


def test_thirty_days_offline_are_caught_up_by_the_next_run(
    registry: Registry, server: LocalServer, zones: Zones, record_property: Any
) -> None:
    spec = registry.sources.source("fred")
    spec = spec.model_copy(
        update={"endpoint": f"{server.url}/graph/fredgraph.csv", "series": {"DFF": spec.series["DFF"]}}
    )
    days = pd.date_range("2023-10-02", "2023-12-29")
    rates = {f"{day:%Y-%m-%d}": f"{5 + number / 100:.2f}" for number, day in enumerate(days)}
    today, offline = "2023-11-20", False

    def answer(request: Any) -> tuple[int, bytes]:
        if offline:
            return 503, b"gone"
        asked = [day for day in rates if request.query["cosd"] <= day <= min(request.query["coed"], today)]
        return 200, "\n".join(["observation_date,DFF", *(f"{day},{rates[day]}" for day in asked), ""]).encode()

    def run() -> str:
        came = ingest_source(
            zones,
            "fred",
            spec,
            origin="live",
            as_of=date.fromisoformat(today),
            progress=lambda *step: None,
            limits=QUICK,
        )
        return came.status

    def held() -> pd.Series:
        # what is fetched here is fetched now, by the clock: staged as of the last session there is
        staged = stage_source(zones, "fred", spec, as_of=last_finished_session() + pd.Timedelta(days=7), code="tests")
        return staged.observations.set_index("observation_date")["value"].sort_index()

    server.by_request = answer
    assert run() == "ok"
    before, offline = held(), True
    for day in pd.date_range("2023-11-21", periods=30):
        today = f"{day:%Y-%m-%d}"
        if day.dayofweek == 0:  # once a week is enough to show that nothing is lost meanwhile
            assert run() == "failed"
            pd.testing.assert_series_equal(held(), before)
    today, offline = "2023-12-21", False
    started = time.monotonic()
    assert run() == "ok"
    record_property("healed_s", time.monotonic() - started)
    expected = {day: float(rate) for day, rate in rates.items() if day <= today}
    caught_up = held().groupby(level=0).last()
    assert {f"{day:%Y-%m-%d}": value for day, value in caught_up.items()} == expected
    assert len(landed(zones, "fred")) == 2


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_slow_drip_of_a_minute_is_read_whole_and_an_endless_one_ends_at_the_limit(
    registry: Registry, server: LocalServer, tmp_path: Path, record_property: Any
) -> None:
    """With the limits of a real run, two at once: one server takes a minute, the other never comes to an end."""
    spec = registry.sources.source("fred")
    days = pd.date_range("2022-01-03", "2023-12-29", freq="B")
    body = "\n".join(["observation_date,DFF", *(f"{day:%Y-%m-%d},5.33" for day in days), ""]).encode()
    quick = False

    def answer(request: Any) -> Any:
        def drip(handler: Any) -> None:
            pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
            endless = "endless" in request.path
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body) * (1000 if endless else 1)))
            handler.end_headers()
            with suppress(ConnectionError):
                for piece in pieces * (1000 if endless else 1):
                    handler.wfile.write(piece)
                    handler.wfile.flush()
                    if handler.ending.wait(SLOW_S / len(pieces)):
                        return

        return (200, body) if quick else drip

    def ask(which: str) -> tuple[Ingested, float]:
        endpoint = {"endpoint": f"{server.url}/{which}/fredgraph.csv", "series": {"DFF": spec.series["DFF"]}}
        given: dict[str, Any] = {"origin": "live", "as_of": date(2023, 12, 29), "progress": lambda *step: None}
        began = time.monotonic()
        came = ingest_source(Zones(tmp_path / which), "fred", spec.model_copy(update=endpoint), **given)
        return came, time.monotonic() - began

    server.by_request = answer
    with ThreadPoolExecutor(2) as pool:
        (whole, whole_s), (cut, cut_s) = pool.map(ask, ("minute", "endless"))
    assert whole.status == "ok" and whole_s > SLOW_S * 0.9
    (payload,) = landed(Zones(tmp_path / "minute"), "fred")
    assert payload.path.read_bytes() == body
    assert cut.status == "failed" and "within the 180 s that one request has" in cut.message, cut
    assert Limits().total_s < cut_s < Limits().total_s + Limits().read_s, "asked once, and no longer than a late read"
    assert len([one for one in server.requests if "endless" in one.path]) == 1
    assert landed(Zones(tmp_path / "endless"), "fred") == [], "a part is never taken for the whole"
    quick = True
    came, healed_s = ask("endless")
    assert came.status == "ok"
    record_property("healed_s", healed_s)
