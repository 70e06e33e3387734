"""How each source answers: the product's questions in, the source's own dialect out, from what was published.

A dialect is a function of what was asked and the world; it returns a status and a body. What it serves is cut by the
world at its simulated instant before it comes here.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pandas as pd

from tasks.sources.usda_wasde import COLUMNS

if TYPE_CHECKING:
    from tests.world.server import Asked, World

Answer = tuple[int, bytes]
NOTHING: Answer = (404, b"nothing here")
MONTHS = ("DJF", "JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ")


def text(value: float) -> str:
    """A number as a source prints it: all its digits."""
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


def between(frame: pd.DataFrame, first: str | pd.Timestamp, last: str | pd.Timestamp) -> pd.DataFrame:
    """The rows of the dates asked for."""
    return frame.loc[pd.Timestamp(first) : pd.Timestamp(last)] if len(frame) else frame


def yahoo(asked: Asked, world: World) -> Answer:
    """The v8 chart; anything else (cookie, crumb) is not needed."""
    if not asked.path.startswith("/v8/finance/chart/"):
        return (200, b"crumb") if asked.path.endswith("getcrumb") else NOTHING
    symbol, zone = asked.path.rpartition("/")[2], "America/New_York"
    bars = world.at("yahoo", symbol)
    bars = bars[bars["close"].notna()] if "close" in bars else bars.iloc[:0]  # some recorded files hold no price
    if "period1" in asked.query:
        ends = [pd.Timestamp(int(asked.query[name]), unit="s", tz="UTC") for name in ("period1", "period2")]
        days = [end.tz_convert(zone).tz_localize(None) for end in ends]
        bars = between(bars, days[0], days[1] - pd.Timedelta(seconds=1)) if len(bars) else bars
    else:
        bars = bars.tail(1)
    if bars.empty:
        error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
        return 404, json.dumps({"chart": {"result": None, "error": error}}).encode()
    names = ("open", "high", "low", "close", "volume")
    bars = bars.reindex(columns=[*names, "adj_close"])

    def values(name: str) -> list[float | None]:
        return [None if pd.isna(value) else float(value) for value in bars[name]]

    meta = {
        "currency": "USD",
        "symbol": symbol,
        "instrumentType": "FUTURE",
        "exchangeTimezoneName": zone,
        "timezone": "EST",
        "gmtoffset": -18000,
        "dataGranularity": "1d",
        "range": "",
        "validRanges": ["1d", "5d", "max"],
    }
    result = {
        "meta": meta,
        "timestamp": [int(pd.Timestamp(day).tz_localize(zone).timestamp()) for day in bars.index],
        "indicators": {
            "quote": [{name: values(name) for name in names}],
            "adjclose": [{"adjclose": values("adj_close")}],
        },
    }
    return 200, json.dumps({"chart": {"result": [result], "error": None}}).encode()


def fred(asked: Asked, world: World) -> Answer:
    """The keyless CSV."""
    series = asked.query["id"]
    values = between(world.at("fred", series), asked.query["cosd"], asked.query["coed"])
    lines = [f"observation_date,{series}"]
    lines += [f"{day:%Y-%m-%d},{text(value)}" for day, value in values.get("value", pd.Series(dtype=float)).items()]
    return 200, ("\n".join(lines) + "\n").encode()


def socrata(source: str) -> Callable[[Asked, World], Answer]:
    """CFTC's reports: a JSON array, by code and dates, in pages."""

    def answer(asked: Asked, world: World) -> Answer:
        spec = world.sources.source(source)
        wanted = re.search(r"'([^']+)' AND .* between '([^']+)' and '([^']+)'", asked.query["$where"])
        if wanted is None:
            return 400, b'{"error": true, "message": "Could not parse SoQL query"}'
        code, first, last = wanted.groups()
        series = next((name for name in spec.series if name.split(".")[-1] == code), code)
        rows = between(world.at(source, series), first, last)
        reports = [
            {"cftc_contract_market_code": code, "report_date_as_yyyy_mm_dd": f"{day:%Y-%m-%d}T00:00:00.000"}
            | {name: "." if pd.isna(row.get(field)) else text(row[field]) for field, name in spec.fields.items()}
            for day, row in rows.iterrows()
        ]
        start = int(asked.query["$offset"])
        return 200, json.dumps(reports[start : start + int(asked.query["$limit"])]).encode()

    return answer


def oni(asked: Asked, world: World) -> Answer:
    """NOAA's table of seasons, each dated at its middle month."""
    (series,) = world.sources.source("noaa").series
    lines = [" SEAS  YR   TOTAL   ANOM"]
    fields = world.sources.source("noaa").fields
    for day, row in world.at("noaa", series).iterrows():
        of = {name: row.get(field, float("nan")) for field, name in fields.items()}
        total, anomaly = (text(of[name]) if name in of else "0" for name in ("TOTAL", "ANOM"))
        season = pd.Timestamp(str(day))
        lines.append(f" {MONTHS[season.month - 1]} {season.year} {total} {anomaly}")
    return 200, ("\n".join(lines) + "\n").encode()


