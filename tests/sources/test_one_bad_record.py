"""One bad record costs itself, in every adapter: the others are staged, and quarantine says what was wrong."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tasks.registry import load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import ingest_source
from tasks.staging.arrivals import judged
from tasks.staging.stage import stage_source

ALL = load_sources(PROJECT / "registry").sources
FUTURE = pd.Timestamp.now(tz="UTC").tz_localize(None).normalize()


def cftc_row(**changes: str) -> dict[str, str]:
    row = dict.fromkeys(ALL["cftc"].fields.values(), "1")
    return row | {"report_date_as_yyyy_mm_dd": "2023-01-03", "cftc_contract_market_code": "007601"} | changes


def trade(period: str) -> dict[str, object]:
    codes = {"reporterCode": "156", "flowCode": "M", "partnerCode": "0", "cmdCode": "1201", "period": period}
    return codes | dict.fromkeys(ALL["comtrade"].fields.values(), 1e9)


def bls_point(**changes: str) -> dict[str, str]:
    return {"year": "2023", "period": "M01", "value": "300.5"} | changes


def bls(*points: dict[str, str]) -> bytes:
    found = [{"seriesID": "CUUR0000SA0", "data": list(points)}]
    return json.dumps({"status": "REQUEST_SUCCEEDED", "Results": {"series": found}}).encode()


BAR = {"date": "2023-01-03", "open": "8000", "high": "8100", "low": "7900", "close": "8050", "volume": "5"} | {
    "hold": "9",
    "settle": "8040",
}
DAY = {"STATION": "USW00014933", "DATE": "2023-01-03", "PRCP": "1.0", "TMAX": "3.0", "TMIN": "-2.0"}
YEARS = "\n".join(f"{year} " + " ".join(["0.5"] * 12) for year in (2019, 2020, 2021, 2022))
# source, folder, file, content, accepted observations, what quarantine says
CASES = {
    "fred, a line with too many fields": (
        "fred",
        "DGS10",
        "csv",
        b"observation_date,DGS10\n2023-01-03,3.7\n2023-01-04,3,8\n2023-01-05,3.9\n",
        2,
        "3 fields, 2 headings",
    ),
    "fred, a byte that is no text": (
        "fred",
        "DGS10",
        "csv",
        b"observation_date,DGS10\n2023-01-03,3.7\n2023-01-04,\xff\n2023-01-05,3.9\n",
        2,
        "cannot be read as a number",
    ),
    "yahoo": (
        "yahoo",
        "ZL=F",
        "csv",
        b"Date,Open,High,Low,Close,Volume\n2023-01-03,63,64,62,63,5\n2023-01-04,63,64,62,63,5,7,9\n"
        b"2023-01-05,63,64,62,64,5\n",
        10,
        "8 fields, 6 headings",
    ),
    "freight": (
        "freight",
        "baltic-dry-index",
        "csv",
        b"Date,Value\n2020-01-02,900\n2020-01-03,1,000\n2020-01-06,910\n",
        2,
        "3 fields, 2 headings",
    ),
    "noaa": (
        "noaa",
        "oni.ascii",
        "txt",
        b" SEAS YR TOTAL ANOM\n DJF 2020 26.0 0.5\n JFM 2020 26.1 0.5 x\n FMA 2020 26.2 0.4\n",
        4,
        "5 fields",
    ),
    "mei": ("mei", None, "txt", f"2019 2022\n{YEARS.replace('2021 0.5', '2021 0.5 0.5')}\n-999\n".encode(), 36, "2021"),
    "cftc, no record": (
        "cftc",
        "6dca-aqww.007601",
        "json",
        json.dumps([cftc_row(), 7, cftc_row(report_date_as_yyyy_mm_dd="2023-01-10")]).encode(),
        16,
        "row 2",
    ),
    "sina": (
        "sina",
        "Y0",
        "js",
        b"var x=(" + json.dumps([BAR, 3, BAR | {"date": "2023-01-04"}]).encode() + b");",
        None,
        "row 2",
    ),
    "bls": (
        "bls",
        "timeseries",
        "json",
        bls(bls_point(), {"year": "2023", "period": "M02"}, bls_point(period="M03")),
        2,
        "no ['value'] in row 2",
    ),
    "ghcnd": (
        "ghcnd",
        "ghcnd.USW00014933",
        "json",
        json.dumps([DAY, "x", DAY | {"DATE": "2023-01-04"}]).encode(),
        6,
        "row 2",
    ),
    "comtrade": (
        "comtrade",
        "156.M",
        "json",
        json.dumps({"data": [trade("202301"), {"period": "202302"}, trade("202303")]}).encode(),
        None,
        "in row 2",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_record_costs_itself(zones, tmp_path, case):
    source, folder, extension, content, accepted, said = case
    spec = ALL[source]
    folder = folder or spec.replayed[0]
    path = tmp_path / (spec.folder or source) / folder / f"2023-12-27.{extension}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    as_of = pd.Timestamp("2024-02-02")
    done = ingest_source(
        zones, source, spec, origin=tmp_path, as_of=as_of.date(), progress=lambda *step: None, series=[folder]
    )
    staged = stage_source(zones, source, spec, as_of=as_of, code="t")
    after = judged(done, staged.quarantine, spec)
    assert len(staged.observations) == accepted if accepted else len(staged.observations) > 0
    assert not (staged.quarantine["rule"] == "payload").any()
    assert any(said in str(why) for why in staged.quarantine["reason"]), list(staged.quarantine["reason"])
    assert after.status in (("ok", "partial") if source == "mei" else ("ok", "ended"))
