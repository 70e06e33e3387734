"""Dalian's daily text: a file a weekday, contracts only, dated by what was asked, a moved page said clearly."""

from __future__ import annotations

import dataclasses
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.registry import DataSources
from tasks.sources import dce
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Window, landed
from tasks.staging.stage import stage_source
from tasks.staging.summary import summarise_series

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HEADER = (
    "Contract\tOpen\t\tHigh\t\tLow\t\tClose\t\tPrev Settle\tSettle\t\tChg\t\tVolume\t\tOI\t\tOI Chg\t\tTurnover\t\n"
)
TRADED = (
    "y2205\t\t9,116\t\t9,144\t\t8,838\t\t8,994\t\t9,218\t\t8,996\t\t-222\t\t"
    "125,120\t\t148,366\t\t6,797\t\t11,255,883.98\t\n"
)
UNTRADED = "b2204\t\t0\t\t0\t\t0\t\t4,021\t\t4,021\t\t4,021\t\t0\t\t0\t\t3\t\t0\t\t0\t\n"
SUMS = (
    "y Subtotal\t-\t\t-\t\t-\t\t0\t\t0\t\t0\t\t0\t\t125,120\t148,366\t\t6,797\t\t11,255,883.98\t\n"
    "Total\t\t-\t\t-\t\t-\t\t0\t\t0\t\t0\t\t0\t\t125,120\t148,366\t\t6,797\t\t11,255,883.98\t\n"
)
QUOTES = (HEADER + TRADED + UNTRADED + SUMS).encode()
HOLIDAY = (HEADER + SUMS.splitlines(keepends=True)[1]).encode()
WEEK = Window(date(2022, 1, 28), date(2022, 2, 1))  # Friday to Tuesday


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("dce").model_copy(
        update={"endpoint": f"{server.url}/quotes.html", "rate_limit_per_minute": 60_000}
    )


@pytest.fixture
def ask(spec):
    def run(window: Window = WEEK):
        with Http("dce", per_minute=60_000, limits=QUICK) as http:
            return list(dce.fetch("daily-quotes", window, spec, http))

    return run


@pytest.fixture
def recorded(archive):
    (payload,) = recorded_files(archive, "dce", "daily-quotes")
    return payload


def test_each_weekday_is_asked_with_months_from_zero_and_a_holiday_is_not_kept(ask, server):
    server.by_request = lambda request: (200, HOLIDAY if request.query["month"] == "1" else QUOTES)
    fetched = ask()
    asked = [tuple(request.query[name] for name in ("year", "month", "day")) for request in server.requests]
    assert asked == [("2022", "0", "28"), ("2022", "0", "31"), ("2022", "1", "1")]
    assert {request.path for request in server.requests} == {"/quotes.html"}
    assert [one.url.partition("?")[2] for one in fetched] == ["year=2022&month=0&day=28", "year=2022&month=0&day=31"]


@pytest.mark.parametrize(
    "answer",
    [(404, b""), (412, b"no"), (200, b"<html>new site</html>"), (200, b""), (200, "合约\t开盘价\n".encode())],
    ids=["gone", "turned away", "page", "nothing", "chinese"],
)
def test_a_page_that_moved_is_said_with_what_to_do(ask, server, answer):
    server.script = [answer]
    with pytest.raises(SourceUnavailable, match=r"dce.*sources\.dce\.endpoint in registry/data_sources\.yaml"):
        ask()
    assert len(server.requests) == 1, "asking again does not mend it"


@pytest.mark.parametrize("answer", [(429, b"slow"), (502, b"busy"), lambda handler: short(handler)])
def test_a_passing_outage_is_survived_and_a_lasting_one_is_no_moved_page(ask, server, answer):
    server.script = [answer, (200, QUOTES)]
    assert len(ask()) == 3
    server.script = [answer]
    with pytest.raises(SourceUnavailable) as raised:
        ask()
    assert "endpoint" not in str(raised.value)


def short(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(QUOTES)))
    handler.end_headers()
    handler.wfile.write(QUOTES[:100])


