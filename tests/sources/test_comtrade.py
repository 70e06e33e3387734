"""Comtrade: totals only, one month a request without a key and twelve with one, the key in a header alone."""

from __future__ import annotations

import json
import logging
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import comtrade
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

SECRET = "s3cr3t-comtrade-key-1"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)


def row(period: str, partner: int = 76, weight: object = 5.5e9, **other: object) -> dict[str, object]:
    return {
        "period": period,
        "reporterCode": 156,
        "flowCode": "M",
        "partnerCode": partner,
        "partner2Code": 0,
        "cmdCode": "1201",
        "customsCode": "C00",
        "motCode": 0,
        "netWgt": weight,
        "primaryValue": 3.1e9,
    } | other


def answer(*rows: dict[str, object]) -> bytes:
    return json.dumps({"elapsedTime": "0.1 secs", "count": len(rows), "data": rows, "error": ""}).encode()


@pytest.fixture
def spec(registry, server, monkeypatch):
    monkeypatch.delenv("COMTRADE_API_KEY", raising=False)
    spec = registry.sources.source("comtrade")
    update = {"feeds": ("156.M",), "first_date": date(2022, 11, 1), "rate_limit_per_minute": 60_000}
    asked = {"endpoint": f"{server.url}/public/v1/preview/C/M/HS", "keyed_endpoint": f"{server.url}/data/v1/get/C/M/HS"}
    return spec.model_copy(update=update | asked)


@pytest.fixture
def ingest(spec, zones):
    def run(**given):
        asked = {"origin": "live", "as_of": date(2023, 12, 29), "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "comtrade", spec, **(asked | given))

    return run


def by_period(*held: str):
    return lambda request: (200, answer(*[row(month) for month in request.query["period"].split(",") if month in held]))


def test_without_a_key_the_preview_is_asked_month_by_month_for_totals_and_lands_as_one_document(ingest, server, zones):
    server.by_request = by_period("202307", "202308")
    assert ingest().status == "ok"
    months = [f"{month:%Y%m}" for month in pd.period_range("2022-11", "2023-12", freq="M")]
    assert [request.query["period"] for request in server.requests] == months
    assert server.requests[0].path == "/public/v1/preview/C/M/HS"
    assert server.requests[0].query == {
        "reporterCode": "156",
        "flowCode": "M",
        "partnerCode": "0,32,76,842",
        "cmdCode": "1201,1507",
        "partner2Code": "0",
        "customsCode": "C00",
        "motCode": "0",
        "period": "202211",
    }
    (held,) = landed(zones, "comtrade", "156.M")
    assert [one["period"] for one in json.loads(held.path.read_bytes())["data"]] == ["202307", "202308"]


def test_without_a_key_no_more_than_the_newest_two_years_are_asked(ingest, spec, server):
    spec.__dict__["first_date"] = date(2010, 1, 1)
    server.by_request = by_period("202307")
    ingest()
    assert len(server.requests) == 24 and server.requests[0].query["period"] == "202201"


def test_with_a_key_twelve_months_are_asked_at_once_and_the_key_goes_in_a_header_only(
    ingest, server, zones, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("COMTRADE_API_KEY", SECRET)
    seen = []

    def reply(handler):
        seen.append((handler.path, handler.headers.get("Ocp-Apim-Subscription-Key")))
        body = answer(row("202307", note=SECRET)) if "202307" in handler.path else answer()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.script = [(429, SECRET.encode(), {"Retry-After": "0"}), reply]
    assert ingest().status == "ok"
    periods = [request.query["period"].split(",") for request in server.requests]
    assert [len(period) for period in periods] == [12, 12, 2], "the first twice, it was busy"
    assert server.requests[0].path == "/data/v1/get/C/M/HS"
    assert [key for _, key in seen] == [SECRET] * 2 and not [path for path, _ in seen if SECRET in path]
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in files if SECRET in path.read_text() + str(path)]
    server.script = [(401, SECRET.encode())]
    done = ingest()
    assert done.status == "failed" and SECRET not in done.message and SECRET not in caplog.text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (answer(), "no trade"),
        (answer(*[row("202307")] * 500), "cut at 500"),
        (b'{"data": [], "error": "quota exceeded"}', "quota"),
        (b'{"statusCode": 403, "message": "Out of call volume quota"}', "quota"),
        (b"<html>down</html>", "html"),
        (b"[1]", "1"),
    ],
    ids=["nothing", "cut", "error", "refused", "html", "numbers"],
)
def test_nothing_a_cut_answer_or_a_refusal_lands_nothing(ingest, server, zones, body, told):
    server.script = [(200, body)]
    message = ingest().message
    assert told in message and "156.M" in message and not landed(zones, "comtrade")


def test_a_month_that_fails_costs_none_of_the_months_before(ingest, server, zones):
    server.by_request = lambda request: (503, b"") if request.query["period"] == "202312" else None
    server.script = [(200, answer(row("202307")))]
    assert ingest().status == "failed" and len(landed(zones, "comtrade")) == 1


def test_breakdowns_are_not_counted_weights_not_reported_are_refused_and_a_month_is_known_late(
    ingest, spec, server, zones
):
    rows = [
        row("202307"),
        row("202307", motCode=2100, netWgt=1e9),
        row("202307", partner2Code=344, netWgt=1e9),
        row("202307", customsCode="C04", netWgt=1e9),
        row("202307", partner=124),
        row("202308", weight=0),
        row("202312"),
    ]
    server.by_request = lambda request: (
        200,
        answer(*[one for one in rows if one["period"] == request.query["period"]]),
    )
    ingest()
    held = stage_source(zones, "comtrade", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    found = held.observations.assign(known=held.observations["available_at"].dt.strftime("%Y-%m-%d %H:%M"))
    assert found[["series", "field", "value", "unit", "known"]].to_numpy().tolist() == [
        ["156.M.76.1201", "net_weight", 5.5e9, "kg", "2023-11-01 12:00"],
        ["156.M.76.1201", "trade_value", 3.1e9, "USD", "2023-11-01 12:00"],
        ["156.M.76.1201", "trade_value", 3.1e9, "USD", "2023-12-01 12:00"],
    ]
    assert held.quarantine[["field", "rule"]].to_numpy().tolist() == [["net_weight", "range"]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (answer(row("202307")).replace(b"netWgt", b"netWeight"), "netWgt"),
        (answer(row("202307")).replace(b"partnerCode", b"partner"), "partnerCode"),
        (answer(), "rows under data"),
        (b"", "rows under data"),
        (b'{"data": [1]}', "rows under data"),
    ],
)
def test_another_shape_is_drift_by_name(ingest, spec, server, zones, content, told):
    server.by_request = by_period("202307")
    ingest()
    (held,) = landed(zones, "comtrade")
    held.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=told) as raised:
        comtrade.parse(held, spec)
    assert "comtrade/156.M" in str(raised.value)


def test_every_registered_series_belongs_to_a_payload_and_every_payload_has_series(registry):
    spec = registry.sources.source("comtrade")
    assert {".".join(name.split(".")[:2]) for name in spec.series} == set(spec.feeds)
    assert all(len(name.split(".")) == 4 for name in spec.series)
