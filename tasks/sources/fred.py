"""FRED series as the keyless CSV of its graph page: `observation_date,ID` (until late 2024 `DATE,ID`)."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window

DATE_NAMES = ("observation_date", "DATE")
MISSING = [".", "", "#N/A"]  # the last as a spreadsheet left it in a file of 2018


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One series of the window."""
    params = {"id": series, "cosd": window.start.isoformat(), "coed": window.end.isoformat()}
    content = http.get(spec.endpoint, params)
    if not content.startswith(tuple(name.encode() for name in DATE_NAMES)):
        raise SourceUnavailable(f"fred: {series}: not the CSV asked for but {content[:60]!r}")
    yield Fetched(series=series, extension="csv", content=content, url=f"{spec.endpoint}?id={series}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Values as served; `.` and the empty field are FRED's ways to say that there is none."""
    try:
        served = pd.read_csv(payload.path, na_values=MISSING, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SchemaDrift(f"{payload.name}: not a CSV ({error})") from None
    date_name = next((name for name in DATE_NAMES if name in served.columns), None)
    if date_name is None or payload.series not in served.columns:
        raise SchemaDrift(
            f"{payload.name}: columns {list(served.columns)[:8]}, expected observation_date and {payload.series}"
        )
    rows = {"series": payload.series, "observation_date": served[date_name], "row": served.index + 2}
    return pd.DataFrame(rows | {"value": served[payload.series]})
