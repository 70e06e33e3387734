"""FRED with a key: every vintage of a revised series, known on its date; keyless CSV beside it never earlier."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SourceUnavailable
from tasks.http import Limits
from tasks.sources import fred
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Payload, Window, landed
from tasks.staging.stage import known_by, stage_payloads
from tasks.staging.summary import summarise_series
from tasks.storage.hashes import sha256_of
from tests.conftest import DAMAGES

SECRET = "0123456789abcdefs3cr3t-fred-key0"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
JOBS, RATE = "PAYEMS", "DFF"
LATER = pd.Timestamp("2030-01-01", tz="UTC")


def row(known: str, observed: str, value: str) -> dict[str, str]:
    return {"realtime_start": known, "realtime_end": "9999-12-31", "date": observed, "value": value}


FIRST = row("2023-02-03", "2023-01-01", "155073")
REVISED = row("2023-03-10", "2023-01-01", "155060")
SECOND = row("2023-03-10", "2023-02-01", "155350")


def alfred(dates: list[str], rows: list[dict[str, str]]):
    """The two endpoints, cut and paged as FRED does: periods by realtime, pages by limit and offset."""

    def answer(request):
        asked = request.query
        if "id" in asked:
            return 200, f"observation_date,{asked['id']}\n2023-01-03,4.33\n".encode()
        start, end = asked["realtime_start"], asked["realtime_end"]
        if request.path.endswith("vintagedates"):
            what, found = "vintage_dates", [day for day in dates if start <= day <= end]
        else:
            what, found = "observations", [one for one in rows if start <= one["realtime_start"] <= end]
        page = found[int(asked["offset"]) :][: int(asked["limit"])]
        return 200, json.dumps({"count": len(found), what: page}).encode()

    return answer


@pytest.fixture
def spec(registry, server):
    spec = registry.sources.source("fred")
    asked = {"endpoint": f"{server.url}/graph/fredgraph.csv", "keyed_endpoint": f"{server.url}/fred"}
    return spec.model_copy(update=asked | {"series": {name: spec.series[name] for name in (JOBS, RATE)}})


@pytest.fixture
def ingest(spec, zones):
    def run(**given):
        asked = {"origin": "live", "as_of": date(2023, 12, 29), "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "fred", spec, **(asked | given))

    return run


@pytest.fixture
def keyed(monkeypatch):
    monkeypatch.setenv("FRED_API_KEY", SECRET)


@pytest.fixture
def payload(tmp_path):
    """A payload of the jobs series: vintages from rows, a CSV from lines."""

    def make(fetched_at: str, *content: object, day_only: bool = False) -> Payload:
        vintages = isinstance(content[0], dict)
        moment = pd.Timestamp(fetched_at, tz="UTC")
        path = tmp_path / f"{moment:%Y-%m-%dT%H%M%S}.{'json' if vintages else 'csv'}"
        lines = "\n".join([f"observation_date,{JOBS}", *map(str, content), ""])
        path.write_text(json.dumps({"observations": content}) if vintages else lines)
        return Payload("fred", JOBS, path, sha256_of(path), path.stat().st_size, "", moment, day_only)

    return make


@pytest.fixture
def stage(spec):
    def run(*payloads: Payload, through: pd.Timestamp = LATER) -> list[tuple[str, float, int, str]]:
        observations, refused = stage_payloads("fred", spec, payloads, through=through)
        assert refused.empty
        known = observations["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
        days = observations["observation_date"].dt.strftime("%Y-%m")
        return list(zip(days, observations["value"], observations["vintage"], known, strict=True))

    return run


EXACT = [
    ("2023-01", 155073, 1, "2023-02-03 08:30"),
    ("2023-01", 155060, 2, "2023-03-10 08:30"),
    ("2023-02", 155350, 1, "2023-03-10 08:30"),
]


def test_with_a_key_a_revised_series_is_asked_for_every_vintage_and_others_stay_as_they_are(
    ingest, server, zones, keyed
):
    server.by_request = alfred(["2023-02-03", "2023-03-10"], [FIRST, REVISED, SECOND])
    assert ingest().status == "ok"
    dates, observed, rate = server.requests
    shared = {"series_id": JOBS, "api_key": SECRET, "file_type": "json", "offset": "0"}
    ever = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"}
    assert (dates.path, dates.query) == ("/fred/series/vintagedates", shared | ever | {"limit": "1000"})
    window = {"observation_start": "1990-01-01", "observation_end": "9999-12-31", "limit": "100000"}
    assert (observed.path, observed.query) == ("/fred/series/observations", shared | ever | window)
    assert rate.path == "/graph/fredgraph.csv" and rate.query["id"] == RATE
    (held,) = landed(zones, "fred", JOBS)
    assert json.loads(held.path.read_bytes()) == {"observations": [FIRST, REVISED, SECOND]}


def test_a_second_fetch_asks_for_the_vintages_since_and_the_same_ones_land_once(ingest, server, zones, keyed):
    server.by_request = alfred(["2023-02-03", "2023-03-10"], [FIRST, REVISED, SECOND])
    ingest()
    server.requests.clear()
    ingest()
    assert server.requests[0].query["realtime_start"] == "2021-12-28", "400 days before the newest month held"
    assert server.requests[1].query["observation_start"] == "1990-01-01", "a benchmark rewrites all of it"
    assert ingest().new_payloads == 0


def test_a_home_that_began_without_the_key_gets_all_vintages_once_it_has_one(
    ingest, server, keyed, monkeypatch, payload
):
    monkeypatch.delenv("FRED_API_KEY")
    server.by_request = alfred(["2023-02-03"], [FIRST])
    ingest()
    assert [request.path for request in server.requests] == ["/graph/fredgraph.csv"] * 2
    monkeypatch.setenv("FRED_API_KEY", SECRET)
    server.requests.clear()
    ingest()
    assert server.requests[0].query["realtime_start"] == "1776-07-04"


def test_more_vintages_than_one_request_may_span_are_asked_for_in_parts_without_gap_or_overlap(
    ingest, server, zones, keyed, monkeypatch
):
    monkeypatch.setattr(fred, "VINTAGES", 3)
    monkeypatch.setattr(fred, "DATES", 2)
    monkeypatch.setattr(fred, "ROWS", 1)
    dates = [f"2023-0{month}-03" for month in range(1, 8)]
    rows = [row(day, "2023-01-01", str(155000 + number)) for number, day in enumerate(dates)]
    server.by_request = alfred(dates, rows)
    assert ingest().status == "ok"
    periods = [
        (request.query["realtime_start"], request.query["realtime_end"])
        for request in server.requests
        if request.path.endswith("observations") and request.query["offset"] == "0"
    ]
    assert periods == [
        ("1776-07-04", "2023-03-02"),
        ("2023-03-03", "2023-05-02"),
        ("2023-05-03", "2023-07-02"),
        ("2023-07-03", "9999-12-31"),
    ]
    assert all(sum(start <= day <= end for day in dates) < 3 for start, end in periods)
    (held,) = landed(zones, "fred", JOBS)
    assert json.loads(held.path.read_bytes())["observations"] == rows


@pytest.mark.parametrize(
    "script",
    [
        [(200, b'{"count": 2, "vintage_dates": ["2023-02-03"]}'), (200, b'{"count": 2, "vintage_dates": []}')],
        [(200, b'{"count": 1, "vintage_dates": ["2023-02-03"]}'), (503, b"busy")],
        [(200, b'{"count": 0, "vintage_dates": []}'), (200, b'{"count": 0, "observations": []}')],
        [(200, b'{"error_code": 400, "error_message": "api_key=' + SECRET.encode() + b'"}')],
        [(400, b'{"error_message": "The value for variable api_key is not registered: ' + SECRET.encode() + b'"}')],
        [(200, b"<html>down</html>")],
        [(200, b"[1, 2]")],
    ],
    ids=["short", "half", "nothing", "refused", "bad key", "html", "numbers"],
)
def test_half_of_it_or_something_else_lands_nothing_and_tells_no_key(
    ingest, spec, server, zones, keyed, script, caplog
):
    caplog.set_level(logging.DEBUG)
    server.script = script
    done = ingest()
    assert JOBS in done.failures and not landed(zones, "fred", JOBS)
    assert SECRET not in done.message and SECRET not in caplog.text


def test_a_429_is_waited_out_and_the_key_is_in_no_file_address_or_log(ingest, server, zones, keyed, caplog):
    caplog.set_level(logging.DEBUG)
    answer, busy = alfred(["2023-02-03"], [FIRST]), [(429, SECRET.encode(), {"Retry-After": "0"})]
    server.by_request = lambda request: busy.pop() if busy else answer(request)
    assert ingest().status == "ok"
    assert server.requests[0].path == server.requests[1].path, "asked again"
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 4 and not [path for path in files if SECRET in path.read_text() + str(path)]
    assert SECRET not in caplog.text
    assert landed(zones, "fred", JOBS)[0].url.endswith("/fred/series/observations?series_id=PAYEMS")


def test_vintages_are_known_on_their_date_at_the_clock_time_of_the_release(payload, stage):
    assert stage(payload("2023-04-01", FIRST, REVISED, SECOND)) == EXACT


def test_a_csv_alone_falls_under_the_lag_rule(payload, stage):
    assert stage(payload("2023-04-01", "2023-01-01,155060")) == [("2023-01", 155060, 1, "2023-02-12 08:30")]


@pytest.mark.parametrize(("fetched", "recorded"), [("2023-03-31", True), ("2023-05-01", True), ("2023-03-31", False)])
@pytest.mark.parametrize("hindsight", ["155060", "154999"])
def test_a_csv_of_dates_whose_vintages_are_held_changes_nothing_about_them(
    payload, stage, fetched, recorded, hindsight
):
    """The lag rule would make today's value of January known on 12 February."""
    csv = payload(fetched, f"2023-01-01,{hindsight}", "2023-02-01,155350", day_only=recorded)
    assert stage(csv, payload("2023-04-01", FIRST, REVISED, SECOND)) == EXACT


