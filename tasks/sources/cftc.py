"""Commitments of Traders, legacy futures-only, from CFTC's Socrata service (dataset 6dca-aqww).

Markets are taken by contract code: their names change. Values are strings; `.` is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window

PAGE = 5000
DATE = "report_date_as_yyyy_mm_dd"
CODE = "cftc_contract_market_code"


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All weekly reports of one market in the window, page by page, as one JSON array."""
    code = series.split(".")[-1]
    rows: list[dict[str, str]] = []
    while True:
        params: dict[str, str | int] = {
            "$where": f"{CODE}='{code}' AND {DATE} between '{window.start}' and '{window.end}'",
            "$order": DATE,
            "$limit": PAGE,
            "$offset": len(rows),
        }
        body = http.get(spec.endpoint, params)
        try:
            page = json.loads(body)
        except ValueError:
            page = None
        if not isinstance(page, list):
            raise SourceUnavailable(f"cftc: {series}: not the JSON array asked for but {body[:60]!r}")
        rows += page
        if len(page) < PAGE:
            break
    if not rows:
        raise SourceUnavailable(f"cftc: {series}: no report between {window.start} and {window.end}")
    url = f"{spec.endpoint}?{CODE}={code}"
    yield Fetched(series=series, extension="json", content=json.dumps(rows).encode(), url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Reports as served, the registry's fields only, dated at their as-of Tuesday."""
    try:
        reports = json.loads(payload.path.read_bytes())
    except ValueError as error:
        raise SchemaDrift(f"{payload.name}: not JSON ({error})") from None
    if not isinstance(reports, list) or not reports or not isinstance(reports[0], dict):
        raise SchemaDrift(f"{payload.name}: not an array of reports")
    served = pd.DataFrame(reports)
    missing = [name for name in (DATE, CODE, *spec.fields.values()) if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no column {missing}; the source renamed it, or this is another dataset")
    code = payload.series.split(".")[-1]
    served = served.assign(row=served.index + 1)[served[CODE].astype(str).str.strip() == code]
    rows = {"series": payload.series, "observation_date": served[DATE].str.slice(0, 10), "row": served["row"]}
    return pd.DataFrame(rows | {field: _stripped(served[name]) for field, name in spec.fields.items()})


def _stripped(column: pd.Series) -> pd.Series:
    text = column.astype("string").str.strip()
    return text.mask(text.isin([".", ""])).astype(object)
