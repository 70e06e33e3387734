"""USDA ERS Oil Crops Yearbook: monthly supply and disappearance of US soybean oil, one table of a workbook."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from urllib.parse import urljoin

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.zipped import open_workbook

ZIP = b"PK\x03\x04"
LINK = re.compile(rb"href=[\"']([^\"']*oil[^\"']*\.xlsx[^\"']*)[\"']", re.IGNORECASE)
MAX_UNPACKED = 64 * 2**20
TABLE = re.compile(r"^Table \d+--Soybean oil:\s+Supply and disappearance, by month")
UNIT = "1,000 pounds"
COLUMNS = {
    "beginning stocks": "beginning_stocks",
    "production": "production",
    "imports": "imports",
    "domestic total": "domestic_use",
    "methyl ester": "methyl_ester_use",
    "exports": "exports",
    "ending stocks": "ending_stocks",
}
MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
CROP_YEAR = re.compile(r"^(\d{4})/\d\d(\d\d)?$")
FIRST_MONTH = 10  # October opens the crop year; January to September are of the next calendar year


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The workbook that the yearbook's page links to; its address changes with every issue."""
    link = LINK.search(http.get(spec.endpoint))
    if link is None:
        raise SourceUnavailable(f"usda_ers: {series}: no workbook is linked on {spec.endpoint}; the page has changed")
    url = urljoin(spec.endpoint, link.group(1).decode())
    content = http.get(url)
    if not content.startswith(ZIP):
        raise SourceUnavailable(f"usda_ers: {series}: {url} is not a workbook but '{http.quote(content)}'")
    yield Fetched(series=series, extension="xlsx", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months as served, dated at their first day; `---` is the table's mark of a missing value."""
    grid = _table(payload)
    head = next((at for at, row in enumerate(grid) if "Production" in row), 0)
    names = [_name(above, cell) for above, cell in zip(grid[head - 1], grid[head], strict=True)]
    missing = sorted(set(COLUMNS) - set(names))
    if not head or missing:
        raise SchemaDrift(f"{payload.name}: no column {missing} in the monthly table of soybean oil")
    if not any(UNIT in row for row in grid[head : head + 4]):
        raise SchemaDrift(f"{payload.name}: the monthly table of soybean oil is not in {UNIT}")
    found: list[dict[str, object]] = []
    year = None
    for number, row in enumerate(grid, start=1):
        if begun := CROP_YEAR.match(row[0]):
            year = int(begun.group(1))
        month = MONTHS.get(row[0].lower())
        if year is None or month is None:
            continue
        day = f"{year + (month < FIRST_MONTH)}-{month:02d}-01"
        for column, name in enumerate(names):
            series = f"soybean_oil.us.{COLUMNS[name]}" if name in COLUMNS else ""
            if series in spec.series:
                value = None if row[column] in ("", "---") else row[column]
                place = number * 100 + column + 1
                found.append({"series": series, "observation_date": day, "row": place, "value": value})
    if not found:
        raise SchemaDrift(f"{payload.name}: no month in the monthly table of soybean oil")
    return pd.DataFrame(found)


def _name(above: str, cell: str) -> str:
    """The heading of two rows as one text: `Beginning` over `stocks`, without footnote digits."""
    return f"{above} {cell}".strip().rstrip("0123456789").lower()


def _table(payload: Payload) -> list[list[str]]:
    """The sheet of the monthly table as text."""
    with open_workbook(payload, max_bytes=MAX_UNPACKED) as book:
        for sheet in book.worksheets:
            rows = sheet.iter_rows(values_only=True)
            first = next(rows, ())
            if first and TABLE.match(str(first[0])):
                grid = [["" if cell is None else str(cell).strip() for cell in row] for row in (first, *rows)]
                width = max(map(len, grid))
                return [row + [""] * (width - len(row)) for row in grid]
    raise SchemaDrift(f"{payload.name}: no sheet with the monthly table of soybean oil")
