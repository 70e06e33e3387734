"""BLS: one POST for all series, `-` and the annual mean, a success without data."""

from __future__ import annotations

import dataclasses
import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import bls
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Window, landed
from tasks.staging.stage import stage_payloads
from tasks.storage.hashes import sha256_of

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
SECRET = "s3cr3t-bls-key-1234"
SERIES = ["CUUR0000SA0", "CUSR0000SA0", "LNS14000000", "CES0000000001", "APU0000701111"]
LATER = pd.Timestamp("2030-01-01", tz="UTC")


def answer(*points: tuple[str, str, str], series: str = "CUUR0000SA0") -> bytes:
    data = [{"year": year, "period": period, "value": value, "footnotes": [{}]} for year, period, value in points]
    found = {"series": [{"seriesID": series, "data": data}]}
    return json.dumps({"status": "REQUEST_SUCCEEDED", "message": [], "Results": found}).encode()


REFUSED = {"status": "REQUEST_NOT_PROCESSED", "message": ["daily threshold reached"], "Results": {}}


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("bls").model_copy(update={"endpoint": f"{server.url}/publicAPI/v2/timeseries/data/"})


@pytest.fixture
def ask(spec):
    def run(first: int, last: int, keys: dict[str, str] | None = None):
        with Http("bls", per_minute=60_000, keys=keys, limits=QUICK) as http:
            return list(bls.fetch("timeseries", Window(date(first, 1, 1), date(last, 12, 29)), spec, http))

    return run


def test_all_series_are_asked_in_one_post_of_at_most_ten_years(ask, server):
    server.script = [(200, answer(("2019", "M01", "251.712"))), (200, answer(("2023", "M01", "299.170")))]
    assert len(ask(2010, 2023)) == 2
    bodies = [json.loads(request.body) for request in server.requests]
    assert bodies[0] == {"seriesid": SERIES, "startyear": "2010", "endyear": "2019"}
    assert bodies[1] == {"seriesid": SERIES, "startyear": "2020", "endyear": "2023"}
    assert server.requests[0].path == "/publicAPI/v2/timeseries/data/"


def test_a_key_widens_the_query_and_is_in_no_payload_or_message(ask, server):
    server.script = [(200, answer(("2023", "M01", "299.170")))]
    (fetched,) = ask(2010, 2023, {"BLS_API_KEY": SECRET})
    (body,) = [json.loads(request.body) for request in server.requests]
    assert (body["registrationkey"], body["startyear"], body["endyear"]) == (SECRET, "2010", "2023")
    assert SECRET not in fetched.content.decode() + fetched.url
    server.script = [(200, json.dumps(REFUSED | {"message": [f"The key:{SECRET} is invalid"]}).encode())]
    with pytest.raises(SourceUnavailable) as raised:
        ask(2010, 2023, {"BLS_API_KEY": SECRET})
    assert "is invalid" in str(raised.value) and SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (answer(), "no data from 2020 to 2023"),
        (json.dumps(REFUSED).encode(), "daily threshold reached"),
        (b"<html>down</html>", "<html>down</html>"),
        (b"null", "null"),
    ],
)
def test_a_success_without_data_and_anything_else_are_unavailable(ask, server, body, told):
    server.script = [(200, body)]
    with pytest.raises(SourceUnavailable, match=told):
        ask(2020, 2023)


def test_what_arrived_before_a_query_that_fails_is_kept(spec, server, zones, monkeypatch):
    monkeypatch.delenv("BLS_API_KEY", raising=False)
    server.script = [(200, answer(("2009", "M01", "211.143"))), (503, b"busy")]
    done = ingest_source(
        zones, "bls", spec, origin="live", as_of=date(2023, 12, 29), limits=QUICK, progress=lambda *step: None
    )
    assert (done.status, done.payloads) == ("failed", 1), "an optional key disables nothing"


def test_the_archive_parses_to_its_months_without_the_annual_means(registry, archive):
    spec = registry.sources.source("bls")
    (payload,) = recorded_files(archive, "bls", "timeseries")
    rows = bls.parse(payload, spec)
    assert len(rows) == 196 - 4, "the manifest's rows less M13 of four years"
    assert rows.groupby("series").size().to_dict() == {name: 48 for name in SERIES[:4]}
    assert rows["row"].is_unique and rows["observation_date"].min() == "2020-01-01"
    december = rows[(rows["series"] == "CUUR0000SA0") & (rows["observation_date"] == "2023-12-01")]
    assert december["value"].tolist() == ["306.746"]


def test_the_empty_response_is_no_rows_and_stages_as_nothing(staged, registry, archive):
    spec = registry.sources.source("bls")
    (payload,) = recorded_files(archive, "bls", "empty-response")
    assert bls.parse(payload, spec).empty
    observations, quarantine = stage_payloads("bls", spec, [payload], through=LATER)
    assert observations.empty and quarantine.empty
    held = staged.by_source["bls"]
    assert {found.series for found in landed(staged.zones, "bls")} == {"timeseries", "empty-response"}
    assert held.quarantine.empty and held.observations["observation_date"].max() == pd.Timestamp("2023-11-01")


def test_a_dash_is_a_missing_month_that_the_quarantine_shows(registry, archive, tmp_path):
    path = tmp_path / "2026-01-15.json"
    path.write_bytes(answer(("2025", "M11", "324.122"), ("2025", "M10", "-"), ("2025", "M13", "320")))
    payload = dataclasses.replace(recorded_files(archive, "bls", "timeseries")[0], path=path, sha256=sha256_of(path))
    observations, quarantine = stage_payloads("bls", registry.sources.source("bls"), [payload], through=LATER)
    assert observations["value"].tolist() == [324.122]
    assert quarantine[["observation_date", "rule"]].astype(str).to_numpy().tolist() == [["2025-10-01", "null"]]


def test_a_month_is_unknown_until_its_release(staged):
    held = staged.by_source["bls"].observations
    known = held.assign(day=held["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M"))
    of = known.set_index(["series", "observation_date"])["day"]
    assert of["CUUR0000SA0", pd.Timestamp("2023-10-01")] == "2023-11-26 08:30"
    assert of["CES0000000001", pd.Timestamp("2023-10-01")] == "2023-11-10 08:30"
