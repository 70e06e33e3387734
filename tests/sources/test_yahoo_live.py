"""The real yfinance client against a local server in Yahoo's place, with a small chart answer written by hand."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
import zlib
from datetime import date
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import SourceDown, SourceUnavailable
from tasks.http import Http, Limits
from tasks.panel.curve import contract_prices
from tasks.registry import SourceSpec
from tasks.sources import yahoo, yahoo_contracts
from tasks.sources.payloads import Payload, Window, land
from tasks.staging.stage import stage_payloads
from tasks.storage.hashes import sha256_of

WINDOW = Window(date(2022, 4, 25), date(2022, 4, 28))
BARS = {
    "2022-04-25": (79.5, 80.1, 78.0, 79.83, 51000),
    "2022-04-26": (80.0, 85.5, 79.9, 84.97, 61000),
    "2022-04-27": (85.0, 87.0, 84.1, 86.69, 62000),
    "2022-04-28": (87.0, 90.9, 86.5, 90.6, 63000),
}


def chart(
    bars: dict[str, tuple], *, symbol: str = "ZL=F", zone: str = "America/New_York", events: dict | None = None
) -> bytes:
    """A v8 chart answer; stamps are midnight in the exchange's zone."""
    names = ("open", "high", "low", "close", "volume")
    meta = {
        "currency": "USX",
        "symbol": symbol,
        "instrumentType": "FUTURE",
        "exchangeTimezoneName": zone,
        "timezone": "EDT",
        "gmtoffset": -14400,
        "dataGranularity": "1d",
        "range": "",
        "validRanges": ["1d", "5d", "max"],
    }
    quote = {name: [bar[i] for bar in bars.values()] for i, name in enumerate(names)}
    result = {
        "meta": meta,
        "timestamp": [int(pd.Timestamp(day, tz=zone).timestamp()) for day in bars],
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": quote["close"]}]},
    } | ({"events": events} if events else {})
    return json.dumps({"chart": {"result": [result], "error": None}}).encode()


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("yfinance")


@pytest.fixture
def yahoo_at(server, monkeypatch, cache_folder) -> SourceSpec:
    """yfinance asks the local server; whatever else it wants of the internet meets a proxy that refuses."""
    data = import_module("yfinance.data")
    monkeypatch.setattr(data.SingletonMeta, "_instances", {})
    monkeypatch.setattr(tempfile, "tempdir", str(cache_folder))
    for name in ("yfinance.base", "yfinance.scrapers.history"):
        monkeypatch.setattr(import_module(name), "_BASE_URL_", server.url)
    data.YfConfig.network.proxy = {"https": server.url}
    data.YfData.cache_get.cache_clear()
    yield server
    data.YfConfig.network.proxy = None


@pytest.fixture
def ask(registry, yahoo_at):
    def run(attempts: int = 1, series: str = "ZL=F", window: Window = WINDOW, **limited: float):
        limits = Limits(attempts=attempts, read_s=2, first_wait_s=0, longest_wait_s=0, **limited)
        with Http("yahoo", per_minute=60_000, limits=limits) as http:
            return list(yahoo.fetch(series, window, registry.sources.source("yahoo"), http))

    return run


def test_the_history_csv_has_the_sites_header_and_the_bars_of_the_window(ask, server):
    server.script = [(200, chart(BARS))]
    (fetched,) = ask()
    lines = fetched.content.decode().splitlines()
    assert lines[0] == "Date,Open,High,Low,Close,Adj Close,Volume"
    assert lines[-1] == "2022-04-28,87.0,90.9,86.5,90.6,90.6,63000"
    assert len(lines) == 5
    asked = server.requests[-1]
    assert asked.path == "/v8/finance/chart/ZL=F"
    assert asked.query["interval"] == "1d"
    days = [
        pd.Timestamp(int(asked.query[p]), unit="s", tz="UTC").tz_convert("America/New_York")
        for p in ("period1", "period2")
    ]
    assert [f"{day:%Y-%m-%d %H:%M}" for day in days] == ["2022-04-25 00:00", "2022-04-29 00:00"], "the end is inclusive"


