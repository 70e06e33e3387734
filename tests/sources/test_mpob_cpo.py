"""MPOB's daily price: a table of one year, holidays and days to come without a price, three years served."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import mpob_cpo
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
NAMES = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]


def page(days: dict[int, list[str]], first: str = "Date", names: tuple[str, ...] = ("November", "December")) -> bytes:
    def line(cells: list[str]) -> str:
        return "<tr>" + "".join(f"<td align='center'>{cell}</td>" for cell in cells) + "</tr>"

    rows = [line([f"{day:02d}", *cells, *["&nbsp;"] * (12 - len(cells))]) for day, cells in days.items()]
    head = "<tr><td colspan=13>DAILY PRICES OF CRUDE PALM OIL (RM/TONNE)</td></tr>" + line([first, *NAMES, *names])
    return f"<table><tbody>{head}{''.join(rows)}{line(['Average', *['4,000.00'] * 12])}</tbody></table>".encode()


THIS = page({1: ["PH", "PH"], 2: ["4,050", "4,215.50"], 29: ["3,990.50", "-"], 30: ["NT", ""]})
LAST = page({31: ["4,700.00", "", "4,650"]})


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/admin2/price_local_daily_view_cpo_msia.php", "rate_limit_per_minute": 60_000}
    return registry.sources.source("mpob_cpo").model_copy(update=local | {"first_date": date(2025, 1, 1), "burst": 9})


@pytest.fixture
def ingest(spec, zones, server):
    server.by_request = lambda request: (200, {"2026": THIS, "2025": LAST}.get(request.query["tahun"], b""))

    def run(as_of: date = date(2026, 2, 10), first: date = date(2025, 1, 1)):
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "mpob_cpo", spec.model_copy(update={"first_date": first}), as_of=as_of, **given)

    return run


def test_a_year_is_requested_at_once_and_its_days_are_known_four_business_days_later(ingest, spec, server, zones):
    assert ingest().status == "ok"
    assert [request.query for request in server.requests] == [
        {"more": "Y", "jenis": "1Y", "tahun": year} for year in ("2025", "2026")
    ]
    staged = stage_source(zones, "mpob_cpo", spec, as_of=pd.Timestamp("2026-02-10"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations
    known = rows["available_at"].dt.tz_convert("Asia/Kuala_Lumpur").dt.strftime("%m-%d %H:%M")
    days = rows["observation_date"].dt.strftime("%Y-%m-%d")
    values = dict(zip(days, zip(rows["value"], known, strict=True), strict=True))
    assert values["2025-03-31"] == (4650.0, "04-04 18:00")
    assert values["2026-01-02"] == (4050.0, "01-08 18:00"), "a Friday's price is known on the Thursday after"
    assert set(values) == {"2025-01-31", "2025-03-31", "2026-01-02", "2026-01-29", "2026-02-02"}
    assert set(rows["unit"]) == {"MYR/t"}


def test_only_three_years_are_requested_and_an_empty_january_is_no_fault(ingest, server):
    ingest(first=date(2010, 1, 1))
    assert sorted({request.query["tahun"] for request in server.requests}) == ["2024", "2025", "2026"]
    server.by_request = lambda request: (200, LAST if request.query["tahun"] == "2025" else page({1: ["PH"]}))
    assert ingest(as_of=date(2026, 1, 5)).status == "ok"
    assert "2026: expected a table of days" in ingest(as_of=date(2026, 1, 30)).message


@pytest.mark.parametrize("body", [b"", b"<html>login</html>", THIS[:300]])
def test_a_page_without_its_table_lands_nothing(ingest, server, zones, body):
    server.by_request = lambda request: (200, body)
    done = ingest()
    assert done.status == "failed" and "expected a table of days" in done.message and not landed(zones, "mpob_cpo")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(ingest, server, status):
    server.by_request = None
    server.script = [(status, b"busy", {"Retry-After": "0"}), (200, LAST), (200, THIS)]
    assert ingest().status == "ok" and len(server.requests) == 3


@pytest.mark.parametrize(
    "content",
    [
        page({1: ["4,000"]}, first="Day"),
        page({1: ["4,000"]}, names=("November", "Total")),
        THIS.replace(b"<td align='center'>&nbsp;</td></tr>", b"</tr>"),
    ],
    ids=["heading", "months", "columns"],
)
def test_another_table_is_drift(ingest, spec, zones, content):
    ingest()
    stored = landed(zones, "mpob_cpo")[-1]
    stored.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match="no day with a price"):
        mpob_cpo.parse(stored, spec)


def test_text_in_place_of_a_price_is_refused_alone(ingest, spec, server, zones):
    server.by_request = lambda request: (
        200,
        THIS.replace(b"4,050", b"see note") if "6" in request.query["tahun"] else LAST,
    )
    ingest()
    staged = stage_source(zones, "mpob_cpo", spec, as_of=pd.Timestamp("2026-02-10"), code="t")
    assert len(staged.quarantine) == 1 and len(staged.observations) == 4
