"""Ingest: one source's series from the live endpoint or the archive; what is held stays, whatever happens now."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import OriginError, RegistryError, SourceDown, SourceUnavailable
from tasks.http import Limits
from tasks.registry import SourceSpec
from tasks.sources.ingest import Ingested, ingest_source, require_critical
from tasks.sources.payloads import Fetched, Window, land, landed
from tasks.staging.stage import stage_source

SECRET = "s3cr3t-key-1234"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
AS_OF = date(2023, 12, 29)


def csv(series: str, *rows: str) -> bytes:
    return "\n".join([f"observation_date,{series}", *rows, ""]).encode()


@pytest.fixture
def fred(registry, server) -> SourceSpec:
    """Three FRED series, served locally."""
    spec = registry.sources.source("fred")
    series = {name: spec.series[name] for name in ("DFF", "DGS10", "TEDRATE")}
    return spec.model_copy(update={"endpoint": f"{server.url}/graph/fredgraph.csv", "series": series})


@pytest.fixture
def ingest(zones):
    def run(spec: SourceSpec, **given):
        defaults = {"origin": "live", "as_of": AS_OF, "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "fred", spec, **(defaults | given))

    return run


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def answers(**bodies: bytes | tuple):
    def choose(request):
        body = bodies.get(request.query["id"], (404, b"no"))
        return body if isinstance(body, tuple) else (200, body)

    return choose


ALL = {name: csv(name, "2023-12-27,1.5", "2023-12-28,1.6") for name in ("DFF", "DGS10", "TEDRATE")}


def test_every_series_lands_once_with_a_sidecar_that_describes_it(fred, ingest, server, zones):
    server.by_request = answers(**ALL)
    steps = []
    done = ingest(fred, progress=lambda *step: steps.append(step))
    assert (done.status, done.payloads, done.new_payloads, done.failures) == ("ok", 3, 3, {})
    assert steps == [(1, 3, "DFF"), (2, 3, "DGS10"), (3, 3, "TEDRATE")]
    (payload,) = landed(zones, "fred", "DFF")
    assert payload.path.read_bytes() == ALL["DFF"]
    sidecar = json.loads(next(payload.path.parent.glob("*.sidecar.json")).read_text())
    assert (sidecar["bytes"], sidecar["sha256"]) == (len(ALL["DFF"]), payload.sha256)
    assert abs(pd.Timestamp.now(tz="UTC") - payload.fetched_at) < pd.Timedelta(minutes=1)
    assert {r.query["cosd"] for r in server.requests} == {"1990-01-01"}, "nothing held: all of it is asked for"


def test_the_same_bytes_again_land_nothing_and_touch_nothing(fred, ingest, server, zones):
    server.by_request = answers(**ALL)
    ingest(fred)
    before = tree(zones.raw)
    again = ingest(fred)
    assert (again.status, again.payloads, again.new_payloads) == ("ok", 3, 0)
    assert tree(zones.raw) == before


def test_one_series_failing_is_partial_and_the_others_land(fred, ingest, server, zones):
    server.by_request = answers(**ALL | {"DGS10": (503, b"busy")})
    done = ingest(fred)
    assert (done.status, done.payloads, list(done.failures)) == ("partial", 2, ["DGS10"])
    assert "503" in done.message and "DGS10" in done.message


def test_all_failing_is_failed_and_what_is_held_stays_byte_for_byte(fred, ingest, server, zones):
    server.by_request = answers(**ALL)
    ingest(fred)
    before = tree(zones.raw)
    server.by_request = lambda request: (200, b"<html>maintenance</html>")
    done = ingest(fred)
    assert (done.status, done.payloads, done.new_payloads) == ("failed", 3, 0)
    assert set(done.failures) == {"DFF", "DGS10", "TEDRATE"}
    assert tree(zones.raw) == before


def test_a_source_that_is_down_is_not_asked_for_every_series(registry, ingest, server):
    spec = registry.sources.source("fred").model_copy(update={"endpoint": server.url})
    server.script = [(503, b"busy")]
    done = ingest(spec)
    assert done.status == "failed" and len(done.failures) == len(spec.series)
    assert len(server.requests) <= 3 * QUICK.attempts


def test_slow_answers_one_after_the_other_end_with_the_runs_time_and_the_next_run_goes_on(fred, ingest, server, zones):
    def slowly(request):
        time.sleep(0.3)
        return 200, ALL[request.query["id"]]

    server.by_request = slowly
    done = ingest(fred, limits=replace(QUICK, run_s=0.2))
    assert (done.status, done.payloads, list(done.failures)) == ("partial", 1, ["DGS10", "TEDRATE"])
    assert "not requested" in done.message and "the next run goes on" in done.message
    assert len(server.requests) == 1
    assert ingest(fred).payloads == 3


def test_a_renamed_column_goes_to_quarantine_and_the_good_data_stays(fred, ingest, server, zones):
    server.by_request = answers(**ALL)
    ingest(fred)
    held = stage_source(zones, "fred", fred, as_of=pd.Timestamp(AS_OF), code="t").observations
    drifted = ALL["DFF"].replace(b",DFF", b",EFFR").replace(b"1.6", b"1.7")
    server.by_request = answers(**ALL | {"DFF": drifted})
    assert ingest(fred).status == "ok"
    staged = stage_source(zones, "fred", fred, as_of=pd.Timestamp(AS_OF), code="t")
    assert staged.changed
    pd.testing.assert_frame_equal(staged.observations, held)
    (entry,) = staged.quarantine.to_dict("records")
    assert (entry["rule"], entry["series"], entry["source"]) == ("payload", "DFF", "fred")
    assert "EFFR" in entry["reason"] and "expected observation_date and DFF" in entry["reason"]


def asked_from(server) -> dict[str, str]:
    return {request.query["id"]: request.query["cosd"] for request in server.requests}


def test_the_next_run_asks_back_from_the_newest_value_held_and_leaves_no_gap(fred, ingest, server, zones):
    """Not from the day of the fetch: a run as of 2023 that is followed by one of today must ask for all between."""
    server.by_request = answers(**ALL)
    ingest(fred)
    newest = {}
    for payload in landed(zones, "fred"):
        newest[payload.series] = payload.path.read_text().split()[-1].split(",")[0]
    server.requests.clear()
    ingest(fred, as_of=pd.Timestamp.now(tz="UTC").date())
    expected = {name: f"{pd.Timestamp(day) - pd.Timedelta(days=400):%Y-%m-%d}" for name, day in newest.items()}
    assert asked_from(server) == {name: max(day, "1990-01-01") for name, day in expected.items()}


def test_after_a_replay_of_the_archive_the_live_window_leaves_no_gap(fred, ingest, server, archive):
    """A recorded payload may end long before the day it was fetched: DFF of 2026-01-29 ends on 2023-12-31."""
    assert ingest(fred, origin=archive).status == "ok"
    server.by_request = answers(**ALL)
    ingest(fred, as_of=date(2026, 6, 1))
    assert asked_from(server)["DFF"] == f"{pd.Timestamp('2023-12-31') - pd.Timedelta(days=400):%Y-%m-%d}"


def test_a_payload_that_cannot_be_read_is_no_reason_to_ask_for_less(fred, ingest, server):
    server.by_request = answers(**{name: body.replace(b"," + name.encode(), b",RENAMED") for name, body in ALL.items()})
    ingest(fred)
    server.requests.clear()
    server.by_request = answers(**ALL)
    ingest(fred, as_of=pd.Timestamp.now(tz="UTC").date())
    assert set(asked_from(server).values()) == {"1990-01-01"}


def test_another_folder_with_the_same_file_names_replaces_nothing(fred, ingest, archive, zones, tmp_path):
    ingest(fred, origin=archive)
    held = landed(zones, "fred", "DFF")
    damaged = tmp_path / "fred" / "DFF" / held[-1].path.name
    damaged.parent.mkdir(parents=True)
    damaged.write_text("observation_date,DFF\n2020-01-02,1.55\n")
    before = stage_source(zones, "fred", fred, as_of=pd.Timestamp(AS_OF), code="t").observations
    ingest(fred, origin=tmp_path)
    assert {p.sha256 for p in held} < {p.sha256 for p in landed(zones, "fred", "DFF")}
    after = stage_source(zones, "fred", fred, as_of=pd.Timestamp(AS_OF), code="t")
    pd.testing.assert_frame_equal(after.observations, before)
    assert not (after.quarantine["rule"] == "duplicate").any()


def test_a_landed_file_that_was_altered_is_refused_with_its_hash(fred, ingest, server, zones):
    server.by_request = answers(**ALL)
    ingest(fred)
    payload = landed(zones, "fred", "DFF")[0]
    payload.path.write_bytes(payload.path.read_bytes().replace(b"1.6", b"9.6"))
    staged = stage_source(zones, "fred", fred, as_of=pd.Timestamp(AS_OF), code="t")
    assert "DFF" not in set(staged.observations["series"])
    (entry,) = staged.quarantine.to_dict("records")
    assert entry["rule"] == "payload" and "the file was altered" in entry["reason"]


def test_a_critical_series_that_does_not_come_stops_the_run(registry):
    came = [
        Ingested("fred", "failed", 9, 0, {"DFF": "HTTP 500"}),
        Ingested("yahoo", "partial", 5, 0, {"ZC=F": "no rows"}),
    ]
    require_critical(registry.sources, came)
    for failures, status, kind in (
        ({"ZL=F": "no rows"}, "partial", SourceUnavailable),
        ({"ZL=F": "no answer", "ZS=F": "not asked"}, "failed", SourceDown),
    ):
        with pytest.raises(SourceUnavailable, match=r"ZL=F did not arrive, and it is critical: no ") as stopped:
            require_critical(registry.sources, [*came, Ingested("yahoo", status, 5, 0, failures)])
        assert type(stopped.value) is kind


def test_two_fetches_of_one_second_are_two_payloads_and_neither_is_lost(zones, fred):
    moment = pd.Timestamp("2024-01-02 15:00:00.1", tz="UTC")
    for number, content in enumerate([b"one", b"two", b"two", b"one"]):
        fetched = Fetched(series="DFF", extension="csv", content=content, url="https://x.test")
        land(zones, "fred", fetched, fred, fetched_at=moment + pd.Timedelta(milliseconds=number))
    assert [payload.path.read_bytes() for payload in landed(zones, "fred", "DFF")] == [b"one", b"two", b"one"]


def test_no_secret_is_in_a_sidecar_or_anything_else_under_raw(zones, fred):
    url = f"https://x.test/{SECRET}/v2?api_key={SECRET}&id=DFF&token=other-secret"
    fetched = Fetched(series="DFF", extension="csv", content=b"x", url=url)
    payload = land(zones, "fred", fetched, fred, fetched_at=pd.Timestamp.now(tz="UTC"), secrets=(SECRET,))
    assert "id=DFF" in payload.url
    for name, content in tree(zones.raw).items():
        assert SECRET.encode() not in content and b"other-secret" not in content and SECRET not in name


def test_a_run_logs_its_failures_without_the_urls_parameters(fred, ingest, server, caplog):
    caplog.set_level(logging.INFO)
    server.script = [(503, b"busy")]
    ingest(fred)
    assert "HTTP 503" in caplog.text and "cosd=" not in caplog.text


def test_a_replay_reads_in_place_and_says_what_the_archive_has_not(fred, ingest, archive, zones):
    spec = fred.model_copy(update={"series": {**fred.series, "NOPE": fred.series["DFF"]}})
    done = ingest(spec, origin=archive)
    assert (done.status, done.failures, done.not_recorded) == ("ok", {}, ("NOPE",))
    again = ingest(spec, origin=archive)
    assert (again.payloads, again.new_payloads) == (done.payloads, 0)
    assert not [path for path in zones.raw.rglob("*") if path.is_file() and path.suffix != ".json"], "nothing copied"


def test_an_altered_recorded_file_and_a_missing_folder_are_refused_by_name(fred, ingest, archive, tmp_path):
    copy = tmp_path / "archive"
    for series in fred.series:
        for path in (archive / "fred" / series).iterdir():
            target = copy / "fred" / series / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copy / "MANIFEST.csv").write_bytes((archive / "MANIFEST.csv").read_bytes())
    assert ingest(fred, origin=copy).status == "ok"
    target.write_bytes(target.read_bytes() + b"\n")
    altered = ingest(fred, origin=copy)
    assert (altered.status, list(altered.failures)) == ("partial", [target.parent.name])
    assert re.search(rf"{target.name}: sha256 .* is not the .* of MANIFEST\.csv", altered.message)
    with pytest.raises(OriginError, match="nowhere is not a folder; use `--origin recorded`"):
        ingest(fred, origin=tmp_path / "nowhere")


def test_a_folder_that_lost_what_is_held_of_it_is_a_failure_and_one_that_never_had_it_is_not(
    fred, ingest, archive, tmp_path
):
    (tmp_path / "empty").mkdir()
    nothing = ingest(fred, origin=tmp_path / "empty")
    assert (nothing.status, nothing.failures, set(nothing.not_recorded)) == ("not recorded", {}, set(fred.series))
    ingest(fred, origin=archive)
    lost = ingest(fred, origin=tmp_path / "empty")
    assert (lost.status, set(lost.failures), lost.not_recorded) == ("failed", set(fred.series), ())


def test_only_the_series_and_dates_asked_for_are_fetched(fred, ingest, server):
    server.by_request = answers(**ALL)
    done = ingest(fred, series=["DGS10"], window=Window(date(2020, 1, 1), date(2020, 6, 30)))
    assert done.status == "ok"
    assert [(r.query["id"], r.query["cosd"], r.query["coed"]) for r in server.requests] == [
        ("DGS10", "2020-01-01", "2020-06-30")
    ]
    with pytest.raises(RegistryError, match=r"fred: no series DGS11; known: DFF, DGS10, TEDRATE"):
        ingest(fred, series=["DGS11"])


def test_dates_cannot_be_asked_of_a_folder(fred, ingest, archive):
    with pytest.raises(OriginError, match="land whole"):
        ingest(fred, origin=archive, window=Window(date(2020, 1, 1), date(2020, 6, 30)))


def test_the_next_run_asks_for_the_missing_days_and_the_refetch_window_only(fred, ingest, server):
    server.by_request = answers(**ALL)
    ingest(fred.model_copy(update={"refetch_days": 40}))
    server.requests.clear()
    ingest(fred.model_copy(update={"refetch_days": 40}))
    assert {r.query["cosd"] for r in server.requests} == {"2023-11-18"}, "40 days before 2023-12-28, the newest value"
