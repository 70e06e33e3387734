"""EPA's RIN prices: the week's own-year, unverified row by D code, and a clear word when the page has moved."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import epa_rin
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HEAD = "Transfer Date by Week,RIN Year,Fuel (D Code),QAP Service Type,RIN Price"
ROWS = (
    "08/07/2023,2023,D4,Unverified,$1.52",
    "08/07/2023,2022,D4,Unverified,1.60",
    "08/07/2023,2023,D4,Q-RIN,1.55",
    "08/07/2023,2023,D6,Unverified,1.49",
    "08/14/2023,2023,D4,Unverified,",
    "08/14/2023,2023,D7,Unverified,2.00",
)


def csv(*rows: str, head: str = HEAD) -> bytes:
    return "\n".join([head, *rows, ""]).encode()


@pytest.fixture
def spec(registry, server):
    spec = registry.sources.source("epa_rin")
    return spec.model_copy(update={"endpoint": f"{server.url}/rin/page", "disabled": ""})


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "as_of": date(2023, 12, 29), "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "epa_rin", spec, **given)

    return run


@pytest.fixture
def parsed(ingest, spec, server, zones):
    def run(content: bytes) -> pd.DataFrame:
        server.script = [(200, csv(*ROWS))]
        ingest()
        (held,) = landed(zones, "epa_rin")
        held.path.write_bytes(content)
        return epa_rin.parse(held, spec)

    return run


def test_the_csv_lands_as_served_from_the_address_of_the_registry_or_the_one_link_on_its_page(ingest, server, zones):
    server.script = [(200, csv(*ROWS))]
    assert ingest().status == "ok"
    page = b'<html><a href="/files/rin_price-2023.csv">data</a> <a href="/files/rin_price-2023.csv">again</a></html>'
    server.script = [(200, page), (200, csv(*ROWS[:2]))]
    assert ingest().status == "ok"
    assert [request.path for request in server.requests] == ["/rin/page", "/rin/page", "/files/rin_price-2023.csv"]
    first, second = landed(zones, "epa_rin")
    assert first.path.read_bytes() == csv(*ROWS)
    assert second.url == f"{server.url}/files/rin_price-2023.csv"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([(200, b"<!DOCTYPE html><html>RIN trades</html>")], ["0 links", "moved", "endpoint"]),
        ([(200, b'<a href="rin1.csv"></a><a href="rin2.csv"></a>')], ["2 links", "moved"]),
        ([(200, b'<a href="rin.csv">'), (200, b"<html>gone</html>")], ["rin.csv", "moved"]),
        ([(200, b"")], ["moved"]),
        ([(404, b"no")], ["404", "/rin/page"]),
    ],
    ids=["page", "two links", "page behind", "nothing", "404"],
)
def test_a_page_that_moved_lands_nothing_and_says_what_to_do(ingest, server, zones, script, told):
    server.script = script
    message = ingest().message
    assert all(part in message for part in told) and not landed(zones, "epa_rin")


def test_429_and_a_cut_answer_are_tried_again(ingest, server):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(csv(*ROWS)[:40])

    server.script = [(429, b"", {"Retry-After": "0"}), (200, csv(*ROWS))]
    assert ingest().status == "ok"
    server.script = [cut, (200, csv(*ROWS))]
    assert ingest().status == "ok" and len(server.requests) == 4


def test_of_a_week_the_row_of_its_own_year_without_assurance_is_the_price(parsed):
    rows = parsed(csv(*ROWS))
    assert rows.to_dict("split")["data"][:2] == [["D4", "2023-08-07", 2, "1.52"], ["D6", "2023-08-07", 5, "1.49"]]
    assert rows["series"].tolist() == ["D4", "D6", "D4"] and pd.isna(rows["value"].iat[2])


@pytest.mark.parametrize(
    "head",
    ["TRANSFER DATE BY WEEK,Fuel D Code,rin price ($)", "\ufeffTransfer Date,D Code,RIN Price", "Week of,Fuel,Price"],
)
def test_the_columns_are_found_under_the_spellings_they_may_have(parsed, head):
    assert parsed(csv("8/7/2023,4,1.52", "8/14/2023,D4,1.50", head=head))["value"].tolist() == ["1.52", "1.50"]


def test_a_week_with_several_rows_and_nothing_to_tell_them_apart_is_refused_cell_by_cell(ingest, spec, server, zones):
    server.script = [(200, csv("08/07/2023,D4,1.5", "08/07/2023,D4,1.6", head="Transfer Date,D Code,RIN Price"))]
    ingest()
    held = stage_source(zones, "epa_rin", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert held.observations.empty and set(held.quarantine["rule"]) == {"duplicate"}


def test_a_price_is_known_sixty_days_after_its_week_and_not_before(ingest, spec, server, zones):
    server.script = [(200, csv(*ROWS))]
    ingest()
    held = stage_source(zones, "epa_rin", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert held.quarantine.empty and held.observations["value"].tolist() == [1.52, 1.49]
    known = held.observations["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert set(known) == {"2023-10-06 17:00"} and set(held.observations["unit"]) == {"USD/RIN"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (csv(*ROWS, head=HEAD.replace("RIN Price", "Average")), "rinprice"),
        (csv(*ROWS, head=HEAD.replace("RIN Year", "Price")), "two of one name"),
        (csv(ROWS[1]), "with the RIN year of its transfer"),
        (csv(ROWS[0] + ",1,2"), "more fields than headings"),
        (b"\xff\xfe\x00", "not a CSV"),
        (b"", "not a CSV"),
        (b"<html>down</html>", "no column"),
    ],
    ids=["renamed", "doubled", "other years only", "wider rows", "bytes", "empty", "html"],
)
def test_another_table_is_drift_by_name(parsed, content, told):
    with pytest.raises(SchemaDrift, match=told) as raised:
        parsed(content)
    assert "rin-prices" in str(raised.value)


def test_as_registered_it_says_that_there_is_no_address_and_asks_nothing(registry, server, zones):
    spec = registry.sources.source("epa_rin")
    done = ingest_source(zones, "epa_rin", spec, origin="live", as_of=date(2023, 12, 29), progress=lambda *step: None)
    assert done.status == "disabled" and "endpoint" in done.message and server.requests == []
