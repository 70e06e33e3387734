"""Contract pairs since 1970 from the data of pysystemtrade: one CSV per market, several rows per day in later years.

`DATETIME, CARRY, CARRY_CONTRACT, PRICE, PRICE_CONTRACT, FORWARD, FORWARD_CONTRACT`; a contract is written YYYYMM00.
PRICE is of the contract that the author of the data trades, which is not the front; CARRY is of the one before it,
FORWARD of the next. All prices of a row are of one moment, so their difference is a slope of the curve.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import read_table

STAMP, PRICE, CARRY = "DATETIME", "PRICE", "CARRY"


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole history of a market: the repository does not serve parts."""
    url = spec.endpoint.format(series=series)
    content = http.get(url)
    if not content.startswith(f"{STAMP},".encode()):
        raise SourceUnavailable(f"{http.source}: {series}: expected the table, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="csv", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """One row per day, as served: the last one that has both the price and the contract before it, else the last.

    Raises:
        SchemaDrift: a column is missing, or no row has a date and a price.
    """
    served, refused = read_table(payload, dtype=str, keep_default_na=False, skip_blank_lines=False)
    absent = [name for name in (STAMP, *spec.fields.values()) if name not in served.columns]
    if absent:
        raise SchemaDrift(f"{payload.name}: no column {', '.join(absent)} among {list(served.columns)[:8]}")
    rows = pd.DataFrame(
        {"series": payload.series, "observation_date": served[STAMP].str[:10], "row": served.index + 2}
        | {field: served[name].mask(served[name].str.strip() == "") for field, name in spec.fields.items()}
    )
    priced = served[PRICE].str.strip() != ""
    if not priced.any():
        raise SchemaDrift(f"{payload.name}: no row has a price")
    rank = priced.astype(int) + (priced & (served[CARRY].str.strip() != ""))
    best = rank.groupby(rows["observation_date"]).transform("max")
    kept = rows[(rank == best) & (rank > 0)].drop_duplicates("observation_date", keep="last")
    return with_refusals(kept.reset_index(drop=True), refused)
