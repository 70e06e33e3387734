"""``python -m flows.gates [GATE]``: hold what the home holds against one gate, or against all of them.

Nothing is fetched, computed or published; with --page and --data-docs a file is written under reports/.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tasks.command_line import command
from tasks.errors import CbiError, NothingHeld
from tasks.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from tasks.gates.held import Held
    from tasks.gates.tables import Tables
    from tasks.run import RunContext


def open_held_run(as_of: str | None) -> RunContext:
    """The run as of a date, or of the newest session the home holds."""
    from tasks.gates.held import newest_session_held
    from tasks.registry import load_sources
    from tasks.run import open_run
    from tasks.storage.zones import Zones

    settings = load_settings()
    newest = as_of or f"{newest_session_held(Zones(settings.home), load_sources(settings.registry)):%Y-%m-%d}"
    return open_run(settings, origin="live", as_of=newest)


def tables_of(held: Held, gate: str | None) -> tuple[dict[str, Tables], list[str]]:
    """Each gate's tables, and of a gate without them why it has none."""
    from tasks.gates.held import HELD

    tables: dict[str, Tables] = {}
    absent = []
    for name in [gate] if gate else HELD:
        try:
            tables[name] = HELD[name](held)
        except NothingHeld as error:
            absent.append(f"{name} did not run: {error}")
    return tables, absent


def judge(held: Held, tables: dict[str, Tables]) -> pd.DataFrame:
    """The results of every gate whose tables are given, in the gates' order, with what each came to."""
    import pandas as pd

    from tasks.gates.run import run_gate
    from tasks.gates.states import with_states
    from tasks.registry import load_waivers

    settings = held.run.settings
    waivers = load_waivers(settings.registry)
    reports = [
        run_gate(
            gate,
            given,
            expectations=settings.expectations,
            set_aside=held.set_aside.get(gate, ()),
            waivers=waivers,
        )
        for gate, given in tables.items()
    ]
    return with_states(pd.concat([report.frame() for report in reports], ignore_index=True))


def main() -> int:
    """Command line. Ends with 1 when something blocks, or a gate could not be run."""
    from tasks.gates.suites import GATES, gate_named

    parser = command(
        "flows.gates",
        "Hold what is stored against one gate, or against all of them. Nothing is fetched, computed or published.\n"
        f"Gates: {', '.join(GATES)}.\nEnds with 1 when something blocks, or a gate could not be run.",
        "                                  # all gates, as of the newest session held",
        "POST_STAGING --as-of 2023-12-29   # one of them, as of a date",
        "--page --data-docs                # written under reports/",
    )
    parser.add_argument("gate", nargs="?", metavar="GATE", help="one of those above (default: all)")
    parser.add_argument("--as-of", metavar="DATE", help="what was known later is left out (default: the newest held)")
    parser.add_argument("--json", action="store_true", help="the results for a program")
    parser.add_argument("--page", action="store_true", help="write reports/gates_<as of>.html")
    parser.add_argument("--data-docs", action="store_true", help="write Great Expectations' pages, zipped")
    given = parser.parse_args()
    try:
        if given.gate:
            gate_named(given.gate)  # a mistyped name is answered before anything is read
        from rich.console import Console

        from tasks.gates.held import Held

        run = open_held_run(given.as_of)
        held = Held(run)
        tables, absent = tables_of(held, given.gate)
        if not tables:
            raise NothingHeld("; ".join(absent))
        results = judge(held, tables)
        written = _write(run, tables, results, only=given.gate, page=given.page, data_docs=given.data_docs)
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if given.json:
        from tasks.gates.states import worst_first

        rows = worst_first(results).assign(examples=lambda frame: frame["examples"].map(json.loads)).to_dict("records")
        print(json.dumps(rows, default=str, indent=1, ensure_ascii=False))
    else:
        from tasks.reporting.terminal import print_gate_results

        print_gate_results(results, f"Gates as of {run.as_of:%Y-%m-%d}", Console(width=max(140, Console().width)))
    for line in [*written, *absent]:
        print(line, file=sys.stderr)
    return int(bool(absent) or (results["state"] == "blocked").any())


def _write(
    run: RunContext, tables: dict[str, Tables], results: pd.DataFrame, *, only: str | None, page: bool, data_docs: bool
) -> list[str]:
    """Write what is asked for and say where. One gate's files have its name: they do not take the place of all."""
    from tasks.gates.data_docs import write_data_docs
    from tasks.reporting.gate_page import write_gate_page

    suffix = f"_{only.lower()}" if only else ""
    written = []
    if page:
        written.append(f"Gate page: {write_gate_page(run, results, name=f'gates{suffix}')}")
    if data_docs:
        path = run.work.reports / f"data_docs{suffix}_{run.as_of:%Y-%m-%d}.zip"
        made = write_data_docs(path, tables, expectations=run.settings.expectations, as_of=run.as_of)
        written.append(f"Data Docs: {made}")
    return written


if __name__ == "__main__":
    sys.exit(main())
