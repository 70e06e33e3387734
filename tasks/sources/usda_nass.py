"""USDA NASS: soybean progress and condition by week, crush, oil and meal by month, stocks by quarter; US totals.

Live payloads are from Quick Stats: JSON, long format, at most 50,000 rows per call, so rows are counted before they are
requested. Recorded payloads are the wide CSV of one year's crop progress, one line per week. Weeks end on Sundays.
Values are strings with thousands separators; blanks, `(D)`, `(NA)` and the like are missing. The report prints the
five-year average beside its own numbers: in Quick Stats a feed of its own, in the CSV a column. Months are dated at
their first day, stocks at their own day.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import redact
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.records import whole_csv

KEY = "NASS_API_KEY"
MOST_ROWS = 50_000
MISSING = re.compile(r"^\s*(\([A-Z]+\))?\s*$")
MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
PROGRESS = re.compile(r"^(?:SOYBEANS - )?PROGRESS(?P<average>, 5 YEAR AVG)?(?:, MEASURED)? in PCT (?P<stage>.+)$", re.I)
CONDITION = re.compile(r"^SOYBEANS - CONDITION, MEASURED IN PCT (?P<grade>.+)$")
OTHERS = {
    "SOYBEANS - CRUSHED, MEASURED IN TONS": "soybeans.crush",
    "SOYBEANS - STOCKS, MEASURED IN BU": "soybeans.stocks",
    "OIL, SOYBEAN, ONSITE & OFFSITE, CRUDE - STOCKS, MEASURED IN LB": "soybean_oil.crude_stocks",
    "OIL, SOYBEAN, ONSITE & OFFSITE, ONCE REFINED - STOCKS, MEASURED IN LB": "soybean_oil.refined_stocks",
    "OIL, SOYBEAN, CRUDE - PRODUCTION, MEASURED IN LB": "soybean_oil.crude_production",
    "CAKE & MEAL, SOYBEAN - PRODUCTION, MEASURED IN TONS": "soybean_meal.production",
    "CAKE & MEAL, SOYBEAN - STOCKS, MEASURED IN TONS": "soybean_meal.stocks",
}
TOTAL = "TOTAL"
# an oil's figure of all operations together; its other rows are parts of it. Other items are served as a total
WHOLE = {
    "OIL, SOYBEAN, ONSITE & OFFSITE, CRUDE - STOCKS, MEASURED IN LB": "(CRUSHER OR REFINER OR WAREHOUSE)",
    "OIL, SOYBEAN, ONSITE & OFFSITE, ONCE REFINED - STOCKS, MEASURED IN LB": "(REFINER OR WAREHOUSE)",
    "OIL, SOYBEAN, CRUDE - PRODUCTION, MEASURED IN LB": "(CRUSHER)",
}


@dataclass(frozen=True)
class FeedQuery:
    """The Quick Stats query of one feed."""

    commodity: str
    statistic: str
    item: str = ""


QUERIES = {
    "quickstats.progress": FeedQuery("SOYBEANS", "PROGRESS"),
    "quickstats.progress-5-year-avg": FeedQuery("SOYBEANS", "PROGRESS, 5 YEAR AVG"),
    "quickstats.condition": FeedQuery("SOYBEANS", "CONDITION"),
    "quickstats.crush": FeedQuery("SOYBEANS", "CRUSHED"),
    "quickstats.stocks": FeedQuery("SOYBEANS", "STOCKS", "SOYBEANS - STOCKS, MEASURED IN BU"),
    "quickstats.oil-stocks": FeedQuery(
        "OIL", "STOCKS", "OIL, SOYBEAN, ONSITE & OFFSITE, CRUDE - STOCKS, MEASURED IN LB"
    ),
    "quickstats.refined-oil-stocks": FeedQuery(
        "OIL", "STOCKS", "OIL, SOYBEAN, ONSITE & OFFSITE, ONCE REFINED - STOCKS, MEASURED IN LB"
    ),
    "quickstats.oil-production": FeedQuery("OIL", "PRODUCTION", "OIL, SOYBEAN, CRUDE - PRODUCTION, MEASURED IN LB"),
    "quickstats.meal-production": FeedQuery(
        "CAKE & MEAL", "PRODUCTION", "CAKE & MEAL, SOYBEAN - PRODUCTION, MEASURED IN TONS"
    ),
    "quickstats.meal-stocks": FeedQuery("CAKE & MEAL", "STOCKS", "CAKE & MEAL, SOYBEAN - STOCKS, MEASURED IN TONS"),
}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All national rows of a feed in the window's years, as one document."""
    rows = _rows_of(series, window.start.year, window.end.year, spec, http)
    if not rows:
        raise NothingNew(
            f"{http.source}: {series}: no rows from {window.start.year} to {window.end.year}; "
            f"the item may have been renamed"
        )
    content = redact(json.dumps({"data": rows}), http.secrets).encode()
    yield Fetched(series=series, extension="json", content=content, url=f"{spec.endpoint}/api_GET/")