def test_dates_without_vintages_keep_the_lag_rule(payload, stage):
    csv = payload("2023-03-31", "2022-12-01,154500", "2023-01-01,155060")
    assert stage(csv, payload("2023-04-01", FIRST, REVISED, SECOND)) == [
        ("2022-12", 154500, 1, "2023-01-12 08:30"),
        *EXACT,
    ]


def test_what_a_live_csv_brings_after_the_newest_vintages_is_known_when_it_was_fetched(payload, stage):
    """As when the key is gone: a revision is not lost, and it is not known before it was seen."""
    csv = payload("2023-06-01 14:00", "2023-01-01,155060", "2023-02-01,155300", "2023-03-01,155500")
    assert stage(payload("2023-04-01", FIRST, REVISED, SECOND), csv) == [
        *EXACT,
        ("2023-02", 155300, 2, "2023-06-01 10:00"),
        ("2023-03", 155500, 1, "2023-04-12 08:30"),
    ]


def test_overlapping_vintage_payloads_and_their_cut_starts_make_no_vintage_of_their_own(payload, stage):
    """The second was asked from 15 February: what was known before is cut to that day."""
    again = [row("2023-02-15", "2023-01-01", "155073"), REVISED, SECOND]
    assert stage(payload("2023-04-01", FIRST, REVISED, SECOND), payload("2023-05-01", *again)) == EXACT


