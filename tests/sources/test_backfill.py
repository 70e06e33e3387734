"""A backfill in chunks: every day is asked for once, and one that was killed goes on where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import SourceUnavailable
from tasks.http import Limits
from tasks.registry import SourceSpec
from tasks.settings import PROJECT
from tasks.sources.ingest import backfill_source, chunks
from tasks.sources.payloads import Window
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
WHOLE = Window(date(2019, 1, 1), date(2022, 12, 31))


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 4000), st.integers(1, 800))
def test_chunks_hold_every_day_once_in_order(start, length, days):
    whole = Window(start, start + timedelta(days=length))
    pieces = chunks(whole, days)
    held = [piece.start + timedelta(days=n) for piece in pieces for n in range((piece.end - piece.start).days + 1)]
    assert held == [start + timedelta(days=n) for n in range(length + 1)]
    assert all((piece.end - piece.start).days < days for piece in pieces)


@pytest.fixture
def fred(registry, server) -> SourceSpec:
    """Two FRED series, served locally: a value a business day, exact for the dates asked."""

    def answer(request):
        days = pd.bdate_range(request.query["cosd"], request.query["coed"])
        rows = [f"{day:%Y-%m-%d},{day.dayofyear / 100:.2f}" for day in days]
        return 200, "\n".join([f"observation_date,{request.query['id']}", *rows, ""]).encode()

    server.by_request = answer
    spec = registry.sources.source("fred")
    series = {name: spec.series[name] for name in ("DFF", "DGS10")}
    local = {"endpoint": f"{server.url}/graph/fredgraph.csv", "series": series, "rate_limit_per_minute": 60_000}
    return spec.model_copy(update=local)


def run(zones: Zones, spec: SourceSpec, **given):
    given = {"window": WHOLE, "chunk_days": 100, "progress": lambda *step: None, "limits": QUICK} | given
    return backfill_source(zones, "fred", spec, **given)


def staged(zones: Zones, spec: SourceSpec) -> pd.DataFrame:
    held = stage_source(zones, "fred", spec, as_of=pd.Timestamp("2023-12-29"), code="t").observations
    return held.drop(columns="fetched_at")  # when it came is all that may differ


def test_every_chunk_is_asked_for_once_and_a_second_backfill_asks_nothing(fred, server, zones):
    steps = []
    daily_only = replace(QUICK, run_s=0)  # the time that a daily run gives a source does not end a backfill
    done = run(zones, fred, progress=lambda *step: steps.append(step), limits=daily_only)
    assert (done.chunks, done.done_before, done.failures) == (30, 0, {})
    assert [step[:2] for step in steps] == [(n, 30) for n in range(1, 31)]
    asked = {(r.query["id"], r.query["cosd"]) for r in server.requests}
    assert len(asked) == len(server.requests) == 30
    again = run(zones, fred)
    assert (again.done_before, len(server.requests)) == (30, 30)
    assert len(staged(zones, fred)) == 2 * len(pd.bdate_range(WHOLE.start, WHOLE.end))


def test_a_chunk_that_failed_is_asked_for_again_and_the_others_are_not(fred, server, zones):
    good = server.by_request
    server.by_request = lambda r: (503, b"busy") if r.query["cosd"] == "2020-02-05" else good(r)
    first = run(zones, fred)
    assert list(first.failures) == ["DFF 2020-02-05 to 2020-05-14", "DGS10 2020-02-05 to 2020-05-14"]
    server.by_request = good
    server.requests.clear()
    assert run(zones, fred).failures == {}
    assert {r.query["cosd"] for r in server.requests} == {"2020-02-05"}


def test_a_source_that_is_down_is_left_alone_after_two_chunks(fred, server, zones):
    server.by_request = lambda request: (503, b"busy")
    done = run(zones, fred)
    assert len(done.failures) == 30
    assert len(server.requests) == 2 * QUICK.attempts


def test_a_source_without_its_key_says_so(registry, zones, monkeypatch):
    monkeypatch.delenv("EIA_API_KEY", raising=False)
    with pytest.raises(SourceUnavailable, match="eia is disabled: needs EIA_API_KEY"):
        backfill_source(
            zones, "eia", registry.sources.source("eia"), window=WHOLE, chunk_days=400, progress=lambda *step: None
        )


SCRIPT = """
import sys
from pathlib import Path
from tasks.registry import load_sources
from tests.sources.test_backfill import run
from tasks.storage.zones import Zones
spec = load_sources(Path("registry")).source("fred")
series = {name: spec.series[name] for name in ("DFF", "DGS10")}
local = {"endpoint": sys.argv[2] + "/graph/fredgraph.csv", "series": series, "rate_limit_per_minute": 60_000}
spec = spec.model_copy(update=local)
run(Zones(Path(sys.argv[1])), spec)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, pytest.param(17, marks=pytest.mark.more)])
def test_a_killed_backfill_goes_on_and_ends_as_one_undisturbed(fred, server, zones, tmp_path, after):
    reached, good = threading.Event(), server.by_request

    def answer(request):
        if len(server.requests) == after:
            reached.set()
            server.ending.wait(60)  # the kill comes while this answer is awaited
        return good(request)

    server.by_request = answer
    script = Path(tmp_path / "script.py")
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, script, zones.home, server.url], cwd=PROJECT, env=environment)
    assert reached.wait(240)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    finished = len(list(zones.raw.rglob("backfilled-*.json")))
    assert 0 < finished < 30
    server.by_request = good
    done = run(zones, fred)
    assert (done.done_before, done.failures) == (finished, {})
    undisturbed = Zones(tmp_path / "undisturbed")
    run(undisturbed, fred)
    pd.testing.assert_frame_equal(staged(zones, fred), staged(undisturbed, fred))
    assert not [path for path in zones.home.rglob(".tmp-*")]
