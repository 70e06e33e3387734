"""Freight: the Baltic dry index as a CSV `Date,Value` that a data site kept. Nobody serves it for free."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window

HEADER = ["Date", "Value"]


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """Nothing: there is no endpoint to ask."""
    raise SourceUnavailable(f"{http.source}: {series}: {spec.disabled}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days as served, `1985/2/1` written as the ISO date it is."""
    try:
        served = pd.read_csv(payload.path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SchemaDrift(f"{payload.name}: not a CSV ({error})") from None
    if list(served.columns) != HEADER:
        raise SchemaDrift(f"{payload.name}: columns {list(served.columns)[:8]}, expected {HEADER}")
    dates = served["Date"].str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})$", _iso, regex=True)
    rows = {"series": payload.series, "observation_date": dates, "row": served.index + 2}
    return pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()})


def _iso(found: re.Match[str]) -> str:
    year, month, day = found.groups()
    return f"{year}-{int(month):02d}-{int(day):02d}"