def test_what_was_fetched_parses_and_stages(ask, server, registry, zones):
    server.script = [(200, chart(BARS))]
    (fetched,) = ask()
    now = pd.Timestamp("2022-04-29 12:00", tz="UTC")
    spec = registry.sources.source("yahoo")
    payload = land(zones, "yahoo", fetched, spec, fetched_at=now)
    observations, quarantine = stage_payloads("yahoo", spec, [payload], through=now)
    closes = observations[observations["field"] == "close"].set_index("observation_date")["value"]
    assert closes.to_dict() == {pd.Timestamp(day): bar[3] for day, bar in BARS.items()}
    assert quarantine.empty


def test_a_rate_limit_is_retried_and_then_said(ask, server):
    server.script = [(429, b"Too Many Requests")]
    with pytest.raises(SourceUnavailable, match=r"yahoo: .*ZL=F.*limits the rate"):
        ask(attempts=2)
    assert len(server.requests) >= 2


def test_a_rate_limit_that_passes_is_survived(ask, server):
    server.script = [(429, b"Too Many Requests"), (429, b"Too Many Requests"), (200, chart(BARS))]
    (fetched,) = ask(attempts=2)
    assert fetched.content.count(b"\n") == 5


ERROR = {
    "chart": {"result": None, "error": {"code": "Not Found", "description": "No data found, symbol may be delisted"}}
}


def test_a_bar_without_a_volume_has_none_and_one_of_volume_0_has_0(ask, yahoo_at):
    """yfinance writes 0 for both."""
    bars = BARS | {"2022-04-26": (*BARS["2022-04-26"][:4], None), "2022-04-27": (*BARS["2022-04-27"][:4], 0)}
    yahoo_at.by_request = lambda request: (200, chart(bars))
    [fetched] = ask()
    rows = [line.split(",") for line in fetched.content.decode().splitlines()[1:]]
    assert [row[-1] for row in rows] == ["51000", "", "0", "63000"]


@pytest.mark.parametrize(
    "answer",
    [
        (200, b'{"chart": {"result": [], "error": null}}'),
        (200, b'{"chart": {"result": null, "error": null}}'),
        (200, chart({})),
        (404, json.dumps(ERROR).encode()),
        (200, b"<html>Will be right back...</html>"),
        (200, b"<html>something else</html>"),
        (200, b""),
        (200, b"{}"),
        (200, b"[]"),
        (200, chart(BARS).replace(b'"quote"', b'"quotes"')),
        (200, chart(BARS).replace(b'"close"', b'"clos"')),
        (200, chart(BARS).replace(b'"timestamp"', b'"timestamps"')),
        (200, chart(BARS)[:200]),
        (500, b"oops"),
    ],
    ids=lambda answer: str(answer[0]) + " " + answer[1][:40].decode(),
)
def test_no_bars_are_no_payload(ask, server, answer):
    server.script = [answer]
    with pytest.raises(SourceUnavailable, match=r"yahoo: .*ZL=F"):
        ask()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_outage_that_passes_is_survived(ask, server, status):
    """yfinance hides the status and asks a second time by itself; what is left is a page that is no JSON."""
    server.script = [(status, b"<html>busy</html>")] * 4 + [(200, chart(BARS))]
    (fetched,) = ask(attempts=5)
    assert fetched.content.count(b"\n") == 5


def a_split_on(day: str) -> dict:
    stamp = int(pd.Timestamp(f"{day} 09:30", tz="America/New_York").timestamp())
    return {"splits": {str(stamp): {"date": stamp, "numerator": 1, "denominator": 8, "splitRatio": "1:8"}}}


