"""``python -m flows.health``: sources, forecast, gates, champions, disk, warehouse: what is well and what is not.

Ends with 0 when all is ok (or nothing has been made yet), 1 with warnings, 2 when something fails or cannot be told.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from prefect import State, flow
from prefect.states import Completed

from flows.runtime import note_run
from tasks.errors import CbiError, Unhealthy
from tasks.secrets import redact
from tasks.settings import load_settings

if TYPE_CHECKING:
    from tasks.operations.health import Health


@flow(name="health", flow_run_name="health", persist_result=False)
def health(as_of: str | None = None) -> State[None]:
    """The same as artifacts. Completed with warnings; failed where something fails, so that an automation sees it."""
    from flows.report import publish_table
    from tasks.operations.health import FAILING

    taken = open_health(as_of)
    for name in ("checks", "sources", "gates", "champions"):
        publish_table(f"health-{name}", getattr(taken, name), f"{name} as of {taken.as_of:%Y-%m-%d}: {taken.state}")
    told = "; ".join(
        f"{row['check']}: {row['told']}" for row in taken.checks.to_dict("records") if row["state"] != "ok"
    )
    if taken.state == FAILING:
        raise Unhealthy(told)
    return Completed(message=f"{taken.state}: {told}" if told else taken.state)


def open_health(as_of: str | None) -> Health:
    """Settings and registry, then the look at everything."""
    from tasks.context import open_run
    from tasks.operations.health import take_health

    return take_health(note_run(open_run(load_settings(), origin="live", as_of=as_of)))


def main() -> int:
    """Command line."""
    from rich.console import Console

    from tasks.reporting.terminal import print_health

    parser = argparse.ArgumentParser(prog="python -m flows.health", description=__doc__)
    parser.add_argument("--as-of", help="judge ages as of this date (default: the newest session)")
    parser.add_argument("--json", action="store_true", help="for monitoring")
    given = parser.parse_args()
    try:
        taken = open_health(given.as_of)
        plain = json.dumps(taken.to_json(), default=str, indent=1) if given.json else ""
    except Exception as error:  # a traceback would end with 1, which means warnings
        told = redact(" ".join(f"{type(error).__name__}: {error}".split()))
        if not isinstance(error, CbiError):
            told += ". This was not foreseen: health cannot be told; send what `make bundle` writes"
        print(told, file=sys.stderr)
        if given.json:
            print(json.dumps({"state": "failing", "exit_code": 2, "error": told}, indent=1))
        return 2
    if given.json:
        print(plain)
    else:
        print_health(Console(width=max(160, Console().width)), taken)
    return taken.exit_code


if __name__ == "__main__":
    sys.exit(main())
