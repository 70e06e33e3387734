"""WASDE: four tables of each report, each number once, known at the minute of its release and not before."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import xlrd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.settings import PROJECT
from tasks.sources import usda_wasde
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload, Window, landed
from tasks.staging.arrivals import judged
from tasks.staging.stage import stage_payloads, stage_source
from tasks.storage.hashes import sha256_of

pytestmark = pytest.mark.xdist_group("wasde")  # what its fixtures make is dear: one process makes it

LATER = pd.Timestamp("2030-01-01", tz="UTC")
MINUTE = pd.Timedelta(minutes=1)
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
CSV_FEED, XLS_FEED = usda_wasde.CSV_FEED, usda_wasde.XLS_FEED
HEADER = (
    "WasdeNumber,ReportDate,ReportTitle,Attribute,ReliabilityProjection,Commodity,Region,MarketYear,ProjEstFlag,"
    "AnnualQuarterFlag,Value,Unit,ReleaseDate,ReleaseTime,ForecastYear,ForecastMonth"
)
US = "U.S. Soybeans and Products Supply and Use (Domestic Measure)"
OIL = "World Soybean Oil Supply and Use"
OIL_STOCKS = "soybean_oil.us.ending_stocks"


@pytest.fixture(scope="module")
def spec(registry):
    return registry.sources.source("usda_wasde")


@pytest.fixture(scope="module")
def payloads(archive, spec) -> list[Payload]:
    return [payload for feed in spec.feeds for payload in recorded_files(archive, "usda_wasde", feed)]


@pytest.fixture(scope="module")
def parsed(payloads, spec) -> dict[str, pd.DataFrame]:
    return {payload.name: usda_wasde.parse(payload, spec) for payload in payloads}


@pytest.fixture(scope="module")
def observations(payloads, spec) -> pd.DataFrame:
    accepted, refused = stage_payloads("usda_wasde", spec, payloads, through=LATER)
    assert refused.empty, "the whole archive is clean"
    return accepted


def known(observations: pd.DataFrame, series: str, day: str, at: pd.Timestamp) -> float | None:
    """The newest value of a marketing year that was out at an instant."""
    part = observations[(observations["series"] == series) & (observations["observation_date"] == day)]
    part = part[part["available_at"] <= at].sort_values("vintage")
    return part["value"].iloc[-1] if len(part) else None


def new_york(moment: str) -> pd.Timestamp:
    return pd.Timestamp(moment, tz="America/New_York").tz_convert("UTC")


def line(title: str, attribute: str, commodity: str, region: str, value: str, unit: str, **other: str) -> str:
    cells = {
        "reliability": "",
        "year": "2022/23",
        "flag": "Annual",
        "released": "2023-01-12",
        "time": "12:00:00.0000000",
    } | other
    return (
        f'632,January 2023,"{title}","{attribute}",{cells["reliability"]},"{commodity}",{region},{cells["year"]},'
        f"Proj.,{cells['flag']},{value},{unit},{cells['released']},{cells['time']},2023,1"
    )


REST = [
    line("World Soybean Supply and Use", "Production", "Oilseed, Soybean", "World", "388.01", "Million Metric Tons"),
    line("World Soybean Meal Supply and Use", "Exports", "Soybean Meal", "World", "68.1", "Million Metric Tons"),
]
STOCKS = line(US, "Ending stocks", "Oil, Soybean", "United States", "1886.00", "Million Pounds")
WORLD_STOCKS = line(OIL, "Ending Stocks", "Soybean Oil", "World", "5.27", "Million Metric Tons")
REPORT = [STOCKS, WORLD_STOCKS, *REST]


@pytest.fixture
def report(tmp_path) -> Callable[..., Payload]:
    """A month's CSV as if fetched live at a time."""

    def make(*lines: str, fetched_at: str = "2023-01-13 00:00", name: str = "report.csv") -> Payload:
        path = tmp_path / name
        path.write_text("\n".join([HEADER, *lines, ""]))
        moment = pd.Timestamp(fetched_at, tz="UTC")
        return Payload("usda_wasde", CSV_FEED, path, sha256_of(path), 0, "", moment, day_known_only=False)

    return make