def test_a_value_withdrawn_or_not_yet_there_is_no_value(payload, stage):
    assert stage(payload("2023-04-01", row("2023-02-03", "2023-01-01", "."), REVISED)) == [
        ("2023-01", 155060, 1, "2023-03-10 08:30")
    ]


def test_mixed_payloads_cut_at_a_time_are_the_full_ones_of_then(payload, spec):
    payloads = [
        payload("2023-02-10", "2023-01-01,155073", "2022-12-01,154500"),
        payload("2023-04-01", FIRST, REVISED, SECOND),
        payload("2023-06-01 14:00", "2023-01-01,155000"),
    ]
    whole, _ = stage_payloads("fred", spec, payloads, through=LATER)
    for day in pd.date_range("2023-01-10", "2023-06-10", freq="5D"):
        through = pd.Timestamp(day).tz_localize("America/Chicago") + pd.Timedelta(hours=18)
        cut, _ = stage_payloads("fred", spec, payloads, through=through.tz_convert("UTC"))
        pd.testing.assert_frame_equal(cut, known_by(whole, day).reset_index(drop=True), check_categorical=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"observations": []}', b'{"observations": [{"date": "2023-01-01", "value": "1"}]}', b'{"obs'],
)
def test_a_vintage_payload_of_another_shape_is_drift_by_name(payload, spec, content):
    made = payload("2023-04-01", FIRST)
    made.path.write_bytes(content)
    with pytest.raises(fred.SchemaDrift, match="fred/PAYEMS/2023-04-01"):
        fred.parse(made, spec)


