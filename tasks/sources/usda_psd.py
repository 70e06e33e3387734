"""USDA FAS Production, Supply and Distribution (PSD): soybeans and four vegetable oils by country and marketing year.

One zip with one CSV has the current values of all years; history is revised in place. Each row has the calendar year
and month of its last change (month 00: not known). It counts as known at the end of that month, or at the fetch if
that is earlier; older values are in older payloads. There is no row for the world: `world` is the sum over countries,
known with the last of them, and missing in years that have the EU in two compositions.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import whole_csv
from tasks.sources.zipped import only_csv, require_zip

MAX_UNPACKED = 256 * 2**20
COMMODITIES = {
    2222000: "soybeans",
    4232000: "soybean_oil",
    4236000: "sunflowerseed_oil",
    4239100: "rapeseed_oil",
    4243000: "palm_oil",
}
COUNTRIES = {"AR": "argentina", "BR": "brazil", "CH": "china", "ID": "indonesia", "MY": "malaysia", "US": "us"}
EUROPEAN_UNIONS = ("E2", "E3", "E4")
ATTRIBUTES = {
    "Production": "production",
    "Imports": "imports",
    "Crush": "crush",
    "Domestic Consumption": "domestic_use",
    "Exports": "exports",
    "Ending Stocks": "ending_stocks",
}
UNIT = "(1000 MT)"
COLUMNS = [
    "Commodity_Code",
    "Country_Code",
    "Market_Year",
    "Calendar_Year",
    "Month",
    "Attribute_Description",
    "Unit_Description",
    "Value",
]


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole file: it has no parts, and any year in it may have been revised."""
    file = require_zip(http.download(spec.endpoint), spec.endpoint)
    yield Fetched(series=series, extension="zip", content=file, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Marketing years as served, dated at their first day: 1 September for US soybeans, else 1 October."""
    served = table_of(payload)
    commodity = pd.to_numeric(served["Commodity_Code"], errors="coerce").map(COMMODITIES)
    attribute = served["Attribute_Description"].str.strip().map(ATTRIBUTES)
    rows = served.assign(commodity=commodity, attribute=attribute)[commodity.notna() & attribute.notna()]
    absent = sorted({*COMMODITIES.values(), *ATTRIBUTES.values()} - {*rows["commodity"], *rows["attribute"]})
    if absent:
        raise SchemaDrift(f"{payload.name}: no rows for {', '.join(absent)}; the source renamed or moved it")
    rows = rows.assign(row=rows.index + 2, released_at=known_at(payload, rows))
    other, undated = rows["Unit_Description"].str.strip() != UNIT, rows["released_at"].isna()
    refused = [
        refusal(payload.series, f"{payload.name}: line {line} is in {unit!r}", row=int(line))
        for line, unit in rows.loc[other, ["row", "Unit_Description"]].itertuples(index=False)
    ] + [
        refusal(payload.series, f"{payload.name}: line {line} has no Calendar_Year and Month", row=int(line))
        for line in rows.loc[undated & ~other, "row"]
    ]
    lost = rows[other | undated]
    rows = rows[~(other | undated)]
    if rows.empty:
        raise SchemaDrift(str(refused[0]["refused"]))
    # a total with a refused part is missing
    key = ["commodity", "attribute", "Market_Year"]
    short = pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(lost[key]))
    countries = rows.assign(region=rows["Country_Code"].str.strip().map(COUNTRIES))
    rows = pd.concat([countries, _world(rows[~short])])
    rows["series"] = rows["commodity"] + "." + rows["region"] + "." + rows["attribute"]
    rows = rows[rows["series"].isin(spec.series)]
    begins = rows["series"].str.startswith("soybeans.us.").map({True: "-09-01", False: "-10-01"})
    found = rows.assign(observation_date=rows["Market_Year"] + begins, value=rows["Value"])
    found = found[["series", "observation_date", "row", "value", "released_at"]].reset_index(drop=True)
    return with_refusals(found, refused)


def known_at(payload: Payload, rows: pd.DataFrame) -> pd.Series:
    """Noon in New York on the last day of the month of the last change, or the fetch if that was earlier.

    NaT if there is no month.
    """
    year = rows["Calendar_Year"].str.strip()
    month = rows["Month"].str.strip().str.zfill(2).replace("00", "12")
    day = pd.to_datetime(year + "-" + month, format="%Y-%m", errors="coerce")
    last = (day + pd.offsets.MonthEnd(0) + pd.Timedelta(hours=12)).dt.tz_localize("America/New_York")
    fetched = payload.fetched_at + pd.Timedelta(days=int(payload.day_known_only))
    last = last.dt.tz_convert("UTC")
    return last.where((last < fetched) | last.isna(), fetched).astype("datetime64[us, UTC]")


def _world(rows: pd.DataFrame) -> pd.DataFrame:
    """The sum over countries per commodity, attribute and marketing year."""
    value = pd.to_numeric(rows["Value"], errors="coerce")
    union = rows["Country_Code"].where(rows["Country_Code"].isin(EUROPEAN_UNIONS) & (value != 0))
    groups = rows.assign(number=value, union=union).groupby(["commodity", "attribute", "Market_Year"], as_index=False)
    world = groups.agg(
        Value=("number", lambda numbers: numbers.sum(skipna=False)),
        row=("row", "first"),
        released_at=("released_at", "max"),
        unions=("union", "nunique"),
    )
    return world.assign(region="world", Value=world["Value"].where(world["unions"] <= 1)).drop(columns="unions")


def table_of(payload: Payload) -> pd.DataFrame:
    """The file's rows as text, in the columns that are read.

    Raises:
        SchemaDrift: a column is missing.
    """
    table = only_csv(payload, max_bytes=MAX_UNPACKED)
    served = whole_csv(payload, table, dtype="str", keep_default_na=False, encoding="utf-8-sig")
    missing = [name for name in COLUMNS if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no column {missing}; the source renamed it, or this is another table")
    return served[COLUMNS].fillna("")
