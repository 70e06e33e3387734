"""The open alerts for a terminal and as JSON."""

from __future__ import annotations

import json

import pandas as pd
from rich.console import Console

from tasks.alerts.routes import UNSET, addresses
from tasks.alerts.states import open_alerts
from tasks.reporting.terminal import print_table
from tasks.reporting.watch_session import known_events
from tasks.secrets import quoted
from tasks.warehouse.protocol import Warehouse

ORDER = {"critical": 0, "warning": 1, "info": 2}


def listed(warehouse: Warehouse) -> pd.DataFrame:
    """One row per open alert, the gravest first: ``level, kind, subject, state, since, message``."""
    rows = open_alerts(known_events(warehouse))
    out = pd.DataFrame(
        {
            "level": rows["level"],
            "kind": rows["kind"],
            "subject": rows["subject"],
            "state": rows["event"],
            "since": [f"{day:%Y-%m-%d}" for day in rows["since"]],
            "message": [quoted(text) for text in rows["message"]],
        }
    )
    return out.sort_values(["level", "kind", "subject"], key=lambda c: c.map(ORDER) if c.name == "level" else c)


def print_open(warehouse: Warehouse) -> None:
    """Print the open alerts, and whether anybody is notified of new ones."""
    console, rows = Console(width=max(100, Console().width)), listed(warehouse)
    if len(rows):
        print_table(console, "Open alerts", rows)
    else:
        console.print("No alert is open.")
    routes = addresses()
    console.print(f"New alerts are sent by {len(routes)} routes." if routes else UNSET, highlight=False)


def as_plain(warehouse: Warehouse) -> str:
    """The open alerts as JSON."""
    return json.dumps(listed(warehouse).to_dict("records"), indent=1, ensure_ascii=False)
