"""Databento: what is asked with which roll, Sundays in Monday's bar, contracts by delivery, the key in a header."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import random
from datetime import date

import pandas as pd
import pytest
import yaml

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.registry import SourceSpec
from tasks.sources import databento
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Fetched, Window, land, landed
from tasks.staging.rules import screen
from tasks.staging.stage import stage_source

SECRET = "db-S3CR3TKEY0123456789"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
WINDOW = Window(date(2023, 12, 18), date(2023, 12, 29))  # from a Monday
HEADER = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol\n"
NOW = pd.Timestamp("2024-01-05 12:00", tz="UTC")


def bar(day: str, prices: str, *, symbol: str = "CL.v.0", instrument: int = 7, volume: int = 100) -> str:
    return f"{day}T00:00:00.000000000Z,35,1,{instrument},{prices},{volume},{symbol}\n"


def bars(*lines: str) -> bytes:
    return (HEADER + "".join(lines)).encode()


def available(end: str) -> bytes:
    whole = {"start": "2010-06-06T00:00:00.000000000Z", "end": "2024-02-01T12:00:00.000000000Z"}
    return json.dumps(whole | {"schema": {"ohlcv-1d": whole | {"end": f"{end}T00:00:00.000000000Z"}}}).encode()


def answers(content: bytes, *, end: str = "2023-12-29"):
    return lambda request: (200, available(end) if "get_dataset_range" in request.path else content)


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("databento").model_copy(
        update={"endpoint": f"{server.url}/v0", "rate_limit_per_minute": 60_000}
    )


@pytest.fixture
def ask(spec):
    def run(series: str = "ZL.v.0", window: Window = WINDOW):
        with Http("databento", per_minute=60_000, keys={"DATABENTO_API_KEY": SECRET}, limits=QUICK) as http:
            return list(databento.fetch(series, window, spec, http))

    return run


@pytest.fixture
def parse(spec, zones):
    def run(series: str, content: bytes) -> pd.DataFrame:
        payload = land(zones, "databento", Fetched(series, "csv", content, "x"), spec, fetched_at=NOW)
        return databento.parse(payload, spec)

    return run


@pytest.mark.parametrize(("series", "kind"), [("ZL.v.0", "continuous"), ("ZL.FUT", "parent")])
def test_the_documented_query_is_asked_to_the_last_day_that_is_over(ask, server, series, kind):
    server.by_request = answers(bars(), end="2023-12-28")
    (fetched,) = ask(series)
    ranges, asked = server.requests
    assert (ranges.path, ranges.query) == ("/v0/metadata.get_dataset_range", {"dataset": "GLBX.MDP3"})
    assert asked.path == "/v0/timeseries.get_range"
    assert asked.query == {
        "dataset": "GLBX.MDP3",
        "schema": "ohlcv-1d",
        "symbols": series,
        "stype_in": kind,
        "start": "2023-12-17",  # the Sunday before the Monday asked for
        "end": "2023-12-28",  # exclusive: later than what is to be had is refused with 422
        "encoding": "csv",
        "compression": "none",
        "pretty_px": "true",
        "pretty_ts": "true",
        "map_symbols": "true",
    }
    assert "symbols=" + series in fetched.url


def test_with_nothing_new_to_be_had_nothing_is_asked_and_paid_for(ask, server):
    server.by_request = answers(bars(), end="2023-12-15")
    assert ask() == []
    assert len(server.requests) == 1


def test_the_key_goes_into_the_header_and_nowhere_else(spec, server, zones, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("DATABENTO_API_KEY", SECRET)
    seen = []

    def answer(handler) -> None:
        seen.append(handler.headers["Authorization"])
        body = available("2023-12-29") if "metadata" in handler.path else bars(bar("2023-12-28", "48,49,47,48.5"))
        status = 200 if "ZS" not in handler.path else 401
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.script = [answer]
    few = spec.model_copy(update={"feeds": ("CL.v.0", "ZS.v.0")})
    done = ingest_source(
        zones, "databento", few, origin="live", as_of=date(2023, 12, 29), limits=QUICK, progress=lambda *step: None
    )
    basic = base64.b64encode(f"{SECRET}:".encode()).decode()
    assert set(seen) == {f"Basic {basic}"}
    assert done.status == "partial" and "HTTP 401" in done.failures["ZS.v.0"]
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    told = [path.read_text() + str(path) for path in files] + [done.message, caplog.text]
    assert len(files) == 2 and not [text for text in told if SECRET in text or basic in text]
    assert not [request for request in server.requests if SECRET in str(request)]


@pytest.mark.parametrize("passing", [(429, b"slow down", {"Retry-After": "0"}), (503, b"busy")])
def test_a_passing_refusal_is_survived(ask, server, passing):
    server.script = [passing, (200, available("2023-12-29")), passing, (200, bars())]
    assert len(ask()) == 1


def cut_short(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(bars(bar("2023-12-28", "48,49,47,48.5")))


@pytest.mark.parametrize(
    "answer",
    [(200, b'{"detail": "no"}'), (200, b""), (403, b"{}"), (422, b"{}"), (500, b"x"), cut_short],
    ids=["json", "nothing", "forbidden", "range", "broken", "short"],
)
def test_something_else_is_unavailable(ask, server, answer):
    server.script = [(200, available("2023-12-29")), answer]
    with pytest.raises(SourceUnavailable, match="databento"):
        ask()
    server.script = [answer]
    with pytest.raises(SourceUnavailable, match="databento"):
        ask()


def test_a_sunday_evening_is_part_of_mondays_session(parse):
    rows = parse(
        "CL.v.0",
        bars(
            bar("2023-12-15", "71,72,70,71.5"),
            bar("2023-12-17", "71.6,74.5,71.4,71.9", volume=5),
            bar("2023-12-18", "72,74,71.5,73", volume=200),
            bar("2023-12-24", "73.5,73.6,73.4,73.5", volume=3),  # Christmas on Monday: no bar of its own
            bar("2023-12-26", "73.5,75,73,74", volume=50),
            bar("2023-12-31", "74,74.2,73.9,74.1", volume=4),  # its Monday is in the next answer, with it
        ),
    )
    assert rows.drop(columns=["series", "row"]).values.tolist() == [
        ["2023-12-15", 71, 72, 70, 71.5, 100],
        ["2023-12-18", 71.6, 74.5, 71.4, 73, 205],
        ["2023-12-25", 73.5, 73.6, 73.4, 73.5, 3],
        ["2023-12-26", 73.5, 75, 73, 74, 50],
    ]


def test_at_a_roll_mondays_bar_is_of_the_new_contract_alone(parse):
    rows = parse(
        "CL.v.0", bars(bar("2023-12-17", "71,72,70,71.5", instrument=7), bar("2023-12-18", "75,76,74,75", instrument=8))
    )
    assert rows[["observation_date", "open", "low", "volume"]].values.tolist() == [["2023-12-18", 75, 74, 100]]


def test_every_contract_of_a_parent_is_a_series_and_a_spread_is_none(parse, spec):
    rows = parse(
        "ZL.FUT",
        bars(
            bar("2013-12-30", "40,41,39,40", symbol="ZLF4", instrument=1),
            bar("2013-12-30", "40,41,39,40.5", symbol="ZLF3", instrument=9),  # last January's has expired
            bar("2023-12-28", "48,49,47,48", symbol="ZLF4", instrument=2),
            bar("2023-12-28", "48,49,47,48.2", symbol="ZLZ3", instrument=3),
            bar("2023-12-28", "48,49,47,48.4", symbol="ZLH30", instrument=4),
            bar("2023-12-28", "0.1,0.2,0.1,0.1", symbol="ZLF4-ZLH4", instrument=5),
            bar("2023-12-28", "0.1,0.2,0.1,0.1", symbol="ZLM4", instrument=6),  # not a month of ZL
        ),
    )
    assert dict(zip(rows["series"], rows["close"], strict=True)) == {
        "ZLF14": 40.0,
        "ZLF23": 40.5,
        "ZLF24": 48.0,
        "ZLZ23": 48.2,
        "ZLH30": 48.4,
    }
    assert spec.series["ZLF24"].ended == date(2024, 1, 31) and spec.series["ZLF24"].unit == "cents/lb"


def test_the_roll_rule_of_the_registry_says_which_continuous_contract_is_asked_for(registry):
    entry = yaml.safe_load((registry.folder / "data_sources.yaml").read_text())["sources"]["databento"]
    for roll, letter in (("calendar", "c"), ("volume", "v")):
        spec = SourceSpec.model_validate(entry | {"roll": roll})
        continuous = {f"{name}.{letter}.0" for name in ("ZL", "ZS", "ZM", "ZC", "CL", "HO")}
        assert {name for name in spec.series if name.endswith(".0")} == continuous
        assert {name for name in spec.fetched if name.endswith(".0")} == continuous
        assert {f"{name[:2]}.FUT" for name in continuous} == set(spec.fetched) - continuous
    with pytest.raises(ValueError, match="roll"):
        SourceSpec.model_validate(entry | {"roll": "sometimes"})


def test_bars_of_the_other_roll_are_not_mixed_in(parse):
    assert parse("ZL.c.0", bars(bar("2023-12-28", "48,49,47,48", symbol="ZL.c.0"))).empty


def test_a_bar_is_known_once_its_utc_day_is_over_even_to_an_account_that_is_served_a_day_late(
    parse, spec, zones, monkeypatch
):
    parse("ZL.v.0", bars(bar("2023-12-27", "48,49,47,48.5", symbol="ZL.v.0")))
    observations = stage_source(zones, "databento", spec, as_of=pd.Timestamp("2023-12-29"), code="t").observations
    assert set(observations["available_at"]) == {pd.Timestamp("2023-12-29 00:00", tz="UTC")}
    assert set(observations["unit"]) == {"cents/lb", "contracts"} and len(observations) == 5


@pytest.mark.parametrize("column", ["ts_event", "instrument_id", "close", "symbol"])
def test_a_column_that_is_gone_is_drift_by_name(parse, column):
    with pytest.raises(SchemaDrift, match=column):
        parse("CL.v.0", bars(bar("2023-12-28", "48,49,47,48")).replace(column.encode(), b"other"))


def test_times_that_are_not_iso_are_drift(parse):
    raw = bars(bar("2023-12-28", "48,49,47,48")).replace(b"2023-12-28T00:00:00.000000000Z", b"1703721600000000000")
    with pytest.raises(SchemaDrift, match="ts_event"):
        parse("CL.v.0", raw)


def test_prices_in_billionths_are_refused_by_the_range(parse, spec, zones):
    parse("ZL.v.0", bars(bar("2023-12-27", "48000000000,49000000000,47000000000,48500000000", symbol="ZL.v.0")))
    held = stage_source(zones, "databento", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert set(held.observations["field"]) == {"volume"} and set(held.quarantine["rule"]) == {"range"}


def test_without_its_key_the_source_is_disabled_and_asks_nothing(spec, server, zones, monkeypatch):
    monkeypatch.delenv("DATABENTO_API_KEY", raising=False)
    done = ingest_source(
        zones, "databento", spec, origin="live", as_of=date(2023, 12, 29), limits=QUICK, progress=lambda *step: None
    )
    assert done.message == "disabled: needs DATABENTO_API_KEY" and server.requests == []


def test_a_damaged_payload_is_drift_or_rows_but_never_another_error(parse, spec, zones, tmp_path):
    chance = random.Random("databento")
    lines = [bar(f"2023-12-{day}", "48,49,47,48.5", symbol="ZLF4", volume=day) for day in range(10, 30)]
    whole = bars(*lines)
    parse("ZL.FUT", whole)
    payload = landed(zones, "databento", "ZL.FUT")[0]
    drifted = 0
    for number in range(150):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(min(number % 20, len(damaged))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(32, 127)
        path = tmp_path / f"{number}.csv"
        path.write_bytes(damaged)
        try:
            rows = databento.parse(dataclasses.replace(payload, path=path), spec)
        except SchemaDrift:
            drifted += 1
        else:
            screen(rows.assign(payload=path.name, fetched_at=NOW), spec)
    assert 0 < drifted < 150