def _rows_of(series: str, first: int, last: int, spec: SourceSpec, http: Http) -> list[dict[str, object]]:
    """The rows of those years, in as many calls as needed. Raise if fewer rows arrive than were counted."""
    query = QUERIES[series]
    params: dict[str, str | int] = {
        "key": http.secret(KEY) or "",
        "source_desc": "SURVEY",
        "commodity_desc": query.commodity,
        "statisticcat_desc": query.statistic,
        "agg_level_desc": "NATIONAL",
        "year__GE": first,
        "year__LE": last,
    }
    params |= {"short_desc": query.item} if query.item else {}
    count = _answer(http.get(f"{spec.endpoint}/get_counts/", params), "count", series, http)
    if not str(count).isdigit():
        raise SourceUnavailable(
            f"{http.source}: {series}: a count of rows that is not a number: '{http.quote(str(count))}'"
        )
    rows_counted = int(str(count))
    if rows_counted > MOST_ROWS:
        if first == last:
            raise SourceUnavailable(f"{http.source}: {series}: {rows_counted} rows in {first}, at most {MOST_ROWS}")
        middle = (first + last) // 2
        return _rows_of(series, first, middle, spec, http) + _rows_of(series, middle + 1, last, spec, http)
    if rows_counted == 0:
        return []
    rows = _answer(http.get(f"{spec.endpoint}/api_GET/", {**params, "format": "JSON"}), "data", series, http)
    if not isinstance(rows, list) or len(rows) != rows_counted:
        received = len(rows) if isinstance(rows, list) else "no"
        raise SourceUnavailable(f"{http.source}: {series}: {received} of {rows_counted} rows from {first} to {last}")
    return rows


def _answer(body: bytes, name: str, series: str, http: Http) -> object:
    try:
        return json.loads(body)[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        shown = http.quote(body)
        raise SourceUnavailable(f"{http.source}: {series}: no `{name}` but '{shown}'") from None


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Registered series as served, without thousands separators."""
    rows = _of_year(payload) if payload.path.suffix == ".csv" else _of_quick_stats(payload)
    return rows[rows["series"].isin(spec.series)].reset_index(drop=True)


def _of_year(payload: Payload) -> pd.DataFrame:
    """Crop progress of one year: one line per week, one column per stage."""
    served = whole_csv(payload, dtype="str", keep_default_na=False)
    stages: dict[str, dict[str, str]] = {}
    for name in served.columns:
        if found := PROGRESS.match(str(name)):
            field = "five_year_average" if found["average"] else "value"
            stages.setdefault(_series("progress", found["stage"]), {})[field] = str(name)
    missing = [name for name in ("LOCATION", "COMMODITY", "WEEK ENDING") if name not in served.columns]
    missing += [] if any("value" in columns for columns in stages.values()) else ["PROGRESS in PCT ..."]
    if missing:
        raise SchemaDrift(f"{payload.name}: no column {missing}; the source renamed it, or this is another table")
    if set(served["LOCATION"]) != {"US TOTAL"} or set(served["COMMODITY"]) != {"SOYBEANS"}:
        raise SchemaDrift(f"{payload.name}: lines of another LOCATION than US TOTAL or another COMMODITY than SOYBEANS")
    parts = []
    for series, columns in stages.items():
        values = {field: _numbers(served[name]) for field, name in columns.items()}
        line = {"series": series, "observation_date": served["WEEK ENDING"], "row": served.index + 2}
        parts.append(pd.DataFrame(line | values))
    return pd.concat(parts, ignore_index=True)


def _of_quick_stats(payload: Payload) -> pd.DataFrame:
    try:
        served = pd.DataFrame(json.loads(payload.path.read_bytes())["data"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SchemaDrift(f"{payload.name}: not a document with rows under data") from None
    needed = (
        "short_desc",
        "agg_level_desc",
        "domain_desc",
        "domaincat_desc",
        "year",
        "reference_period_desc",
        "week_ending",
        "Value",
    )
    missing = [name for name in needed if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no {missing} in its rows, but {list(served.columns)[:8]}")
    text = served[list(needed)].astype("str")
    field = "five_year_average" if payload.series.endswith("5-year-avg") else "value"
    wholes = zip(text["short_desc"], text["domaincat_desc"], strict=True)
    part = [item in WHOLE and WHOLE[item] in category for item, category in wholes]
    whole = (text["domain_desc"] == TOTAL) | pd.Series(part, index=text.index, dtype=bool)
    rows = pd.DataFrame(
        {
            "series": text["short_desc"].map({item: _named(item, field) for item in text["short_desc"].unique()}),
            "observation_date": [_dated(*names) for names in zip(*(text[name] for name in needed[4:7]), strict=True)],
            "row": served.index + 1,
            field: _numbers(text["Value"]),
        }
    )
    return rows[(text["agg_level_desc"] == "NATIONAL") & whole & (rows["observation_date"] != "")]


def _named(item: str, field: str) -> str:
    """The series of a data item; empty if it is not registered."""
    if found := PROGRESS.match(item):
        return _series("progress", found["stage"]) if (field == "value") == (found["average"] is None) else ""
    if found := CONDITION.match(item):
        return _series("condition", found["grade"])
    return OTHERS.get(item, "")


def _series(statistic: str, part: str) -> str:
    return f"soybeans.{statistic}.{part.strip().lower().replace(' ', '_')}"


def _dated(year: str, period: str, week_ending: str) -> str:
    """A week's Sunday, a month's first day or a stock's day; empty for years and other periods."""
    if re.match(r"^\d{4}-\d\d-\d\d", week_ending):
        return week_ending[:10]
    month = MONTHS.get(period.removeprefix("FIRST OF ").strip())
    return f"{year}-{month:02d}-01" if month else ""


def _numbers(column: pd.Series) -> pd.Series:
    return column.mask(column.str.match(MISSING)).str.replace(",", "").astype(object)
