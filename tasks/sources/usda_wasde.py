"""USDA WASDE: the monthly balance sheets of soybeans, soybean oil and soybean meal, as each report printed them.

Two feeds: CSV (bundles of years as zip, single months as CSV) and the monthly workbook; recorded ones also as text.
Each report prints several marketing years again: an observation is dated at the first day of its marketing year, and
every report is a vintage of it. US series are read only from the domestic table, the others only from the world tables,
so no number is read twice.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import date

import pandas as pd
import xlrd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import quoted
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import whole_csv
from tasks.sources.wasde_text import us_balance
from tasks.sources.zipped import only_csv, require_zip

CSV_FEED, XLS_FEED, TEXT = "oce-wasde-report-data", "wasde-xls", "wasde-txt"
ZIP, XLS, CSV = b"PK\x03\x04", b"\xd0\xcf\x11\xe0", (b"WasdeNumber", b"\xef\xbb\xbfWasdeNumber")
BUNDLES = (
    (date(2010, 4, 1), date(2015, 12, 31), "2010-04-to-2015-12"),
    (date(2016, 1, 1), date(2020, 12, 31), "2016-01-to-2020-12"),
)
MONTHLY_FROM = date(2021, 1, 1)
GIVE_UP_AFTER = 3  # missing months in a row; a shutdown causes one
MAX_UNPACKED = 256 * 2**20

COLUMNS = [
    "ReportTitle",
    "Attribute",
    "ReliabilityProjection",
    "Commodity",
    "Region",
    "MarketYear",
    "AnnualQuarterFlag",
    "Value",
    "Unit",
    "ReleaseDate",
    "ReleaseTime",
]
US_TABLE = "u.s. soybeans and products supply and use (domestic measure)"
WORLD_TABLES = {
    "world soybean supply and use": "soybeans",
    "world soybean oil supply and use": "soybean_oil",
    "world soybean meal supply and use": "soybean_meal",
}
COMMODITIES = {
    "oilseed, soybean": "soybeans",
    "soybeans": "soybeans",
    "oil, soybean": "soybean_oil",
    "soybean oil": "soybean_oil",
    "meal, soybean": "soybean_meal",
    "soybean meal": "soybean_meal",
}
REGIONS = {"world": "world", "argentina": "argentina", "brazil": "brazil", "china": "china"}
ATTRIBUTES = {
    "area planted": "area_planted",
    "area harvested": "area_harvested",
    "yield per harvested acre": "yield",
    "yield per harv. unit": "yield",
    "beginning stocks": "beginning_stocks",
    "production": "production",
    "imports": "imports",
    "crushings": "crush",
    "domestic crush": "crush",
    "domestic": "domestic_use",
    "domestic disappearance": "domestic_use",
    "domestic total": "domestic_use",
    # one row under its names over time; the reports of May to October 2012 do not have it
    "for methyl ester": "biofuel_use",
    "methyl ester": "biofuel_use",
    "biodiesel": "biofuel_use",
    "biofuel": "biofuel_use",
    "exports": "exports",
    "use, total": "total_use",
    "ending stocks": "ending_stocks",
}
UNITS = {
    "million acres": "million acres",
    "bushels": "bu/acre",
    "bushels/acre": "bu/acre",
    "million bushels": "million bu",
    "million pounds": "million lb",
    "thousand short tons": "thousand short tons",
    "million metric tons": "million t",
}
MARKETING_YEAR = re.compile(r"^(\d{4})/\d\d\b")
RELEASES = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M", "%m/%d/%Y %H:%M")
FOOTNOTE = re.compile(r"(\s+\d+/)+$")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """Every file of a feed with reports in the window.

    Oldest first, a re-issue (`v2`) after the file that it replaces. After a failure the next window continues.
    """
    endpoint = spec.endpoint
    if series == CSV_FEED:
        for first, last, years in BUNDLES:
            if window.start <= last and window.end >= first:
                url = f"{endpoint}/sites/default/files/documents/{CSV_FEED}-{years}.zip"
                yield Fetched(series, "zip", require_zip(http.download(url), url), url)
    missed, why = 0, ""
    months = pd.period_range(max(window.start, MONTHLY_FROM), window.end, freq="M")
    for month in months:
        here = 0
        for url in _urls(series, endpoint, month):
            try:
                content = _expected(http.get(url), (XLS,) if series == XLS_FEED else CSV, url)
            except SourceDown:
                raise
            except SourceUnavailable as error:
                why = str(error)
                continue
            here += 1
            yield Fetched(series, url.rpartition(".")[2], content, url)
        missed = 0 if here else missed + 1
        if missed >= min(GIVE_UP_AFTER, len(months)):
            raise SourceUnavailable(f"usda_wasde: {series}: no report of the {missed} months to {month}; last: {why}")


def _urls(series: str, endpoint: str, month: pd.Period) -> tuple[str, str]:
    """The addresses of a month's report and of its re-issue."""
    if series == XLS_FEED:
        folder = f"{endpoint}/oce/commodity/wasde"
        return f"{folder}/wasde{month:%m%y}.xls", f"{folder}/wasde{month:%m%y}v2.xls"
    folder = f"{endpoint}/sites/default/files/documents"
    return f"{folder}/{CSV_FEED}-{month:%Y-%m}.csv", f"{folder}/{CSV_FEED}-{month:%Y-%m}-V2.csv"


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The numbers of the registered series as printed, with the instant of their report."""
    content = payload.path.read_bytes()
    if payload.series == XLS_FEED:
        numbers = _of_workbook(payload, content)
    elif payload.series == TEXT:
        numbers = _of_text(payload, content, spec)
    else:
        numbers = _of_csv(payload, only_csv(payload, max_bytes=MAX_UNPACKED) if content.startswith(ZIP) else content)
    numbers, refused = _without_unreadable(payload, numbers)
    numbers = numbers[numbers["series"].isin(spec.series)].reset_index(drop=True)
    expected = numbers["series"].map({name: entry.unit for name, entry in spec.series.items()})
    other = numbers["unit"].map(_plain).map(UNITS) != expected
    for series, part in numbers[other].groupby("series"):
        why = (
            f"{payload.name}: {len(part)} numbers in another unit, {series} in {part['unit'].iat[0]!r}, expected "
            f"{expected[part.index[0]]}; nothing is converted"
        )
        refused.append(refusal(str(series), why, row=int(part["row"].min()), whole=True))
    numbers = numbers[~other]
    if refused and numbers.empty:  # nothing is left
        raise SchemaDrift(str(refused[0]["refused"]))
    rows = numbers.assign(observation_date=_first_days(numbers["series"], numbers["market_year"]))
    return with_refusals(rows[["series", "observation_date", "row", "value", "released_at"]], refused)


def _without_unreadable(payload: Payload, numbers: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """The numbers of readable reports, and the refusals of others (column ``unreadable``)."""
    if "unreadable" not in numbers:
        return numbers, []
    bad = numbers["unreadable"] != ""
    refused = [
        refusal(payload.series, f"{payload.name}: {why}", row=int(part["row"].min()), whole=True)
        for why, part in numbers[bad].groupby("unreadable", sort=False)
    ]
    return numbers[~bad].drop(columns="unreadable"), refused


def _expected(content: bytes, marks: tuple[bytes, ...], url: str) -> bytes:
    if not content.startswith(marks):
        raise SourceUnavailable(f"usda_wasde: {url}: expected the file, got '{quoted(content)}'")
    return content


def _plain(text: object) -> str:
    """A label without footnotes, brackets around the whole, double spaces and capitals."""
    label = FOOTNOTE.sub("", " ".join(str(text).split())).lower()
    return label[1:-1] if label.startswith("(") else label


def _series(commodity: str | None, region: str | None, attribute: str | None) -> str:
    return f"{commodity}.{region}.{attribute}" if commodity and region and attribute else ""


def _first_days(series: pd.Series, market_year: pd.Series) -> pd.Series:
    """First day of the marketing year: US soybeans 1 September, all others 1 October. A bad year stays as served."""
    year = market_year.str.extract(MARKETING_YEAR, expand=False)
    september = series.str.startswith("soybeans.us.")
    return (year + september.map({True: "-09-01", False: "-10-01"})).fillna(market_year)


def _of_csv(payload: Payload, content: bytes) -> pd.DataFrame:
    if not content.endswith(b"\n"):
        raise SchemaDrift(f"{payload.name}: ends in the middle of a line")
    served = whole_csv(
        payload, content, usecols=lambda name: name in COLUMNS, dtype="str", keep_default_na=False, na_values=[]
    )
    missing = [name for name in COLUMNS if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no column {missing}; the source renamed it, or this is another table")
    table = _plain_labels(served["ReportTitle"])
    # tables of forecast errors ("Reliability of ... Projections") have the same commodities
    balance = (table == US_TABLE) | table.isin(WORLD_TABLES)
    served = served[balance & (served["ReliabilityProjection"] == "") & (served["AnnualQuarterFlag"] == "Annual")]
    table = table[served.index]
    short = _short_of_tables(payload, served["ReleaseDate"], table)
    released = _released(served["ReleaseDate"] + " " + served["ReleaseTime"].str.slice(0, 8))
    when = served["ReleaseDate"].map(short).fillna("")
    unread = "a release that cannot be read: " + served["ReleaseDate"] + " " + served["ReleaseTime"]
    commodity = _plain_labels(served["Commodity"]).map(COMMODITIES)
    region = _plain_labels(served["Region"]).map(REGIONS).where(table != US_TABLE, "us")
    attribute = _plain_labels(served["Attribute"]).map(ATTRIBUTES)
    return pd.DataFrame(
        {
            "series": (commodity + "." + region + "." + attribute).fillna(""),
            "market_year": served["MarketYear"],
            "value": served["Value"].where(served["Value"].str.strip() != ""),
            "unit": served["Unit"],
            "row": served.index + 2,
            "released_at": released,
            "unreadable": when.mask((when == "") & released.isna(), unread),
        }
    )


def _plain_labels(labels: pd.Series) -> pd.Series:
    return labels.map({label: _plain(label) for label in labels.unique()})


def _released(texts: pd.Series) -> pd.Series:
    """The instant of each release; NaT if it cannot be read."""
    known = pd.Series({text: _release(text) for text in texts.unique()}, dtype="datetime64[us, UTC]")
    return texts.map(known).astype("datetime64[us, UTC]")


def _release(text: str) -> pd.Timestamp | None:
    """The instant of one release. USDA's dates are ISO, in some monthly files month/day/year."""
    for form in RELEASES:
        moment = pd.to_datetime(text.strip(), format=form, errors="coerce")
        if not pd.isna(moment):
            return _at_new_york(moment)
    return None


