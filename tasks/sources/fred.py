"""FRED series: with a key every vintage of a revised series, else the keyless CSV of the graph page.

CSV: `observation_date,ID` (until late 2024 `DATE,ID`), today's values, which fall under the series' lag rule.
JSON: `observations[]` of `{realtime_start, realtime_end, date, value}`, one row per value and period in which it was
the newest. `realtime_start` is cut to the requested period, so a request begins at a true vintage date, or where a
stored payload ends: a value repeated there is not a vintage. One request may span 2000 vintage dates; `vintage_date`
(for `vintage_dates`) is silently ignored. A series that is never revised is fetched without vintages: FRED's vintages
begin years after the series, and before that the lag rule is the better availability.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pandas as pd

from tasks.calendar import at_clock
from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import redact
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import read_table

KEY = "FRED_API_KEY"
DATE_NAMES = ("observation_date", "DATE")
MISSING = [".", "", "#N/A"]  # the last is from a spreadsheet, in a file of 2018
EARLIEST, LATEST = "1776-07-04", "9999-12-31"  # how FRED writes "ever"
VINTAGES = 2000  # the most that one request may span
ROWS, DATES = 100_000, 1000  # page size of observations, of vintage dates
COLUMNS = ("realtime_start", "date", "value")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One series in the window: its vintages if it is revised and a key is set, else its newest values."""
    if http.secret(KEY) and spec.series[series].point_in_time == "revised":
        yield _vintages(series, window, spec, http)
        return
    params = {"id": series, "cosd": window.start.isoformat(), "coed": window.end.isoformat()}
    content = http.get(spec.endpoint, params)
    if not content.startswith(tuple(name.encode() for name in DATE_NAMES)):
        raise SourceUnavailable(f"fred: {series}: expected the CSV, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="csv", content=content, url=f"{spec.endpoint}?id={series}")


def continues(payload: Payload, spec: SourceSpec, http: Http) -> bool:
    """Whether a fetch may continue a stored payload: vintages cannot continue a CSV, which has none."""
    keyed = http.secret(KEY) and spec.series[payload.series].point_in_time == "revised"
    return not keyed or payload.path.suffix == ".json"


def _vintages(series: str, window: Window, spec: SourceSpec, http: Http) -> Fetched:
    """Every vintage of the window's real time (the first time: of all time), all pages as one document."""
    since = EARLIEST if window.start <= spec.first_date else window.start.isoformat()
    params: dict[str, str | int] = {"series_id": series, "api_key": http.secret(KEY) or "", "file_type": "json"}
    known: dict[str, str | int] = {"realtime_start": since, "realtime_end": LATEST}
    url = f"{spec.keyed_endpoint}/series/vintagedates"
    dates = _pages(series, "vintage_dates", url, params | known, DATES, http)
    observed: dict[str, str | int] = {"observation_start": spec.first_date.isoformat(), "observation_end": LATEST}
    url = f"{spec.keyed_endpoint}/series/observations"
    rows: list[Any] = []
    starts = [since, *dates[VINTAGES - 1 :: VINTAGES - 1]] if len(dates) >= VINTAGES else [since]
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        end = LATEST if following is None else (date.fromisoformat(following) - timedelta(days=1)).isoformat()
        period: dict[str, str | int] = {"realtime_start": start, "realtime_end": end}
        rows += _pages(series, "observations", url, params | observed | period, ROWS, http)
    if not rows:
        raise SourceUnavailable(f"{http.source}: {series}: no observations; the series may have been retired")
    content = redact(json.dumps({"observations": rows}), http.secrets)
    return Fetched(series=series, extension="json", content=content.encode(), url=f"{url}?series_id={series}")


def _pages(series: str, what: str, url: str, params: dict[str, str | int], limit: int, http: Http) -> list[Any]:
    """Fetch every page of a list. Raise if fewer rows arrive than the server announced."""
    found: list[Any] = []
    while True:
        body = http.get(url, params | {"limit": limit, "offset": len(found)})
        try:
            answer = json.loads(body)
            page, count = answer[what], int(answer["count"])
        except (ValueError, KeyError, TypeError):
            page, count = None, 0
        if not isinstance(page, list):
            shown = http.quote(body)
            raise SourceUnavailable(f"{http.source}: {series}: expected the {what}, got '{shown}'")
        found += page
        if len(found) >= count:
            return found
        if not page:
            raise SourceUnavailable(f"{http.source}: {series}: {len(found)} of {count} {what}, then an empty page")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Values as served; `.` and the empty field are FRED's marks of a missing value."""
    if payload.path.suffix == ".json":
        return _parse_vintages(payload, spec)
    served, refused = read_table(payload, na_values=MISSING, keep_default_na=False)
    if not isinstance(served.index, pd.RangeIndex):
        raise SchemaDrift(f"{payload.name}: rows with more fields than headings")
    date_name = next((name for name in DATE_NAMES if name in served.columns), None)
    if date_name is None or payload.series not in served.columns:
        raise SchemaDrift(
            f"{payload.name}: columns {list(served.columns)[:8]}, expected observation_date and {payload.series}"
        )
    rows = {"series": payload.series, "observation_date": served[date_name], "row": served.index + 2}
    return with_refusals(pd.DataFrame(rows | {"value": served[payload.series]}), refused)


def _parse_vintages(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Rows of vintages: each is known on its vintage date, at the release time of the series."""
    try:
        observations = json.loads(payload.path.read_bytes())["observations"]
        served = pd.DataFrame([{name: row[name] for name in COLUMNS} for row in observations], columns=list(COLUMNS))
        days = pd.to_datetime(served["realtime_start"], format="%Y-%m-%d").astype("datetime64[us]")
    except KeyError as error:
        raise SchemaDrift(f"{payload.name}: no {error} in it; FRED renamed it, or this is another document") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaDrift(f"{payload.name}: not a document of observations ({error})") from None
    if served.empty or not served.map(lambda cell: isinstance(cell, str)).all(axis=None):
        raise SchemaDrift(f"{payload.name}: no rows of text under observations")
    rule = spec.series[payload.series].availability or spec.availability
    rows = {"series": payload.series, "observation_date": served["date"], "row": served.index + 1}
    value = served["value"].mask(served["value"].isin(MISSING))
    return pd.DataFrame(
        rows | {"value": value, "released_at": at_clock(pd.DatetimeIndex(days), rule.time, rule.timezone)}
    )
