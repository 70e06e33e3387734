"""The Commission's weekly oilseed prices: the workbook that the page links today, dollars alone, quoted weeks alone."""

from __future__ import annotations

import io
from datetime import date, datetime

import openpyxl
import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import ec_oilseeds
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
PAGE = "/observatory"
NAME = "Rapeseed - EU Moselle"
WEEKS: list[tuple[object, object, object]] = [
    (datetime(2026, 8, 5), 605.52, 530.79),
    (datetime(2026, 7, 29), "n.q.", "n.q."),
    (datetime(2026, 7, 22), 616.87, "n.q."),
]


def book(weeks: list[tuple[object, object, object]], *, name: str = NAME, sheet: str = "Data") -> bytes:
    """Two rows of title, a heading, dollars, a spacer, the rate, a spacer, and the same names in euros."""
    workbook = openpyxl.Workbook()
    workbook.active.title = "Notes"
    data = workbook.create_sheet(sheet)
    rate = "Exchange rate: Spot, ECB reference - U.S. Dollar/Euro"
    data.append(["World prices"])
    data.append([])
    data.append(["Wednesday", "Rapeseed - Canada", name, None, rate, None, "Rapeseed - Canada", name])
    for day, dollars, euros in weeks:
        data.append([day, 579.41, dollars, None, 1.1554, None, 507.9, euros])
    data.append([None, "Source: IGC"])
    stored = io.BytesIO()
    workbook.save(stored)
    return stored.getvalue()


BOOK = book(WEEKS)


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}{PAGE}", "rate_limit_per_minute": 60_000, "burst": 100}
    return registry.sources.source("ec_oilseeds").model_copy(update=local)


@pytest.fixture
def files(server):
    """The page and its workbook. Other workbooks, and one of the name at a stranger's host, are on the page too."""
    found = {
        PAGE: b'<a href="/sd/a/1/production.xlsx">EU oilseeds production</a>'
        b'<a href="https://europa.eu.example/oilseeds.xlsx">World oilseed prices</a>'
        b'<a class="file" href="/sd/a/new-part/oliseeds-world-prices.xlsx" target="_blank">World oilseed prices</a>',
        "/sd/a/new-part/oliseeds-world-prices.xlsx": BOOK,
    }
    server.by_request = lambda request: (200, found[request.path]) if request.path in found else (404, b"no")
    return found


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "ec_oilseeds", spec, as_of=date(2026, 8, 17), **given)

    return run


def test_the_workbook_of_todays_link_is_stored(files, ingest, server, zones):
    assert ingest().status == "ok"
    (stored,) = landed(zones, "ec_oilseeds")
    assert stored.path.read_bytes() == BOOK
    assert [request.path for request in server.requests] == [PAGE, "/sd/a/new-part/oliseeds-world-prices.xlsx"]


def test_dollars_of_quoted_weeks_are_known_on_the_friday_of_the_week_after(files, ingest, spec, zones):
    ingest()
    staged = stage_source(zones, "ec_oilseeds", spec, as_of=pd.Timestamp("2026-08-17"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations.sort_values("observation_date")
    known = rows["available_at"].dt.tz_convert("Europe/Brussels").dt.strftime("%Y-%m-%d %H:%M")
    days = rows["observation_date"].dt.strftime("%Y-%m-%d")
    assert list(zip(rows["series"], days, rows["value"], known, strict=True)) == [
        ("rapeseed.eu_moselle", "2026-07-22", 616.87, "2026-07-31 18:00"),
        ("rapeseed.eu_moselle", "2026-08-05", 605.52, "2026-08-14 18:00"),
    ]
    assert set(rows["unit"]) == {"USD/t"}


def test_a_page_without_the_link_or_in_place_of_the_workbook_is_quoted(files, ingest, zones):
    files["/sd/a/new-part/oliseeds-world-prices.xlsx"] = b"<html>gone</html>"
    done = ingest()
    assert done.status == "failed" and "is not a workbook but '<html>gone</html>'" in done.message
    files[PAGE] = b"<p>a new page</p>"
    assert "expected a link `World oilseed prices`, got '<p>a new page</p>'" in ingest().message
    assert not landed(zones, "ec_oilseeds")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(files, ingest, server, status):
    good, seen = server.by_request, []

    def busy_once(request):
        seen.append(request)
        return (status, b"busy", {"Retry-After": "0"}) if len(seen) == 1 else good(request)

    server.by_request = busy_once
    assert ingest().status == "ok" and len(server.requests) == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (book(WEEKS, name="Rapeseed - FOB Moselle"), "no column `Rapeseed - EU Moselle`"),
        (book(WEEKS, sheet="Prices"), "no sheet `Data`"),
        (book([(day, "n.q.", "n.q.") for day, _, _ in WEEKS]), "no week has a quote"),
        (BOOK[:300], "not a workbook"),
    ],
    ids=["column", "sheet", "quotes", "cut"],
)
def test_another_workbook_is_drift(files, ingest, spec, zones, content, why):
    ingest()
    (stored,) = landed(zones, "ec_oilseeds")
    stored.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=why):
        ec_oilseeds.parse(stored, spec)


def test_a_date_or_a_price_that_is_none_is_refused_alone(files, ingest, spec, zones):
    odd: list[tuple[object, object, object]] = [("week 31", 600.0, 520.0), (datetime(2026, 7, 15), "closed", None)]
    files["/sd/a/new-part/oliseeds-world-prices.xlsx"] = book([*WEEKS, *odd])
    ingest()
    staged = stage_source(zones, "ec_oilseeds", spec, as_of=pd.Timestamp("2026-08-17"), code="t")
    assert len(staged.observations) == 2 and len(staged.quarantine) == 2