def test_every_report_of_the_archive_has_every_series_for_three_marketing_years(parsed, spec, archive):
    listed = pd.read_csv(archive / "MANIFEST.csv").set_index("file")
    assert {name for name in listed.index if name.startswith("usda_wasde/") and "wasde-txt" not in name} == set(parsed)
    for name, rows in parsed.items():
        reports = 68 if "68 WASDE vintages" in str(listed["note"][name]) else 59 if "59" in listed["note"][name] else 1
        assert rows["released_at"].nunique() == reports
        assert set(rows["series"]) == set(spec.series) or reports > 1
        counts = rows.groupby(["released_at", "series"]).size()
        assert set(counts) == {3}, "three marketing years a report"
        assert rows["row"].is_unique and rows["value"].notna().all()
        assert not rows.duplicated(["released_at", "series", "observation_date"]).any()
        days = rows["released_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d")
        assert (days.min(), days.max()) == (listed["first_date"][name], listed["last_date"][name])
    assert {len(parsed[name]) for name in parsed if XLS_FEED in name} == {3 * len(spec.series)}
    assert sum(len(set(rows["series"])) == len(spec.series) for rows in parsed.values()) == len(parsed)


def test_no_report_came_in_the_shutdowns_and_one_in_every_other_month(parsed):
    released = pd.concat([rows["released_at"] for rows in parsed.values()]).drop_duplicates()
    months = set(released.dt.strftime("%Y-%m"))
    every = {f"{month}" for month in pd.period_range("2010-04", "2023-12", freq="M")}
    assert every - months == {"2013-10", "2019-01"}
    assert len(released) == len(months) == 163


@pytest.mark.parametrize(
    ("series", "day", "released", "value"),
    [
        (OIL_STOCKS, "2010-10-01", "2010-05-11 08:30", 2747),
        (OIL_STOCKS, "2020-10-01", "2020-12-10 12:00", 1889),
        (OIL_STOCKS, "2020-10-01", "2021-01-12 12:00", 1814),
        ("soybean_oil.us.biofuel_use", "2009-10-01", "2010-05-11 08:30", 2200),
        ("soybean_oil.us.biofuel_use", "2018-10-01", "2020-05-12 12:00", 7863),
        ("soybean_oil.us.biofuel_use", "2023-10-01", "2023-05-12 12:00", 12500),
        ("soybeans.us.area_planted", "2021-09-01", "2021-07-12 12:00", 87.6),
        ("soybeans.us.yield", "2023-09-01", "2023-05-12 12:00", 52.0),
        ("soybeans.us.crush", "2020-09-01", "2021-01-12 12:00", 2200),
        ("soybeans.world.ending_stocks", "2019-10-01", "2020-12-10 12:00", 95.46),
        ("soybeans.brazil.production", "2023-10-01", "2023-12-08 12:00", 161),
        ("soybeans.china.imports", "2023-10-01", "2023-12-08 12:00", 102),
        ("soybean_meal.argentina.exports", "2018-10-01", "2021-01-12 12:00", 28.83),
        ("soybean_oil.world.ending_stocks", "2023-10-01", "2023-12-08 12:00", 5.39),
    ],
)
def test_numbers_read_by_hand_from_the_reports(observations, series, day, released, value):
    assert known(observations, series, day, new_york(released)) == value


def test_a_number_appears_at_the_minute_of_its_release_and_the_report_before_counts_until_then(observations):
    release = new_york("2020-12-10 12:00")
    assert known(observations, OIL_STOCKS, "2020-10-01", release - MINUTE) == 1864
    assert known(observations, OIL_STOCKS, "2020-10-01", release) == 1889
    early = new_york("2012-12-11 08:30")
    assert early == pd.Timestamp("2012-12-11 13:30", tz="UTC")
    part = observations[observations["available_at"] == early]
    assert len(part) and not (observations["available_at"] == new_york("2012-12-11 12:00")).any()


def test_every_revision_is_a_vintage_at_a_release_and_the_reports_between_add_none(observations, parsed):
    printed = pd.concat(parsed.values())
    printed["value"] = pd.to_numeric(printed["value"])
    mine = printed[(printed["series"] == OIL_STOCKS) & (printed["observation_date"] == "2020-10-01")]
    mine = mine.sort_values("released_at")
    changed = mine[mine["value"] != mine["value"].shift()]
    part = observations[(observations["series"] == OIL_STOCKS) & (observations["observation_date"] == "2020-10-01")]
    part = part.sort_values("vintage")
    assert part["value"].tolist() == changed["value"].tolist()
    assert part["available_at"].tolist() == changed["released_at"].tolist()
    assert part["vintage"].tolist() == list(range(1, 20)) and len(mine) == 36


