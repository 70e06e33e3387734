"""Alpha Vantage: the documented query, refusals that come as 200, the key in no word, values as they came."""

from __future__ import annotations

import json
import logging
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import alphavantage
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Window, landed
from tasks.staging.stage import stage_source

SECRET = "S3CR3TAVKEY12345"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
BARS = "SOYB.TIME_SERIES_DAILY_ADJUSTED"
DAILY = (
    b"timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\r\n"
    b"2023-12-28,26.54,26.60,26.40,26.55,26.5500,24000,0.0000,1.0\r\n"
    b"2023-12-27,26.80,26.90,26.60,26.70,26.7000,31000,0.0000,1.0\r\n"
)
RSI = b"time,RSI\r\n2023-12-28,38.1234\r\n2023-12-27,41.0000\r\n"
NOTE = b'{"Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute."}'
SPENT = json.dumps(
    {"Information": f"We have detected your API key as {SECRET} and our standard limit is 25 requests per day."}
).encode()
WRONG = b'{"Error Message": "Invalid API call. Please retry or visit the documentation for TIME_SERIES."}'


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("alphavantage").model_copy(
        update={"endpoint": f"{server.url}/query", "rate_limit_per_minute": 60_000}
    )


@pytest.fixture
def ask(spec):
    def run(series: str):
        with Http("alphavantage", per_minute=60_000, keys={"ALPHAVANTAGE_API_KEY": SECRET}, limits=QUICK) as http:
            return list(alphavantage.fetch(series, Window(date(2023, 1, 1), date(2023, 12, 29)), spec, http))

    return run


@pytest.fixture
def ingest(spec, zones, monkeypatch):
    def run(*series: str):
        monkeypatch.setenv("ALPHAVANTAGE_API_KEY", SECRET)
        some = spec.model_copy(update={"series": {name: spec.series[name] for name in series}})
        return ingest_source(
            zones,
            "alphavantage",
            some,
            origin="live",
            as_of=date(2023, 12, 29),
            limits=QUICK,
            progress=lambda *step: None,
        )

    return run


@pytest.mark.parametrize(
    ("series", "body", "query"),
    [
        (BARS, DAILY, {"function": "TIME_SERIES_DAILY_ADJUSTED", "outputsize": "full"}),
        ("SOYB.RSI.14", RSI, {"function": "RSI", "interval": "daily", "time_period": "14", "series_type": "close"}),
        ("SOYB.MACD", b"time,MACD\r\n", {"function": "MACD", "interval": "daily", "series_type": "close"}),
        ("SOYB.ADX.14", b"time,ADX\r\n", {"function": "ADX", "interval": "daily", "time_period": "14"}),
    ],
)
def test_the_documented_query_is_asked(ask, server, series, body, query):
    server.script = [(200, body)]
    (fetched,) = ask(series)
    assert fetched.content == body and SECRET not in fetched.url
    (asked,) = server.requests
    assert asked.path == "/query"
    assert asked.query == query | {"symbol": "SOYB", "datatype": "csv", "apikey": SECRET}


@pytest.mark.parametrize("passing", [(200, NOTE), (429, b"slow down"), (503, b"busy")])
def test_a_call_too_many_is_asked_again(ask, server, passing):
    server.script = [passing, (200, RSI)]
    assert ask("SOYB.RSI.14")[0].content == RSI
    assert len(server.requests) == 2


def cut_short(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(DAILY)))
    handler.end_headers()
    handler.wfile.write(DAILY[:120])


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ((200, NOTE), 2),
        ((200, SPENT), 1),
        ((200, WRONG), 1),
        ((200, b"{}"), 1),
        ((200, b"[]"), 1),
        ((200, b"<html>down</html>"), 1),
        ((200, b""), 1),
        ((403, SECRET.encode()), 1),
        ((500, SECRET.encode()), 2),
        (cut_short, 2),
    ],
    ids=["note", "spent", "wrong", "object", "list", "html", "nothing", "forbidden", "broken", "short"],
)
def test_a_refusal_is_an_error_and_repeats_no_key(ask, server, answer, asked):
    server.script = [answer]
    with pytest.raises(SourceUnavailable, match="alphavantage") as raised:
        ask(BARS)
    assert SECRET not in str(raised.value)
    assert len(server.requests) == asked, "only what can pass is asked again"


def test_the_key_is_in_no_payload_sidecar_log_or_message(ingest, server, zones, caplog):
    caplog.set_level(logging.DEBUG)
    server.by_request = lambda request: (200, DAILY) if "outputsize" in request.query else (200, SPENT)
    done = ingest(BARS, "SOYB.RSI.14")
    assert done.status == "partial" and "25 requests per day" in done.failures["SOYB.RSI.14"]
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in files if SECRET in path.read_text() + str(path)]
    assert SECRET not in done.message + caplog.text


def test_bars_and_indicators_are_held_as_they_came_each_with_its_unit(ingest, server, zones, spec):
    server.by_request = lambda request: (200, RSI if request.query["function"] == "RSI" else DAILY)
    assert ingest(BARS, "SOYB.RSI.14").status == "ok"
    held = stage_source(zones, "alphavantage", spec, as_of=pd.Timestamp("2023-12-28"), code="t")
    assert held.quarantine.empty and len(held.observations) == 2 * 8 + 2
    last = held.observations[held.observations["observation_date"] == "2023-12-28"].set_index(["series", "field"])
    assert last.loc[("SOYB.RSI.14", "rsi"), ["value", "unit"]].tolist() == [38.1234, "index 0 to 100"]
    assert last.loc[(BARS, "dividend"), ["value", "unit"]].tolist() == [0.0, "USD"]
    assert last.loc[(BARS, "split"), ["value", "unit"]].tolist() == [1.0, "ratio"]
    assert last.loc[(BARS, "volume"), "unit"] == "shares"
    assert {entry.point_in_time for entry in spec.series.values()} == {"revised"}, "rewritten at splits and dividends"


@pytest.mark.parametrize(
    ("series", "body", "named"),
    [
        (BARS, DAILY.replace(b"adjusted_close", b"adj"), "adjusted_close"),
        ("SOYB.RSI.14", RSI.replace(b"RSI", b"SMA"), "RSI"),
        ("SOYB.MACD", b"time,MACD,MACD_Signal\r\n2023-12-28,1,1\r\n", "MACD_Hist"),
    ],
)
def test_a_column_that_is_gone_is_drift_by_name(ingest, server, zones, spec, series, body, named):
    server.script = [(200, body)]
    ingest(series)
    with pytest.raises(SchemaDrift, match=named):
        alphavantage.parse(landed(zones, "alphavantage", series)[0], spec)


def test_every_registered_name_is_one_the_adapter_can_ask(spec):
    known = {"TIME_SERIES_DAILY_ADJUSTED", "RSI", "MACD", "BBANDS", "SMA", "EMA", "ADX", "ATR"}
    assert {name.split(".")[1] for name in spec.series} == known
    assert {name.split(".")[0] for name in spec.series} == {"SOYB", "CORN", "WEAT", "DBA"}
    assert not [name for name in spec.series if len(alphavantage._columns(name)) == 0]
    assert all(set(alphavantage._columns(name)) <= set(spec.fields.values()) for name in spec.series)