def mei(asked: Asked, world: World) -> Answer:
    """NOAA's table of years, -999 for the seasons to come."""
    spec = world.sources.source("mei")
    (series,), (field,) = spec.series, spec.fields
    values = world.at("mei", series)[field]
    years = range(values.index.min().year, world.now.year + 1)
    lines = [f"{years[0]} {years[-1]}"]
    for year in years:
        cells = [values.get(pd.Timestamp(year, month, 1)) for month in range(1, 13)]
        lines.append(f"{year} " + " ".join("-999.00" if cell is None else text(cell) for cell in cells))
    return 200, ("\n".join([*lines, "-999.0"]) + "\n").encode()


def ghcnd(asked: Asked, world: World) -> Answer:
    """The days of one station."""
    spec, station = world.sources.source("ghcnd"), asked.query["stations"]
    rows = between(world.at("ghcnd", f"ghcnd.{station}"), asked.query["startDate"], asked.query["endDate"])
    days = [
        {"DATE": f"{day:%Y-%m-%d}", "STATION": station}
        | {name: f"{row[field]:8.1f}" for field, name in spec.fields.items() if pd.notna(row.get(field))}
        for day, row in rows.iterrows()
    ]
    return 200, json.dumps(days).encode()


def sina(asked: Asked, world: World) -> Answer:
    """The whole history as a JavaScript variable."""
    series, spec = asked.query["symbol"], world.sources.source("sina")
    rows = world.at("sina", series)
    bars = [
        {"date": f"{day:%Y-%m-%d}"}
        | {name: None if pd.isna(row.get(field)) else row[field] for field, name in spec.fields.items()}
        for day, row in rows.iterrows()
    ]
    return 200, f"var _{series}=({json.dumps(bars)});".encode()


def eia(asked: Asked, world: World) -> Answer:
    """One series of API v2, newest first, in pages; it echoes what it was asked, key and all."""
    spec, series = world.sources.source("eia"), asked.path.rpartition("/")[2]
    (field,) = spec.fields
    values = world.at("eia", series).get(field, pd.Series(dtype=float))
    name = spec.fields[field]
    data = [{"period": f"{day:%Y-%m-%d}", name: text(value)} for day, value in values.items()][::-1]
    start, length = int(asked.query["offset"]), int(asked.query["length"])
    body = {"response": {"total": str(len(data)), "data": data[start : start + length]}, "request": asked.query}
    return 200, json.dumps(body).encode()


def bls(asked: Asked, world: World) -> Answer:
    """The series and years asked for."""
    wanted, spec = json.loads(asked.body), world.sources.source("bls")
    (field,) = spec.fields
    found = []
    for series in wanted["seriesid"]:
        months = between(world.at("bls", series), f"{wanted['startyear']}-01-01", f"{wanted['endyear']}-12-31")
        data = [
            {"year": f"{day:%Y}", "period": f"M{day:%m}", spec.fields[field]: text(value)}
            for day, value in months.get(field, pd.Series(dtype=float)).items()
        ]
        found.append({"seriesID": series, "data": data[::-1]})
    return 200, json.dumps({"status": "REQUEST_SUCCEEDED", "message": [], "Results": {"series": found}}).encode()


def federal_register(asked: Asked, world: World) -> Answer:
    """The recorded documents of the days asked for; which topic a document is of, the product decides."""
    first, last = (asked.query[f"conditions[publication_date][{end}]"] for end in ("gte", "lte"))
    found = {}
    for path in sorted((world.archive / "federal_register" / "documents").glob("*.json")):
        for one in json.loads(path.read_bytes())["results"]:
            due = pd.Timestamp(f"{one['publication_date']} 08:45", tz="America/New_York")
            if first <= one["publication_date"] <= last and due <= world.now:
                found[one["publication_date"], one["document_number"]] = one
    results = [found[key] for key in sorted(found, reverse=True)]
    return 200, json.dumps({"count": len(results), "total_pages": 1, "results": results}).encode()


def wasde(asked: Asked, world: World) -> Answer:
    """The recorded reports, each file once its newest report is out. Monthly tables were never recorded: no rows."""
    if re.search(r"report-data-\d{4}-\d\d\.csv$", asked.path):
        month = pd.Period(asked.path[-11:-4], freq="M")
        columns = ",".join(["WasdeNumber", *COLUMNS])
        return (200, f"{columns}\n".encode()) if month < pd.Period(world.now.tz_localize(None), freq="M") else NOTHING
    for folder in ("oce-wasde-report-data", "wasde-xls"):
        for path in sorted((world.archive / "usda_wasde" / folder).iterdir()):
            due = pd.Timestamp(f"{path.stem} 12:00", tz="America/New_York")
            if due <= world.now and asked.path.rpartition("/")[2] in world.names_of_reports(folder, path):
                return 200, path.read_bytes()
    return NOTHING


