"""Disaggregated commitments: three dialects of one report, and the legacy report's file without a header."""

from __future__ import annotations

import csv
import dataclasses
import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import cftc
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Fetched, Window, land, landed
from tasks.staging.stage import stage_source
from tasks.staging.summary import newest_values

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
CODES = {"007601", "005602", "026603", "002602", "001602", "067651"}
LONGS = ["producer_long", "swap_long", "managed_money_long", "other_long", "nonreportable_long"]
SHORTS = [name.replace("long", "short") for name in LONGS]
SPREADS = ["swap_spread", "managed_money_spread", "other_spread"]
ZL = "72hh-3qpy.007601"


@pytest.fixture
def spec(registry):
    return registry.sources.source("cftc_disagg")


def of(archive, folder: str):
    return recorded_files(archive, "cftc_disagg", folder, folder="cftc")


def test_every_row_of_our_markets_is_there_and_longs_and_shorts_sum_to_open_interest(spec, archive):
    with (archive / "MANIFEST.csv").open(newline="") as handle:
        listed = {row["file"]: row for row in csv.DictReader(handle)}
    weeks = {"2021-03-19": 11, "2023-02-24": 8, "2026-05-15": 1}
    for payload in of(archive, "fut_disagg_txt") + of(archive, "newcot.f_disagg"):
        lines = payload.path.read_text().splitlines()
        header = payload.series == "fut_disagg_txt"
        entry = listed[f"cftc/{payload.series}/{payload.path.name}"]
        assert len(lines) - header == int(entry["rows"]), "the file is whole"
        rows = cftc.parse(payload, spec)
        assert len(rows) == weeks[payload.path.stem] * len(CODES)
        assert {series.split(".")[1] for series in rows["series"]} == CODES
        assert (rows["observation_date"].min(), rows["observation_date"].max()) == (
            entry["first_date"],
            entry["last_date"],
        )
        values = rows[list(spec.fields)].astype(float)
        assert (values[LONGS + SPREADS].sum(axis=1) == values["open_interest"]).all()
        assert (values[SHORTS + SPREADS].sum(axis=1) == values["open_interest"]).all()
        for row in rows.itertuples():
            assert str(row.series).split(".")[1] in lines[row.row - 1], "a row is named by its line in the file"


def test_a_market_that_changed_its_name_is_one_series(staged):
    held = staged.by_source["cftc_disagg"]
    wti = held.observations[held.observations["series"] == "72hh-3qpy.067651"]
    assert wti["observation_date"].min().year == 2021 and wti["observation_date"].max().year == 2023
    assert held.quarantine.empty and len(held.observations) == 14 * 6 * (11 + 8)
    monday = wti[wti["observation_date"] == "2023-01-31"]["available_at"].dt.tz_convert("America/New_York")
    assert set(monday.dt.strftime("%Y-%m-%d %H:%M")) == {"2023-03-24 15:30"}, "the outage of early 2023"


def test_socrata_and_the_yearly_file_give_the_same_report(spec, archive, tmp_path):
    payload = of(archive, "fut_disagg_txt")[0]
    recorded = cftc.parse(payload, spec).query("series == @ZL").head(1)
    report = {name: f" {recorded[field].iat[0]}" for field, name in spec.fields.items()}
    date_served = f"{recorded['observation_date'].iat[0]}T00:00:00.000"
    path = tmp_path / "live.json"
    path.write_text(json.dumps([report | {cftc.CODE: "007601", cftc.DATE: date_served}]))
    live = cftc.parse(dataclasses.replace(payload, series=ZL, path=path), spec)
    assert live.drop(columns="row").to_dict("records") == recorded.drop(columns="row").to_dict("records")


