"""Open-Meteo's archive API: daily reanalysis at a grid point, complete where stations have gaps.

A point is the `location` of its series in the registry. The answer names its grid cell; a distant cell is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasks.errors import RegistryError, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window

UNITS = {"mm": "mm", "degC": "°C"}  # of the registry: of the service
FARTHEST_CELL_DEGREES = 0.3  # cells are 0.1 or 0.25 degrees wide


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The days of one point in the window; UTC days, metric units."""
    latitude, longitude = _location(series, spec)
    params = {
        "latitude": f"{latitude:g}",
        "longitude": f"{longitude:g}",
        "start_date": window.start.isoformat(),
        "end_date": window.end.isoformat(),
        "daily": ",".join(spec.fields.values()),
        "timezone": "UTC",
    }
    content = http.get(spec.endpoint, params)
    if not isinstance(_json(content).get("daily"), dict):
        raise SourceUnavailable(f"open_meteo: {series}: expected the days, got '{http.quote(content)}'")
    url = f"{spec.endpoint}?latitude={latitude:g}&longitude={longitude:g}"
    yield Fetched(series=series, extension="json", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Days as served; null means that the reanalysis has not reached that day yet."""
    served = _json(payload.path.read_bytes())
    daily, units = served.get("daily"), served.get("daily_units")
    if not isinstance(daily, dict) or not isinstance(units, dict):
        raise SchemaDrift(f"{payload.name}: no `daily` and `daily_units` in it")
    missing = [name for name in ("time", *spec.fields.values()) if not isinstance(daily.get(name), list)]
    if missing or len({len(daily[name]) for name in ("time", *spec.fields.values())}) > 1:
        raise SchemaDrift(f"{payload.name}: no {missing}, or of different lengths")
    for field, name in spec.fields.items():
        expected = UNITS[spec.unit_of(payload.series, field)]
        if units.get(name) != expected:
            raise SchemaDrift(f"{payload.name}: {name} in {units.get(name)!r}, expected {expected!r}")
    for axis, requested in zip(("latitude", "longitude"), _location(payload.series, spec), strict=True):
        found = served.get(axis)
        if not isinstance(found, int | float) or abs(found - requested) > FARTHEST_CELL_DEGREES:
            raise SchemaDrift(f"{payload.name}: of {axis} {found}, expected {requested:g}; another place")
    rows = {"series": payload.series, "observation_date": daily["time"], "row": range(1, len(daily["time"]) + 1)}
    values = {field: pd.Series(daily[name], dtype=object) for field, name in spec.fields.items()}
    return pd.DataFrame(rows | values)


def _json(content: bytes) -> dict[str, Any]:
    try:
        served = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return served if isinstance(served, dict) else {}


def _location(series: str, spec: SourceSpec) -> tuple[float, float]:
    location = spec.series[series].location
    if location is None:
        raise RegistryError(f"registry/data_sources.yaml: {series} needs `location: [latitude, longitude]`")
    return location
