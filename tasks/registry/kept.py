"""Registry tables that are kept by hand: until when each is complete, and the consequences afterwards."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from tasks.registry.models import load_regime_calendar
from tasks.registry.release_calendar import FILE, load_release_calendar
from tasks.registry.sources import DataSources

REGIMES = "regime_calendar.csv"
FOLLOWS = {
    FILE: "holidays are known by rule, but a shutdown or a late release since then is not",
    REGIMES: "no regime is recorded for sessions since then; they count to the last one",
}


def complete_until(folder: Path, sources: DataSources) -> dict[str, date]:
    """The last day for which each hand-kept, dated file of registry/ is complete.

    Other hand-kept files have no dates (features, joins, limits, phrases, models), so they do not end.
    """
    tables = {
        f"{name}.csv": table.complete_until for spec in sources.sources.values() for name, table in spec.tables.items()
    }
    tables[FILE] = load_release_calendar(folder).complete_until
    ends = load_regime_calendar(folder)["end"]
    if ends.notna().all():  # a regime without an end continues until the next one is recorded
        tables[REGIMES] = ends.max().date()
    return tables


def ended_tables(folder: Path, sources: DataSources, as_of: date) -> dict[str, str]:
    """By table that is complete only until before ``as_of``: the consequence and what to do."""
    return {
        name: f"complete until {until} only: {FOLLOWS.get(name, 'its features are missing since then')}. "
        f"Bring registry/{name} up to date, and its date with it"
        for name, until in complete_until(folder, sources).items()
        if until < as_of
    }
