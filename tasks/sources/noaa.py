"""NOAA climate indices. Here the Oceanic Nino index: fixed-width rows `SEAS YR TOTAL ANOM`."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window

HEADER = ["SEAS", "YR", "TOTAL", "ANOM"]
# a season is dated at the first day of its middle month: DJF 2020 is January 2020
MIDDLE_MONTH = {
    name: month
    for month, name in enumerate(
        ["DJF", "JFM", "FMA", "MAM", "AMJ", "MJJ", "JJA", "JAS", "ASO", "SON", "OND", "NDJ"], start=1
    )
}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole table: NOAA serves no part of it, and rewrites it."""
    content = http.get(spec.endpoint)
    if content.split()[:4] != [name.encode() for name in HEADER]:
        raise SourceUnavailable(f"noaa: {series}: not the table asked for but '{http.quote(content)}'")
    yield Fetched(series=series, extension="txt", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Seasons as served."""
    try:
        served = pd.read_csv(payload.path, sep=r"\s+")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SchemaDrift(f"{payload.name}: not a table ({error})") from None
    if list(served.columns) != HEADER:
        raise SchemaDrift(f"{payload.name}: columns {list(served.columns)[:8]}, expected {HEADER}")
    month = served["SEAS"].map(MIDDLE_MONTH)
    dates = served["YR"].astype("string") + "-" + month.astype("Int64").astype("string").str.zfill(2) + "-01"
    rows = {"series": payload.series, "observation_date": dates, "row": served.index + 2}
    return pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()})
