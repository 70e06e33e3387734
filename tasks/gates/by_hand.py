"""Run one gate, or all of them, on the stored data: nothing is fetched, computed or published."""

from __future__ import annotations

import pandas as pd

from tasks.errors import NothingStored
from tasks.gates.run import run_gate
from tasks.gates.states import with_states
from tasks.gates.stored import TABLES_OF_GATE, StoredTables, newest_stored_session
from tasks.gates.tables import Tables
from tasks.registry import load_sources, load_waivers
from tasks.run import RunContext, open_run
from tasks.settings import load_settings
from tasks.storage.zones import Zones


def open_stored_run(as_of: str | None) -> RunContext:
    """The run as of a date, or of the newest session that the home stores."""
    settings = load_settings()
    newest = as_of or f"{newest_stored_session(Zones(settings.home), load_sources(settings.registry)):%Y-%m-%d}"
    return open_run(settings, origin="live", as_of=newest)


def tables_of(stored: StoredTables, gate: str | None) -> tuple[dict[str, Tables], list[str]]:
    """Each gate's tables, and for gates without tables the reason."""
    tables: dict[str, Tables] = {}
    absent = []
    for name in [gate] if gate else TABLES_OF_GATE:
        try:
            tables[name] = TABLES_OF_GATE[name](stored)
        except NothingStored as error:
            absent.append(f"{name} did not run: {error}")
    return tables, absent


def judge(stored: StoredTables, tables: dict[str, Tables]) -> pd.DataFrame:
    """The results of every gate whose tables are given, in the gates' order, each with its state."""

    settings = stored.run.settings
    waivers = load_waivers(settings.registry)
    reports = [
        run_gate(
            gate,
            given,
            expectations=settings.expectations,
            set_aside=stored.set_aside.get(gate, ()),
            waivers=waivers,
        )
        for gate, given in tables.items()
    ]
    return with_states(pd.concat([report.frame() for report in reports], ignore_index=True))
