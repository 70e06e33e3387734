"""AgTransport: one request per dataset, a series per place or column, a zero is no quote, a cut answer is refused."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import ag_transport
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
STAMP = "T00:00:00.000"


def barge(day: str, place: str, rate: str | None) -> dict[str, str]:
    row = {"date": day + STAMP, "week": "33", "month": "8", "year": day[:4], "location": place}
    return row if rate is None else row | {"rate": rate}


BARGES = [
    barge("2026-08-11", "St. Louis", "640"),
    barge("2026-08-11", "Twin Cities", "839"),
    barge("2026-08-11", "Lower Illinois", None),
    barge("2026-08-18", "St. Louis", "655.5"),
    barge("2026-08-18", "Cairo-Memphis", "0"),
    barge("2026-08-18", "Mid-Mississippi", "850"),
]
VESSELS = [
    {"date": "2026-06-01" + STAMP, "gulf_to_japan": "68.95", "pnw_to_japan": "36.25", "gulf_pnw_spread": "32.7"},
    {"date": "2026-07-01" + STAMP, "gulf_to_japan": "72.75"},
]


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/resource", "rate_limit_per_minute": 60_000}
    return registry.sources.source("ag_transport").model_copy(update=local | {"first_date": date(2026, 6, 1)})


@pytest.fixture
def ingest(spec, zones, server):
    def served(request):
        return 200, json.dumps(BARGES if request.path == "/resource/deqi-uken.json" else VESSELS).encode()

    server.by_request = served

    def run(*series: str):
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None, "series": series}
        return ingest_source(zones, "ag_transport", spec, as_of=date(2026, 8, 28), **given)

    return run


def test_a_dataset_is_requested_by_dates_and_read_by_place_and_column(ingest, spec, server, zones):
    assert ingest().status == "ok"
    asked = {request.path: request.query for request in server.requests}
    assert set(asked) == {"/resource/deqi-uken.json", "/resource/ehs5-yac3.json"}
    assert asked["/resource/deqi-uken.json"] == {
        "$where": "date >= '2026-06-01T00:00:00' AND date <= '2026-08-28T23:59:59'",
        "$order": "date",
        "$limit": "50000",
    }
    staged = stage_source(zones, "ag_transport", spec, as_of=pd.Timestamp("2026-08-28"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations
    known = rows["available_at"].dt.tz_convert("America/New_York").dt.strftime("%m-%d %H:%M")
    days = rows["observation_date"].dt.strftime("%m-%d")
    assert sorted(zip(rows["series"], days, rows["value"], known, strict=True)) == [
        ("barge.mid_mississippi", "08-18", 850.0, "08-28 18:00"),
        ("barge.st_louis", "08-11", 640.0, "08-21 18:00"),
        ("barge.st_louis", "08-18", 655.5, "08-28 18:00"),
        ("vessel.gulf_japan", "06-01", 68.95, "07-15 18:00"),
        ("vessel.gulf_japan", "07-01", 72.75, "08-15 18:00"),
        ("vessel.pnw_japan", "06-01", 36.25, "07-15 18:00"),
    ], "a Tuesday's rate is known on the Friday of the week after, a month in the middle of the next"
    assert spec.unit_of("barge.st_louis", "rate") == "% of the 1976 tariff"
    assert spec.unit_of("vessel.gulf_japan", "rate") == "USD/t"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[]", "no row from 2026-06-01 to 2026-08-28"),
        (b'{"error": true, "message": "Invalid SoQL query"}', "Invalid SoQL query"),
        (b'[{"date": "2026', "expected rows"),
        (b"[1, 2]", "expected rows"),
        (b"<html>down</html>", "html"),
    ],
    ids=["nothing", "refused", "cut", "numbers", "html"],
)
def test_something_else_lands_nothing_and_is_quoted(ingest, server, zones, body, why):
    server.by_request = lambda request: (200, body)
    done = ingest("deqi-uken")
    assert done.status == "failed" and why in done.message and not landed(zones, "ag_transport")


def test_an_answer_as_long_as_its_limit_is_cut(ingest, server, zones, monkeypatch):
    monkeypatch.setattr(ag_transport, "MOST_ROWS", len(BARGES))
    done = ingest("deqi-uken")
    assert done.status == "failed" and "6 rows, so the answer is cut" in done.message


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(ingest, server, status):
    server.by_request = None
    server.script = [(status, b"busy", {"Retry-After": "0"}), (200, json.dumps(BARGES).encode())]
    assert ingest("deqi-uken").status == "ok" and len(server.requests) == 2


@pytest.mark.parametrize(
    ("feed", "old", "why"),
    [
        ("deqi-uken", '"rate"', "rate"),
        ("deqi-uken", '"location"', "location"),
        ("deqi-uken", '"date"', "date"),
        ("ehs5-yac3", "pnw_to_japan", "pnw_to_japan"),
    ],
)
def test_a_renamed_column_is_drift_by_name(ingest, spec, zones, feed, old, why):
    ingest(feed)
    (stored,) = landed(zones, "ag_transport")
    stored.path.write_text(stored.path.read_text().replace(old, '"x"' if old.startswith('"') else "x"))
    with pytest.raises(SchemaDrift, match=why):
        ag_transport.parse(stored, spec)


def test_renamed_places_are_drift_that_says_which_ones_came(ingest, spec, zones):
    ingest("deqi-uken")
    (stored,) = landed(zones, "ag_transport")
    stored.path.write_text(json.dumps([barge("2026-08-18", "Saint Louis", "655")]))
    with pytest.raises(SchemaDrift, match="Saint Louis"):
        ag_transport.parse(stored, spec)