def test_a_live_file_is_dated_by_the_day_asked_for_and_known_that_evening_in_china(spec, server, zones):
    server.by_request = lambda request: (200, QUOTES if request.query["day"] == "28" else HOLIDAY)
    narrow = spec.model_copy(update={"first_date": date(2022, 1, 27)})
    done = ingest_source(
        zones, "dce", narrow, origin="live", as_of=date(2022, 2, 1), limits=QUICK, progress=lambda *step: None
    )
    assert (done.status, done.new_payloads) == ("ok", 1)
    held = stage_source(zones, "dce", spec, as_of=pd.Timestamp("2022-02-01"), code="t")
    assert held.quarantine.empty
    assert set(held.observations["observation_date"]) == {pd.Timestamp("2022-01-28")}
    known = held.observations["available_at"].dt.tz_convert("America/Chicago").dt.strftime("%m-%d %H:%M")
    assert set(known) == {"01-28 04:00"}, "before Chicago's session of that date"
    values = held.observations.set_index(["series", "field"])["value"]
    assert values["y2205"].to_dict() == {
        "settle": 8996,
        "open": 9116,
        "high": 9144,
        "low": 8838,
        "close": 8994,
        "previous_settle": 9218,
        "volume": 125120,
        "open_interest": 148366,
        "turnover": 11255883.98,
    }
    assert not {"open", "high", "low"} & set(values["b2204"].index), "no trade is no price, not a zero"
    assert values["b2204", "settle"] == 4021 and values["b2204", "volume"] == 0


def test_the_recorded_file_parses_to_its_contracts_and_stages_whole(recorded, registry, archive, zones):
    spec = registry.sources.source("dce")
    rows = dce.parse(recorded, spec)
    lines = recorded.path.read_text().splitlines()
    assert len(lines) == 243, "rows of MANIFEST.csv: header and sums with the contracts"
    assert rows.groupby(rows["series"].str[0]).size().to_dict() == {"a": 6, "b": 12, "m": 8, "p": 12, "y": 8}
    assert rows["row"].is_unique and set(rows["observation_date"]) == {"2021-10-28"}
    ingest_source(zones, "dce", spec, origin=archive, as_of=date(2023, 12, 29), progress=lambda *step: None)
    held = stage_source(zones, "dce", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert held.quarantine.empty
    untraded = int((rows["volume"] == "0").sum())
    assert len(held.observations) == 46 * 9 - 3 * untraded and untraded == 4
    oil = held.observations[held.observations["series"] == "y2201"].set_index("field")["value"]
    assert oil["open_interest"] == 404641
    turnover_cny = oil["settle"] * oil["volume"] * 10  # a contract is 10 t
    assert oil["turnover"] * 1000 == pytest.approx(turnover_cny, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b"OI\t\tOI Chg", b"Open Int\t\tOI Chg", "OI"),
        (b"Contract", b"Code", "Contract"),
    ],
)
def test_another_shape_is_drift_that_says_what(recorded, registry, tmp_path, old, new, named):
    path = tmp_path / recorded.path.name
    path.write_bytes(QUOTES.replace(old, new, 1))
    with pytest.raises(SchemaDrift, match=named):
        dce.parse(dataclasses.replace(recorded, path=path), registry.sources.source("dce"))


def test_a_line_of_another_length_costs_its_contract(recorded, registry, tmp_path):
    path = tmp_path / recorded.path.name
    path.write_bytes(QUOTES.replace(b"8,994\t\t", b"", 1))
    rows = dce.parse(dataclasses.replace(recorded, path=path), registry.sources.source("dce"))
    (why,) = rows["refused"].dropna()
    assert "11 cells" in why and rows["refused"].isna().any()


def test_a_contract_that_expired_or_was_never_held_is_not_stale(registry, spec, server, zones):
    """Every contract is a series; freshness tells of those that are held."""
    server.by_request = lambda request: (200, QUOTES if request.query["day"] == "28" else HOLIDAY)
    narrow = spec.model_copy(update={"first_date": date(2022, 1, 27)})
    ingest_source(zones, "dce", narrow, origin="live", as_of=date(2022, 2, 1), limits=QUICK, progress=lambda *s: None)
    held = stage_source(zones, "dce", spec, as_of=pd.Timestamp("2022-02-01"), code="t")
    sources = DataSources.model_construct(sources={"dce": spec})
    as_of = pd.Timestamp("2023-12-29")
    told = summarise_series(sources, held.observations, held.quarantine, as_of=as_of).set_index("series")
    assert set(told.index) == {"y2205", "b2204"} and told["ended"].all() and told["stale_limit_days"].isna().all()
    assert landed(zones, "dce")[0].series == "daily-quotes"
