"""Brazil's target rate: five years a request, one row per calendar day, nothing after the day of the run."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import bcb
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)


def answer(*days: tuple[str, str]) -> bytes:
    return json.dumps([{"data": day, "valor": value} for day, value in days]).encode()


DAYS = answer(("30/01/2026", "15.00"), ("31/01/2026", "15.00"), ("01/02/2026", "14.75"))


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/dados/serie/bcdata.sgs.{{code}}/dados", "rate_limit_per_minute": 60_000}
    return registry.sources.source("bcb").model_copy(update=local | {"first_date": date(2019, 5, 2)})


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "bcb", spec, as_of=date(2026, 2, 2), **given)

    return run


def test_five_years_are_asked_at_once_up_to_the_day_of_the_run(ingest, server):
    server.by_request = lambda request: (200, DAYS if request.query["dataFinal"] == "02/02/2026" else b"[]")
    assert ingest().status == "ok"
    assert {request.path for request in server.requests} == {"/dados/serie/bcdata.sgs.432/dados"}
    asked = [(request.query["dataInicial"], request.query["dataFinal"]) for request in server.requests]
    assert asked == [("02/05/2019", "31/12/2023"), ("01/01/2024", "02/02/2026")]
    assert {request.query["formato"] for request in server.requests} == {"json"}


def test_days_are_dated_as_served_and_known_that_evening(ingest, spec, server, zones):
    server.by_request = lambda request: (200, DAYS if request.query["dataFinal"] == "02/02/2026" else b"[]")
    ingest()
    staged = stage_source(zones, "bcb", spec, as_of=pd.Timestamp("2026-02-02"), code="t")
    rows = staged.observations
    known = rows["available_at"].dt.tz_convert("America/Sao_Paulo").dt.strftime("%Y-%m-%d %H:%M")
    days = rows["observation_date"].dt.strftime("%Y-%m-%d")
    assert list(zip(days, rows["value"], known, strict=True)) == [
        ("2026-01-30", 15.0, "2026-01-30 18:00"),
        ("2026-01-31", 15.0, "2026-01-31 18:00"),
        ("2026-02-01", 14.75, "2026-02-01 18:00"),
    ]
    assert set(rows["unit"]) == {"% per year"} and staged.quarantine.empty


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[]", "no day from 2019-05-02 to 2026-02-02"),
        (b'{"error": "Value(s) not found"}', "not found"),
        (b'[{"data": "30/01', "expected days"),
        (b"<html>manutencao</html>", "html"),
    ],
)
def test_something_else_lands_nothing_and_is_quoted(ingest, server, zones, body, why):
    server.script = [(200, body)]
    done = ingest()
    assert done.status == "failed" and why in done.message and not landed(zones, "bcb")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(ingest, server, status):
    server.script = [(status, b"busy", {"Retry-After": "0"}), (200, DAYS)]
    assert ingest().status == "ok" and len(server.requests) == 3


@pytest.mark.parametrize("name", ["data", "valor"])
def test_a_renamed_field_is_drift_by_name(ingest, spec, server, zones, name):
    server.script = [(200, b"[]"), (200, DAYS)]
    ingest()
    (stored,) = landed(zones, "bcb")
    stored.path.write_bytes(DAYS.replace(f'"{name}"'.encode(), b'"x"'))
    with pytest.raises(SchemaDrift, match=name):
        bcb.parse(stored, spec)


def test_a_date_that_is_none_is_refused_alone(ingest, spec, server, zones):
    server.script = [(200, b"[]"), (200, answer(("30/01/2026", "15.00"), ("soon", "14.75")))]
    ingest()
    staged = stage_source(zones, "bcb", spec, as_of=pd.Timestamp("2026-02-02"), code="t")
    assert len(staged.observations) == 1 and len(staged.quarantine) == 1
