"""USDA AgTransport (Socrata): freight of grain by barge on the Mississippi and by vessel to Japan.

`resource/ID.json?$where=date >= '...'&$order=date&$limit=...` answers an array of rows, values as strings. Downbound
Grain Barge Rates, `deqi-uken`: date, location and `rate`, in percent of the tariff of 1976; weekly. Vessel Rates,
`ehs5-yac3`: date (the first of the month), `gulf_to_japan` and `pnw_to_japan` in USD per tonne. A rate that was not
quoted has no key, once it was a zero. Dataset 8uye-ieij is not used: its columns say USD per tonne and are an index.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import mappings, objects_in

MOST_ROWS = 50_000
PLACE = "location"


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All rows of a dataset in the window."""
    url = f"{spec.endpoint}/{series}.json"
    dates = f"date >= '{window.start}T00:00:00' AND date <= '{window.end}T23:59:59'"
    content = http.get(url, {"$where": dates, "$order": "date", "$limit": MOST_ROWS})
    rows = objects_in(content)
    if rows is None:
        raise SourceUnavailable(f"{http.source}: {series}: expected rows, got '{http.quote(content)}'")
    if not rows:
        raise NothingNew(f"{http.source}: {series}: no row from {window.start} to {window.end}")
    if len(rows) >= MOST_ROWS:
        raise SourceUnavailable(f"{http.source}: {series}: {len(rows)} rows, so the answer is cut; ask for fewer years")
    yield Fetched(series=series, extension="json", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Dates of the registered series; a rate of zero was not quoted."""
    rows = objects_in(payload.path.read_bytes())
    own = {name: entry.select for name, entry in spec.series.items() if entry.select["dataset"] == payload.series}
    if not rows or not own:
        raise SchemaDrift(f"{payload.name}: not an array of rows of a registered dataset")
    needed = ("date", PLACE) if any(PLACE in select for select in own.values()) else ("date",)
    served, refused = mappings(payload, rows, needed)
    columns = sorted({select["column"] for select in own.values()})
    if missing := [name for name in columns if name not in served.columns]:
        raise SchemaDrift(f"{payload.name}: no column {missing} in any row; the source renamed it")
    found = []
    for series, select in own.items():
        part = served[served[PLACE] == select[PLACE]] if PLACE in select else served
        value = part[select["column"]]
        given = value.notna() & (pd.to_numeric(value, errors="coerce") != 0)
        found.append(
            pd.DataFrame(
                {
                    "series": series,
                    "observation_date": part["date"].astype("str").str[:10],
                    "row": part.index + 1,
                    next(iter(spec.fields)): value,
                }
            )[given]
        )
    table = pd.concat(found, ignore_index=True)
    if table.empty:
        places = sorted(set(served[PLACE].astype("str")))[:8] if PLACE in served else []
        raise SchemaDrift(f"{payload.name}: no rate of a registered place, only {places}; the source renamed it")
    return with_refusals(table, refused)
