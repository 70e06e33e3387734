"""NOAA climate indices. Here the Oceanic Nino index: fixed-width rows `SEAS YR TOTAL ANOM`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import read_table

HEADER = ["SEAS", "YR", "TOTAL", "ANOM"]
# a season is dated at the first day of its middle month: DJF 2020 is January 2020
MIDDLE_MONTH = {
    name: month
    for month, name in enumerate(
        ["DJF", "JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ"], start=1
    )
}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole table: NOAA serves only all of it, and revises it."""
    content = http.get(spec.endpoint)
    if content.split()[:4] != [name.encode() for name in HEADER]:
        raise SourceUnavailable(f"noaa: {series}: expected the table, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="txt", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Seasons as served."""
    content = re.sub(rb"(?m)^[ \t]+", b"", payload.path.read_bytes())
    served, refused = read_table(payload, content, sep=r"\s+")
    if list(served.columns) != HEADER:
        raise SchemaDrift(f"{payload.name}: columns {list(served.columns)[:8]}, expected {HEADER}")
    month = served["SEAS"].map(MIDDLE_MONTH)
    year = pd.to_numeric(served["YR"], errors="coerce").round().astype("Int64").astype("string")
    dates = year + "-" + month.astype("Int64").astype("string").str.zfill(2) + "-01"
    rows = {"series": payload.series, "observation_date": dates, "row": served.index + 2}
    return with_refusals(pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()}), refused)
