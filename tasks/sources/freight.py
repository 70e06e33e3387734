"""Freight: the Baltic dry index as a CSV `Date,Value` from a data site. No free service has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.csv_table import read_rows
from tasks.sources.payloads import Fetched, Payload, Window


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """Nothing: there is no live endpoint."""
    raise SourceUnavailable(f"{http.source}: {series}: {spec.disabled}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days as served, `1985/2/1` written as the ISO date it is."""
    rows = read_rows(payload, date="Date", columns=spec.fields)
    dates = rows["observation_date"].str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})$", _iso, regex=True)
    return rows.assign(observation_date=dates)


def _iso(found: re.Match[str]) -> str:
    year, month, day = found.groups()
    return f"{year}-{int(month):02d}-{int(day):02d}"