def test_a_series_that_ended_is_not_stale_once_its_last_value_is_held(staged, registry):
    held = staged.observations
    whole = summarise_series(registry.sources, held, staged.quarantine, as_of=pd.Timestamp("2023-12-29"))
    table = whole.set_index("series")
    told = table.index[table["ended"] & (table["source"] != "dce")]  # its contracts all expired
    assert told.tolist() == [
        "TEDRATE",
        "DTWEXM",
        "bdmep.CURITIBA",
        "PET.W_EPC0_SAX_NUS_MBBL.W",
        "PET.W_EPLLPZ_SAE_NUS_MBBL.W",
        "baltic-dry-index",
    ]
    assert table.loc[table["ended"], "stale_limit_days"].isna().all()
    assert table.loc["DFF", "stale_limit_days"] == 7
    before = held[held["observation_date"] < "2022-01-01"]
    gap = summarise_series(registry.sources, before, staged.quarantine, as_of=pd.Timestamp("2023-12-29"))
    assert gap.set_index("series").loc["TEDRATE", ["ended", "stale_limit_days"]].tolist() == [False, 10]


def test_the_window_of_a_keyless_fetch_is_unchanged(spec, server):
    from tasks.http import Http

    server.by_request = alfred([], [])
    with Http("fred", per_minute=60_000, limits=QUICK) as http:
        (fetched,) = fred.fetch(JOBS, Window(date(2023, 1, 1), date(2023, 1, 31)), spec, http)
    assert fetched.extension == "csv" and server.requests[0].query["cosd"] == "2023-01-01"
    server.by_request = lambda request: (200, b"<html>")
    with Http("fred", per_minute=60_000, limits=QUICK) as http, pytest.raises(SourceUnavailable):
        list(fred.fetch(JOBS, Window(date(2023, 1, 1), date(2023, 1, 31)), spec, http))


@pytest.mark.parametrize("damages", DAMAGES)
def test_a_damaged_vintage_payload_is_drift_or_rows_that_stage_but_never_another_error(damages, payload, spec):
    made, chance = payload("2023-04-01", FIRST, REVISED, SECOND), random.Random("damage")
    whole, drifted = made.path.read_bytes(), 0
    for number in range(damages):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(chance.choice([0, 1, 3])):
            damaged[chance.randrange(len(damaged))] = chance.choice(b'0123456789-{}[],"n\x00')
        made.path.write_bytes(damaged)
        try:
            fred.parse(made, spec)
        except fred.SchemaDrift:
            drifted += 1
        stage_payloads("fred", spec, [dataclasses.replace(made, sha256=sha256_of(made.path))], through=LATER)
    assert 0 < drifted < damages
