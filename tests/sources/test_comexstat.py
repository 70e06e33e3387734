"""ComexStat: one question a series, months as served, known in the middle of the next month, no key at all."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import comexstat
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)


def month(number: str, kg: str = "12000000000", **other: str) -> dict[str, str]:
    return {"year": "2023", "monthNumber": number, "metricFOB": "6100000000", "metricKG": kg} | other


def answer(*rows: object, **other: object) -> bytes:
    shape = {"data": {"list": list(rows)}, "success": True, "message": None, "processo_info": None, "language": "pt"}
    return json.dumps(shape | other).encode()


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/general", "rate_limit_per_minute": 60_000, "first_date": date(2022, 1, 1)}
    return registry.sources.source("comexstat").model_copy(update=local)


@pytest.fixture
def ingest(spec, zones):
    def run(*series: str, as_of: date = date(2023, 12, 29)):
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "comexstat", spec, as_of=as_of, series=series, **given)

    return run


def test_a_series_is_asked_by_heading_and_country_in_one_question(ingest, server, zones):
    server.script = [(200, answer(month("01"), month("02")))]
    assert ingest("1201.china", "1507.world").status == "ok"
    china, oil = [json.loads(request.body) for request in server.requests]
    assert {request.path for request in server.requests} == {"/general"}
    assert china == {
        "flow": "export",
        "monthDetail": True,
        "period": {"from": "2022-01", "to": "2023-12"},
        "filters": [{"filter": "heading", "values": ["1201"]}, {"filter": "country", "values": ["160"]}],
        "details": [],
        "metrics": ["metricFOB", "metricKG"],
    }
    assert oil["filters"] == [{"filter": "heading", "values": ["1507"]}]


def test_months_are_dated_at_their_first_day_and_known_in_the_middle_of_the_next(ingest, spec, server, zones):
    rows = [month("1"), month("10"), month("11"), month("12"), {"year": "2023"}, month("9", kg="0")]
    server.script = [(200, answer(*rows))]
    ingest("1201.world")
    (held,) = landed(zones, "comexstat")
    parsed = comexstat.parse(held, spec)["observation_date"].dropna()
    assert list(parsed[:2]) == ["2023-01-01", "2023-10-01"]
    staged = stage_source(zones, "comexstat", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    kg = staged.observations[staged.observations["field"] == "net_weight"]
    known = kg["available_at"].dt.tz_convert("America/Sao_Paulo").dt.strftime("%Y-%m-%d %H:%M")
    dates = kg["observation_date"].dt.strftime("%Y-%m-%d")
    assert list(zip(dates, kg["value"], known, strict=True)) == [
        ("2023-01-01", 1.2e10, "2023-02-15 18:00"),
        ("2023-10-01", 1.2e10, "2023-11-15 18:00"),
        ("2023-11-01", 1.2e10, "2023-12-15 18:00"),
    ], "December is not known in December"
    assert set(kg["unit"]) == {"kg"} and spec.unit_of("1201.world", "fob_value") == "USD"
    assert sorted(staged.quarantine["rule"]) == ["range", "record"]
    reasons = " ".join(staged.quarantine["reason"])
    assert "no ['monthNumber', 'metricKG', 'metricFOB'] in row 5" in reasons


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (answer(), "no exports from 2022-01 to 2023-12"),
        (answer(month("01"), success=False), "expected the months"),
        (b'{"data": null, "success": false, "message": "Invalid detail item (sh4)"}', "Invalid detail item"),
        (b'{"data": {"list": [1]}}', "expected the months"),
        (b'{"data": {"list": [{"year": "2023"', "expected the months"),
        (b"<html>down</html>", "html"),
    ],
    ids=["nothing", "no success", "refused", "numbers", "cut", "html"],
)
def test_a_refusal_a_cut_answer_or_nothing_lands_nothing_and_is_told(ingest, server, zones, body, told):
    server.script = [(200, body)]
    done = ingest("1201.world")
    assert done.status == "failed" and told in done.message and not landed(zones, "comexstat")


def test_too_many_requests_are_waited_for(ingest, server):
    told = "Você excedeu o limite de solicitações. Por favor, tente novamente em 10 segundos.".encode()
    server.script = [(429, told, {"Retry-After": "0"}), (200, answer(month("01")))]
    assert ingest("1201.world").status == "ok" and len(server.requests) == 2


@pytest.mark.parametrize("name", ["metricKG", "monthNumber", "year"])
def test_a_renamed_field_is_drift_by_name(ingest, spec, server, zones, name):
    server.script = [(200, answer(month("01")))]
    ingest("1201.world")
    (held,) = landed(zones, "comexstat")
    held.path.write_bytes(answer(month("01")).replace(name.encode(), b"renamed"))
    with pytest.raises(SchemaDrift, match=name):
        comexstat.parse(held, spec)