def inmet(asked: Asked, world: World) -> Answer:
    """A year's zip, each station's hours up to two days ago, as the registry says that they become known."""
    year = asked.path.rpartition("/")[2].removesuffix(".zip")
    held = sorted((world.archive / "inmet" / f"dadoshistoricos-{year}").glob("*.zip"))
    if not held:
        return NOTHING
    known = (world.now - pd.Timedelta(hours=60)).date()  # known two days later at 12:00 UTC
    if date(int(year), 12, 31) <= known:
        return 200, held[-1].read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(held[-1]) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as cut:
        for name in whole.namelist():
            lines = whole.read(name).decode("latin-1").splitlines(keepends=True)
            kept = lines[:9] + [line for line in lines[9:] if line[:10].replace("/", "-") <= known.isoformat()]
            cut.writestr(zipfile.ZipInfo(name), "".join(kept).encode("latin-1"))
    return 200, packed.getvalue()


def open_meteo(asked: Asked, world: World) -> Answer:
    """Never recorded: the days asked for, without values."""
    days = pd.date_range(asked.query["start_date"], asked.query["end_date"])
    daily = {"time": [f"{day:%Y-%m-%d}" for day in days]}
    return 200, json.dumps(
        {"daily": daily | {name: [None] * len(days) for name in asked.query["daily"].split(",")}}
    ).encode()


def gdelt(asked: Asked, world: World) -> Answer:
    """Never recorded: no article."""
    return 200, b"{}"


def comtrade(asked: Asked, world: World) -> Answer:
    """Never recorded: no trade."""
    return 200, b'{"elapsedTime": "0 s", "count": 0, "data": [], "error": ""}'


def comexstat(asked: Asked, world: World) -> Answer:
    """Never recorded: no exports."""
    return 200, b'{"data": {"list": []}, "success": true, "message": null}'


def empty_list(asked: Asked, world: World) -> Answer:
    """Never recorded: an array without rows."""
    return 200, b"[]"


def no_posts(asked: Asked, world: World) -> Answer:
    """Never recorded: a day without a circular."""
    return 200, b'{"posts": []}'


def ers(asked: Asked, world: World) -> Answer:
    """The yearbook's page, and the workbook it links to."""
    (book,) = (world.archive / "usda_ers" / "oil-crops-yearbook").glob("*.xlsx")
    if pd.Timestamp(book.stem, tz="UTC") > world.now:
        return NOTHING
    if asked.path.endswith(".xlsx"):
        return 200, book.read_bytes()
    return 200, b'<a href="/usda_ers/media/1/oil-crops-yearbook.xlsx">Oil crops yearbook, all tables</a>'


def pysystemtrade(asked: Asked, world: World) -> Answer:
    """A market's whole table, a row per day."""
    pairs = world.at("pysystemtrade", asked.path.rpartition("/")[2].removesuffix(".csv"))
    columns = ("carry", "carry_contract", "price", "price_contract", "forward", "forward_contract")
    lines = ["DATETIME," + ",".join(name.upper() for name in columns)]
    for day, row in pairs.reindex(columns=columns).iterrows():
        lines.append(",".join([f"{day:%Y-%m-%d} 23:00:00", *("" if pd.isna(one) else text(one) for one in row)]))
    return 200, ("\n".join(lines) + "\n").encode()


def gone(asked: Asked, world: World) -> Answer:
    """Never recorded, and a file: it is not there."""
    return NOTHING


DIALECTS: dict[str, Callable[[Asked, World], Answer]] = {
    "yahoo": yahoo,
    "fred": fred,
    "cftc": socrata("cftc"),
    "cftc_disagg": socrata("cftc_disagg"),
    "noaa": oni,
    "mei": mei,
    "ghcnd": ghcnd,
    "sina": sina,
    "pysystemtrade": pysystemtrade,
    "eia": eia,
    "bls": bls,
    "federal_register": federal_register,
    "usda_wasde": wasde,
    "inmet": inmet,
    "open_meteo": open_meteo,
    "gdelt": gdelt,
    "comtrade": comtrade,
    "comexstat": comexstat,
    "usda_ers": ers,
    "usda_fas": gone,
    "usda_psd": gone,
    "usda_nass": gone,
    "eia_biofuels": gone,
    "databento": gone,
    "yahoo_contracts": gone,
    "alphavantage": gone,
    "dce": gone,
    "carb_lcfs": gone,
    "conab": gone,
    "usda_ams": gone,
    "magyp_fob": no_posts,
    "mpob": gone,
    "mpob_cpo": gone,
    "ag_transport": empty_list,
    "bcb": empty_list,
    "magyp_crush": gone,
    "usda_psd_livestock": gone,
    "conab_progress": gone,
    "ec_oilseeds": gone,
}
"""Every source of the registry that has an address. One without a dialect fails the world."""
RECORDED = ("yahoo", "fred", "cftc", "cftc_disagg", "noaa", "mei", "ghcnd", "sina", "eia", "bls", "pysystemtrade")
"""Sources whose answers are made from the values that staging has of the archive; the others serve its files."""


def query_of(text: str) -> dict[str, str]:
    """The first value of each name."""
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
