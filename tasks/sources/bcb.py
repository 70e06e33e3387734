"""Central Bank of Brazil, time series (SGS): its target rate, one row per calendar day.

`bcdata.sgs.CODE/dados?formato=json&dataInicial=DD/MM/YYYY&dataFinal=DD/MM/YYYY` answers [{"data": "DD/MM/YYYY",
"valor": "15.00"}]. More than ten years of a daily series at once are refused: five are asked. The last day asked is the
run's: the bank dates its rate ahead, up to the next meeting of its committee.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import mappings, objects_in

YEARS_AT_ONCE = 5


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The days of the window, five years at a time."""
    url = spec.endpoint.format(code=spec.series[series].select["code"])
    start, arrived = window.start, False
    while start <= window.end:
        last = min(date(start.year + YEARS_AT_ONCE, 1, 1) - timedelta(days=1), window.end)
        days = {"dataInicial": f"{start:%d/%m/%Y}", "dataFinal": f"{last:%d/%m/%Y}"}
        content = http.get(url, {"formato": "json", **days})
        rows = objects_in(content)
        if rows is None:
            shown = http.quote(content)
            raise SourceUnavailable(f"{http.source}: {series}: {start} to {last}: expected days, got '{shown}'")
        if rows:
            arrived = True
            yield Fetched(series=series, extension="json", content=content, url=url)
        start = last + timedelta(days=1)
    if not arrived:
        raise NothingNew(f"{http.source}: {series}: no day from {window.start} to {window.end}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days as served."""
    rows = objects_in(payload.path.read_bytes())
    if not rows:
        raise SchemaDrift(f"{payload.name}: not an array of days")
    (value,) = spec.fields.values()
    served, refused = mappings(payload, rows, ("data", value))
    text = served["data"].astype("str")
    day = pd.to_datetime(text, format="%d/%m/%Y", errors="coerce")
    found = pd.DataFrame(
        {
            "series": payload.series,
            "observation_date": day.dt.strftime("%Y-%m-%d").where(day.notna(), text),
            "row": served.index + 1,
            next(iter(spec.fields)): served[value],
        }
    )
    return with_refusals(found.reset_index(drop=True), refused)
