"""EIA weekly petroleum series from API v2: `response.data[]`, newest first, paged by `total`.

The answer echoes the request, api_key included: it is taken out before anything is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, redact
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window

KEY = "EIA_API_KEY"
PAGE = 5000


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole series, all pages as one document: EIA rewrites weeks long past without notice."""
    url = f"{spec.endpoint}/{series}"
    document: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    while True:
        body = http.get(url, {"api_key": http.secret(KEY) or "", "length": PAGE, "offset": len(rows)})
        page, total = _page(body)
        if page is None:
            shown = redact(body.decode(errors="replace"), http.secrets)[:60]
            raise SourceUnavailable(f"{http.source}: {series}: not the JSON document asked for but {shown!r}")
        document = document or page
        rows += page["response"]["data"]
        if len(rows) >= total:
            break
        if not page["response"]["data"]:
            raise SourceUnavailable(f"{http.source}: {series}: {len(rows)} of {total} rows, then an empty page")
    if not rows:
        raise SourceUnavailable(f"{http.source}: {series}: no rows; the series id may have been retired")
    document["response"]["data"] = rows
    content = redact(json.dumps(_without_key(document)), http.secrets)
    yield Fetched(series=series, extension="json", content=content.encode(), url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Weeks as served, dated at the Friday they end."""
    try:
        document, _ = _page(payload.path.read_bytes())
    except RecursionError:
        document = None
    if document is None or not document["response"]["data"]:
        raise SchemaDrift(f"{payload.name}: not a document with rows under response.data")
    served = pd.DataFrame(document["response"]["data"])
    missing = [name for name in ("period", *spec.fields.values()) if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no {missing} in its rows, but {list(served.columns)[:8]}")
    rows = {"series": payload.series, "observation_date": served["period"], "row": served.index + 1}
    return pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()})


def _page(body: bytes) -> tuple[dict[str, Any] | None, int]:
    """The document and the number of rows of all pages; None where it is something else."""
    try:
        document = json.loads(body)
        rows, total = document["response"]["data"], int(document["response"].get("total") or 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, 0
    good = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    return (document, total) if good else (None, 0)


def _without_key(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_key(value) for name, value in node.items() if name.lower() != "api_key"}
    return [_without_key(value) for value in node] if isinstance(node, list) else node
