"""USDA FAS PSD, livestock: China's pigs and sows at the beginning of each year, in thousand head.

The same zip and columns as the oilseeds' file (usda_psd.py). Commodity 13000 is `Animal Numbers, Swine`; a marketing
year is a calendar year, and its beginning stocks are those of 1 January. USDA estimates the year to come in October.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.usda_psd import known_at, table_of
from tasks.sources.zipped import require_zip

SWINE = 13000
UNIT = "(1000 HEAD)"


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole file."""
    file = require_zip(http.download(spec.endpoint), spec.endpoint)
    yield Fetched(series=series, extension="zip", content=file, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Years of the registered series as served, dated at 1 January."""
    served = table_of(payload)
    served = served.assign(row=served.index + 2)
    swine = served[pd.to_numeric(served["Commodity_Code"], errors="coerce") == SWINE]
    rows: list[pd.DataFrame] = []
    refused: list[dict[str, object]] = []
    for series, entry in spec.series.items():
        own = swine[
            (swine["Country_Code"].str.strip() == entry.select["country"])
            & (swine["Attribute_Description"].str.strip() == entry.select["attribute"])
        ]
        if own.empty:
            raise SchemaDrift(f"{payload.name}: no rows for {series}; the source renamed or moved it")
        own = own.assign(released_at=known_at(payload, own))
        other = own["Unit_Description"].str.strip() != UNIT
        for line, unit, undated in zip(own["row"], own["Unit_Description"], own["released_at"].isna(), strict=True):
            if unit.strip() != UNIT:
                refused.append(refusal(payload.series, f"{payload.name}: line {line} is in {unit!r}", row=int(line)))
            elif undated:
                why = f"{payload.name}: line {line} has no Calendar_Year and Month"
                refused.append(refusal(payload.series, why, row=int(line)))
        good = own[~other & own["released_at"].notna()]
        dated = good.assign(series=series, observation_date=good["Market_Year"] + "-01-01")
        rows.append(dated.rename(columns={"Value": next(iter(spec.fields))}))
    found = pd.concat(rows)
    if found.empty:
        raise SchemaDrift(str(refused[0]["refused"]))
    columns = ["series", "observation_date", "row", next(iter(spec.fields)), "released_at"]
    return with_refusals(found[columns].reset_index(drop=True), refused)
