"""EIA weekly petroleum series from API v2: `response.data[]`, newest first, paged by `total`.

The answer echoes the request, api_key included; the key is removed before anything is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import redact
from tasks.sources.payloads import Fetched, Payload, Window

KEY = "EIA_API_KEY"
PAGE = 5000


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole series, all pages as one document: EIA revises old weeks without notice."""
    url = f"{spec.endpoint}/{series}"
    yield Fetched(series=series, extension="json", content=all_pages(series, url, {}, http), url=url)


def all_pages(series: str, url: str, params: Mapping[str, str | int], http: Http) -> bytes:
    """Every row of a query as one document of API v2, without the key.

    Raises:
        SourceUnavailable: another answer, or fewer rows than the server announced.
    """
    document: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    offset = 0
    while True:
        body = http.get(url, {"api_key": http.secret(KEY) or "", "length": PAGE, **params, "offset": offset})
        page, total = _page(body)
        if page is None:
            shown = http.quote(body)
            raise SourceUnavailable(f"{http.source}: {series}: expected the JSON document, got '{shown}'")
        document = document or page
        offset += len(page["response"]["data"])
        # a row may move to the next page between requests: count distinct rows
        rows |= {json.dumps(row, sort_keys=True): row for row in page["response"]["data"]}
        if len(rows) >= total:
            break
        if not page["response"]["data"]:
            raise SourceUnavailable(f"{http.source}: {series}: {len(rows)} of {total} rows, then an empty page")
    if not rows:
        raise SourceUnavailable(f"{http.source}: {series}: no rows; the series id may have been retired")
    document["response"]["data"] = list(rows.values())
    return redact(json.dumps(_without_key(document)), http.secrets).encode()


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Weeks as served, dated at the Friday on which they end."""
    served = served_rows(payload, ("period", *spec.fields.values()))
    rows = {"series": payload.series, "observation_date": served["period"], "row": served.index + 1}
    return pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()})


def served_rows(payload: Payload, columns: Iterable[str]) -> pd.DataFrame:
    """The rows of a document of API v2.

    Raises:
        SchemaDrift: it is not such a document, or lacks a column.
    """
    try:
        document, _ = _page(payload.path.read_bytes())
    except RecursionError:
        document = None
    if document is None or not document["response"]["data"]:
        raise SchemaDrift(f"{payload.name}: not a document with rows under response.data")
    served = pd.DataFrame(document["response"]["data"])
    missing = [name for name in columns if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no {missing} in its rows, but {list(served.columns)[:8]}")
    return served


def _page(body: bytes) -> tuple[dict[str, Any] | None, int]:
    """The document and the number of rows of all pages; None if it is something else."""
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
