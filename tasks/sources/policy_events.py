"""Policy events, China's tariff on US soybeans and biofuel mandates: dated tables of the registry itself.

The payload is registry/<table>.csv, landed as it is. Events are counted per kind on the day of their announcement. A
tariff is dated at the day it takes effect, a volume at the first day of its year; both are known from their
announcement, often before their date. The tariff is two series: the official rate, and the rate of exempted buyers.
The volume is two series: years set in gallons, and years set in RINs. A mandate path is a series per programme.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.calendar import at_clock
from tasks.errors import RegistryError, SchemaDrift
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.registry.tables import POLICY_TABLES, MandatePath, PolicyEvent, PolicyRow, TariffStep, read_table
from tasks.settings import load_settings
from tasks.sources.payloads import Fetched, Payload, Window

TARIFF, EXEMPTED = "tariff.china_us_soybeans", "tariff.china_us_soybeans_exempted"
GALLONS, RINS = "mandate.biomass_based_diesel", "mandate.biomass_based_diesel_rins"
DIRECTION = {"up": 1, "neutral": 0, "down": -1}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One complete table of the registry; a bad row is an error that names its line."""
    path = load_settings().registry / f"{series}.csv"
    read_table(path, POLICY_TABLES[series])
    yield Fetched(series=series, extension="csv", content=path.read_bytes(), url=f"registry/{path.name}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Rows of the registered series, each known at a clock time of its announcement day."""
    if payload.series not in POLICY_TABLES:
        raise SchemaDrift(f"{payload.name}: not a table of the registry; known: {', '.join(POLICY_TABLES)}")
    try:
        found = read_table(payload.path, POLICY_TABLES[payload.series])
    except RegistryError as error:
        raise SchemaDrift(f"{payload.name}: {error}") from None
    rows = pd.DataFrame([row for line, entry in found for row in _rows(line, entry, spec.availability.time)])
    rows["released_at"] = [
        at_clock(pd.DatetimeIndex([day]), clock, spec.availability.timezone)[0]
        for day, clock in zip(rows["announced"], rows["clock"], strict=True)
    ]
    if payload.series == "policy_events":
        days = rows.groupby(["series", "observation_date"], sort=False)
        rows = days.agg(
            row=("row", "min"),
            events=("row", "size"),
            direction=("direction", "sum"),
            released_at=("released_at", "max"),
        ).reset_index()
    rows = rows.drop(columns=["announced", "clock"], errors="ignore")
    first = ["series", "observation_date", "row"]
    rows = rows[[*first, *(name for name in rows.columns if name not in first)]]
    return rows[rows["series"].isin(spec.series)].reset_index(drop=True)


def _rows(line: int, entry: PolicyRow, clock: str) -> list[dict[str, object]]:
    """The rows of one line, one per series, with their date and their announcement day."""
    shared = {"row": line, "announced": pd.Timestamp(entry.announced), "clock": clock}
    if isinstance(entry, PolicyEvent):
        named = {"series": f"event.{entry.kind}", "observation_date": str(entry.announced)}
        judged = {"clock": entry.known_time or clock, "direction": DIRECTION[entry.direction_for_zl]}
        return [shared | named | judged]
    if isinstance(entry, TariffStep):
        date, field = str(entry.effective), "added_tariff_pct"
        values = [(TARIFF, field, entry.added_tariff_pct), (EXEMPTED, field, entry.exempted_tariff_pct)]
    elif isinstance(entry, MandatePath):
        date = str(entry.effective)
        values = [
            (f"path.{entry.path}", field, getattr(entry, field))
            for field in ("billion_rins", "million_cbio", "blend_pct")
        ]
    else:
        date = f"{entry.year}-01-01"
        values = [
            (GALLONS, "billion_gallons", entry.billion_gallons),
            (RINS, "billion_rins", entry.billion_rins),
        ]
    return [
        shared | {"series": series, "observation_date": date, field: value}
        for series, field, value in values
        if value is not None
    ]
