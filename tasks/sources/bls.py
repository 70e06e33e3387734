"""BLS time series: one POST requests many series. Values are strings, `-` is missing, M13 is the annual mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals

KEY = "BLS_API_KEY"
YEARS = {True: 20, False: 10}  # the most that one query may span, with a key and without
MONTHS = {f"M{month:02d}": f"{month:02d}" for month in range(1, 13)}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All registered series of the window, in as many queries as needed; each answer is landed as it arrives."""
    key = http.secret(KEY)
    span, answered = YEARS[key is not None], False
    for first in range(window.start.year, window.end.year + 1, span):
        last = min(first + span - 1, window.end.year)
        body: dict[str, object] = {"seriesid": list(spec.series), "startyear": str(first), "endyear": str(last)}
        content = http.post(spec.endpoint, body | ({"registrationkey": key} if key else {}))
        found = _found(content)
        if found is None:
            shown = http.quote(content)
            raise SourceUnavailable(f"{http.source}: {series}: expected the time series, got '{shown}'")
        if any(one["data"] for one in found):
            answered = True
            yield Fetched(series=series, extension="json", content=content, url=spec.endpoint)
    if not answered:
        raise SourceUnavailable(
            f"{http.source}: {series}: REQUEST_SUCCEEDED, but no data from {window.start.year} to {window.end.year}; "
            f"the daily quota may be spent, or the ids retired"
        )


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months as served, dated at their first day. A success without data has no rows."""
    served = _found(payload.path.read_bytes())
    if served is None:
        raise SchemaDrift(f"{payload.name}: not a successful answer with Results.series")
    columns = ["series", "observation_date", "row", *spec.fields]
    rows, number = [], 0
    refused: list[dict[str, object]] = []
    for found in served:
        for point in found["data"]:
            number += 1
            missing = [name for name in ("year", "period", *spec.fields.values()) if name not in point]
            if missing:
                refused.append(refusal(payload.series, f"{payload.name}: no {missing} in row {number}", row=number))
                continue
            if found["seriesID"] in spec.series and point["period"] in MONTHS:
                date = f"{point['year']}-{MONTHS[point['period']]}-01"
                values = [None if point[name] == "-" else point[name] for name in spec.fields.values()]
                rows.append([found["seriesID"], date, number, *values])
    if refused and not rows:
        raise SchemaDrift(str(refused[0]["refused"]))
    return with_refusals(pd.DataFrame(rows, columns=columns), refused)


def _found(content: bytes) -> list[dict[str, Any]] | None:
    """The series of an answer; None if it is a refusal or something else."""
    try:
        answer = json.loads(content)
        found = answer["Results"]["series"]
        good = answer["status"] == "REQUEST_SUCCEEDED" and all(
            isinstance(one["seriesID"], str) and all(isinstance(point, dict) for point in one["data"]) for one in found
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if good else None
