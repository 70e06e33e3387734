"""Each adapter's live path over a local server: what it asks, what it lands, what it says of nonsense."""

from __future__ import annotations

import json
from datetime import date

import pytest

from tasks.errors import SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import cftc, fred, noaa
from tasks.sources.payloads import Window

WINDOW = Window(date(2020, 3, 1), date(2020, 3, 31))
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
ZL = "6dca-aqww.007601"
HTML = b"<!DOCTYPE html><html><body>We are down for maintenance</body></html>"


@pytest.fixture
def ask(registry, server):
    """Run one adapter's fetch against the local server."""

    def run(module, series: str, path: str):
        name = module.__name__.split(".")[-1]
        spec = registry.sources.source(name).model_copy(update={"endpoint": server.url + path})
        with Http(name, per_minute=60_000, limits=QUICK) as http:
            return list(module.fetch(series, WINDOW, spec, http))

    return run


def test_fred_asks_the_graph_csv_of_the_series_and_window_and_lands_it_as_served(ask, server):
    body = b"observation_date,DFF\n2020-03-16,0.25\n2020-03-17,\n"
    server.script = [(200, body)]
    (fetched,) = ask(fred, "DFF", "/graph/fredgraph.csv")
    assert server.requests[0].path == "/graph/fredgraph.csv"
    assert server.requests[0].query == {"id": "DFF", "cosd": "2020-03-01", "coed": "2020-03-31"}
    assert (fetched.series, fetched.extension, fetched.content) == ("DFF", "csv", body)


def test_cftc_filters_by_code_and_pages_by_offset_to_the_end(ask, server, monkeypatch):
    monkeypatch.setattr(cftc, "PAGE", 2)
    rows = [{"report_date_as_yyyy_mm_dd": f"2020-03-{day:02d}T00:00:00.000"} for day in (3, 10, 17, 24, 31)]
    server.script = [(200, json.dumps(rows[at : at + 2]).encode()) for at in (0, 2, 4)]
    (fetched,) = ask(cftc, ZL, "/resource/6dca-aqww.json")
    assert json.loads(fetched.content) == rows
    assert [request.query["$offset"] for request in server.requests] == ["0", "2", "4"]
    first = server.requests[0]
    assert first.path == "/resource/6dca-aqww.json"
    assert first.query["$limit"] == "2" and first.query["$order"] == "report_date_as_yyyy_mm_dd"
    assert "cftc_contract_market_code='007601'" in first.query["$where"]
    assert "between '2020-03-01' and '2020-03-31'" in first.query["$where"]


def test_cftc_ends_with_an_empty_page_when_the_rows_fill_the_last_one(ask, server, monkeypatch):
    monkeypatch.setattr(cftc, "PAGE", 2)
    server.script = [(200, b'[{"a": "1"}, {"a": "2"}]'), (200, b"[]")]
    (fetched,) = ask(cftc, ZL, "/x.json")
    assert len(json.loads(fetched.content)) == 2


def test_cftc_never_lands_half_of_its_pages(ask, server, monkeypatch):
    monkeypatch.setattr(cftc, "PAGE", 2)
    server.script = [(200, b'[{"a": "1"}, {"a": "2"}]'), (503, b"busy")]
    with pytest.raises(SourceUnavailable, match="503"):
        ask(cftc, ZL, "/x.json")


def test_noaa_asks_for_the_whole_table(ask, server):
    body = b" SEAS  YR   TOTAL   ANOM\n  DJF 1950   24.72  -1.53\n"
    server.script = [(200, body)]
    (fetched,) = ask(noaa, "oni.ascii", "/data/indices/oni.ascii.txt")
    assert (server.requests[0].path, server.requests[0].query) == ("/data/indices/oni.ascii.txt", {})
    assert (fetched.extension, fetched.content) == ("txt", body)


SOCRATA_ERROR = b'{"code": "query.compiler.malformed", "error": true, "message": "Could not parse SoQL query"}'


@pytest.mark.parametrize("answer", [HTML, b"", b"\xff\xfe\x00\x01", SOCRATA_ERROR, b"null"])
@pytest.mark.parametrize(("module", "series"), [(fred, "DFF"), (cftc, ZL), (noaa, "oni.ascii")])
def test_a_200_with_something_else_inside_is_unavailable_and_shows_its_beginning(ask, server, module, series, answer):
    server.script = [(200, answer)]
    with pytest.raises(SourceUnavailable) as raised:
        ask(module, series, "/x")
    assert series in str(raised.value)
    assert not answer or repr(answer[:10])[2:-1] in str(raised.value)


def test_cftc_without_a_report_in_the_window_is_unavailable(ask, server):
    server.script = [(200, b"[]")]
    with pytest.raises(SourceUnavailable, match="no report between 2020-03-01 and 2020-03-31"):
        ask(cftc, ZL, "/x")
