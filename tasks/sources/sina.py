"""Sina daily bars of continuous Dalian and Zhengzhou contracts: a JavaScript variable assigned a JSON array.

The endpoint abbreviates the names (`d,o,h,l,c,v,p,s`); recorded files have full names. 0 means no settlement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import mappings

IN_FULL = {
    "d": "date",
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
    "p": "hold",
    "s": "settle",
}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole history: Sina does not serve parts."""
    url = spec.endpoint.format(series=series)
    content = http.get(url, {"symbol": series})
    if not _bars(content):
        raise SourceUnavailable(f"{http.source}: {series}: expected the array of bars, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="js", content=content, url=f"{url}?symbol={series}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Bars as served."""
    bars = _bars(payload.path.read_bytes())
    if not bars:
        raise SchemaDrift(f"{payload.name}: not a JavaScript variable with an array of bars")
    served, refused = mappings(payload, bars)
    served = served.rename(columns=IN_FULL)
    missing = [name for name in ("date", *spec.fields.values()) if name not in served.columns]
    if missing or not served.columns.is_unique:
        raise SchemaDrift(f"{payload.name}: columns {list(served.columns)[:9]}, missing {missing}")
    rows = {"series": payload.series, "observation_date": served["date"], "row": served.index + 1}
    return with_refusals(pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()}), refused)


def _bars(content: bytes) -> list[Any] | None:
    """The array; None if there is none, or if it has no bars."""
    start, end = content.find(b"["), content.rfind(b"]")
    try:
        bars = json.loads(content[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        return None
    return bars if isinstance(bars, list) and any(isinstance(bar, dict) for bar in bars) else None
