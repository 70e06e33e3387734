"""GHCN-Daily stations: `.dly` files (fixed width, tenths, one quality flag per value) and NCEI's JSON, metric units.

A value that failed NOAA's quality checks is returned as `30.6 flag D`, so that staging refuses and records it. The
JSON does not contain such values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import quoted
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import mappings

DAYS = range(1, 32)
LINE = 21 + 8 * len(DAYS)  # station 11, year 4, month 2, element 4, then value 5 and three flags for each day
MISSING = -9999


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The days of one station in the window."""
    station = _station(series)
    params = {
        "dataset": "daily-summaries",
        "stations": station,
        "startDate": window.start.isoformat(),
        "endDate": window.end.isoformat(),
        "dataTypes": ",".join(spec.fields.values()),
        "format": "json",
        "units": "metric",
    }
    content = http.get(spec.endpoint, params)
    try:
        days = json.loads(content)
    except ValueError:
        days = None
    if not isinstance(days, list):
        raise SourceUnavailable(f"ghcnd: {series}: expected the JSON array, got '{http.quote(content)}'")
    if not days:
        raise NothingNew(f"ghcnd: {series}: no day between {window.start} and {window.end}")
    url = f"{spec.endpoint}?dataset=daily-summaries&stations={station}"
    yield Fetched(series=series, extension="json", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days as served, in mm and degrees Celsius; a flagged value is text with its flag."""
    return _parse_json(payload, spec) if payload.path.suffix == ".json" else _parse_dly(payload, spec)


def _parse_json(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    try:
        days = json.loads(payload.path.read_bytes())
    except ValueError as error:
        raise SchemaDrift(f"{payload.name}: not JSON ({error})") from None
    if not isinstance(days, list) or not days:
        raise SchemaDrift(f"{payload.name}: not an array of days")
    served, refused = mappings(payload, days)
    # the JSON leaves out an element that the station did not measure in the window
    if not {"DATE", "STATION"} <= set(served) or not set(spec.fields.values()) & set(served):
        raise SchemaDrift(f"{payload.name}: columns {list(served)[:8]}, expected STATION, DATE and an element")
    station = _station(payload.series)
    served = served.assign(row=served.index + 1)[served["STATION"] == station]
    if served.empty:
        raise SchemaDrift(f"{payload.name}: no day of station {station}")
    rows = {"series": payload.series, "observation_date": served["DATE"].astype("string"), "row": served["row"]}
    # numbers are padded: "     3.3"
    values = {field: served[name].astype("string").str.strip() for field, name in spec.fields.items() if name in served}
    return with_refusals(pd.DataFrame(rows | values), refused)


def _parse_dly(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    station, wanted = _station(payload.series), {name: field for field, name in spec.fields.items()}
    lines = payload.path.read_bytes().decode("latin-1").splitlines()
    cells: dict[str, dict[str, str | None]] = {}
    refused: list[dict[str, object]] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.startswith(station) or not line[11:17].isdigit() or len(line.rstrip()) > LINE:
            why = f"{payload.name}: line {number}: {quoted(line, most=30)!r} is not a month of {station}"
            refused.append(refusal(payload.series, why, row=32 * number))
            continue
        if (field := wanted.get(line[17:21])) is None:
            continue
        for day in DAYS:
            try:
                value, flag = _value(payload, number, line[13 + 8 * day : 21 + 8 * day])
            except SchemaDrift as error:
                date = f"{line[11:15]}-{line[15:17]}-{day:02d}"
                refused.append(refusal(payload.series, str(error), row=32 * number + day, observation_date=date))
                continue
            if value is not None:
                date = f"{line[11:15]}-{line[15:17]}-{day:02d}"
                first_line.setdefault(date, number)
                day_cells = cells.setdefault(date, {})
                if field in day_cells:
                    why = f"{payload.name}: line {number}: {date} has a second {line[17:21]}"
                    refused.append(refusal(payload.series, why, row=32 * number + day, observation_date=date))
                    day_cells[field] = None  # neither of two values can be preferred
                    continue
                day_cells[field] = f"{value / 10:g}" + (f" flag {flag}" if flag.strip() else "")
    if refused and not cells:
        raise SchemaDrift(str(refused[0]["refused"]))
    if not cells:
        raise SchemaDrift(f"{payload.name}: no {', '.join(wanted)} in {len(lines)} lines")
    dates = sorted(cells)
    rows = {
        "series": payload.series,
        "observation_date": dates,
        "row": [32 * first_line[date] + int(date[-2:]) for date in dates],  # cells, not lines: a line is a month
    }
    values = {field: [cells[date].get(field) for date in dates] for field in spec.fields}
    return with_refusals(pd.DataFrame(rows | values), refused)


def _value(payload: Payload, number: int, cell: str) -> tuple[int | None, str]:
    """A day's tenths and its quality flag: `value 5, measurement flag, quality flag, source flag`."""
    try:
        value = int(cell[:5])
    except ValueError:
        raise SchemaDrift(f"{payload.name}: line {number}: {cell!r} is not a value with flags") from None
    return (None if value == MISSING else value), cell[6:7]


def _station(series: str) -> str:
    return series.removeprefix("ghcnd.")
