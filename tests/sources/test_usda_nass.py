"""Quick Stats and the yearly CSV of crop progress: the same series from both, counted first, blanks missing."""

from __future__ import annotations

import csv
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
from tasks.sources import usda_nass
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload, Window, landed
from tasks.staging.stage import stage_payloads
from tasks.storage.hashes import sha256_of

SECRET = "s3cr3t-nass-key-1234"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0.05)
LATER = pd.Timestamp("2030-01-01", tz="UTC")
STAGES = ["planted", "emerged", "blooming", "setting_pods", "dropping_leaves", "harvested"]
PLANTED = "SOYBEANS - PROGRESS, MEASURED IN PCT PLANTED"
CRUSH = "SOYBEANS - CRUSHED, MEASURED IN TONS"
OIL = "OIL, SOYBEAN, ONSITE & OFFSITE, CRUDE - STOCKS, MEASURED IN LB"


def row(item: str, value: str, period: str = "WEEK #21", week: str = "", year: str = "2017", **other: str):
    return {
        "short_desc": item,
        "agg_level_desc": "NATIONAL",
        "domain_desc": "TOTAL",
        "domaincat_desc": "NOT SPECIFIED",
        "year": year,
        "reference_period_desc": period,
        "week_ending": week,
        "Value": value,
    } | other


def data(*rows: dict[str, str]) -> bytes:
    return json.dumps({"data": list(rows)}).encode()


@pytest.fixture
def spec(registry, server):
    return registry.sources.source("usda_nass").model_copy(
        update={"endpoint": f"{server.url}/api", "feeds": ("quickstats.progress",), "rate_limit_per_minute": 60_000}
    )


@pytest.fixture
def ask(spec):
    def run(feed: str, first: int = 2022, last: int = 2023):
        with Http("usda_nass", per_minute=60_000, keys={"NASS_API_KEY": SECRET}, limits=QUICK) as http:
            return list(usda_nass.fetch(feed, Window(date(first, 1, 1), date(last, 12, 29)), spec, http))

    return run


@pytest.fixture
def ingest(spec, zones, monkeypatch):
    monkeypatch.setenv("NASS_API_KEY", SECRET)

    def run():
        return ingest_source(
            zones, "usda_nass", spec, origin="live", as_of=date(2023, 12, 29), limits=QUICK, progress=lambda *step: None
        )

    return run


@pytest.fixture
def payload(tmp_path) -> Callable[..., Payload]:
    def make(content: bytes, feed: str = "quickstats.progress", name: str = "2023-12-29.json") -> Payload:
        path = tmp_path / name
        path.write_bytes(content)
        moment = pd.Timestamp("2023-12-29", tz="UTC")
        return Payload("usda_nass", feed, path, sha256_of(path), 0, "", moment, day_known_only=False)

    return make


@pytest.mark.parametrize(
    ("feed", "asked"),
    [
        ("quickstats.progress", {"commodity_desc": "SOYBEANS", "statisticcat_desc": "PROGRESS"}),
        ("quickstats.progress-5-year-avg", {"commodity_desc": "SOYBEANS", "statisticcat_desc": "PROGRESS, 5 YEAR AVG"}),
        ("quickstats.oil-stocks", {"commodity_desc": "OIL", "statisticcat_desc": "STOCKS", "short_desc": OIL}),
    ],
)
def test_rows_are_counted_and_then_asked_for(ask, server, feed, asked):
    server.script = [(200, b'{"count": 1}'), (200, data(row(PLANTED, "53", week="2023-05-21")))]
    (fetched,) = ask(feed)
    counted, got = server.requests
    assert (counted.path, got.path) == ("/api/get_counts/", "/api/api_GET/")
    years = {"year__GE": "2022", "year__LE": "2023", "agg_level_desc": "NATIONAL", "source_desc": "SURVEY"}
    assert counted.query == years | asked | {"key": SECRET}
    assert got.query == counted.query | {"format": "JSON"}
    assert fetched.url.endswith("/api/api_GET/") and SECRET not in fetched.url + fetched.content.decode()


