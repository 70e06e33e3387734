"""MPOB (Malaysian Palm Oil Board): daily price of crude palm oil, delivered in Malaysia, in ringgit per tonne.

`price_local_daily_view_cpo_msia.php?more=Y&jenis=1Y&tahun=YYYY` is a page with a table of one year: a row `Date` with
the twelve months, then a row per day of the month. `PH` (public holiday), `NT` (no trade), `-` and a blank are days
without a price. Only this year and the two before it answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

import pandas as pd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.mpob import months_named
from tasks.sources.pages import table_rows
from tasks.sources.payloads import Fetched, Payload, Window

YEARS_SERVED = 3
NO_PRICE = ("", "-", "--", "PH", "NT")
ASKED_YEAR = re.compile(r"[?&]tahun=(\d{4})(?:&|$)")
FIRST_PRICES = (1, 15)  # before it the new year's table may be empty


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The page of each year of the window that is still served. A year without prices is reported after the others."""
    lost: list[str] = []
    for year in range(max(window.start.year, window.end.year - YEARS_SERVED + 1), window.end.year + 1):
        try:
            content = http.get(spec.endpoint, {"more": "Y", "jenis": "1Y", "tahun": year})
        except SourceDown:
            raise
        except SourceUnavailable as error:
            lost.append(str(error))
            continue
        if _days(content, year):
            url = f"{spec.endpoint}?more=Y&jenis=1Y&tahun={year}"
            yield Fetched(series=series, extension="html", content=content, url=url)
        elif window.end >= date(year, *FIRST_PRICES):
            lost.append(f"{http.source}: {series}: {year}: expected a table of days, got '{http.quote(content)}'")
    if lost:
        raise SourceUnavailable("; ".join(lost))


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days with a price, without separators."""
    asked = ASKED_YEAR.search(payload.url)
    if asked is None:
        raise SchemaDrift(f"{payload.name}: its address {payload.url!r} does not say the table's year")
    found = _days(payload.path.read_bytes(), int(asked.group(1)))
    if not found:
        raise SchemaDrift(f"{payload.name}: no day with a price under a row `Date` and twelve months")
    (series,), (field,) = spec.series, spec.fields
    return pd.DataFrame(
        [{"series": series, "observation_date": day, "row": row, field: value} for day, row, value in found]
    )


def _days(content: bytes, year: int) -> list[tuple[str, int, str]]:
    """Date, place and value of every day with a price: empty if the page has none, or is something else."""
    found: list[tuple[str, int, str]] = []
    inside = False
    for number, row in enumerate(table_rows(content.decode("utf-8", errors="replace")), start=1):
        if row[0].lower() == "date":
            inside = months_named(row[1:]) == list(range(1, 13))
        elif inside and len(row) == 13 and re.fullmatch(r"\d{1,2}", row[0]):
            for month, cell in enumerate(row[1:], start=1):
                value = cell.replace(",", "").strip()
                if value.upper() not in NO_PRICE:
                    found.append((f"{year}-{month:02d}-{int(row[0]):02d}", number * 100 + month, value))
    return sorted(found)
