"""UN Comtrade: monthly trade in soybeans (HS 1201) and soybean oil (HS 1507), one payload per reporter and flow.

The query has `reporterCode`, `flowCode` (M imports, X exports), `partnerCode` (0 the world), `cmdCode`, `period`
(YYYYMM) and the totals of every further breakdown: `partner2Code=0`, `customsCode=C00`, `motCode=0`. `data[]` returns
these names, `netWgt` (kg) and `primaryValue` (USD); a row of a breakdown would count trade twice and is skipped.
Without a key the preview accepts one period per request and cuts at 500 rows; with a key (in a header, never in the
address) twelve periods. A month not reported yet has no row, and neither has one without trade. A weight of 0 beside a
value means not reported: out of range. Series are named `reporter.flow.partner.commodity`, payloads `reporter.flow`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import redact
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import objects_in

KEY, HEADER = "COMTRADE_API_KEY", "Ocp-Apim-Subscription-Key"
PERIODS = {True: 12, False: 1}  # the most that one request may name, with a key and without
CUT = 500  # rows after which the preview cuts without notice
KEYLESS_MONTHS = 24  # the preview is for samples, not for decades
TOTALS: dict[str, str | int] = {"partner2Code": "0", "customsCode": "C00", "motCode": "0"}
CODES = ("reporterCode", "flowCode", "partnerCode", "cmdCode")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All registered partners and commodities of one reporter and flow, all months as one document."""
    key = http.secret(KEY)
    reporter, flow = series.split(".")
    named = [name.split(".") for name in spec.series if name.startswith(f"{series}.")]
    params: dict[str, str | int] = {
        "reporterCode": reporter,
        "flowCode": flow,
        "partnerCode": ",".join(sorted({partner for _, _, partner, _ in named}, key=int)),
        "cmdCode": ",".join(sorted({commodity for *_, commodity in named})),
        **TOTALS,
    }
    months = [f"{month:%Y%m}" for month in pd.period_range(window.start, window.end, freq="M")]
    if not key and window.start > spec.first_date and len(months) > KEYLESS_MONTHS:
        raise SourceUnavailable(f"{http.source}: {series}: {len(months)} months at once need {KEY}")
    months = months if key else months[-KEYLESS_MONTHS:]
    url = spec.keyed_endpoint if key else spec.endpoint
    headers = {HEADER: key} if key else None
    place = f"{url}?reporterCode={reporter}&flowCode={flow}"
    rows: list[dict[str, Any]] = []
    for at in range(0, len(months), PERIODS[key is not None]):
        period = ",".join(months[at : at + PERIODS[key is not None]])
        try:
            body = http.get(url, params | {"period": period}, headers)
        except SourceUnavailable:  # keep the months before it: the next window continues there
            yield from _landed(series, rows, place, http)
            raise
        page = objects_in(body, _rows)
        if page is None:
            shown = http.quote(body)
            yield from _landed(series, rows, place, http)
            raise SourceUnavailable(f"{http.source}: {series}: {period}: expected the trade, got '{shown}'")
        if not key and len(page) >= CUT:
            yield from _landed(series, rows, place, http)
            raise SourceUnavailable(f"{http.source}: {series}: {period}: cut at {CUT} rows; request less at a time")
        rows += page
    if not rows:
        raise NothingNew(f"{http.source}: {series}: no trade from {months[0]} to {months[-1]}")
    yield from _landed(series, rows, place, http)


def _landed(series: str, rows: list[dict[str, Any]], url: str, http: Http) -> Iterator[Fetched]:
    """The rows so far as one document; nothing if there are none."""
    if rows:
        content = redact(json.dumps({"data": rows}), http.secrets).encode()
        yield Fetched(series=series, extension="json", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months of registered series as served, dated at their first day."""
    served = objects_in(payload.path.read_bytes(), _rows)
    if not served:
        raise SchemaDrift(f"{payload.name}: not a document with rows under data")
    found: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    for number, row in enumerate(served, start=1):
        missing = [name for name in ("period", *CODES, *spec.fields.values()) if name not in row]
        if missing:
            why = f"{payload.name}: no {missing} in row {number}; Comtrade renamed it"
            refused.append(refusal(payload.series, why, row=number))
            continue
        series = ".".join(str(row[name]) for name in CODES)
        if series not in spec.series or any(str(row.get(name, total)) != total for name, total in TOTALS.items()):
            continue
        period = str(row["period"])
        values = {field: row[name] for field, name in spec.fields.items()}
        found.append({"series": series, "observation_date": f"{period[:4]}-{period[4:]}-01", "row": number} | values)
    if refused and not found:
        raise SchemaDrift(str(refused[0]["refused"]))
    return with_refusals(pd.DataFrame(found, columns=["series", "observation_date", "row", *spec.fields]), refused)


def _rows(answer: Any) -> Any:
    """The rows; None of a refusal."""
    return None if answer.get("error") else answer["data"]