def test_more_rows_than_a_call_may_have_are_asked_for_in_parts(ask, server):
    def answer(request):
        first, last = int(request.query["year__GE"]), int(request.query["year__LE"])
        if request.path == "/api/get_counts/":
            return (200, json.dumps({"count": 1 if first == last else 50_001}).encode())
        return (200, data(row(PLANTED, "53", week=f"{first}-05-21")))

    server.by_request = answer
    (fetched,) = ask("quickstats.progress", 2020, 2023)
    assert [one["week_ending"][:4] for one in json.loads(fetched.content)["data"]] == ["2020", "2021", "2022", "2023"]
    server.by_request = lambda request: (200, b'{"count": 50001}')
    with pytest.raises(SourceUnavailable, match="50001 rows in 2020, at most 50000"):
        ask("quickstats.progress", 2020, 2023)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([(200, b'{"count": 0}')], "no rows from 2022 to 2023"),
        ([(200, b'{"count": 2}'), (200, data(row(PLANTED, "1")))], "1 of 2 rows"),
        ([(200, b'{"count": 2}'), (200, b'{"error": ["bad request - s3cr3t-nass-key-1234"]}')], "no `data` but"),
        ([(200, b'{"count": 2}'), (200, b'{"data": {}}')], "no of 2 rows"),
        ([(200, b'{"count": "many"}')], "'many'"),
        ([(200, b"<html>down</html>")], "<html>down</html>"),
        ([(401, b'{"error": ["unauthorized"]}')], "HTTP 401"),
        ([(429, b"", {"Retry-After": "0"}), (503, b"")], "HTTP 503"),
    ],
)
def test_half_the_rows_or_something_else_is_unavailable_and_tells_no_key(ask, server, script, told):
    server.script = script
    with pytest.raises(SourceUnavailable, match=r"quickstats\.progress|api_GET|get_counts") as raised:
        ask("quickstats.progress")
    assert told in str(raised.value) and SECRET not in str(raised.value)


def test_the_key_is_in_no_payload_sidecar_log_or_message(ingest, server, zones, caplog):
    caplog.set_level(logging.DEBUG)
    echoed = row(PLANTED, "53", week="2023-05-21", asked_by=SECRET)
    server.script = [(503, SECRET.encode()), (200, b'{"count": 1}'), (200, data(echoed)), (500, SECRET.encode())]
    assert ingest().status == "ok"
    done = ingest()
    assert done.status == "failed" and SECRET not in done.message + caplog.text
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in files if SECRET in path.read_text()]
    assert len(landed(zones, "usda_nass")) == 1


def test_without_its_key_the_source_is_disabled(spec, zones, server, monkeypatch):
    monkeypatch.delenv("NASS_API_KEY", raising=False)
    done = ingest_source(
        zones, "usda_nass", spec, origin="live", as_of=date(2023, 12, 29), progress=lambda *step: None, limits=QUICK
    )
    assert (done.message, server.requests) == ("disabled: needs NASS_API_KEY", [])


