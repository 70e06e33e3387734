"""USDA AMS Market News (MARS API): weekly cash prices of soybean oil, soybean meal and distillers' corn oil.

Reports 3511 (National Grain and Oilseed Processor Feedstuff Report) and 3616 (National Weekly Ethanol Report), section
`Report Detail`. The key is the user name of HTTP Basic and goes in a header only. `results[]` has a row per commodity,
place and means of transport: `report_date` (MM/DD/YYYY, the Monday of the week), `commodity`, the place in `trade Loc`
or `state/Province`, `trans_mode`, `avg_price` (null: no quote), `price_unit`, in 3511 `freight` (F.O.B. or Delivered).
`stats.returnedRows` that reaches `stats.userAllowedRows` is a cut answer. A range of years takes minutes: 120 days are
asked at once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import redact
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import objects_in

KEY = "MARS_API_KEY"
DAYS_AT_ONCE = 120
PLACE = {"report-3511": "trade Loc", "report-3616": "state/Province"}
FILTER = {"report-3511": "report_date", "report-3616": "report_begin_date"}
NEEDED = ("report_date", "commodity", "trans_mode", "avg_price", "price_unit")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All rows of a report in the window, as one document."""
    user = base64.b64encode(f"{http.secret(KEY)}:".encode()).decode()
    url = f"{spec.endpoint}/{series.removeprefix('report-')}/Report%20Detail"
    rows: list[Any] = []
    start = window.start
    while start <= window.end:
        last = min(start + timedelta(days=DAYS_AT_ONCE - 1), window.end)
        asked = f"{FILTER[series]}={start:%m/%d/%Y}:{last:%m/%d/%Y}"
        content = http.get(url, {"q": asked}, {"Authorization": f"Basic {user}"})
        page = objects_in(content, _rows)
        if page is None:
            shown = http.quote(content)
            raise SourceUnavailable(f"{http.source}: {series}: {asked}: expected the report, got '{shown}'")
        rows += page
        start = last + timedelta(days=1)
    if not rows:
        raise NothingNew(f"{http.source}: {series}: no report from {window.start} to {window.end}")
    content = redact(json.dumps({"results": rows}), http.secrets).encode()
    yield Fetched(series=series, extension="json", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Weeks of the registered series, dated at their Monday, one field per means of transport."""
    served = objects_in(payload.path.read_bytes(), _rows)
    if not served:
        raise SchemaDrift(f"{payload.name}: not a document with rows under results")
    place = PLACE.get(payload.series, "")
    wanted = {
        (entry.select["commodity"], entry.select["place"]): (name, entry.select["unit"])
        for name, entry in spec.series.items()
        if entry.select["report"] == payload.series
    }
    fields = {mode: field for field, mode in spec.fields.items()}
    weeks: dict[tuple[str, str], dict[str, object]] = {}
    refused: list[dict[str, object]] = []
    for number, row in enumerate(served, start=1):
        missing = [name for name in (*NEEDED, place) if name not in row]
        if missing:
            why = f"{payload.name}: no {missing} in row {number}; the source renamed it"
            refused.append(refusal(payload.series, why, row=number))
            continue
        series, unit = wanted.get((str(row["commodity"]), str(row[place])), ("", ""))
        field = fields.get(str(row["trans_mode"]))
        if not series or not field or row.get("freight", "F.O.B.") != "F.O.B." or row["avg_price"] in (None, ""):
            continue
        day = pd.to_datetime(str(row["report_date"]), format="%m/%d/%Y", errors="coerce")
        date = str(row["report_date"]) if pd.isna(day) else f"{day:%Y-%m-%d}"
        week = weeks.setdefault((series, date), {"series": series, "observation_date": date, "row": number})
        if row["price_unit"] != unit:
            why = f"{payload.name}: row {number} of {series} is in {row['price_unit']!r}, not {unit!r}"
        elif field in week and week[field] != row["avg_price"]:
            why = f"{payload.name}: row {number} is another price of {series} by {row['trans_mode']} on {date}"
            week[field] = None
        else:
            week[field] = row["avg_price"]
            continue
        refused.append(refusal(payload.series, why, row=number))
    if refused and not any(set(week) & set(spec.fields) for week in weeks.values()):
        raise SchemaDrift(str(refused[0]["refused"]))
    found = pd.DataFrame(list(weeks.values()), columns=["series", "observation_date", "row", *spec.fields])
    return with_refusals(found, refused)


def _rows(answer: Any) -> Any:
    """The rows; None if the answer is cut."""
    stats = answer.get("stats") or {}
    returned, allowed = stats.get("returnedRows"), stats.get("userAllowedRows")
    cut = bool(returned and allowed and int(returned) >= int(allowed))
    return None if cut else answer["results"]