def _at_new_york(moment: pd.Timestamp) -> pd.Timestamp:
    return moment.tz_localize("America/New_York").tz_convert("UTC")


def _short_of_tables(payload: Payload, report: pd.Series, table: pd.Series) -> dict[str, str]:
    """By report that lacks one of its four tables: the reason.

    Raises:
        SchemaDrift: every report lacks one.
    """
    tables = table.groupby(report).nunique()
    short = tables[tables < 1 + len(WORLD_TABLES)]
    if len(short) == len(tables):
        raise SchemaDrift(
            f"{payload.name}: soybean tables missing ({', '.join(map(str, short.index)) or 'all'}), a report has four"
        )
    return {str(day): f"soybean tables missing in the report of {day}, a report has four" for day in short.index}


def _of_text(payload: Payload, content: bytes, spec: SourceSpec) -> pd.DataFrame:
    """The US table only. Until 2010 it has no row for biofuel, so that row may be missing."""
    balance = us_balance(payload, content)
    numbers = balance.numbers.assign(released_at=balance.released_at)
    attribute = numbers["label"].map(ATTRIBUTES).fillna((numbers["above"] + " " + numbers["label"]).map(ATTRIBUTES))
    numbers["series"] = (numbers["commodity"].map(COMMODITIES) + ".us." + attribute).fillna("")
    expected = {name for name in spec.series if ".us." in name and not name.endswith(".biofuel_use")}
    missing = sorted(expected - set(numbers["series"]))
    if missing:
        raise SchemaDrift(f"{payload.name}: no row for {', '.join(missing[:5])} in the US soybean table")
    return numbers