def test_each_kind_of_row_is_its_series_at_its_date(payload, spec):
    rows = [
        row(PLANTED, "53", week="2017-05-21"),
        row("SOYBEANS - CONDITION, MEASURED IN PCT VERY POOR", "3", week="2017-07-02"),
        row(CRUSH, "5,342,112", period="MAY"),
        row("SOYBEANS - STOCKS, MEASURED IN BU", "965,712,000", period="FIRST OF JUN"),
        row(OIL, "1,700,000,000", period="MAY", domain_desc="TYPE OF OPERATION",
            domaincat_desc="TYPE OF OPERATION: (CRUSHER OR REFINER OR WAREHOUSE)"),
        row("OIL, SOYBEAN, ONSITE & OFFSITE, ONCE REFINED - STOCKS, MEASURED IN LB", "493,388,000", period="FEB",
            domain_desc="TYPE OF OPERATION", domaincat_desc="TYPE OF OPERATION: (REFINER OR WAREHOUSE)"),
        row("OIL, SOYBEAN, CRUDE - PRODUCTION, MEASURED IN LB", "2,478,751,000", period="FEB",
            domain_desc="TYPE OF OPERATION", domaincat_desc="TYPE OF OPERATION: (CRUSHER)"),
        row("CAKE & MEAL, SOYBEAN - PRODUCTION, MEASURED IN TONS", "4,752,577", period="FEB"),
        row("CAKE & MEAL, SOYBEAN - STOCKS, MEASURED IN TONS", "418,594", period="FEB"),
        # none of ours: a part, a year, a state, a stage without a series, another comparison
        row(OIL, "9", period="MAY", domain_desc="TYPE OF OPERATION", domaincat_desc="TYPE OF OPERATION: (CRUSHER)"),
        row(CRUSH, "9", period="YEAR"),
        row(PLANTED, "9", week="2017-05-21", agg_level_desc="STATE"),
        row("SOYBEANS - PROGRESS, MEASURED IN PCT SEEDBED PREPARED", "9", week="2017-05-21"),
        row("SOYBEANS - PROGRESS, 5 YEAR AVG, MEASURED IN PCT PLANTED", "9", week="2017-05-21"),
    ]  # fmt: skip
    parsed = usda_nass.parse(payload(data(*rows)), spec)
    assert parsed[["series", "observation_date", "value", "row"]].to_numpy().tolist() == [
        ["soybeans.progress.planted", "2017-05-21", "53", 1],
        ["soybeans.condition.very_poor", "2017-07-02", "3", 2],
        ["soybeans.crush", "2017-05-01", "5342112", 3],
        ["soybeans.stocks", "2017-06-01", "965712000", 4],
        ["soybean_oil.crude_stocks", "2017-05-01", "1700000000", 5],
        ["soybean_oil.refined_stocks", "2017-02-01", "493388000", 6],
        ["soybean_oil.crude_production", "2017-02-01", "2478751000", 7],
        ["soybean_meal.production", "2017-02-01", "4752577", 8],
        ["soybean_meal.stocks", "2017-02-01", "418594", 9],
    ]


@pytest.mark.parametrize("marker", ["(D)", "(NA)", " (Z) ", "", " "])
def test_a_marker_is_missing_and_never_a_number(payload, spec, marker):
    content = data(row(CRUSH, marker, period="MAY"), row(CRUSH, "5,342,112", period="JUN"))
    accepted, refused = stage_payloads("usda_nass", spec, [payload(content, "quickstats.crush")], through=LATER)
    assert accepted["value"].tolist() == [5342112] and refused.empty


def test_quick_stats_and_the_csv_say_the_same_in_the_same_series(payload, spec, archive):
    """The report of 21 May 2017 from both: nothing becomes a second vintage."""
    recorded = recorded_files(archive, "usda_nass", "crop-progress-soybeans-2017")
    live = [
        payload(data(row(PLANTED, "53", week="2017-05-21"))),
        payload(
            data(row("SOYBEANS - PROGRESS, 5 YEAR AVG, MEASURED IN PCT PLANTED", "52", week="2017-05-21")),
            "quickstats.progress-5-year-avg",
            "average.json",
        ),
    ]
    both, refused = stage_payloads("usda_nass", spec, [*recorded, *live], through=LATER)
    alone, _ = stage_payloads("usda_nass", spec, recorded, through=LATER)
    assert refused.empty and len(both) == len(alone) == 108 and set(both["vintage"]) == {1}


@pytest.fixture(scope="module")
def recorded(archive, registry) -> list[Payload]:
    spec = registry.sources.source("usda_nass")
    return [
        one
        for folder in spec.replayed_in(archive / "usda_nass")
        for one in recorded_files(archive, "usda_nass", folder)
    ]


def test_the_recorded_years_have_every_week_and_number_printed(recorded, archive, registry):
    spec = registry.sources.source("usda_nass")
    with (archive / "MANIFEST.csv").open(newline="") as handle:
        listed = {line["file"]: line for line in csv.DictReader(handle) if line["source"] == "usda_nass"}
    for one in recorded:
        rows, entry = usda_nass.parse(one, spec), listed.pop(one.name)
        assert rows["row"].nunique() == int(entry["rows"])
        assert (rows["observation_date"].min(), rows["observation_date"].max()) == (
            entry["first_date"],
            entry["last_date"],
        )
        assert set(rows["series"]) == {f"soybeans.progress.{stage}" for stage in STAGES}
        with one.path.open(newline="") as handle:
            printed = sum(
                bool(cell.strip()) and name.startswith("PROGRESS") and "PREVIOUS YEAR" not in name
                for line in csv.DictReader(handle)
                for name, cell in line.items()
            )
        assert int(rows[["value", "five_year_average"]].notna().to_numpy().sum()) == printed
    assert listed == {}, "every payload in the archive"


