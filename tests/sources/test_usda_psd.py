"""PSD: one zip of all years; a row counts from the end of the month of its last change, the world is a sum."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import usda_psd
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Payload, landed
from tasks.staging.stage import stage_payloads, stage_source
from tasks.storage.hashes import sha256_of

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
LATER = pd.Timestamp("2030-01-01", tz="UTC")
HEADER = (
    "Commodity_Code,Commodity_Description,Country_Code,Country_Name,Market_Year,Calendar_Year,Month,"
    "Attribute_ID,Attribute_Description,Unit_ID,Unit_Description,Value"
)
ATTRIBUTES = {"Production": "028", "Imports": "057", "Crush": "007", "Domestic Consumption": "125", "Exports": "088"}


def line(commodity: str, country: str, attribute: str, value: str, year=2023, changed="2023,11", unit="(1000 MT)"):
    number = ATTRIBUTES.get(attribute, "176")
    return f'{commodity},"Oil, x",{country},"x, y",{year},{changed},{number},{attribute},08,{unit},{value}'


LINES = [
    line("4243000", "ID", "Production", "47000.0000"),
    line("4243000", "MY", "Production", "19000.0000"),
    line("4243000", "ID", "Production", "46800.0000", year=2022, changed="2023,03"),
    line("4243000", "MY", "Production", "18389.0000", year=2022, changed="2023,10"),
    line("4232000", "CH", "Domestic Consumption", "18000.0000"),
    line("4239100", "CH", "Exports", "3.0000"),
    line("4236000", "AR", "Ending Stocks", "98.0000", changed="2021,00"),
    line("2222000", "CH", "Imports", "100000.0000"),
    line("2222000", "US", "Crush", "62600.0000"),
    line("2222001", "US", "Crush", "1.0000"),
    line("0813100", "US", "Crush", "1.0000"),
]


def packed(*lines: str, header: str = HEADER) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("psd_oilseeds.csv", "\r\n".join([header, *lines, ""]))
    return held.getvalue()


@pytest.fixture
def spec(registry, server):
    source = registry.sources.source("usda_psd")
    return source.model_copy(update={"endpoint": f"{server.url}/psdonline/downloads/psd_oilseeds_csv.zip"})


@pytest.fixture
def payload(tmp_path) -> Callable[..., Payload]:
    def make(content: bytes, fetched_at: str = "2023-12-05 15:00") -> Payload:
        path = tmp_path / f"{fetched_at.replace(' ', 'T').replace(':', '')}.zip"
        path.write_bytes(content)
        moment = pd.Timestamp(fetched_at, tz="UTC")
        return Payload("usda_psd", "psd_oilseeds_csv", path, sha256_of(path), 0, "", moment, day_known_only=False)

    return make


@pytest.fixture
def ingest(spec, zones):
    def run():
        return ingest_source(
            zones, "usda_psd", spec, origin="live", as_of=date(2023, 12, 29), limits=QUICK, progress=lambda *step: None
        )

    return run


def test_the_whole_file_is_asked_for_and_the_same_file_lands_once(ingest, server, zones):
    server.script = [(503, b"busy"), (200, packed(*LINES))]
    assert ingest().status == "ok" and ingest().status == "ok"
    assert {request.path for request in server.requests} == {"/psdonline/downloads/psd_oilseeds_csv.zip"}
    assert len(landed(zones, "usda_psd")) == 1


@pytest.mark.parametrize("answer", [(200, b"<html>down</html>"), (404, b"gone"), (500, b"")])
def test_something_else_lands_nothing(ingest, server, answer):
    server.script = [answer]
    done = ingest()
    assert (done.status, done.payloads) == ("failed", 0) and "psd_oilseeds_csv" in done.message


def test_rows_are_dated_at_the_first_day_of_their_marketing_year(payload, spec):
    rows = usda_psd.parse(payload(packed(*LINES)), spec).set_index(["series", "observation_date"])["value"]
    assert rows["soybeans.us.crush", "2023-09-01"] == "62600.0000", "neither the local measure nor the meal"
    assert rows["soybeans.china.imports", "2023-10-01"] == "100000.0000"
    assert rows["palm_oil.indonesia.production", "2022-10-01"] == "46800.0000"


def test_the_world_is_the_sum_of_its_countries_and_known_with_the_last_of_them(payload, spec):
    held, refused = stage_payloads("usda_psd", spec, [payload(packed(*LINES))], through=LATER)
    world = held[held["series"] == "palm_oil.world.production"].set_index("observation_date")
    assert world["value"].to_dict() == {pd.Timestamp("2022-10-01"): 65189, pd.Timestamp("2023-10-01"): 66000}
    assert world.loc["2022-10-01", "available_at"] == pd.Timestamp("2023-10-31 16:00", tz="UTC")
    assert refused.empty and set(held["unit"]) == {"thousand t"}


@pytest.mark.parametrize("other", ["E2", "E3"])
def test_the_world_is_missing_with_two_european_unions_or_without_a_value(payload, spec, other):
    union = [line("4232000", code, "Exports", "5.0000") for code in ("E4", other)]
    nothing = [line("4232000", "E4", "Imports", "5.0000"), line("4232000", other, "Imports", "0.0000")]
    empty = line("4232000", "BR", "Production", "")
    rows = usda_psd.parse(payload(packed(*LINES, *union, *nothing, empty)), spec).set_index("series")["value"]
    assert pd.isna(rows["soybean_oil.world.exports"]) and pd.isna(rows["soybean_oil.world.production"])
    assert rows["soybean_oil.world.imports"] == 5, "a union that is no more has rows of zeros"


@pytest.mark.parametrize(
    ("changed", "fetched", "known"),
    [
        ("2023,03", "2023-12-05 15:00", "2023-03-31 16:00"),
        ("2023,12", "2023-12-09 15:00", "2023-12-09 15:00"),
        ("2004,00", "2023-12-05 15:00", "2004-12-31 17:00"),
    ],
)
def test_a_row_is_known_at_the_end_of_the_month_of_its_last_change_or_when_fetched(
    payload, spec, changed, fetched, known
):
    lines = [*LINES, line("4243000", "CH", "Imports", "7000.0000", year=2003, changed=changed)]
    held, _ = stage_payloads("usda_psd", spec, [payload(packed(*lines), fetched)], through=LATER)
    (one,) = held[held["series"] == "palm_oil.china.imports"]["available_at"]
    assert one == pd.Timestamp(known, tz="UTC")


def test_a_rewritten_value_is_a_vintage_known_when_it_was_changed(payload, spec):
    def told(value: str, changed: str) -> bytes:
        return packed(*LINES, line("4232000", "US", "Exports", value, changed=changed))

    first = payload(told("250.0000", "2023,11"), "2023-11-10 12:00")
    second = payload(told("270.0000", "2023,12"), "2024-01-05 12:00")
    held, _ = stage_payloads("usda_psd", spec, [first, second], through=LATER)
    part = held[held["series"] == "soybean_oil.us.exports"]
    assert part["value"].tolist() == [250, 270] and part["vintage"].tolist() == [1, 2]
    assert [str(at)[:16] for at in part["available_at"]] == ["2023-11-10 12:00", "2023-12-31 17:00"]


def test_a_projected_year_counts_before_it_begins(spec, ingest, server, zones):
    lines = [*LINES, line("4232000", "US", "Imports", "200.0000", year=2024, changed="2023,11")]
    server.script = [(200, packed(*lines))]
    ingest()
    staged = stage_source(zones, "usda_psd", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert staged.quarantine.empty and staged.observations["observation_date"].max() == pd.Timestamp("2024-10-01")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Calendar_Year", "CalendarYear", "no column .*Calendar_Year"),
        ("(1000 MT)", "(MT)", "line 2 is in '\\(MT\\)'"),
        ("Domestic Consumption", "Total Dom. Cons.", "no rows for domestic_use"),
        ("4243000", "4243009", "no rows for palm_oil"),
    ],
)
def test_a_file_that_changed_is_drift_that_says_what(payload, spec, old, new, said):
    lines = [text.replace(old, new) for text in LINES]
    with pytest.raises(SchemaDrift, match=said):
        usda_psd.parse(payload(packed(*lines, header=HEADER.replace(old, new))), spec)


def test_a_line_without_a_month_costs_itself(payload, spec):
    rows = usda_psd.parse(payload(packed(*[text.replace("2021,00", "2021,13") for text in LINES])), spec)
    (why,) = rows["refused"].dropna()
    assert "line 8 has no Calendar_Year and Month" in why and rows["released_at"].notna().sum() == len(rows) - 1


def test_a_zip_that_is_cut_too_large_or_holds_something_else_is_drift(payload, spec, monkeypatch):
    whole = packed(*LINES)
    for content in (whole[:-30], whole[: len(whole) // 2], b"", b"PK\x03\x04", packed(header="")):
        with pytest.raises(SchemaDrift, match="usda_psd/psd_oilseeds_csv/"):
            usda_psd.parse(payload(content), spec)
    monkeypatch.setattr(usda_psd, "MAX_UNPACKED", 500)
    with pytest.raises(SchemaDrift, match="more than the 500 allowed"):
        usda_psd.parse(payload(whole), spec)
