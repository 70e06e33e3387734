"""Export sales: asked by marketing year, a total only where every country is there, an outage never taken for data."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
from collections.abc import Callable
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import usda_fas
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload, Window, landed
from tasks.staging.stage import stage_payloads, stage_source
from tasks.storage.hashes import sha256_of

SECRET = "s3cr3t-fas-key-1234"
QUICK = Limits(attempts=3, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0.05)
LATER = pd.Timestamp("2030-01-01", tz="UTC")
PATH = "/OpenData/api/esr/exports/commodityCode/902/allCountries/marketYear/"
CHINA, MEXICO, KOREA = 5700, 2010, 5800
OUTAGE = (
    b'<?xml version="1.0"?><ERROR xmlns=""><ERROR>There was a problem with key s3cr3t-fas-key-1234.</ERROR></ERROR>'
)


def row(country: int, day: str, exports: float | None, accumulated: float, **other: object) -> dict[str, object]:
    return {
        "commodityCode": 902,
        "countryCode": country,
        "weeklyExports": exports,
        "accumulatedExports": accumulated,
        "outstandingSales": 500,
        "grossNewSales": 250,
        "currentMYNetSales": -50,
        "currentMYTotalCommitment": accumulated + 500,
        "nextMYOutstandingSales": 0,
        "nextMYNetSales": 0,
        "unitId": 1,
        "weekEndingDate": f"{day}T00:00:00",
    } | other


YEAR_2023 = [
    row(CHINA, "2023-09-28", 100, 9000),
    row(MEXICO, "2023-09-28", 300, 8000),
    row(MEXICO, "2023-10-05", 1, 8001),  # the rest of the old year, in the week that begins the new one
]
YEAR_2024 = [
    row(CHINA, "2023-10-05", 1000, 1000),
    row(MEXICO, "2023-10-05", 234, 234),
    row(CHINA, "2023-10-12", 0, 1000),
    row(MEXICO, "2023-10-12", 766, 1000),
    row(KOREA, "2023-10-12", 5, 5),
]


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("usda_fas").model_copy(
        update={"endpoint": f"{server.url}/OpenData/api/esr", "feeds": ("esr.902",), "rate_limit_per_minute": 60_000}
    )


@pytest.fixture
def ask(spec):
    def run(start: date = date(2023, 9, 1), end: date = date(2023, 12, 29), spec=spec):
        with Http("usda_fas", per_minute=60_000, keys={"FAS_API_KEY": SECRET}, limits=QUICK) as http:
            return list(usda_fas.fetch("esr.902", Window(start, end), spec, http))

    return run


@pytest.fixture
def ingest(spec, zones, monkeypatch):
    monkeypatch.setenv("FAS_API_KEY", SECRET)

    def run():
        return ingest_source(
            zones, "usda_fas", spec, origin="live", as_of=date(2023, 12, 29), limits=QUICK, progress=lambda *step: None
        )

    return run


@pytest.fixture
def document(tmp_path) -> Callable[..., Payload]:
    def make(years: object, name: str = "esr.json") -> Payload:
        path = tmp_path / name
        path.write_text(json.dumps({"commodityCode": 902, "years": years}))
        moment = pd.Timestamp("2023-12-29", tz="UTC")
        return Payload("usda_fas", "esr.902", path, sha256_of(path), 0, "", moment, day_known_only=False)

    return make


def years(rows_2023=YEAR_2023, rows_2024=YEAR_2024) -> list[dict[str, object]]:
    return [{"marketYear": 2023, "rows": rows_2023}, {"marketYear": 2024, "rows": rows_2024}]


def served(request):
    answers = {f"{PATH}2023": YEAR_2023, f"{PATH}2024": YEAR_2024}
    return (200, json.dumps(answers.get(request.path, [])).encode())


@pytest.mark.parametrize(("path", "header"), [("/OpenData/api/esr", "API_KEY"), ("/api/esr", "X-Api-Key")])
def test_each_marketing_year_is_asked_with_the_key_in_the_header_of_the_gateway(ask, spec, server, path, header):
    keys = []

    def answer(handler):
        keys.append((handler.headers.get("API_KEY"), handler.headers.get("X-Api-Key")))
        body = json.dumps(YEAR_2024).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.script = [answer]
    (fetched,) = ask(spec=spec.model_copy(update={"endpoint": server.url + path}))
    assert [request.path.rpartition("/")[2] for request in server.requests] == ["2023", "2024"]
    assert [request.query for request in server.requests] == [{}, {}]
    assert server.requests[0].path.startswith(f"{path}/exports/commodityCode/902/allCountries/marketYear/")
    assert keys == [(SECRET, None) if header == "API_KEY" else (None, SECRET)] * 2
    assert [year["marketYear"] for year in json.loads(fetched.content)["years"]] == [2023, 2024]


def test_years_before_the_first_that_has_rows_may_be_empty_but_none_after_it(ask, server):
    server.by_request = served
    (fetched,) = ask(start=date(2020, 10, 1), end=date(2024, 10, 3))
    assert [year["marketYear"] for year in json.loads(fetched.content)["years"]] == [2023, 2024]
    with pytest.raises(SourceUnavailable, match=r"esr\.902 2025: no rows, though the year before has some"):
        ask(start=date(2020, 10, 1), end=date(2025, 10, 2))
    server.by_request = lambda request: (200, b"[]")
    with pytest.raises(SourceUnavailable, match="no rows for marketing years 2023 to 2024"):
        ask()


def test_too_many_requests_errors_and_half_an_answer_are_asked_again(ask, server):
    whole = json.dumps(YEAR_2024).encode()

    def half(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(whole)))
        handler.end_headers()
        handler.wfile.write(whole[: len(whole) // 2])
        handler.close_connection = True

    server.script = [(429, b"", {"Retry-After": "0"}), half, (200, whole), (503, b"busy"), (200, whole)]
    assert len(ask()) == 1
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, OUTAGE), "There was a problem with key ..."),
        ((200, b"<html>down</html>"), "<html>down</html>"),
        ((200, b'{"error": "s3cr3t-fas-key-1234"}'), "expected the JSON array"),
        ((403, b'"Bad API Key"'), "HTTP 403"),
        ((500, SECRET.encode()), "HTTP 500"),
    ],
)
def test_an_outage_lands_nothing_and_tells_no_key(ingest, server, zones, caplog, answer, told):
    caplog.set_level(logging.DEBUG)
    server.script = [answer]
    done = ingest()
    assert (done.status, done.payloads) == ("failed", 0)
    assert told.replace("...", "***") in done.message and SECRET not in done.message + caplog.text
    assert not [path for path in zones.raw.rglob("*") if path.is_file()]


def test_what_lands_has_no_key_and_stages_in_thousand_tonnes(ingest, server, spec, zones):
    server.by_request = served
    assert ingest().status == "ok"
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in files if SECRET in path.read_text()]
    assert landed(zones, "usda_fas")[0].url == f"{spec.endpoint}/exports/commodityCode/902/allCountries"
    held = stage_source(zones, "usda_fas", spec, as_of=pd.Timestamp("2023-12-29"), code="t").observations
    assert set(held["unit"]) == {"thousand t"}
    exports = held[held["field"] == "weekly_exports"].set_index(["series", "observation_date"])["value"]
    assert exports["902.all", "2023-10-05"] == 1.234 and exports["902.china", "2023-10-05"] == 1.0
    assert held[held["field"] == "net_sales"]["value"].min() == pytest.approx(-0.15), "cancelled sales are negative"


def test_a_week_belongs_to_the_marketing_year_in_which_it_ends(document, spec):
    rows = usda_fas.parse(document(years()), spec).set_index(["series", "observation_date"])
    assert rows.index.is_unique
    assert rows.loc[("902.all", "2023-10-05"), "accumulated_exports"] == 1.234, "not the old year's 8.001"
    assert rows.loc[("902.all", "2023-09-28"), "accumulated_exports"] == 17.0


def test_a_total_without_a_country_or_a_value_is_missing_and_so_is_a_country_without_a_row(document, spec):
    korea_gone = [*YEAR_2024, row(CHINA, "2023-10-19", 7, 1007), row(MEXICO, "2023-10-19", 7, 1007)]
    no_china = [*YEAR_2024, row(KOREA, "2023-10-19", 7, 12), row(MEXICO, "2023-10-19", 7, 1007)]
    no_value = [*YEAR_2024[:4], row(KOREA, "2023-10-12", None, 5)]
    for rows_2024, day in ((korea_gone, "2023-10-19"), (no_china, "2023-10-19"), (no_value, "2023-10-12")):
        rows = usda_fas.parse(document(years(rows_2024=rows_2024)), spec).set_index(["series", "observation_date"])
        assert pd.isna(rows.loc[("902.all", day), "weekly_exports"])
        assert rows.loc[("902.all", "2023-10-05"), "weekly_exports"] == 1.234, "the other weeks stay"
        assert ("902.china", "2023-10-19") not in rows.index or rows_2024 is korea_gone


def test_a_country_whose_sales_were_all_cancelled_may_go_without_breaking_the_total(document, spec):
    cancelled = row(KOREA, "2023-10-12", 0, 0, outstandingSales=0)
    later = [row(CHINA, "2023-10-19", 7, 1007), row(MEXICO, "2023-10-19", 7, 1007)]
    rows_2024 = [*YEAR_2024[:2], row(KOREA, "2023-10-05", 0, 0), *YEAR_2024[2:4], cancelled, *later]
    rows = usda_fas.parse(document(years(rows_2024=rows_2024)), spec).set_index(["series", "observation_date"])
    assert rows.loc[("902.all", "2023-10-19"), "weekly_exports"] == 0.014


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"unitId": 2}, "not in tonnes"),
        ({"commodityCode": 901}, "another commodity"),
    ],
)
def test_another_unit_commodity_or_date_is_drift(document, spec, changed, said):
    with pytest.raises(SchemaDrift, match=said):
        usda_fas.parse(document(years(rows_2024=[*YEAR_2024, YEAR_2024[0] | changed])), spec)


def test_a_row_without_a_date_costs_itself(document, spec):
    odd = YEAR_2024[0] | {"weekEndingDate": "soon"}
    rows = usda_fas.parse(document(years(rows_2024=[*YEAR_2024, odd])), spec)
    (why,) = rows["refused"].dropna()
    assert "weekEndingDate that is not a date: 'soon'" in why
    whole = usda_fas.parse(document(years(rows_2024=YEAR_2024)), spec)
    assert rows["refused"].isna().sum() == len(whole)


def test_a_renamed_column_is_drift_by_name(document, spec):
    renamed = [{("netSales" if k == "currentMYNetSales" else k): v for k, v in one.items()} for one in YEAR_2024]
    with pytest.raises(SchemaDrift, match="currentMYNetSales"):
        usda_fas.parse(document([{"marketYear": 2024, "rows": renamed}]), spec)


def test_without_its_key_the_source_is_disabled(spec, zones, server, monkeypatch):
    monkeypatch.delenv("FAS_API_KEY", raising=False)
    done = ingest_source(
        zones, "usda_fas", spec, origin="live", as_of=date(2023, 12, 29), progress=lambda *step: None, limits=QUICK
    )
    assert (done.message, server.requests) == ("disabled: needs FAS_API_KEY", [])


@pytest.fixture(scope="module")
def recorded(archive, registry) -> tuple[pd.DataFrame, pd.DataFrame]:
    spec = registry.sources.source("usda_fas")
    payloads = [one for folder in spec.replayed for one in recorded_files(archive, "usda_fas", folder)]
    return stage_payloads("usda_fas", spec, payloads, through=LATER)


def test_the_recorded_outage_is_in_quarantine_whole_with_its_own_words(recorded):
    _, refused = recorded
    (only,) = refused.to_dict("records")
    assert (only["rule"], only["payload"]) == ("payload", "usda_fas/psd-soap-error/2026-04-08.xml")
    assert "an outage of the service, not data: There was a problem with getDatabyCommodityPerYear" in only["reason"]


def test_the_recorded_summaries_have_the_totals_of_three_weeks(recorded):
    held, _ = recorded
    assert len(held) == 3 * 3 * 8 and (held["vintage"] == 1).all() and set(held["unit"]) == {"thousand t"}
    value = held.set_index(["series", "field", "observation_date"])["value"]
    assert value["801.all", "weekly_exports", "2026-03-26"] == 681.914
    assert value["901.all", "next_year_net_sales", "2026-04-02"] == 4.046
    assert value["902.all", "net_sales", "2026-04-02"] == -1.617
    assert value["902.all", "outstanding_sales", "2026-03-19"] == 48.26
    wide = value.unstack("field")
    assert (wide["accumulated_exports"] + wide["outstanding_sales"] - wide["total_commitment"]).abs().max() < 2e-3


def test_a_week_is_known_on_the_thursday_after_it_on_friday_with_a_holiday_and_late_after_a_shutdown(
    document, registry
):
    spec = registry.sources.source("usda_fas")
    days = ["2022-07-28", "2022-11-17", "2023-09-28", "2013-10-03", "2008-12-18"]
    parts = [{"marketYear": int(day[:4]) + (day[5:7] >= "10"), "rows": [row(CHINA, day, 1, 1)]} for day in sorted(days)]
    held, _ = stage_payloads("usda_fas", spec, [document(parts)], through=LATER)
    china = held[(held["series"] == "902.china") & (held["field"] == "weekly_exports")].set_index("observation_date")
    known = china["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert known["2022-07-28"] == "2022-08-04 08:30"
    assert known["2022-11-17"] == "2022-11-25 08:30", "Thanksgiving on the Thursday"
    assert known["2013-10-03"] == "2013-11-08 08:30", "shutdown"
    assert known["2008-12-18"] == "2008-12-31 08:30", "Christmas, and the day after it closed too"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"NextMKTYearNetSales", b"NextYearNetSales", "NextMKTYearNetSales"),
        (b'CommodityCode="902"', b'CommodityCode="0902"', "no line of commodity 902"),
        (b"in the Thousands", b"in Metric Tons", "in the Thousands"),
        (b"<Report ", b'<!DOCTYPE a [<!ENTITY b "c">]><Report ', "declares entities"),
    ],
)
def test_a_summary_that_changed_is_drift_that_says_what(archive, registry, tmp_path, old, new, said):
    whole = recorded_files(archive, "usda_fas", "esr-weekly-summary")[0]
    path = tmp_path / whole.path.name
    path.write_bytes(whole.path.read_bytes().replace(old, new))
    with pytest.raises(SchemaDrift, match=said):
        usda_fas.parse(dataclasses.replace(whole, path=path), registry.sources.source("usda_fas"))


def test_a_damaged_payload_is_drift_or_rows_but_never_another_error(archive, registry, document, tmp_path):
    spec, chance, drifted = registry.sources.source("usda_fas"), random.Random("damage fas"), 0
    summary = recorded_files(archive, "usda_fas", "esr-weekly-summary")[0]
    for number in range(120):
        whole = summary if number % 2 else document(years())
        damaged = bytearray(whole.path.read_bytes())
        if number % 4 < 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            damaged[chance.randrange(len(damaged))] = chance.choice(b'x0 <&"{')
        path = tmp_path / f"{number}{whole.path.suffix}"
        path.write_bytes(damaged)
        try:
            rows = usda_fas.parse(dataclasses.replace(whole, path=path), spec)
        except SchemaDrift as error:
            assert path.name in str(error)
            drifted += 1
        else:
            assert {"series", "observation_date", "row"} <= set(rows.columns)
    assert 40 <= drifted < 120