def test_numbers_read_by_hand_and_known_on_monday_or_after_a_holiday_on_tuesday(recorded, registry):
    held, refused = stage_payloads("usda_nass", registry.sources.source("usda_nass"), recorded, through=LATER)
    assert refused.empty and len(held) == 304 and set(held["unit"]) == {"%"}
    planted = held[(held["series"] == "soybeans.progress.planted")].set_index(["field", "observation_date"])
    assert planted.loc[("value", "2019-05-26"), "value"] == 29
    assert planted.loc[("five_year_average", "2019-05-26"), "value"] == 66
    known = planted["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert known["value", "2019-05-19"] == "2019-05-20 16:00"
    assert known["value", "2019-05-26"] == "2019-05-28 16:00", "Memorial Day"


def test_months_and_stocks_are_known_late_rather_than_early(payload, spec):
    content = data(
        row(CRUSH, "5,000,000", period="NOV", year="2020"),
        row(CRUSH, "5,000,000", period="DEC", year="2018"),
        row("SOYBEANS - STOCKS, MEASURED IN BU", "2,947,471,000", period="FIRST OF DEC", year="2020"),
    )
    held, _ = stage_payloads("usda_nass", spec, [payload(content, "quickstats.crush")], through=LATER)
    known = held.set_index(["series", "observation_date"])["available_at"].dt.tz_convert("America/New_York")
    assert str(known["soybeans.crush", "2020-11-01"])[:16] == "2021-01-05 15:00", "it came on the 4th"
    assert str(known["soybeans.crush", "2018-12-01"])[:16] == "2019-03-15 15:00", "shutdown"
    assert str(known["soybeans.stocks", "2020-12-01"])[:16] == "2021-01-15 12:00", "it came on the 12th"
    revised = {name for name, entry in spec.series.items() if entry.point_in_time == "revised"}
    oil = {f"soybean_oil.{name}" for name in ("crude_stocks", "refined_stocks", "crude_production")}
    assert revised == {"soybeans.crush", "soybeans.stocks", "soybean_meal.production", "soybean_meal.stocks"} | oil


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("WEEK ENDING", "WEEK", "no column .*WEEK ENDING"),
        ("PROGRESS in PCT", "PROGRESS PCT", "no column .*PROGRESS in PCT"),
        ("US TOTAL", "IOWA", "another LOCATION than US TOTAL"),
    ],
)
def test_a_csv_that_changed_is_drift_that_says_what(recorded, registry, tmp_path, old, new, said):
    path = tmp_path / recorded[0].path.name
    path.write_text(recorded[0].path.read_text().replace(old, new))
    with pytest.raises(SchemaDrift, match=said):
        usda_nass.parse(dataclasses.replace(recorded[0], path=path), registry.sources.source("usda_nass"))


@pytest.mark.parametrize("name", ["week_ending", "Value", "short_desc"])
def test_a_renamed_column_of_quick_stats_is_drift_by_name(payload, spec, name):
    renamed = [{(f"{key}_new" if key == name else key): cell for key, cell in row(PLANTED, "1").items()}]
    with pytest.raises(SchemaDrift, match=f"no .*{name}"):
        usda_nass.parse(payload(data(*renamed)), spec)


def test_a_damaged_payload_is_drift_or_rows_but_never_another_error(recorded, payload, spec, tmp_path):
    chance, drifted = random.Random("damage nass"), 0
    quick = payload(data(*(row(PLANTED, "53", week=f"2017-05-{day}") for day in (14, 21, 28))))
    for number in range(120):
        whole = recorded[0] if number % 2 else quick
        damaged = bytearray(whole.path.read_bytes())
        if number % 4 < 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path = tmp_path / f"{number}{whole.path.suffix}"
        path.write_bytes(damaged)
        try:
            rows = usda_nass.parse(dataclasses.replace(whole, path=path), spec)
        except SchemaDrift as error:
            assert path.name in str(error)
            drifted += 1
        else:
            assert {"series", "observation_date", "row"} <= set(rows.columns)
    assert 0 < drifted < 120
