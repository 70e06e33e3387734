"""PSD's livestock: China's pigs by year, known at the end of the month of their last change."""

from __future__ import annotations

import io
import zipfile
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import usda_psd_livestock
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HEADER = (
    "Commodity_Code,Commodity_Description,Country_Code,Country_Name,Market_Year,Calendar_Year,Month,"
    "Attribute_ID,Attribute_Description,Unit_ID,Unit_Description,Value"
)


def line(attribute: str, value: str, year: int = 2023, changed: str = "2023,10", **other: str) -> str:
    code, country, unit = other.get("code", "0013000"), other.get("country", "CH"), other.get("unit", "(1000 HEAD)")
    number = "022" if attribute.startswith("Sow") else "020"
    return f'{code},"Animal Numbers, Swine",{country},China,{year},{changed},{number},{attribute},06,{unit},{value}'


LINES = [
    line("Beginning Stocks", "449224.0000", 2022, "2022,10"),
    line("Beginning Stocks", "452560.0000", 2023),
    line("Beginning Stocks", "434200.0000", 2024),
    line("Sow Beginning Stocks", "43900.0000", 2023),
    line("Beginning Stocks", "74000.0000", 2023, country="US"),
    line("Beginning Stocks", "99000.0000", 2023, code="0011000"),
    line("Production", "700000.0000", 2023),
]


def packed(*lines: str, header: str = HEADER) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("psd_livestock.csv", "\r\n".join([header, *lines, ""]))
    return stored.getvalue()


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/psdonline/downloads/psd_livestock_csv.zip", "rate_limit_per_minute": 60_000}
    return registry.sources.source("usda_psd_livestock").model_copy(update=local)


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "usda_psd_livestock", spec, as_of=date(2023, 12, 29), **given)

    return run


def test_years_are_those_of_china_and_known_at_the_end_of_their_month(ingest, spec, server, zones):
    server.script = [(200, packed(*LINES))]
    assert ingest().status == "ok"
    staged = stage_source(zones, "usda_psd_livestock", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations
    known = rows["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    days = rows["observation_date"].dt.strftime("%Y-%m-%d")
    assert sorted(zip(rows["series"], days, rows["value"], known, strict=True)) == [
        ("china.hogs", "2022-01-01", 449224.0, "2022-10-31 12:00"),
        ("china.hogs", "2023-01-01", 452560.0, "2023-10-31 12:00"),
        ("china.hogs", "2024-01-01", 434200.0, "2023-10-31 12:00"),
        ("china.sows", "2023-01-01", 43900.0, "2023-10-31 12:00"),
    ]
    assert set(rows["unit"]) == {"thousand head"}


def test_another_unit_and_an_unknown_month_are_refused_alone(ingest, spec, server, zones):
    bad = [line("Beginning Stocks", "1.0", 2021, unit="(1000 MT)"), line("Beginning Stocks", "2.0", 2020, "x,y")]
    server.script = [(200, packed(*LINES, *bad))]
    ingest()
    (stored,) = landed(zones, "usda_psd_livestock")
    rows = usda_psd_livestock.parse(stored, spec)
    reasons = " ".join(rows["refused"].dropna())
    assert "line 9 is in '(1000 MT)'" in reasons and "line 10 has no Calendar_Year and Month" in reasons
    assert rows["series"].isin(spec.series).sum() == 4


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", packed(*LINES)[:200], b""])
def test_something_else_lands_nothing(ingest, server, zones, body):
    server.script = [(200, body)]
    assert ingest().status == "failed" and not landed(zones, "usda_psd_livestock")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (packed(*LINES, header=HEADER.replace("Market_Year", "Year")), "Market_Year"),
        (packed(*[one.replace("Sow Beginning", "Sow Opening") for one in LINES]), "no rows for china.sows"),
        (packed(*[one.replace("0013000", "0013001") for one in LINES]), "no rows for china.hogs"),
        (packed(*[one.replace("(1000 HEAD)", "(HEAD)") for one in LINES]), "HEAD"),
    ],
    ids=["column", "attribute", "code", "unit"],
)
def test_another_shape_is_drift_by_name(ingest, spec, server, zones, content, why):
    server.script = [(200, packed(*LINES))]
    ingest()
    (stored,) = landed(zones, "usda_psd_livestock")
    stored.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=why):
        usda_psd_livestock.parse(stored, spec)
