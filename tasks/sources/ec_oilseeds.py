"""European Commission, weekly FOB prices of oilseeds in the world: one workbook, behind the page of its observatory.

The page links the workbook (at another host of the EU) as `World oilseed prices`; the address has an opaque part that
changes, and an old one goes on serving an old file, so it is read from the page on every run. In the sheet `Data` the
heading begins with `Wednesday`. The same names follow twice, first in dollars, then in euros; the euros are converted
by the Commission, and only the dollars are read. `n.q.` is a week without a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urljoin, urlsplit

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.zipped import open_workbook

ZIP = b"PK\x03\x04"
BOOK = re.compile(rb"<a\s[^>]*?href=[\"']([^\"']+\.xlsx)[\"'][^>]*>\s*World oilseed prices\s*</a>", re.IGNORECASE)
HOSTS = ".europa.eu"
SHEET, HEADING = "Data", "Wednesday"
NOT_QUOTED = ("", "-", "n.q.")
MAX_UNPACKED = 64 * 2**20

Row = tuple[object, ...]


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The workbook that the page links today."""
    page = http.get(spec.endpoint)
    links = {urljoin(spec.endpoint, link.decode()) for link in BOOK.findall(page)}
    books = sorted(link for link in links if _trusted(link, spec.endpoint))
    if not books:
        raise SourceUnavailable(f"{http.source}: expected a link `World oilseed prices`, got '{http.quote(page)}'")
    content = http.get(books[0])
    if not content.startswith(ZIP):
        raise SourceUnavailable(f"{http.source}: {books[0]} is not a workbook but '{http.quote(content)}'")
    yield Fetched(series=series, extension="xlsx", content=content, url=books[0])


def _trusted(link: str, endpoint: str) -> bool:
    """A link of the page's own host, or of another of the EU's over https."""
    parts, own = urlsplit(link), urlsplit(endpoint)
    return (parts.scheme, parts.netloc) == (own.scheme, own.netloc) or (
        parts.scheme == "https" and (parts.hostname or "").endswith(HOSTS)
    )


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The weeks of each registered column of the dollars, as served; a week without a quote has no row."""
    grid = _sheet(payload)
    top = next((number for number, row in enumerate(grid) if row and _text(row[0]) == HEADING), None)
    if top is None:
        raise SchemaDrift(f"{payload.name}: no heading that begins with `{HEADING}`; the source changed it")
    names = [_text(cell) for cell in grid[top]]
    (field,) = spec.fields
    rows: list[dict[str, object]] = []
    for series, entry in spec.series.items():
        column = entry.select["column"]
        if column not in names:
            raise SchemaDrift(f"{payload.name}: no column `{column}`; the source renamed it")
        place = names.index(column)  # the first of the two is in dollars
        for number, row in enumerate(grid[top + 1 :], start=top + 2):
            day, value = (row[0], row[place]) if len(row) > place else (None, None)
            if _text(day) and _text(value).lower() not in NOT_QUOTED:
                shown = f"{day:%Y-%m-%d}" if isinstance(day, datetime) else _text(day)
                rows.append({"series": series, "observation_date": shown, "row": number, field: value})
    if not rows:
        raise SchemaDrift(f"{payload.name}: no week has a quote; the source changed it")
    return pd.DataFrame(rows)


def _text(cell: object) -> str:
    return "" if cell is None else " ".join(str(cell).split())


def _sheet(payload: Payload) -> list[Row]:
    with open_workbook(payload, max_bytes=MAX_UNPACKED) as book:
        if SHEET in book.sheetnames:
            return list(book[SHEET].iter_rows(values_only=True))
    raise SchemaDrift(f"{payload.name}: no sheet `{SHEET}`; the source renamed it")