def _of_workbook(payload: Payload, content: bytes) -> pd.DataFrame:
    try:
        book = xlrd.open_workbook(file_contents=content, on_demand=True, logfile=io.StringIO())
        found: list[dict[str, object]] = []
        tables: dict[str, str] = {}
        for number, name in enumerate(book.sheet_names(), start=1):
            cells = book.sheet_by_name(name)
            grid = [cells.row_values(row) for row in range(cells.nrows)]
            title = next((text for row in grid[:8] if row and _is_table(text := _plain(row[0]))), "")
            if title and title not in tables:
                tables[title] = str(grid[0][0]).strip()
                rows = _of_us_sheet(grid, tables[title]) if title == US_TABLE else _of_world_sheet(grid, title)
                found += [row | {"row": number * 1_000_000 + int(row["row"])} for row in rows]  # type: ignore[call-overload]
    except Exception as error:  # xlrd raises any error on a damaged file
        raise SchemaDrift(f"{payload.name}: not a WASDE workbook ({type(error).__name__}: {error})") from None
    _short_of_tables(
        payload, pd.Series("report", index=list(tables), dtype="str"), pd.Series(list(tables), index=list(tables))
    )
    months = set(tables.values())
    if len(months) != 1:
        raise SchemaDrift(f"{payload.name}: sheets of several reports: {sorted(months)}")
    return pd.DataFrame(found).assign(released_at=_release_of_workbook(payload, months.pop()))