def test_the_last_marketing_year_is_projected_from_may_on_before_it_begins(observations):
    first = observations[
        (observations["vintage"] == 1) & (observations["observation_date"].dt.year.between(2010, 2023))
    ]
    release = first["available_at"].dt.tz_convert("America/New_York")
    november = first[release.dt.month == 11]
    assert november["series"].tolist() == ["soybean_oil.us.biofuel_use"], "not printed from May to October 2012"
    assert set(release.dt.month) == {5, 11}
    assert (release.dt.year == first["observation_date"].dt.year).all()


def test_the_workbooks_go_on_where_the_bundles_end(observations, archive):
    """A workbook prints last month's projection beside this month's: the first one's is the bundle's last report."""
    book = xlrd.open_workbook(archive / "usda_wasde" / XLS_FEED / "2021-01-12.xls", on_demand=True)
    sheet, before = book.sheet_by_name("Page 15"), new_york("2021-01-12 12:00") - MINUTE
    rows = {
        "beginning_stocks": 33,
        "production": 34,
        "imports": 35,
        "biofuel_use": 38,
        "exports": 40,
        "ending_stocks": 42,
    }
    for attribute, row in rows.items():
        assert known(observations, f"soybean_oil.us.{attribute}", "2020-10-01", before) == sheet.cell_value(row, 3)
    world = book.sheet_by_name("Page 28")
    assert world.cell_value(53, 1) == "Dec"
    assert known(observations, "soybeans.brazil.production", "2020-10-01", before) == world.cell_value(53, 3)


def test_the_balance_holds_in_every_report(parsed):
    """Ending stocks are supply less use; a column or a unit taken wrongly would not add up."""
    printed = pd.concat(parsed.values())
    printed["value"] = pd.to_numeric(printed["value"])
    wide = printed.pivot(index=["released_at", "observation_date"], columns="series", values="value")
    for commodity, slack in (("soybean_oil", 3), ("soybean_meal", 3)):
        us = {name.split(".")[2]: wide[name] for name in wide if name.startswith(f"{commodity}.us.")}
        supply = us["beginning_stocks"] + us["production"] + us["imports"]
        left = (supply - us["domestic_use"] - us["exports"] - us["ending_stocks"]).dropna()
        assert len(left) > 450 and (left.abs() <= slack).all()


@pytest.mark.parametrize("day", ["2012-06-12", "2015-12-09", "2020-12-10", "2023-08-11"])
def test_staged_as_of_a_time_is_the_full_staging_of_then(payloads, spec, parsed, observations, monkeypatch, day):
    # a payload is the same numbers whenever it is read: what depends on the time comes after it
    monkeypatch.setattr(usda_wasde, "parse", lambda payload, spec: parsed[payload.name].copy())
    for through in (new_york(f"{day} 08:29"), new_york(f"{day} 12:00")):
        cut, _ = stage_payloads("usda_wasde", spec, payloads, through=through)
        full = observations[observations["available_at"] <= through].reset_index(drop=True)
        pd.testing.assert_frame_equal(cut, full, check_categorical=False)
        assert len(cut)


def test_both_spellings_and_the_right_tables_count_and_nothing_else(report, spec):
    decoys = [
        line(US, "Ending stocks", "Oil, Soybean", "United States", "9", "Million Pounds", reliability="average"),
        line("Reliability of January Projections", "Ending stocks", "Oil, Soybean", "United States", "9", "Percent"),
        line(OIL, "Ending Stocks", "Soybean Oil", "United States", ".86", "Million Metric Tons"),
        line(OIL, "Ending Stocks", "Soybean Oil", "Major Exporters", "1.3", "Million Metric Tons"),
        line("U.S. Quarterly Prices", "Production", "Oil, Soybean", "United States", "9", "Million Pounds"),
    ]
    american = STOCKS.replace("Oil, Soybean", "Soybean Oil")
    worldly = WORLD_STOCKS.replace("Soybean Oil,", "Oil; Soybean,").replace('"Soybean Oil"', '"Oil, Soybean"')
    for lines in ([*REPORT, *decoys], [american, worldly, *REST, *decoys]):
        rows = usda_wasde.parse(report(*lines), spec).set_index("series")
        assert sorted(rows.index) == [
            "soybean_meal.world.exports",
            OIL_STOCKS,
            "soybean_oil.world.ending_stocks",
            "soybeans.world.production",
        ]
        assert rows.loc[OIL_STOCKS, ["value", "observation_date"]].tolist() == ["1886.00", "2022-10-01"]


