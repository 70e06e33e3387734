"""``cbi health``: sources, forecast, gates, champions, disk, warehouse: the state of a home.

Exits with 0 when all is ok (or nothing has run yet), 1 with warnings, 2 when something fails or is unknown.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if __name__ == "__main__":  # before Prefect is imported, which takes seconds
    from cli.app import main

    sys.exit(main(["health", *sys.argv[1:]]))

from prefect import State, flow
from prefect.states import Completed

from flows.runtime import note_run
from tasks.errors import Unhealthy
from tasks.settings import load_settings

if TYPE_CHECKING:
    from tasks.operations.health import Health


@flow(name="health", flow_run_name="health", persist_result=False)
def health(as_of: str | None = None) -> State[None]:
    """Health as artifacts. Completed with warnings; failed if a check fails, so that an automation reacts."""
    from flows.report import publish_table
    from tasks.operations.health import FAILING

    taken = open_health(as_of)
    for name in ("checks", "sources", "gates", "champions"):
        publish_table(f"health-{name}", getattr(taken, name), f"{name} as of {taken.as_of:%Y-%m-%d}: {taken.state}")
    findings = "; ".join(
        f"{row['check']}: {row['told']}" for row in taken.checks.to_dict("records") if row["state"] != "ok"
    )
    if taken.state == FAILING:
        raise Unhealthy(findings)
    return Completed(message=f"{taken.state}: {findings}" if findings else taken.state)


def open_health(as_of: str | None) -> Health:
    """Load settings and registry and run all checks, by default as of the last finished session."""
    from tasks.operations.health import take_health
    from tasks.run import open_run

    dated = "as requested" if as_of else "the last finished session"
    return take_health(note_run(open_run(load_settings(), origin="live", as_of=as_of)), dated=dated)


def open_health_here(as_of: str | None) -> Health:
    """The same for the command line: if the newest run read recorded payloads, as of that run's session."""
    from tasks.operations.health import run_here, take_health

    run, dated = run_here(load_settings(), as_of)
    return take_health(note_run(run), dated=dated)
