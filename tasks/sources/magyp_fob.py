"""Argentina's official FOB prices (Secretariat of Agriculture): one JSON document per business day, USD per tonne.

`precios_fob.php?Fecha=DD/MM/YYYY` answers {"posts": [{fecha, circular, posicion, precio, mesDesde, añoDesde, mesHasta,
añoHasta}]}, with text/html as its declared type. `posicion` is a tariff position of 12 characters: inside one heading
bulk and bagged goods have prices of their own, so a series is an exact position, never a prefix. A position has one row
per shipment window; the price here is that of the window that begins first. Weekends and holidays have no posts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import mappings, objects_in

YEAR, MONTH = "añoDesde", "mesDesde"
GIVE_UP_AFTER = 2  # days whose answer is something else


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One document per weekday that has a circular. A bad answer loses only its day."""
    lost: list[str] = []
    arrived = 0
    for after in range((window.end - window.start).days + 1):
        day = window.start + timedelta(days=after)
        if day.weekday() >= 5:
            continue
        asked = f"{day:%d/%m/%Y}"
        content = http.get(spec.endpoint, {"Fecha": asked})
        posts = objects_in(content, _posts) if content.strip() else []
        if posts is None:
            lost.append(f"{http.source}: {day}: expected the day's prices, got '{http.quote(content)}'")
            if not arrived or len(lost) >= GIVE_UP_AFTER:  # a page that has moved serves no day at all
                break
        elif posts:
            arrived += 1
            yield Fetched(series=series, extension="json", content=content, url=f"{spec.endpoint}?Fecha={asked}")
    if lost:
        raise SourceUnavailable("; ".join(lost))
    if not arrived:
        raise NothingNew(f"{http.source}: {series}: no circular from {window.start} to {window.end}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The day's price of each registered position for the shipment that begins first."""
    posts = objects_in(payload.path.read_bytes(), _posts)
    if not posts:
        raise SchemaDrift(f"{payload.name}: not a document with rows under posts")
    (price,) = spec.fields.values()
    served, refused = mappings(payload, posts, ("fecha", "posicion", price, MONTH, YEAR))
    position = served["posicion"].astype("str")
    begins = 12 * pd.to_numeric(served[YEAR], errors="coerce") + pd.to_numeric(served[MONTH], errors="coerce")
    rows: list[dict[str, object]] = []
    for series, entry in spec.series.items():
        own = served[position == entry.select["position"]]
        for day, windows in own.groupby(own["fecha"].astype("str"), sort=False):
            starts = begins[windows.index]
            line = int(windows.index[0]) + 1
            if starts.isna().any():
                why = f"{payload.name}: a shipment window of {series} on {day} has no month"
                refused.append(refusal(payload.series, why, row=line))
                continue
            first = windows[starts == starts.min()]
            if first[price].astype("str").nunique() > 1:
                why = f"{payload.name}: two prices of {series} on {day} for the same shipment"
                refused.append(refusal(payload.series, why, row=line))
                continue
            found = {"series": series, "observation_date": day[:10], "row": int(first.index[0]) + 1}
            rows.append(found | {next(iter(spec.fields)): first[price].iloc[0]})
    if not rows:
        raise SchemaDrift(
            str(refused[0]["refused"])
            if refused
            else f"{payload.name}: none of the registered positions among its {len(posts)} rows"
        )
    return with_refusals(pd.DataFrame(rows), refused)


def _posts(answer: Any) -> Any:
    return answer["posts"]