def _is_table(title: str) -> bool:
    return title == US_TABLE or title in WORLD_TABLES


def _release_of_workbook(payload: Payload, report_month: str) -> pd.Timestamp:
    """The release of a workbook, which names only its month; a recorded one was fetched on its release day.

    A live one may be a re-issue: it is known when it was fetched, and not before the 15th, the latest day of any
    report. The CSV of the same month has the exact release.
    """
    try:
        month = pd.to_datetime(report_month, format="%B %Y")
    except ValueError:
        raise SchemaDrift(f"{payload.name}: {report_month!r} is not a month of a report") from None
    fetched = payload.fetched_at
    if payload.day_known_only:
        if (fetched.year, fetched.month) != (month.year, month.month):
            raise SchemaDrift(f"{payload.name}: the report of {report_month}, not of the month it is filed under")
        return _at_new_york(fetched.tz_localize(None).normalize() + pd.Timedelta(hours=12))
    return max(fetched, _at_new_york(month + pd.Timedelta(days=14, hours=12)))


def _of_us_sheet(grid: list[list[object]], report_month: str) -> Iterator[dict[str, object]]:
    """Commodities in rows, marketing years in columns; the last year twice: last month's and this month's number."""
    commodity, unit = "", ""
    years: dict[int, str] = {}
    for at, row in enumerate(grid):
        label, cells = _plain(row[0]), [str(cell).strip() for cell in row]
        if label in COMMODITIES and any(MARKETING_YEAR.match(cell) for cell in cells[1:]):
            commodity, unit = COMMODITIES[label], ""
            below = [str(cell).strip() for cell in grid[at + 1]]
            years = {
                column: year.group()
                for column, cell in enumerate(cells)
                if (year := MARKETING_YEAR.match(cell)) and below[column][:3] in ("", report_month[:3])
            }
        elif _plain(joined := " ".join(cells[1:])) in UNITS:
            unit = joined
        series = _series(commodity, "us", ATTRIBUTES.get(label))
        for column, begun in years.items() if series else ():
            yield _number(series, begun, row[column], unit, at, column)


def _of_world_sheet(grid: list[list[object]], title: str) -> Iterator[dict[str, object]]:
    """Marketing years in rows, attributes in columns; the last year has one row per month, for two months."""
    month, year, region = str(grid[0][0])[:3], "", ""
    attributes: dict[int, str] = {}
    unit = next((str(row[0]) for row in grid[:8] if _plain(row[0]) in UNITS), "")
    for at, row in enumerate(grid):
        if begun := MARKETING_YEAR.match(str(row[0]).strip()):
            year, region = begun.group(), ""
            attributes = {
                column: ATTRIBUTES[_plain(cell)] for column, cell in enumerate(row) if _plain(cell) in ATTRIBUTES
            }
            continue
        region = _plain(row[0]) or region
        printed = str(row[1]).strip()[:3] if len(row) > 1 else ""
        if not year or region not in REGIONS or printed not in ("", month):
            continue
        for column, attribute in attributes.items():
            series = _series(WORLD_TABLES[title], REGIONS[region], attribute)
            yield _number(series, year, row[column], unit, at, column)


def _number(series: str, year: str, cell: object, unit: str, row: int, column: int) -> dict[str, object]:
    """One cell; ``row`` combines sheet, row and column: 15 0033 04 is sheet 15, row 33, column 4."""
    text = str(cell).strip().rstrip("* ")  # stars mark intentions or trends
    value = None if text == "" else text
    return {"series": series, "market_year": year, "value": value, "unit": unit, "row": (row + 1) * 100 + column + 1}
