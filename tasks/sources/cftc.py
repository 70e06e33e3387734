"""Commitments of Traders, futures-only: the legacy report (6dca-aqww) and the disaggregated one (72hh-3qpy).

Markets are identified by contract code, because their names change. Values are space-padded strings; `.` is missing.
Live reports are from CFTC's Socrata service; recorded ones also from yearly files and the week's file without a header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import Refused, mappings, read_table

PAGE = 5000
DATE = "report_date_as_yyyy_mm_dd"
CODE = "cftc_contract_market_code"
# the first columns of the week's files, as the field list on cftc.gov has them
MARKET = ("market_and_exchange_names", "as_of_date_in_form_yymmdd", DATE, CODE, "market", "region", "commodity")
WEEKS_FILE = {
    "newcot.deafut": (
        *MARKET,
        "open_interest_all",
        "noncomm_positions_long_all",
        "noncomm_positions_short_all",
        "noncomm_postions_spread_all",
        "comm_positions_long_all",
        "comm_positions_short_all",
        "tot_rept_positions_long_all",
        "tot_rept_positions_short",
        "nonrept_positions_long_all",
        "nonrept_positions_short_all",
    ),
    "newcot.f_disagg": (
        *MARKET,
        "open_interest_all",
        "prod_merc_positions_long",
        "prod_merc_positions_short",
        "swap_positions_long_all",
        "swap__positions_short_all",
        "swap__positions_spread_all",
        "m_money_positions_long_all",
        "m_money_positions_short_all",
        "m_money_positions_spread",
        "other_rept_positions_long",
        "other_rept_positions_short",
        "other_rept_positions_spread",
        "tot_rept_positions_long_all",
        "tot_rept_positions_short",
        "nonrept_positions_long_all",
        "nonrept_positions_short_all",
    ),
}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All weekly reports of one market in the window, page by page, as one JSON array."""
    code = _code(series)
    url = f"{spec.endpoint}?{CODE}={code}"
    rows: list[dict[str, str]] = []
    while True:
        params: dict[str, str | int] = {
            "$where": f"{CODE}='{code}' AND {DATE} between '{window.start}' and '{window.end}'",
            "$order": DATE,
            "$limit": PAGE,
            "$offset": len(rows),
        }
        try:
            body = http.get(spec.endpoint, params)
        except SourceUnavailable:  # keep the weeks before it: the next window continues there
            yield from _landed(series, rows, url)
            raise
        try:
            page = json.loads(body)
        except ValueError:
            page = None
        if not isinstance(page, list):
            yield from _landed(series, rows, url)
            raise SourceUnavailable(f"{http.source}: {series}: expected the JSON array, got '{http.quote(body)}'")
        rows += page
        if len(page) < PAGE:
            break
    if not rows:
        raise NothingNew(f"{http.source}: {series}: no report between {window.start} and {window.end}")
    yield from _landed(series, rows, url)


def _landed(series: str, rows: list[dict[str, str]], url: str) -> Iterator[Fetched]:
    """The reports so far as one document; nothing if there are none."""
    if rows:
        yield Fetched(series=series, extension="json", content=json.dumps(rows).encode(), url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Reports of registered markets as served, the registry's fields only, dated at their as-of Tuesday."""
    served, refused = _table(payload)
    served.columns = pd.Index([_plain(name) for name in served.columns])
    plain = {field: _plain(name) for field, name in spec.fields.items()}
    missing = [name for name in (DATE, CODE, *spec.fields.values()) if _plain(name) not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no column {missing}; the source renamed it, or this is another dataset")
    if not served.columns.is_unique:
        raise SchemaDrift(f"{payload.name}: two columns of one name")
    wanted = [payload.series] if payload.series in spec.series else list(spec.series)
    market = served[_plain(CODE)].astype(str).str.strip().map({_code(series): series for series in wanted})
    served = served.assign(row=served.index + 1, series=market)[market.notna()]
    dates = served[_plain(DATE)].astype("string").str.strip().str.slice(0, 10)
    rows = {"series": served["series"], "observation_date": dates, "row": served["row"]}
    values = {field: _stripped(served[name]) for field, name in plain.items()}
    return with_refusals(pd.DataFrame(rows | values), refused)


def _table(payload: Payload) -> tuple[pd.DataFrame, Refused]:
    """The payload's rows, all values as text. Rows of a text file are numbered by their lines."""
    if payload.path.suffix == ".json":
        try:
            reports = json.loads(payload.path.read_bytes())
        except ValueError as error:
            raise SchemaDrift(f"{payload.name}: not JSON ({error})") from None
        if not isinstance(reports, list) or not reports:
            raise SchemaDrift(f"{payload.name}: not an array of reports")
        return mappings(payload, reports)
    names = WEEKS_FILE.get(payload.series)
    served, refused = read_table(payload, dtype=str, keep_default_na=False, header=None if names else 0)
    if names is None:
        return served.set_axis(served.index + 1, axis=0), refused
    if len(served.columns) <= len(names):
        raise SchemaDrift(f"{payload.name}: {len(served.columns)} columns, expected more than {len(names)}")
    return served.iloc[:, : len(names)].set_axis(list(names), axis=1), refused


def _plain(name: object) -> str:
    """One spelling for all variants: `Swap__Positions_Short_All` and `swap_positions_short` are the same column."""
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower().replace("__", "_")).removesuffix("_all")


def _code(series: str) -> str:
    return series.split(".")[-1]


def _stripped(column: pd.Series) -> pd.Series:
    text = column.astype("string").str.strip()
    return text.mask(text.isin([".", ""])).astype(object)