def test_the_live_service_is_asked_for_one_market_by_its_code(spec, server):
    rows = [{cftc.DATE: "2023-12-26T00:00:00.000", cftc.CODE: "007601"}]
    server.script = [(200, json.dumps(rows).encode())]
    window = Window(date(2023, 1, 1), date(2023, 12, 29))
    served = spec.model_copy(update={"endpoint": f"{server.url}/resource/72hh-3qpy.json"})
    with Http("cftc_disagg", per_minute=60_000, limits=QUICK) as http:
        (fetched,) = cftc.fetch(ZL, window, served, http)
        assert json.loads(fetched.content) == rows and fetched.series == ZL
        assert server.requests[0].path == "/resource/72hh-3qpy.json"
        assert "cftc_contract_market_code='007601'" in server.requests[0].query["$where"]
        server.script = [(503, b"busy")]
        with pytest.raises(SourceUnavailable, match=r"cftc_disagg: .*503"):
            list(cftc.fetch(ZL, window, served, http))


def test_a_suppressed_value_is_missing(spec, archive, tmp_path):
    payload = of(archive, "newcot.f_disagg")[0]
    line = next(line for line in payload.path.read_text().splitlines() if "007601" in line)
    cells = line.split(",")
    cells[8] = "      ."
    path = tmp_path / "2026-05-15.txt"
    path.write_text(",".join(cells) + "\n")
    rows = cftc.parse(dataclasses.replace(payload, path=path), spec)
    assert len(rows) == 1 and pd.isna(rows["producer_long"].iat[0]) and rows["swap_short"].notna().all()


@pytest.mark.parametrize(
    ("folder", "old", "new", "told"),
    [
        ("fut_disagg_txt", "Swap__Positions_Short_All", "Swap_Sellers", "swap__positions_short_all"),
        ("fut_disagg_txt", "CFTC_Contract_Market_Code", "Code", "cftc_contract_market_code"),
        ("fut_disagg_txt", "Swap_Positions_Long_Old", "Swap_Positions_Long", "two columns of one name"),
        ("newcot.f_disagg", ",", ";", "columns, expected more than 23"),
    ],
)
def test_another_layout_is_drift_that_says_what_is_missing(spec, archive, tmp_path, folder, old, new, told):
    payload = of(archive, folder)[0]
    path = tmp_path / payload.path.name
    path.write_text(payload.path.read_text().replace(old, new))
    with pytest.raises(SchemaDrift, match=told):
        cftc.parse(dataclasses.replace(payload, path=path), spec)


def test_the_legacy_week_without_a_header_belongs_to_the_legacy_source(registry, archive):
    legacy = registry.sources.source("cftc")
    (payload,) = recorded_files(archive, "cftc", "newcot.deafut")
    rows = cftc.parse(payload, legacy)
    assert set(rows["series"]) == set(legacy.series) and set(rows["observation_date"]) == {"2026-05-12"}
    cells = rows.drop(columns="row").melt(["series", "observation_date"], var_name="field")
    report = newest_values(cells.assign(source="cftc", vintage=1, value=cells["value"].astype(float)), "cftc", legacy)
    longs = report["noncommercial_long"] + report["noncommercial_spread"] + report["commercial_long"]
    assert (longs + report["nonreportable_long"] == report["open_interest"]).all() and len(report) == 7


@pytest.mark.parametrize(
    ("extension", "content"),
    [("json", b'[{"a": "1"}, 7]'), ("json", b"[" * 100_000), ("csv", b"a,b\n1,2,3\n")],
    ids=["a row that is no report", "too deep", "a row longer than the header"],
)
def test_what_the_adapter_stumbles_over_is_landed_whole_and_set_aside_by_name(spec, zones, extension, content):
    fetched, now = Fetched(ZL, extension, content, "u"), pd.Timestamp("2024-01-02T12:00", tz="UTC")
    payload = land(zones, "cftc_disagg", fetched, spec, fetched_at=now)
    staged = stage_source(zones, "cftc_disagg", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert landed(zones, "cftc_disagg") == [payload] and payload.newest is None
    assert staged.quarantine["payload"].to_list() == [payload.name] and staged.quarantine["rule"].to_list() == [
        "payload"
    ]
    why = staged.quarantine["reason"].iat[0]
    assert "the adapter of cftc_disagg cannot read it" in why or "no column" in why
