"""CARB's LCFS prices: the weekly sheet of the one workbook its page links to."""

from __future__ import annotations

import io
import random
import zipfile
from datetime import date, datetime

import openpyxl
import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import carb_lcfs
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HEAD = (
    "Week Of",
    "Weekly Average\nCredit Price ($)",
    "Type 1 Transfer Weekly Average Credit Price ($)",
    "Total Volume (MT)",
)
WEEKS = (
    (datetime(2023, 11, 27), 68.49, 70.1, 420_000),
    ("12/4/2023", 67.5, None, 310_000),
    ("Prices exclude transfers at zero", None, None, None),
)
PAGE = b'<a href="/files/LCFS%20Weekly_121223.xlsx">log</a> <a href="/files/quarterly.xlsx">other</a>'


def workbook(*rows: tuple[object, ...], head: tuple[str, ...] = HEAD) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Activity Log"
    book.active.append(["Completed", "Price"])
    sheet = book.create_sheet("Weekly Average Credit Price")
    for row in (("LCFS credit prices",), (), head, *rows):
        sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("carb_lcfs").model_copy(update={"endpoint": f"{server.url}/resources/weekly"})


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "as_of": date(2023, 12, 29), "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "carb_lcfs", spec, **given)

    return run


@pytest.fixture
def parsed(ingest, spec, server, zones):
    server.script = [(200, workbook(*WEEKS))]
    ingest()
    (held,) = landed(zones, "carb_lcfs")

    def run(content: bytes) -> pd.DataFrame:
        held.path.write_bytes(content)
        return carb_lcfs.parse(held, spec)

    return run


def test_the_one_weekly_workbook_on_the_page_lands_as_served(ingest, server, zones):
    content = workbook(*WEEKS)
    server.script = [(200, PAGE), (429, b"", {"Retry-After": "0"}), (503, b""), (200, content)]
    assert ingest().status == "failed", "two attempts, then it counts as down"
    server.script = [(200, PAGE), (503, b""), (200, content)]
    assert ingest().status == "ok"
    assert server.requests[-1].path == "/files/LCFS Weekly_121223.xlsx"
    (held,) = landed(zones, "carb_lcfs")
    assert held.path.suffix == ".xlsx" and held.path.read_bytes() == content


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([(200, b"<html>no link here</html>")], ["0 links", "moved", "endpoint"]),
        ([(200, b'<a href="weekly1.xlsx"></a><a href="weekly2.xlsx"></a>')], ["2 links", "moved"]),
        ([(200, PAGE), (200, b"<html>gone</html>")], ["Weekly_121223.xlsx", "moved"]),
        ([(404, b"no")], ["404", "/resources/weekly"]),
    ],
    ids=["page", "two links", "page behind", "404"],
)
def test_a_page_that_moved_lands_nothing_and_says_what_to_do(ingest, server, zones, script, told):
    server.script = script
    message = ingest().message
    assert all(part in message for part in told) and not landed(zones, "carb_lcfs")


def test_every_week_has_its_price_and_a_note_below_the_table_is_no_week(ingest, spec, server, zones):
    server.script = [(200, workbook(*WEEKS))]
    ingest()
    held = stage_source(zones, "carb_lcfs", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    found = held.observations.assign(day=held.observations["observation_date"].dt.strftime("%m-%d"))
    assert found[["series", "day", "value"]].to_numpy().tolist() == [
        ["average_price", "11-27", 68.49],
        ["average_price", "12-04", 67.5],
        ["average_price_type_1", "11-27", 70.1],
        ["volume", "11-27", 420_000],
        ["volume", "12-04", 310_000],
    ]
    assert set(held.quarantine["rule"]) == {"bad_date"}
    known = found["available_at"].dt.tz_convert("America/Los_Angeles").dt.strftime("%Y-%m-%d %H:%M")
    assert known.unique().tolist() == ["2023-12-08 17:00", "2023-12-15 17:00"], "the Friday after the week's report"
    assert found.groupby("series", observed=True)["unit"].first().tolist() == ["USD/t CO2e", "USD/t CO2e", "t CO2e"]


def test_a_cell_is_named_by_its_row_and_column(parsed):
    rows = parsed(workbook(*WEEKS[:1]))
    assert rows["row"].tolist() == [402, 403, 404]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (workbook(*WEEKS, head=("Week Of", "Average", *HEAD[2:])), "weekly average credit price"),
        (workbook(*WEEKS, head=("Period", *HEAD[1:])), "week of"),
        (workbook(), "no week"),
        (b"PK\x03\x04 and then nothing", "not a workbook"),
        (b"<html>down</html>", "not a workbook"),
        (b"", "not a workbook"),
    ],
    ids=["renamed", "no week column", "no rows", "cut", "html", "empty"],
)
def test_another_book_is_drift_by_name(parsed, content, told):
    with pytest.raises(SchemaDrift, match=told) as raised:
        parsed(content)
    assert "weekly-credit-transfers" in str(raised.value)


def test_a_bomb_is_refused_before_it_is_unpacked(parsed, monkeypatch):
    monkeypatch.setattr(carb_lcfs, "MAX_UNPACKED", 10_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/workbook.xml", b"0" * 20_000)
    with pytest.raises(SchemaDrift, match="20000 bytes, more than the 10000"):
        parsed(packed.getvalue())


def test_a_damaged_workbook_is_drift_or_rows_but_never_another_error(parsed):
    whole, chance = workbook(*WEEKS), random.Random("damage")
    drifted = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(30):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            parsed(bytes(damaged))
        except SchemaDrift:
            drifted += 1
    assert drifted
