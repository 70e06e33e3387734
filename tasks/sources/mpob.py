"""MPOB (Malaysian Palm Oil Board): monthly production, closing stocks and exports of palm oil, in tonnes.

`web_report1.php?val=YYYYNN` is a page with a table; NN is the report: 44 production of crude palm oil by state, 11
closing stocks, 34 exports. Production and stocks come as two blocks, January to June and July to December: a row of
months, a row of years below it (last year and this year under each month), then rows of values. Exports are one table:
the row `PALM OIL`, `Tonnes` and twelve months; the row below is in ringgit. A month to come is blank or zero. The first
row of a name counts: further down it may be that of another product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import pandas as pd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.pages import table_rows
from tasks.sources.payloads import Fetched, Payload, Window

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
UNIT = "TONNES"
REPORT_YEAR = re.compile(r"[?&]val=(\d{4})\d\d(?:&|$)")
FIRST_RELEASE = (2, 15)  # the new year's report has no month before the middle of February

Found = tuple[int, int, int, str]  # year, month, row of the page, value as served


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The page of each year of the window. A year without a table is reported after the others were fetched."""
    entry = _series_of(series, spec)[1]
    lost: list[str] = []
    for year in range(window.start.year, window.end.year + 1):
        asked = f"{year}{entry['report']}"
        try:
            content = http.get(spec.endpoint, {"val": asked})
        except SourceDown:
            raise
        except SourceUnavailable as error:
            lost.append(str(error))
            continue
        if _months(content, entry, year):
            yield Fetched(series=series, extension="html", content=content, url=f"{spec.endpoint}?val={asked}")
        elif window.end >= date(year, *FIRST_RELEASE):
            lost.append(f"{http.source}: {series}: {year}: expected a table, got '{http.quote(content)}'")
    if lost:
        raise SourceUnavailable("; ".join(lost))


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months as served, dated at their first day, without separators and without the zeros of months to come."""
    series, entry = _series_of(payload.series, spec)
    asked = REPORT_YEAR.search(payload.url)
    if asked is None:
        raise SchemaDrift(f"{payload.name}: its address {payload.url!r} does not say the report's year")
    found = _months(payload.path.read_bytes(), entry, int(asked.group(1)))
    if not found:
        raise SchemaDrift(f"{payload.name}: no months of {entry['row']!r}; the source renamed it")
    rows = [
        {
            "series": series,
            "observation_date": f"{year}-{month:02d}-01",
            "row": row * 100 + month,
            next(iter(spec.fields)): value,
        }
        for year, month, row, value in found
    ]
    return pd.DataFrame(rows)


def _series_of(feed: str, spec: SourceSpec) -> tuple[str, dict[str, str]]:
    """The one series of a report, and how to find it."""
    ((name, entry),) = [(name, one.select) for name, one in spec.series.items() if one.select["feed"] == feed]
    return name, entry


def _months(content: bytes, entry: dict[str, str], year: int) -> list[Found]:
    """The values of a page: empty if it has none, or is something else."""
    rows = table_rows(content.decode("utf-8", errors="replace"))
    return _single(rows, entry["row"], year) if entry.get("unit") else _paired(rows, entry["row"], year)


def _single(rows: list[list[str]], label: str, year: int) -> list[Found]:
    """Twelve months of one year, behind the row's name and its unit."""
    heading: list[int] = []
    for number, row in enumerate(rows, start=1):
        months = months_named(row)
        if months == list(range(1, 13)):
            heading = months
        elif heading and len(row) >= 14 and row[0].upper() == label and row[1].upper() == UNIT:
            return [(year, month, number, _value(row[month + 1])) for month in heading if _value(row[month + 1])]
    return []


def _paired(rows: list[list[str]], label: str, year: int) -> list[Found]:
    """Two blocks of six months; under each month the year before and the year."""
    found: list[Found] = []
    months: list[int] = []
    years: list[str] = []
    done: set[int] = set()
    for number, row in enumerate(rows, start=1):
        named = months_named(row)
        if named in ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]):
            months, years = named, []
        elif months and not years and _years(row) == [str(year - 1), str(year)] * 6:
            years = _years(row)
        elif years and len(row) >= 13 and row[0].upper() == label and months[0] not in done:
            done.add(months[0])
            for place, cell in enumerate(row[1:13]):
                if value := _value(cell):
                    found.append((int(years[place]), months[place // 2], number, value))
    return found


def months_named(row: list[str]) -> list[int]:
    """The months that a heading names, by their first three letters; a range such as `JAN - MAY` is none."""
    short = [cell[:3].upper() for cell in row if cell.isalpha()]
    return [MONTHS.index(name) + 1 for name in short if name in MONTHS]


def _years(row: list[str]) -> list[str]:
    """The first twelve years of a row."""
    return [cell for cell in row if re.fullmatch(r"(19|20)\d\d", cell)][:12]


def _value(cell: str) -> str:
    """A number without separators; empty for a month to come."""
    text = cell.replace(",", "").strip()
    return "" if text in ("", "-") or re.fullmatch(r"0+(\.0*)?", text) else text
