"""``cbi health``, ``gates``, ``audit`` and ``support``: the state of a home, and what to send to a helper."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.words import AsJson, AsOf, beginning, examples
from flows.ending import Ending, end_on_signal

if TYPE_CHECKING:
    import pandas as pd

    from tasks.gates.tables import Tables
    from tasks.run import RunContext

NOTHING_CHANGED = "Nothing was changed."
TO_DO_SHOWN = 40


@examples(
    "health",
    "health --json                # for monitoring",
    "health --as-of 2023-12-29    # as it was on that date",
)
def health(as_of: AsOf = None, as_json: AsJson = False) -> int:
    """Check sources, forecast, gates, champions, disk and warehouse.

    Exits with 0 when all is well or nothing has run yet, 1 with warnings, 2 when something fails. Ages are
    as of --as-of; else as of the last finished session, or the session of the newest run if that read recorded
    payloads.
    """
    end_on_signal(Ending(lambda: NOTHING_CHANGED))
    from rich.console import Console

    from flows.health import open_health_here
    from tasks.errors import CbiError
    from tasks.reporting.terminal import print_health
    from tasks.secrets import redact

    try:
        taken = open_health_here(as_of)
        plain = json.dumps(taken.to_json(), default=str, indent=1) if as_json else ""
    except Exception as error:  # a traceback would exit with 1, which means warnings
        message = redact(" ".join(f"{type(error).__name__}: {error}".split()))
        if not isinstance(error, CbiError):
            message += ". This is an error of CBI: health is unknown; send what `cbi support` writes"
        print(message, file=sys.stderr)
        if as_json:
            print(json.dumps({"state": "failing", "exit_code": 2, "error": message}, indent=1))
        return 2
    if as_json:
        print(plain)
    else:
        print_health(Console(width=max(160, Console().width)), taken)
    return taken.exit_code


@examples(
    "gates                                   # all, as of the newest session",
    "gates POST_STAGING --as-of 2023-12-29   # one of them, as of a date",
    "gates --page --data-docs                # as pages under reports/",
)
def gates(
    gate: Annotated[
        str | None,
        typer.Argument(
            metavar="GATE",
            help="POST_COLLECTION, POST_STAGING, POST_FEATURES, POST_ASSEMBLY or PRE_TRAINING. Default: all.",
            autocompletion=lambda incomplete: beginning(_gates(), incomplete),
        ),
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
    page: Annotated[bool, typer.Option("--page", help="Write reports/gates_<as of>.html.")] = False,
    data_docs: Annotated[bool, typer.Option("--data-docs", help="Write Great Expectations' pages, zipped.")] = False,
) -> int:
    """Check what is stored against one gate, or all of them. Nothing is fetched, computed or published.

    Exits with 1 when something blocks, or a gate could not run.
    """
    end_on_signal(Ending(lambda: NOTHING_CHANGED))
    from tasks.gates.suites import gate_named

    if gate:
        gate_named(gate)  # a mistyped name is refused before anything is read
    from rich.console import Console

    from tasks.errors import NothingStored
    from tasks.gates.by_hand import judge, open_stored_run, tables_of
    from tasks.gates.states import worst_first
    from tasks.gates.stored import StoredTables
    from tasks.reporting.preflight import realised_parity
    from tasks.reporting.terminal import print_gate_results

    run = open_stored_run(as_of)
    stored = StoredTables(run, realised=realised_parity(run) if gate in (None, "PRE_TRAINING") else None)
    tables, absent = tables_of(stored, gate)
    if not tables:
        raise NothingStored("; ".join(absent))
    results = judge(stored, tables)
    written = _write(run, tables, results, only=gate, page=page, data_docs=data_docs)
    if as_json:
        rows = worst_first(results).assign(examples=lambda frame: frame["examples"].map(json.loads)).to_dict("records")
        print(json.dumps(rows, default=str, indent=1, ensure_ascii=False))
    else:
        print_gate_results(results, f"Gates as of {run.as_of:%Y-%m-%d}", Console(width=max(140, Console().width)))
    for line in [*written, *absent]:
        print(line, file=sys.stderr)
    return int(bool(absent) or bool((results["state"] == "blocked").any()))


def _gates() -> tuple[str, ...]:
    from tasks.gates.suites import GATES

    return tuple(GATES)


def _write(
    run: RunContext, tables: dict[str, Tables], results: pd.DataFrame, *, only: str | None, page: bool, data_docs: bool
) -> list[str]:
    """Write the requested pages and return their paths. The files of a single gate have its name."""
    from tasks.gates.data_docs import write_data_docs
    from tasks.reporting.gate_page import write_gate_page

    suffix = f"_{only.lower()}" if only else ""
    written = []
    if page:
        written.append(f"Gate page: {write_gate_page(run, results, name=f'gates{suffix}')}")
    if data_docs:
        path = run.work.reports / f"data_docs{suffix}_{run.as_of:%Y-%m-%d}.zip"
        docs = write_data_docs(path, tables, expectations=run.settings.expectations, as_of=run.as_of)
        written.append(f"Data Docs: {docs}")
    return written


@examples("audit", "audit --json    # every line, for a program")
def audit(as_json: AsJson = False) -> int:
    """List every file, table and model version: its owner, whether it is intact, what to do with it.

    Exits with 1 when something should be set aside or replaced, 2 when the audit failed.
    """
    end_on_signal(Ending(lambda: NOTHING_CHANGED))
    from tasks.errors import CbiError
    from tasks.operations.audit import QUARANTINE, REPLACE, take_inventory
    from tasks.run import open_run
    from tasks.settings import load_settings
    from tasks.storage.files import write_bytes

    try:
        run = open_run(load_settings(), origin="live", as_of=None)
        inventory = take_inventory(run)
        # named by the session, so that a rerun writes the same file and the inventory does not grow
        path = run.zones.reports / f"audit_{run.as_of:%Y-%m-%d}.csv"
        write_bytes(path, inventory.to_csv(index=False).encode())
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(inventory.astype(object).where(inventory.notna(), None).to_dict("records"), indent=1))
    else:
        _print_inventory(inventory)
        print(f"Every line: {path}")
    return int(inventory["advice"].isin([QUARANTINE, REPLACE]).any())


def _print_inventory(inventory: pd.DataFrame) -> None:
    """Print the lines that need action, then one line per zone."""
    from rich.console import Console

    from tasks.operations.audit import KEEP, summarise
    from tasks.reporting.terminal import print_table

    console = Console(width=max(150, Console().width))
    wanting = inventory.loc[inventory["advice"] != KEEP, ["advice", "zone", "name", "owner", "state"]]
    if len(wanting):
        more = f" (the first {TO_DO_SHOWN} of {len(wanting)})" if len(wanting) > TO_DO_SHOWN else ""
        print_table(console, f"To do{more}", wanting.head(TO_DO_SHOWN))
    print_table(console, "In all", summarise(inventory))


@examples("support")
def support(as_of: AsOf = None) -> None:
    """Write the information that a helper needs, without secrets: CBI_HOME/support/cbi-support-<time>.tar.gz.

    Versions, settings, health, audit, gate results and the ends of the logs; no data, model or payload.
    """
    end_on_signal(Ending(lambda: NOTHING_CHANGED))
    from tasks.operations.support_bundle import write_bundle
    from tasks.run import open_run
    from tasks.settings import load_settings

    run = open_run(load_settings(), origin="live", as_of=as_of)
    print(write_bundle(run, run.zones.home / "support"))
