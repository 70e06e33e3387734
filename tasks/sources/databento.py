"""Databento GLBX.MDP3 daily bars (schema ohlcv-1d) over HTTP, as CSV: continuous contracts, and every contract.

What we use of the documented API: basic auth with the key as user name and no password; `timeseries.get_range` with an
inclusive `start` and an exclusive `end`, which answers 422 if `end` is after the end that `metadata.get_dataset_range`
names for this account and schema; `pretty_px` for decimals instead of integers in units of 1e-9; `pretty_ts` for ISO
times; `map_symbols` for a column `symbol`: the requested symbol of a continuous contract, or for a parent (`ZL.FUT`)
each contract's own (`ZLF4`, with two digits ten years ahead; spreads such as `ZLF4-ZLH4` are left out). Continuous
prices are never back-adjusted: `ZL.c.0` is the next to expire, `ZL.v.0` the most traded on the day before.

A bar is a UTC day dated at its start. Sunday evening's trading belongs to Monday's session: the two become one bar.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import MONTH_CODES, SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.records import whole_csv

KEY = "DATABENTO_API_KEY"
DATASET = {"dataset": "GLBX.MDP3", "schema": "ohlcv-1d"}
BAR_FIELDS = ("open", "high", "low", "close", "volume")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One continuous symbol, or all contracts of a parent, to the last UTC day that is over."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"{http.secret(KEY) or ''}:".encode()).decode()}
    start = window.start - timedelta(days=window.start.weekday() == 0)  # Monday is fetched together with its Sunday
    end = min(window.end + timedelta(days=1), _available(spec, http, headers))
    if end <= start:
        return
    params = DATASET | {
        "symbols": series,
        "stype_in": "parent" if series.endswith(".FUT") else "continuous",
        "start": start.isoformat(),
        "end": end.isoformat(),
        "encoding": "csv",
        "compression": "none",
        "pretty_px": "true",
        "pretty_ts": "true",
        "map_symbols": "true",
    }
    url = f"{spec.endpoint}/timeseries.get_range"
    content = http.get(url, params, headers)
    if not content.startswith(b"ts_event,"):
        raise SourceUnavailable(f"{http.source}: {series}: expected the CSV, got '{http.quote(content)}'")
    query = "&".join(f"{name}={value}" for name, value in params.items())
    yield Fetched(series=series, extension="csv", content=content, url=f"{url}?{query}")


def _available(spec: SourceSpec, http: Http, headers: dict[str, str]) -> date:
    """The exclusive end of what this account may request; a day that is not over is excluded."""
    content = http.get(f"{spec.endpoint}/metadata.get_dataset_range", {"dataset": DATASET["dataset"]}, headers)
    try:
        answer = json.loads(content)
        end = answer.get("schema", {}).get(DATASET["schema"], answer)["end"]
        return date.fromisoformat(end[:10])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceUnavailable(f"{http.source}: no available range but '{http.quote(content)}'") from None


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Sessions of the registered series as served, except that Sunday's bar is merged into Monday's."""
    served = whole_csv(payload)
    missing = [name for name in ("ts_event", "instrument_id", *BAR_FIELDS, "symbol") if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no {missing} in columns {list(served.columns)[:10]}")
    days = pd.to_datetime(served["ts_event"].astype(str).str[:10], format="%Y-%m-%d", errors="coerce")
    if len(served) and days.isna().all():
        raise SchemaDrift(f"{payload.name}: no ISO time in ts_event, such as {served['ts_event'].iloc[0]!r}")
    bars = served[["instrument_id", *spec.fields.values()]].set_axis(["instrument_id", *spec.fields], axis=1)
    bars = bars.astype(object)  # as served: a column may have text beside the merged numbers
    sunday = days.dt.dayofweek == 6
    bars["series"] = _series(served["symbol"].fillna("").astype(str), days, payload, spec)
    bars["day"] = days + pd.to_timedelta(sunday.astype("int64"), unit="D")
    bars["observation_date"] = bars["day"].dt.strftime("%Y-%m-%d").fillna(served["ts_event"].astype(str))
    bars["row"] = served.index + 2
    known = bars["series"].isin(spec.series)
    bars = _with_sundays(bars[known], sunday[known])
    return bars[["series", "observation_date", "row", *spec.fields]].sort_values("row", ignore_index=True)


def _series(symbols: pd.Series, days: pd.Series, payload: Payload, spec: SourceSpec) -> list[str]:
    """The registered name of each row's symbol; the year of a contract `ZLF4` is the first one not yet past."""
    product, _, kind = payload.series.partition(".")
    if kind != "FUT":
        return [payload.series if symbol == payload.series else "" for symbol in symbols]
    contract = re.compile(rf"{re.escape(product)}([{MONTH_CODES}])(\d\d?)$")
    names = []
    for symbol, day in zip(symbols, days, strict=True):
        found = contract.match(symbol)
        if found is None or pd.isna(day):
            names.append("")
            continue
        month, digits = MONTH_CODES.index(found[1]) + 1, found[2]
        year = 2000 + int(digits) if len(digits) == 2 else day.year + (int(digits) - day.year) % 10
        if len(digits) == 1 and (year, month) < (day.year, day.month):
            year += 10
        names.append(spec.contract_name.format(product=product, month=month, year=year % 100, code=found[1]))
    return names


def _with_sundays(bars: pd.DataFrame, sunday: pd.Series) -> pd.DataFrame:
    """Merge Sunday evening and Monday of the same contract into one bar; after a roll Monday stays alone."""
    key = ["series", "day", "instrument_id"]
    evening = bars[sunday]
    if evening.empty:
        return bars
    rest = bars[~sunday]
    merged = rest.merge(
        evening[[*key, *BAR_FIELDS]].drop_duplicates(key), on=key, how="left", suffixes=("", "_evening")
    )
    both = merged["close_evening"].notna()
    if both.any():
        part = merged[both]
        merged.loc[both, "open"] = part["open_evening"]
        merged.loc[both, "high"] = np.maximum(*_numbers(part, "high"))
        merged.loc[both, "low"] = np.minimum(*_numbers(part, "low"))
        merged.loc[both, "volume"] = np.add(*_numbers(part, "volume"))
    # no Monday bar means a holiday, unless the answer ends there: then the next fetch has it
    alone = ~pd.MultiIndex.from_frame(evening[key[:2]]).isin(pd.MultiIndex.from_frame(rest[key[:2]]))
    return pd.concat([merged[bars.columns], evening[alone & (evening["day"] < bars["day"].max()).to_numpy()]])


def _numbers(bars: pd.DataFrame, field: str) -> tuple[pd.Series, pd.Series]:
    return pd.to_numeric(bars[field], errors="coerce"), pd.to_numeric(bars[f"{field}_evening"], errors="coerce")
