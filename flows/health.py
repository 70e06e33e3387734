"""``python -m flows.health``: every source's state, what is held of it, how old that is."""

from __future__ import annotations

import argparse
import json
import sys

from tasks.errors import CbiError
from tasks.settings import load_settings


def main() -> int:
    """Command line. Ends with 1 when a critical series is stale or missing."""
    from rich.console import Console

    from tasks.context import open_run
    from tasks.operations.health import source_health
    from tasks.reporting.terminal import print_table

    parser = argparse.ArgumentParser(prog="python -m flows.health", description=__doc__)
    parser.add_argument("--as-of", help="judge ages as of this date (default: the newest session)")
    parser.add_argument("--json", action="store_true", help="for monitoring")
    given = parser.parse_args()
    try:
        run = open_run(load_settings(), origin="live", as_of=given.as_of)
        health = source_health(run.zones, run.sources, as_of=run.as_of)
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(health.to_dict("records"), default=str, indent=1))
    else:
        print_table(Console(width=max(130, Console().width)), f"Sources as of {run.as_of:%Y-%m-%d}", health)
    return int(health["state"].str.startswith("critical").any())


if __name__ == "__main__":
    sys.exit(main())
