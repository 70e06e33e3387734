"""Multivariate ENSO index MEI.v2: one line per year, one column per two-month season, and a footer in words.

A season is dated at the first day of its second month: DJ 2020 is January 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals

NOT_YET = "-999.00"
SPAN = re.compile(r"^\s*(\d{4})\s+(\d{4})\s*$")  # the first line: first and last year
YEAR = re.compile(r"^\s*(\d{4})((?:\s+\S+){12})\s*$")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole table: NOAA serves only all of it, and revises it."""
    content = http.get(spec.endpoint)
    if not SPAN.match(content.split(b"\n", 1)[0].decode("latin-1")):
        raise SourceUnavailable(f"mei: {series}: expected the table, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="txt", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Seasons as served, without future ones (-999).

    A year that the first line announces but that has no line of twelve seasons is refused.
    """
    lines = payload.path.read_bytes().decode("latin-1").splitlines()
    span = SPAN.match(lines[0]) if lines else None
    if span is None:
        raise SchemaDrift(f"{payload.name}: begins with {lines[:1]}, expected the first and last year")
    years = [(number, found) for number, line in enumerate(lines[1:], start=1) if (found := YEAR.match(line))]
    announced = list(range(int(span[1]), int(span[2]) + 1))
    printed = [int(found[1]) for _, found in years]
    if not announced or not printed or len(set(printed)) < len(printed) or not set(printed) <= set(announced):
        raise SchemaDrift(f"{payload.name}: {len(years)} years of 12 seasons, expected {span[1]} to {span[2]}")
    absent = sorted(set(announced) - set(printed))
    if len(absent) * 2 > len(announced):
        raise SchemaDrift(f"{payload.name}: {len(years)} years of 12 seasons, expected {span[1]} to {span[2]}")
    refused = [
        refusal(payload.series, f"{payload.name}: no line of 12 seasons for {year}", whole=True) for year in absent
    ]
    (field,) = spec.fields
    rows = [
        {
            "series": payload.series,
            "observation_date": f"{found[1]}-{month:02d}-01",
            "row": 12 * number + month,  # cells, line by line: a line holds twelve
            field: value,
        }
        for number, found in years
        for month, value in enumerate(found[2].split(), start=1)
        if value != NOT_YET
    ]
    return with_refusals(pd.DataFrame(rows), refused)
