"""MPOB: two blocks of months with two years each, exports in one row, months to come blank or zero."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import mpob
from tasks.sources.ingest import ingest_source
from tasks.sources.pages import table_rows
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HALVES = (("JAN", "FEB", "MAR", "APR", "MAY", "JUNE"), ("JULY", "AUG", "SEPT", "OCT", "NOV", "DEC"))


def cells(values: list[object], tag: str = "td", **more: str) -> str:
    extra = "".join(f' {name}="{value}"' for name, value in more.items())
    return "<tr>" + "".join(f"<{tag}{extra}>{value}</{tag}>" for value in values) + "</tr>"


def paired(label: str, year: int, months: dict[int, tuple[object, object]], other: str = "SABAH") -> bytes:
    """The report's shape: for each half a row of months over a row of years, then rows of values, then an average."""
    blocks = []
    for half, names in enumerate(HALVES):
        row = [value for month in range(1, 7) for value in months.get(half * 6 + month, ("", "&nbsp;"))]
        blocks += [
            "<table>", cells(["STATE", *names, f"{names[0]} - {names[5]}"], "th", colspan="2"),
            cells([year - 1, year] * 7, "th"), cells([other, *["1,000"] * 14]), cells([label, *row, "0", "0"]),
            cells([label, *["777,777"] * 14]), "</table>",
        ]  # fmt: skip
    return ("<html><script>var x = '<td>9</td>';</script>" + "".join(blocks) + "</html>").encode()


def exports(year: int, months: dict[int, object], heading: str = "JAN") -> bytes:
    names = [heading, "FEB", "MAR", "APR", "MAY", "JUNE", "JULY", "AUG", "SEPT", "OCT", "NOV", "DEC"]
    row = [months.get(month, "") for month in range(1, 13)]
    table = cells(["PRODUCT", "UNIT", *names, "JAN - DEC"], "th") + cells(["CPO", "Tonnes", *["300,000"] * 13])
    table += cells(["", "RM Mil", *["9"] * 13]) + cells(["PALM OIL", "Tonnes", *row, "0"])
    table += cells(["", "RM Mil", *["5,000"] * 13]) + cells(["TOTAL", "Tonnes", *["2,000,000"] * 13])
    return f"<table>{table}</table>".encode()


PRODUCTION = paired(
    "MALAYSIA", 2026, {1: ("1,237,078", "1,577,432"), 2: ("1,187,745", "1,299,000"), 7: ("1,812,417", 0)}
)
PAGES = {
    "202644": PRODUCTION,
    "202544": paired("MALAYSIA", 2025, {1: ("1,402,355", "1,237,000"), 12: ("1,486,942", "1,829,000")}),
    "202611": paired("TOTAL PALM OIL", 2026, {1: ("1,579,763", "2,815,000")}, "CRUDE PALM OIL"),
    "202634": exports(2026, {1: "1,453,163", 2: "1,065,204", 3: "-"}),
}


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/stat/web_report1.php", "rate_limit_per_minute": 60_000, "burst": 100}
    return registry.sources.source("mpob").model_copy(update=local | {"first_date": date(2026, 1, 1)})


@pytest.fixture
def ingest(spec, zones, server):
    server.by_request = lambda request: (200, PAGES[request.query["val"]])

    def run(*series: str, as_of: date = date(2026, 3, 20), source=spec):
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None, "series": series}
        return ingest_source(zones, "mpob", source, as_of=as_of, **given)

    return run


def test_each_report_is_requested_by_year_and_read_into_its_months(ingest, spec, server, zones):
    assert ingest().status == "ok"
    assert sorted(request.query["val"] for request in server.requests) == ["202611", "202634", "202644"]
    staged = stage_source(zones, "mpob", spec, as_of=pd.Timestamp("2026-03-20"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations.assign(day=staged.observations["observation_date"].dt.strftime("%Y-%m"))
    values = {(row.series, row.day): row.value for row in rows.itertuples()}
    assert values == {
        ("production", "2025-01"): 1237078.0,
        ("production", "2026-01"): 1577432.0,
        ("production", "2025-02"): 1187745.0,
        ("production", "2026-02"): 1299000.0,
        ("production", "2025-07"): 1812417.0,
        ("stocks", "2025-01"): 1579763.0,
        ("stocks", "2026-01"): 2815000.0,
        ("exports", "2026-01"): 1453163.0,
        ("exports", "2026-02"): 1065204.0,
    }, "no zero, no average, no second row of the same name, no ringgit"
    known = rows["available_at"].dt.tz_convert("Asia/Kuala_Lumpur").dt.strftime("%Y-%m-%d %H:%M")
    assert dict(zip(rows["day"], known, strict=True))["2026-02"] == "2026-03-15 18:00"
    assert set(rows["unit"]) == {"t"}


def test_the_year_before_is_asked_too_and_a_new_year_without_months_is_no_fault(ingest, spec, server, zones):
    wide = spec.model_copy(update={"first_date": date(2025, 1, 1)})
    server.by_request = lambda request: (200, PAGES.get(request.query["val"], b"<p>Under Construction</p>"))
    assert ingest("production", as_of=date(2026, 2, 3), source=wide).status == "ok"
    server.by_request = lambda request: (
        (200, PAGES["202544"]) if request.query["val"] == "202544" else (200, b"<p>Under Construction</p>")
    )
    assert ingest("production", as_of=date(2026, 2, 3), source=wide).status == "ok"
    done = ingest("production", as_of=date(2026, 3, 20), source=wide)
    assert "2026: expected a table, got '<p>Under Construction</p>'" in done.message


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", PRODUCTION[:400], b"\xff\xfe\x00"])
def test_a_page_without_its_table_lands_nothing(ingest, server, zones, body):
    server.by_request = lambda request: (200, body)
    done = ingest("production")
    assert done.status == "failed" and "expected a table" in done.message and not landed(zones, "mpob")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(ingest, server, status):
    server.by_request = None
    server.script = [(status, b"busy", {"Retry-After": "0"}), (200, PRODUCTION)]
    assert ingest("production").status == "ok" and len(server.requests) == 2


@pytest.mark.parametrize(
    ("feed", "content"),
    [
        ("production", PRODUCTION.replace(b">MALAYSIA<", b">MALAYSIA (r)<")),
        ("production", PRODUCTION.replace(b">2025<", b">2024<")),
        ("production", PRODUCTION.replace(b">FEB<", b">Q1<").replace(b">AUG<", b">Q3<")),
        ("exports", PAGES["202634"].replace(b"PALM OIL", b"PALM OILS")),
        ("exports", PAGES["202634"].replace(b"Tonnes", b"Kg")),
        ("exports", exports(2026, {1: "1,453,163"}, heading="Q1")),
    ],
    ids=["label", "years", "months", "product", "unit", "heading"],
)
def test_another_table_is_drift(ingest, spec, zones, feed, content):
    ingest(feed)
    (stored,) = landed(zones, "mpob")
    stored.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match="no months of"):
        mpob.parse(stored, spec)


def test_rows_of_a_page_are_read_where_tags_are_not_closed():
    page = "<table><tr><td>a<td>b<br>c</td><tr><th>&nbsp;<b>d</b><style>x</style></table><p>e</p>"
    assert table_rows(page) == [["a", "b c"], ["d"]] and table_rows("") == [] and table_rows("<td>x") == [["x"]]
