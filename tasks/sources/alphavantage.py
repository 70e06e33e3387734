"""Alpha Vantage: daily bars of funds and indicators calculated there, as CSV, newest first.

A series is named `SYMBOL.FUNCTION`, with a time period if the function has one: `SOYB.RSI.14`. The indicators are
stored as served and never computed here. Traps: a refusal has status 200 and JSON (`Note`, `Information`,
`Error Message`) that may repeat the key; adjusted closes, and everything based on them, are revised at splits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import read_table

KEY = "ALPHAVANTAGE_API_KEY"
BARS = "TIME_SERIES_DAILY_ADJUSTED"
OF_CLOSES = {"RSI", "MACD", "BBANDS", "SMA", "EMA"}  # ADX and ATR use whole bars
REFUSALS = ("Note", "Information", "Error Message")
PASSING = re.compile(r"(?i)per (second|minute)")  # waiting does not help with a daily quota


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole history: indicators are served only as a whole, and a split revises all of it."""
    symbol, function, *period = series.split(".")
    params = {"function": function, "symbol": symbol}
    if function == BARS:
        params["outputsize"] = "full"
    else:
        params["interval"] = "daily"
    if period:
        params["time_period"] = period[0]
    if function in OF_CLOSES:
        params["series_type"] = "close"
    params["datatype"] = "csv"

    def request() -> bytes:
        content = http.get(spec.endpoint, params | {"apikey": http.secret(KEY) or ""})
        if content.startswith((b"timestamp,", b"time,")):
            return content
        kind, reason = _refusal(content)
        reason = http.quote(reason)
        if kind == "Note" or (kind == "Information" and PASSING.search(reason)):
            raise httpx.TransportError(f"{kind}: {reason}")
        raise SourceUnavailable(f"{http.source}: {series}: expected the CSV, got {kind}: '{reason}'")

    query = "&".join(f"{name}={value}" for name, value in params.items())
    content = http.retrying(request, shown=f"{spec.endpoint}?{query}")
    yield Fetched(series=series, extension="csv", content=content, url=f"{spec.endpoint}?{query}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days as served, with the columns of the requested function."""
    served, refused = read_table(payload)
    day = next((name for name in ("timestamp", "time") if name in served.columns), None)
    expected = _columns(payload.series)
    missing = [name for name in expected if name not in served.columns]
    if day is None or missing:
        raise SchemaDrift(f"{payload.name}: no {missing or 'timestamp'} in columns {list(served.columns)[:9]}")
    rows = {"series": payload.series, "observation_date": served[day], "row": served.index + 2}
    values = {field: served[name] for field, name in spec.fields.items() if name in expected}
    return with_refusals(pd.DataFrame(rows | values), refused)


def _columns(series: str) -> list[str]:
    """The columns that a series' function returns besides the day."""
    function = series.split(".")[1]
    return {
        BARS: ["open", "high", "low", "close", "adjusted_close", "volume", "dividend_amount", "split_coefficient"],
        "MACD": ["MACD", "MACD_Hist", "MACD_Signal"],
        "BBANDS": ["Real Lower Band", "Real Middle Band", "Real Upper Band"],
    }.get(function, [function])


def _refusal(content: bytes) -> tuple[str, str]:
    """The kind of a refusal and its text."""
    try:
        answer = json.loads(content)
        return next((name, str(answer[name])) for name in REFUSALS if name in answer)
    except (ValueError, TypeError, StopIteration, RecursionError):
        return "something else", content.decode(errors="replace")
