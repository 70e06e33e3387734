"""``cbi verify``: the record of published forecasts against the forecasts as they are now."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from cli.words import AsJson, examples
from flows.ending import Ending, end_on_signal

NOTHING_CHANGED = "Nothing was changed."


def application() -> typer.Typer:
    """The commands of ``cbi verify``."""
    app = typer.Typer(help="Verify what is published against its record.", no_args_is_help=True)
    app.command()(record)
    return app


@examples(
    "verify record                      # every chain: changed, removed and backdated forecasts",
    "verify record --contains 3f9a…     # and that a hash noted earlier is still a link",
)
def record(
    contains: Annotated[
        str | None,
        typer.Option(metavar="SHA256", help="The newest hash as noted earlier: the record must still have it."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Verify the hash chain of published forecasts, and that each forecast is as it was published.

    Exits with 1 when a forecast was changed, removed or added afterwards, or a link is broken.
    """
    end_on_signal(Ending(lambda: NOTHING_CHANGED))
    from tasks.reporting.terminal import print_record
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse
    from tasks.warehouse.record import CHAIN, check_record, has_link

    warehouse = open_warehouse(load_settings())
    states = check_record(warehouse)
    lost = contains is not None and not (states and has_link(warehouse.read(CHAIN), contains))
    if as_json:
        print(json.dumps([asdict(state) for state in states], indent=1))
    else:
        print_record(states)
    if lost:
        print(f"no link has the hash {contains}: what was published up to it was cut off", file=sys.stderr)
    return int(lost or any(state.findings for state in states))
