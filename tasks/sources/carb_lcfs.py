"""CARB LCFS credit prices: the sheet of weekly averages in the workbook of the weekly credit transfer report.

The workbook's address carries its date and changes every week: it is the one `.xlsx` link of the page with `weekly` in
its name (or the registry's endpoint itself). Headings `Week Of`, `Weekly Average Credit Price ($)`,
`Type 1 Transfer Weekly Average Credit Price ($)` and `Total Volume (MT)`, broken by new lines; a week is dated at its
Monday, once at a Tuesday. Another sheet is the log of all transfers: it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urljoin

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.zipped import open_workbook

ZIP = b"PK\x03\x04"
LINK = re.compile(rb"href=[\"']([^\"']*weekly[^\"'/]*\.xlsx[^\"']*)[\"']", re.IGNORECASE)
MAX_UNPACKED = 256 * 2**20
WEEK = "week of"
TITLE_ROWS = 15  # at most, above the headings


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The newest workbook; it has all weeks since 2019."""
    url, content = spec.endpoint, http.get(spec.endpoint)
    links = sorted(set(LINK.findall(content))) if not content.startswith(ZIP) else []
    if len(links) == 1:
        url = urljoin(url, links[0].decode())
        content = http.get(url)
    if not content.startswith(ZIP):
        raise SourceUnavailable(
            f"{http.source}: {series}: {url} is not a workbook but '{http.quote(content)}', with {len(links)} links "
            f"to a weekly one; the page has moved. Find it on CARB's site and fix `endpoint` in "
            "registry/data_sources.yaml"
        )
    yield Fetched(series=series, extension="xlsx", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Weeks as served; a series is a column, found by the heading that its `query` names."""
    first, grid = _table(payload)
    headings = [_plain(cell) for cell in grid[0]]
    columns = {name: _plain(entry.select["column"]) for name, entry in spec.series.items()}
    missing = [heading for heading in columns.values() if headings.count(heading) != 1]
    if missing:
        raise SchemaDrift(
            f"{payload.name}: not exactly one column {missing} among {[name for name in headings if name][:8]}"
        )
    week = headings.index(WEEK)
    found: list[dict[str, object]] = []
    for number, row in enumerate(grid[1:], start=first + 1):
        if row[week] is None or str(row[week]).strip() == "":
            continue
        for series, heading in columns.items():
            cell = row[headings.index(heading)]
            place, value = number * 100 + headings.index(heading) + 1, None if cell in (None, "", "-") else str(cell)
            found.append({"series": series, "observation_date": _day(row[week]), "row": place, "value": value})
    if not found:
        raise SchemaDrift(f"{payload.name}: no week under its headings")
    return pd.DataFrame(found)


def _day(cell: object) -> str:
    """An ISO date; other text, such as a note below the table, as it is."""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d}"
    day = pd.to_datetime(str(cell).strip(), format="%m/%d/%Y", errors="coerce")
    return str(cell).strip() if pd.isna(day) else f"{day:%Y-%m-%d}"


def _plain(cell: object) -> str:
    """A heading without line breaks, brackets and capitals."""
    return " ".join(re.sub(r"\([^)]*\)", " ", str(cell or "")).lower().split())


def _table(payload: Payload) -> tuple[int, list[tuple[object, ...]]]:
    """The row number of the headings with a week, and their sheet from that row on."""
    with open_workbook(payload, max_bytes=MAX_UNPACKED) as book:
        for sheet in book.worksheets:
            for number, row in enumerate(sheet.iter_rows(max_row=TITLE_ROWS, values_only=True), start=1):
                if WEEK in [_plain(cell) for cell in row]:
                    return number, list(sheet.iter_rows(min_row=number, values_only=True))
    raise SchemaDrift(f"{payload.name}: no sheet with a column `{WEEK}`")
