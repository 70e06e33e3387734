"""Conab's weekly progress of sowing and harvest of soybeans in Brazil: one workbook per week, behind three pages.

The list of weeks has twenty links per page (`?b_start:int=20`), `acompanhamento-das-lavouras-DD-MM-a-DD-MM-YY`; the
page of a week links its workbook, `plantio-e-colheita-...`. In the first sheet a block per crop begins in column B
with `Soja - Safra YYYY/YY`; a row `Semeadura` or `Colheita`, perhaps with `*`, opens a table whose heading has three
dates: of last year, of the last week, and of this week, which is the newest. Below is one row per state, then
`12 estados`, Conab's own average. Values are shares; one that was corrected is text, such as `10%*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from urllib.parse import urljoin, urlsplit

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.zipped import open_workbook

ZIP = b"PK\x03\x04"
WEEK = re.compile(rb"href=[\"']([^\"']*acompanhamento-das-lavouras-[^\"'/]*?-a-(\d\d)-(\d\d)-(\d\d)[^\"'/]*)/?[\"']")
BOOK = re.compile(rb"href=[\"']([^\"']*/plantio-e-colheita[^\"']*?)(?:/view)?[\"']")
PER_PAGE, MOST_PAGES = 20, 200  # of weeks: more than a lifetime, so only a page that never ends is stopped
MAX_UNPACKED = 64 * 2**20
CROP, OTHER_CROP = re.compile(r"^Soja\s*-\s*Safra\s"), re.compile(r"\s-\s*Safra\s")
OPERATION = re.compile(r"^(Semeadura|Colheita)\s*\*?$")
AVERAGE = re.compile(r"^\d+ estados$")
CORRECTED = re.compile(r"^(\d+(?:[.,]\d+)?)\s*(%?)\s*\*?$")

Row = tuple[object, ...]


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The workbook of each week that ends in the window. A week whose workbook cannot be had loses only itself."""
    lost: list[str] = []
    arrived = False
    for url in _weeks(window, spec, http):
        try:
            content = http.get(url)
            links = {urljoin(f"{url}/", link.decode()) for link in BOOK.findall(content)}
            book = min((link for link in links if urlsplit(link).netloc == urlsplit(spec.endpoint).netloc), default="")
            if not book:
                continue  # a week without a workbook
            content = http.get(book)
        except SourceDown:
            raise
        except SourceUnavailable as error:
            lost.append(str(error))
            continue
        if not content.startswith(ZIP):
            lost.append(f"{http.source}: {series}: {book} is not a workbook but '{http.quote(content)}'")
            continue
        arrived = True
        yield Fetched(series=series, extension="xlsx", content=content, url=book)
    if lost:
        raise SourceUnavailable("; ".join(lost))
    if not arrived:
        raise NothingNew(f"{http.source}: {series}: no workbook of a week from {window.start} to {window.end}")


def _weeks(window: Window, spec: SourceSpec, http: Http) -> list[str]:
    """The pages of the weeks that end in the window, oldest first."""
    found: dict[str, date] = {}
    for page in range(MOST_PAGES):
        content = http.get(spec.endpoint, {"b_start:int": page * PER_PAGE} if page else None)
        links = {
            urljoin(spec.endpoint, link.decode()): date(2000 + int(year), int(month), int(day))
            for link, day, month, year in WEEK.findall(content)
            if _exists(int(year), int(month), int(day))
        }
        if not links and not page:
            raise SourceUnavailable(f"{http.source}: expected the list of weeks, got '{http.quote(content)}'")
        new = {url: ends for url, ends in links.items() if url not in found}
        found |= new
        if not new or min(new.values()) < window.start:
            break
    else:
        raise SourceUnavailable(f"{http.source}: the list of weeks does not end after {MOST_PAGES} pages")
    host = urlsplit(spec.endpoint).netloc
    inside = {u: d for u, d in found.items() if window.start <= d <= window.end and urlsplit(u).netloc == host}
    return sorted(inside, key=lambda url: (inside[url], url))


def _exists(year: int, month: int, day: int) -> bool:
    try:
        date(2000 + year, month, day)
    except ValueError:
        return False
    return True


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """This week's share of each registered state and of Conab's average."""
    (field,) = spec.fields
    wanted = {(entry.select["operation"], entry.select["place"]): name for name, entry in spec.series.items()}
    rows = [
        {"series": wanted[operation, place], "observation_date": day, "row": number, field: value}
        for operation, place, day, number, value in _shares(_sheet(payload))
        if (operation, place) in wanted
    ]
    if not rows:
        raise SchemaDrift(f"{payload.name}: no table of sowing or harvest under `Soja - Safra`; the source changed it")
    return pd.DataFrame(rows)


def _shares(grid: list[Row]) -> Iterator[tuple[str, str, str, int, object]]:
    """Operation, place, date, row and value of this week, for every row of the soybean's tables."""
    operation, column, day = "", -1, ""
    inside = False
    for number, row in enumerate(grid, start=1):
        name = " ".join(str(row[1] if len(row) > 1 and row[1] is not None else "").split())
        dates = {place: cell for place, cell in enumerate(row) if isinstance(cell, datetime)}
        if CROP.match(name) or OTHER_CROP.search(name):
            inside, operation, column = bool(CROP.match(name)), "", -1
        elif inside and OPERATION.match(name):
            operation, column = name.rstrip("* "), -1
        elif inside and operation and len(dates) >= 2:
            column = max(dates, key=lambda place: dates[place])
            day = f"{dates[column]:%Y-%m-%d}"
        elif inside and operation and column >= 0 and name and len(row) > column and row[column] not in (None, ""):
            place = "estados" if AVERAGE.match(name) else name
            yield operation, place, day, number, _share(row[column])


def _share(cell: object) -> object:
    """A share as served; `10%*` is 0.1."""
    text = CORRECTED.match(str(cell).strip()) if isinstance(cell, str) else None
    if text is None:
        return cell
    number = float(text.group(1).replace(",", "."))
    return number / 100 if text.group(2) else number


def _sheet(payload: Payload) -> list[Row]:
    with open_workbook(payload, max_bytes=MAX_UNPACKED) as book:
        return list(book.worksheets[0].iter_rows(values_only=True))
