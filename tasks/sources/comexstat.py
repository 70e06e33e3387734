"""ComexStat (Brazil's ministry of trade): monthly exports of soybeans, meal and oil, one payload per series.

A POST of JSON: `flow`, `monthDetail`, `period` {from, to} as YYYY-MM, `filters` [{filter, values}] (`heading` is the
four digits of the Harmonized System, `country` the ministry's own number: 160 is China), `details` (none: the total of
what the filters leave) and `metrics`. The answer is {"data": {"list": [{year, monthNumber, metricFOB, metricKG}]},
"success": true}, its values strings. Too many requests: HTTP 429, and ten seconds to wait. Nothing needs a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import mappings, objects_in

METRICS = ["metricFOB", "metricKG"]
MONTH = ("year", "monthNumber")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The months of the window: one heading, to the world or to one country."""
    query = {
        "flow": "export",
        "monthDetail": True,
        "period": {"from": f"{window.start:%Y-%m}", "to": f"{window.end:%Y-%m}"},
        "filters": [{"filter": name, "values": [value]} for name, value in spec.series[series].select.items()],
        "details": [],
        "metrics": METRICS,
    }
    content = http.post(spec.endpoint, query)
    rows = objects_in(content, _rows)
    if rows is None:
        raise SourceUnavailable(f"{http.source}: {series}: expected the months, got '{http.quote(content)}'")
    if not rows:
        raise NothingNew(f"{http.source}: {series}: no exports from {window.start:%Y-%m} to {window.end:%Y-%m}")
    yield Fetched(series=series, extension="json", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months as served, dated at their first day."""
    rows = objects_in(payload.path.read_bytes(), _rows)
    if not rows:
        raise SchemaDrift(f"{payload.name}: not a document with months under data.list")
    served, refused = mappings(payload, rows, (*MONTH, *spec.fields.values()))
    text = served[list(MONTH)].astype("str")
    found = pd.DataFrame(
        {
            "series": payload.series,
            "observation_date": text["year"] + "-" + text["monthNumber"].str.zfill(2) + "-01",
            "row": served.index + 1,
            **{field: served[name] for field, name in spec.fields.items()},
        }
    )
    return with_refusals(found.reset_index(drop=True), refused)


def _rows(answer: Any) -> Any:
    """The rows; None of a refusal."""
    return answer["data"]["list"] if answer.get("success", True) is True else None