def test_a_blank_is_missing_and_contradicting_doubles_are_refused(report, spec):
    blank = line(US, "Exports", "Oil, Soybean", "United States", "", "Million Pounds")
    twice = STOCKS.replace("1886.00", "1900.00")
    accepted, refused = stage_payloads("usda_wasde", spec, [report(*REPORT, blank, twice)], through=LATER)
    assert sorted(zip(refused["series"], refused["rule"], strict=True)) == [
        (OIL_STOCKS, "duplicate"),
        (OIL_STOCKS, "duplicate"),
        ("soybean_oil.us.exports", "null"),
    ]
    assert not accepted["series"].isin([OIL_STOCKS, "soybean_oil.us.exports"]).any()


def test_the_same_number_printed_twice_counts_once(report, spec):
    accepted, refused = stage_payloads("usda_wasde", spec, [report(*REPORT, STOCKS)], through=LATER)
    assert (accepted["series"] == OIL_STOCKS).sum() == 1 and set(refused["rule"]) == {"duplicate"}


def test_a_reissue_of_a_report_is_known_when_it_was_fetched(report, spec):
    first = report(*REPORT, fetched_at="2023-01-12 17:05", name="first.csv")
    again = report(*[text.replace("1886", "1896") for text in REPORT], fetched_at="2023-01-20 15:00", name="v2.csv")
    accepted, _ = stage_payloads("usda_wasde", spec, [first, again], through=LATER)
    part = accepted[accepted["series"] == OIL_STOCKS]
    assert part["value"].tolist() == [1886, 1896]
    assert part["available_at"].tolist() == [new_york("2023-01-12 12:00"), pd.Timestamp("2023-01-20 15:00", tz="UTC")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("12:00:00.0000000", "noon", "release"),
        ("ReleaseDate", "Released", "ReleaseDate"),
        ("World Soybean Meal Supply", "World Soymeal Supply", "2023-01-12"),
    ],
)
def test_a_report_that_changed_is_drift_that_says_what(report, spec, old, new, said):
    payload = report(*REPORT)
    payload.path.write_text(payload.path.read_text().replace(old, new))
    with pytest.raises(SchemaDrift, match=said):
        usda_wasde.parse(payload, spec)


@pytest.mark.parametrize("content", [b"", b"\n", b"<html>down</html>\n", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"{}"])
@pytest.mark.parametrize("feed", [CSV_FEED, XLS_FEED])
def test_something_else_altogether_is_drift_and_goes_to_quarantine(archive, spec, tmp_path, feed, content):
    whole = recorded_files(archive, "usda_wasde", feed)[0]
    path = tmp_path / whole.path.name
    path.write_bytes(content)
    accepted, refused = stage_payloads("usda_wasde", spec, [dataclasses.replace(whole, path=path)], through=LATER)
    assert accepted.empty
    assert refused[["rule", "payload"]].to_numpy().tolist() == [["payload", whole.name]]


@pytest.mark.parametrize("feed", [CSV_FEED, XLS_FEED])
def test_a_damaged_payload_is_drift_or_whole_rows_but_never_another_error(archive, spec, tmp_path, feed):
    whole, chance, drifted = recorded_files(archive, "usda_wasde", feed)[-1], random.Random("damage wasde"), 0
    content, tries = whole.path.read_bytes(), 6 if feed == CSV_FEED else 30
    for number in range(tries):
        damaged = bytearray(content)
        if number % 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            for _ in range(300):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path = tmp_path / f"{number}{whole.path.suffix}"
        path.write_bytes(damaged)
        try:
            usda_wasde.parse(dataclasses.replace(whole, path=path), spec)
        except SchemaDrift as error:
            assert path.name in str(error)
            drifted += 1
    assert drifted >= tries / 2


def test_a_workbook_filed_under_another_month_is_drift(archive, spec):
    whole = recorded_files(archive, "usda_wasde", XLS_FEED)[0]
    moved = dataclasses.replace(whole, fetched_at=pd.Timestamp("2021-02-09", tz="UTC"))
    with pytest.raises(SchemaDrift, match="January 2021"):
        usda_wasde.parse(moved, spec)


