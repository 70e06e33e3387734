"""EPA RIN prices: the exported CSV of the table "RIN Price" of EPA's RIN trades page, weekly averages by D code.

One row per week, RIN year, D code and kind of quality assurance: `Transfer Date by Week` (MM/DD/YYYY), `RIN Year`,
`Fuel (D Code)`, `QAP Service Type`, `RIN Price`. The market price of a week is the row of the same RIN year without
quality assurance (`Unverified`); in an export without those two columns a week must have one row. Column names are
compared without capitals, spaces and punctuation. The file has no stable address: the registry's endpoint is the CSV,
or a page that links to one with `rin` in its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.records import whole_csv

LINK = re.compile(rb"href=[\"']([^\"']*rin[^\"'/]*\.csv[^\"']*)[\"']", re.IGNORECASE)
DATE, CODE, PRICE = "transferdatebyweek", "fueldcode", "rinprice"
YEAR, ASSURANCE, PLAIN = "rinyear", "qapservicetype", "unverified"
OTHER_NAMES = {"transferdate": DATE, "weekof": DATE, "dcode": CODE, "fuel": CODE, "price": PRICE, "qap": ASSURANCE}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole table; it has all weeks since 2010."""
    url, content = spec.endpoint, http.get(spec.endpoint)
    links = sorted(set(LINK.findall(content))) if _is_page(content) else []
    if len(links) == 1:
        url = urljoin(url, links[0].decode())
        content = http.get(url)
    if _is_page(content) or not content.strip():
        raise SourceUnavailable(
            f"{http.source}: {series}: {url} is not a CSV but '{http.quote(content)}', with {len(links)} links to "
            f"one; the page has moved. Find the CSV on EPA's RIN trades page and fix `endpoint` in "
            "registry/data_sources.yaml"
        )
    yield Fetched(series=series, extension="csv", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Prices as served, with EPA's date of the week in ISO form; a date that cannot be read is kept as it is."""
    served = whole_csv(payload, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if not isinstance(served.index, pd.RangeIndex):
        raise SchemaDrift(f"{payload.name}: rows with more fields than headings")
    plain = [re.sub(r"[^a-z]", "", str(name).lower()) for name in served.columns]
    served.columns = pd.Index([OTHER_NAMES.get(name, name) for name in plain])
    missing = [name for name in (DATE, CODE, PRICE) if name not in served.columns]
    if missing or not served.columns.is_unique:
        raise SchemaDrift(f"{payload.name}: no column like {missing}, or two of one name, in {plain[:8]}")
    served = served.assign(row=served.index + 2).apply(
        lambda column: column.str.strip() if column.name != "row" else column
    )
    dates = pd.to_datetime(served[DATE], format="%m/%d/%Y", errors="coerce")
    served["series"] = "D" + served[CODE].str.extract(r"^D?\s*([3-7])\b", expand=False)
    chosen = served["series"].isin(spec.series)
    if YEAR in served:
        chosen &= served[YEAR] == dates.dt.year.astype("Int64").astype(str)
    if ASSURANCE in served:
        chosen &= served[ASSURANCE].str.lower() == PLAIN
    if not chosen.any():
        raise SchemaDrift(f"{payload.name}: no row of {', '.join(spec.series)} with the RIN year of its transfer")
    price = served[PRICE].str.replace(r"^\$", "", regex=True)
    rows = {
        "series": served["series"],
        "observation_date": dates.dt.strftime("%Y-%m-%d").fillna(served[DATE]),
        "row": served["row"],
        "value": price.mask(price.isin(["", "-"])),
    }
    return pd.DataFrame(rows)[chosen].reset_index(drop=True)


def _is_page(content: bytes) -> bool:
    return content.lstrip()[:1] == b"<"