def a_dividend_on(day: str) -> dict:
    stamp = int(pd.Timestamp(f"{day} 09:30", tz="America/New_York").timestamp())
    return {"dividends": {str(stamp): {"date": stamp, "amount": 0.4}}}


@pytest.mark.parametrize("event", [a_split_on, a_dividend_on])
@pytest.mark.parametrize(("day", "whole"), [("2022-04-27", True), ("2022-04-25", False)])
def test_a_split_or_dividend_since_the_newest_bar_held_brings_the_whole_history_on_one_scale(
    ask, server, event, day, whole
):
    """The window goes 30 days back from the newest bar held: what is older was seen with that bar."""
    server.script = [(200, chart(BARS, symbol="USO", events=event(day)))]
    (fetched,) = ask(series="USO", window=Window(date(2022, 3, 27), date(2022, 4, 28)))
    starts = [pd.Timestamp(int(r.query["period1"]), unit="s").year for r in server.requests if "period1" in r.query]
    assert starts[-1] == (2000 if whole else 2022)
    assert ("period1=2000-01-01" in fetched.url) is whole, "the sidecar says what was asked"
    assert fetched.content.startswith(b"Date,Open,High,Low,Close,Adj Close,Volume\n")


def test_a_rewritten_history_is_a_new_vintage_not_a_jump(registry, tmp_path):
    """A fund's reverse split: the same days come again eight times as high, and none of them is refused."""
    days, payloads = pd.bdate_range("2020-03-02", periods=40), []
    for number, (factor, fetched) in enumerate([(1, "2020-04-28"), (8, "2020-04-30")]):
        path = tmp_path / f"{number}.csv"
        rows = [f"{day:%Y-%m-%d},{2.5 * factor}" for day in days]
        path.write_text("Date,Close\n" + "\n".join(rows))
        payload = land_as("USO", path, pd.Timestamp(fetched, tz="UTC"))
        payloads.append(payload)
    through = pd.Timestamp("2020-05-01", tz="UTC")
    observations, quarantine = stage_payloads("yahoo", registry.sources.source("yahoo"), payloads, through=through)
    assert quarantine.empty
    assert observations.groupby("vintage")["value"].unique().explode().to_dict() == {1: 2.5, 2: 20.0}


def land_as(series: str, path: Path, fetched_at: pd.Timestamp) -> Payload:
    return Payload("yahoo", series, path, sha256_of(path), path.stat().st_size, "", fetched_at, False)


EQUITIES = ["ADM", "BG", "DBA", "USO", "CORN", "MOO", "SOYB", "WEAT"]


