"""``python -m flows.audit``: every file, model version and table that CBI_HOME holds, whose it is, what to do with it.

Nothing is changed; the whole inventory is written to reports/audit_<date>.csv. Ends with 1 when something has to be
replaced or put in quarantine.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tasks.command_line import command
from tasks.errors import CbiError
from tasks.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 40


def main() -> int:
    """Command line."""
    parser = command("flows.audit", __doc__, "", "--json    # every line, for a program")
    parser.add_argument("--json", action="store_true", help="every line, for a program")
    given = parser.parse_args()
    from rich.console import Console

    from tasks.operations.audit import QUARANTINE, REPLACE, take_inventory
    from tasks.run import open_run
    from tasks.storage.files import write_bytes

    try:
        run = open_run(load_settings(), origin="live", as_of=None)
        inventory = take_inventory(run)
        # named by the session, so that a rerun writes the same file and the inventory does not grow by itself
        path = run.zones.reports / f"audit_{run.as_of:%Y-%m-%d}.csv"
        write_bytes(path, inventory.to_csv(index=False).encode())
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(inventory.astype(object).where(inventory.notna(), None).to_dict("records"), indent=1))
    else:
        _show(Console(width=max(150, Console().width)), inventory)
        print(f"Every line: {path}")
    return int(inventory["advice"].isin([QUARANTINE, REPLACE]).any())


def _show(console: object, inventory: pd.DataFrame) -> None:
    """What wants something done, then a line a zone."""
    from rich.console import Console

    from tasks.operations.audit import KEEP, summarise
    from tasks.reporting.terminal import print_table

    assert isinstance(console, Console)
    wanting = inventory.loc[inventory["advice"] != KEEP, ["advice", "zone", "name", "owner", "state"]]
    if len(wanting):
        more = f" (the first {SHOWN} of {len(wanting)})" if len(wanting) > SHOWN else ""
        print_table(console, f"To do{more}", wanting.head(SHOWN))
    print_table(console, "In all", summarise(inventory))


if __name__ == "__main__":
    sys.exit(main())