@pytest.mark.parametrize(
    ("fetched", "released"),
    [("2021-01-12 17:20", "2021-01-15 17:00"), ("2021-01-23 08:00", "2021-01-23 08:00")],
)
def test_a_live_workbook_is_known_when_fetched_and_not_before_the_latest_day_of_a_release(
    archive, spec, fetched, released
):
    """It names its month only and may be a re-issue: late is a loss, early would be a leak."""
    whole = recorded_files(archive, "usda_wasde", XLS_FEED)[0]
    live = dataclasses.replace(whole, fetched_at=pd.Timestamp(fetched, tz="UTC"), day_known_only=False)
    assert set(usda_wasde.parse(live, spec)["released_at"]) == {pd.Timestamp(released, tz="UTC")}


def bundle(*members: tuple[str, bytes]) -> bytes:
    """A zip of these members; the same bytes whatever the time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members:
            made.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bundle(("a.csv", b"0" * 3_000_000)), "unpack to 3000000 bytes, more than the 2000000 allowed"),
        (bundle(("a.csv", b"0" * 1_500_000), ("b.bin", b"0" * 1_500_000)), "unpack to 3000000 bytes"),
        (bundle(("a.csv", b"x\n"), ("b.csv", b"x\n")), "2 CSV files"),
        (bundle(("../readme.txt", b"x")), "0 CSV files"),
    ],
    ids=["one member", "two members", "two tables", "no table"],  # bytes as ids would hold the clock
)
def test_a_zip_that_is_too_large_or_holds_something_else_is_drift(report, spec, monkeypatch, content, said):
    monkeypatch.setattr(usda_wasde, "MAX_UNPACKED", 2_000_000)
    payload = report()
    payload.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=said):
        usda_wasde.parse(payload, spec)


def test_the_gate_excepts_exactly_the_sources_that_project(registry):
    suite = json.loads((PROJECT / "expectations/staging/observations.json").read_text())
    (rule,) = [entry for entry in suite["expectations"] if entry["type"] == "expect_column_not_above_column"]
    projecting = [name for name, spec in registry.sources.sources.items() if spec.projected_days]
    assert rule["kwargs"]["unless"] == {"source": projecting}


@pytest.fixture
def ask(spec, server):
    def run(feed: str, start: date, end: date):
        here = spec.model_copy(update={"endpoint": server.url})
        with Http("usda_wasde", per_minute=60_000, limits=QUICK) as http:
            return list(usda_wasde.fetch(feed, Window(start, end), here, http))

    return run


def test_the_first_fetch_takes_the_bundles_and_then_every_month_with_its_reissue(ask, server):
    table = HEADER.encode() + b"\n"
    folder = "/sites/default/files/documents/oce-wasde-report-data"
    held = {f"{folder}-2010-04-to-2015-12.zip": bundle(("a.csv", b"")), f"{folder}-2016-01-to-2020-12.zip": bundle()}
    held[f"{folder}-2016-01-to-2020-12.zip"] = bundle(("b.csv", b""))
    held |= {f"{folder}-2021-01.csv": table, f"{folder}-2021-03.csv": table, f"{folder}-2021-03-V2.csv": table}
    server.by_request = lambda request: (200, held[request.path]) if request.path in held else (404, b"no such page")
    fetched = ask(CSV_FEED, date(2010, 4, 1), date(2021, 4, 3))
    assert [item.url.removeprefix(server.url) for item in fetched] == list(held)
    assert [item.extension for item in fetched] == ["zip", "zip", "csv", "csv", "csv"]
    assert {item.series for item in fetched} == {CSV_FEED}
    asked = [request.path for request in server.requests]
    assert asked[2:6] == [f"{folder}-2021-01{end}" for end in (".csv", "-V2.csv")] + [
        f"{folder}-2021-02{end}" for end in (".csv", "-V2.csv")
    ]


def test_a_month_of_the_workbook_is_asked_by_its_number_and_year(ask, server, archive):
    content = Path(archive / "usda_wasde" / XLS_FEED / "2021-01-12.xls").read_bytes()
    server.by_request = lambda request: (200, content) if request.path.endswith("wasde0223.xls") else (404, b"")
    (fetched,) = ask(XLS_FEED, date(2023, 2, 1), date(2023, 3, 5))
    assert (fetched.extension, fetched.content) == ("xls", content)
    assert [request.path.rpartition("/")[2] for request in server.requests] == [
        "wasde0223.xls",
        "wasde0223v2.xls",
        "wasde0323.xls",
        "wasde0323v2.xls",
    ]
    assert server.requests[0].path == "/oce/commodity/wasde/wasde0223.xls"


@pytest.mark.parametrize("answer", [(404, b"no such page"), (200, b"<!DOCTYPE html>moved"), (403, b"")])
@pytest.mark.parametrize("feed", [CSV_FEED, XLS_FEED])
def test_pages_that_moved_are_said_after_three_months(ask, server, feed, answer):
    server.script = [answer]
    with pytest.raises(SourceUnavailable, match=f"{feed}: no report of the 3 months to 2023-03; last: .*2023-03|0323"):
        ask(feed, date(2023, 1, 1), date(2023, 12, 31))
    assert len(server.requests) == 6


def test_a_server_that_errs_is_down_at_once_not_a_missing_month(ask, server):
    server.script = [(503, b"busy")]
    with pytest.raises(SourceUnavailable, match="503"):
        ask(XLS_FEED, date(2023, 1, 1), date(2023, 12, 31))
    assert len(server.requests) == QUICK.attempts


def test_a_fetch_that_breaks_off_keeps_what_arrived_and_the_next_one_asks_for_the_rest(zones, spec, server):

    def served(request):
        return bundle((request.path, b"")) if request.path.endswith("zip") else HEADER.encode() + request.path.encode()

    server.by_request = lambda request: (200, served(request)) if request.path.endswith("zip") else (404, b"")
    here = spec.model_copy(update={"endpoint": server.url, "feeds": (CSV_FEED,), "rate_limit_per_minute": 60_000})

    def run():
        as_of = date(2021, 4, 20)
        return ingest_source(
            zones, "usda_wasde", here, origin="live", as_of=as_of, progress=lambda *step: None, limits=QUICK
        )

    broken = run()
    assert (broken.status, broken.payloads) == ("failed", 2) and "no report of the 3 months" in broken.message
    server.by_request = lambda request: (200, served(request))
    assert (run().status, len(landed(zones, "usda_wasde"))) == ("ok", 2 + 2 * 4)


US_DATES = Path(__file__).parent / "wasde_us_dates"


def arrive(zones, spec, origin, as_of="2021-01-29"):
    done = ingest_source(
        zones, "usda_wasde", spec, origin=origin, as_of=date.fromisoformat(as_of), progress=lambda *step: None
    )
    staged = stage_source(zones, "usda_wasde", spec, as_of=pd.Timestamp(as_of), code="tests")
    return judged(done, staged.quarantine, spec), staged


def test_a_report_with_american_dates_is_known_at_noon_in_new_york(zones, spec):
    done, staged = arrive(zones, spec, US_DATES)
    assert (done.status, done.message, len(staged.observations)) == ("ok", "", 4)
    assert set(staged.observations["available_at"]) == {pd.Timestamp("2021-01-12 17:00", tz="UTC")}


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        (b"02/09/2021,12:00:00", b"09.02.2021,12:00:00", "a release that cannot be read: 09.02.2021"),
        (
            b"World Soybean Meal Supply and Use",
            b"Other",
            "soybean tables missing in the report of 02/09/2021",
        ),
    ],
    ids=["date", "table"],
)
def test_one_bad_report_costs_itself_and_is_reported(zones, spec, tmp_path, changed, to, said):
    (path,) = US_DATES.rglob("*.csv")
    january = path.read_bytes()
    february = january.partition(b"\n")[2].replace(b"01/12/2021", b"02/09/2021")
    assert changed in february
    bundle_path = tmp_path / "usda_wasde" / CSV_FEED / "2021-02-10.csv"
    bundle_path.parent.mkdir(parents=True)
    bundle_path.write_bytes(january + february.replace(changed, to))
    done, staged = arrive(zones, spec, tmp_path, "2021-02-26")
    assert (done.status, len(staged.observations)) == ("partial", 4) and said in done.message


def test_a_number_in_another_unit_costs_its_series(zones, spec, tmp_path):
    (path,) = US_DATES.rglob("*.csv")
    other = tmp_path / "usda_wasde" / CSV_FEED / path.name
    other.parent.mkdir(parents=True)
    other.write_bytes(path.read_bytes().replace(b"2000,Million Pounds", b"2000,Short Tons"))
    done, staged = arrive(zones, spec, tmp_path)
    assert (done.status, len(staged.observations)) == ("partial", 3) and "'Short Tons'" in done.message