def test_the_recorded_equities_and_funds_stage_whole_and_are_marked_revised(staged, registry):
    held, spec = staged.by_source["yahoo"], registry.sources.source("yahoo")
    assert {spec.series[name].point_in_time for name in EQUITIES} == {"revised"}
    counts = held.observations.groupby("series", observed=True).size()
    rows = {"ADM": 6037, "BG": 5638, "DBA": 4276, "USO": 4462}
    closes = {"CORN": 3414, "MOO": 4109, "SOYB": 3091, "WEAT": 3091}  # only adjusted closes were kept
    assert counts[EQUITIES].to_dict() == {name: 6 * count for name, count in rows.items()} | closes
    assert not held.quarantine["series"].isin(EQUITIES).any()
    volume = held.observations.query("series == 'ADM' and field == 'volume'")
    assert set(volume["unit"]) == {"shares"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_yahoo_is_an_outage_and_no_symbol_is_called_delisted(ask, server, status):
    words = {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}
    server.script = [(status, json.dumps(words).encode())]
    with pytest.raises(SourceDown, match=rf"an outage of Yahoo, which refuses this machine: HTTP {status}: ") as raised:
        ask(attempts=3)
    assert "Invalid Crumb" in str(raised.value) and "delisted" not in str(raised.value)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_outage_of_yahoo_is_said_with_its_status_and_words(ask, server, status):
    server.script = [(status, b"<html>Will not be long</html>")]
    with pytest.raises(SourceDown, match=rf"an outage of Yahoo: HTTP {status}: <html>Will not be long") as raised:
        ask()
    assert "delisted" not in str(raised.value)


def test_an_empty_answer_is_no_guess_about_the_symbol(ask, server):
    server.script = [(200, b'{"chart": {"result": [], "error": null}}')]
    with pytest.raises(SourceUnavailable) as raised:
        ask()
    assert "delisted" not in str(raised.value)


@pytest.mark.faults
@pytest.mark.parametrize("series", ["ZL=F", "HO=F"])
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
def test_an_answer_of_yahoo_that_inflates_to_a_hundred_megabytes_ends_at_the_limit(ask, server, encoding, series):
    if series == "ZL=F":  # from now on yfinance knows its time zone; it asks Yahoo for the other's
        server.script = [(200, chart(BARS))]
        ask()
    asked = len(server.requests)
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = b"".join(pack.compress(bytes(2**20)) for _ in range(100)) + pack.flush()
    content = gzip.compress(content) if "," in encoding else content
    server.script = [(200, content, {"Content-Encoding": encoding})]
    with pytest.raises(SourceUnavailable, match="yahoo: more than 1000000 bytes from http"):
        ask(attempts=3, max_bytes=1_000_000, series=series)
    assert len(server.requests) - asked < 4, "and it is not asked again"


@pytest.mark.faults
@pytest.mark.parametrize("series", ["ZL=F", "RB=F"])
def test_the_time_of_a_history_counts_everything_that_yfinance_asks_for(ask, server, series):
    if series == "ZL=F":  # from now on yfinance knows its time zone; it asks Yahoo for the other's
        server.script = [(200, chart(BARS))]
        ask()

    def drip(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not handler.ending.wait(0.05):
            handler.wfile.write(b"x")

    server.script = [drip]
    started = time.monotonic()
    with pytest.raises(SourceDown):
        ask(attempts=3, total_s=0.5, series=series)
    assert time.monotonic() - started < 2.5


def test_single_contracts_are_asked_by_name_and_only_while_they_trade(server, yahoo_at, registry, zones):
    spec = registry.sources.source("yahoo_contracts")
    window = Window(date(2026, 11, 2), date(2026, 11, 27))
    bars = {"2026-11-26": (52.1, 52.9, 51.8, 52.4, 30000), "2026-11-27": (52.4, 53.0, 52.2, 52.8, 20000)}
    server.script = [(200, chart(bars, symbol="ZLZ26.CBT"))]
    limits = Limits(attempts=1, read_s=2, first_wait_s=0, longest_wait_s=0)
    with Http("yahoo_contracts", per_minute=60_000, limits=limits) as http:
        (fetched,) = yahoo_contracts.fetch("ZLZ26.CBT", window, spec, http)
        assert server.requests[-1].path == "/v8/finance/chart/ZLZ26.CBT"
        asked = len(server.requests)
        # gone off in October, and one that goes off in twenty months
        assert [*yahoo_contracts.fetch("ZLV26.CBT", window, spec, http)] == []
        assert [*yahoo_contracts.fetch("ZLN28.CBT", window, spec, http)] == [] and len(server.requests) == asked
    now = pd.Timestamp("2026-11-28 12:00", tz="UTC")
    payload = land(zones, "yahoo_contracts", fetched, spec, fetched_at=now)
    observations, quarantine = stage_payloads("yahoo_contracts", spec, [payload], through=now)
    closes = observations[observations["field"] == "close"]
    assert closes["value"].tolist() == [52.4, 52.8] and quarantine.empty
    prices = contract_prices(observations, registry.derived.roll_rule)
    assert prices[["source", "contract", "price"]].iloc[-1].tolist() == ["yahoo_contracts", 202612, 52.8]
