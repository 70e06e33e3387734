"""`python -m evidence`: take every measure and write docs/results/bench.md; with a NAME, take and print that one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from evidence import accuracy, daily, features, growth, imports, ingest, neural, panel, staging, warehouse
from evidence.inputs import Inputs
from evidence.machine import this_machine
from evidence.measurement import BenchError, Measurement, Table
from evidence.report import HEADINGS, render, row
from tasks.errors import CbiError
from tasks.settings import PROJECT
from tasks.storage.files import write_bytes

REPORT = PROJECT / "docs" / "results" / "bench.md"
MEASURES: dict[str, Callable[[Inputs], Sequence[Measurement | Table]]] = {
    "daily": daily.measure,
    "imports": imports.measure,
    "ingest": ingest.measure,
    "staging": staging.measure,
    "panel": panel.measure,
    "features": features.measure,
    "growth": growth.measure,
    "warehouse": warehouse.measure,
    "accuracy": accuracy.measure,
    "neural": neural.measure,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. A limit that is not met is a warning, never a failure."""
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    parser.add_argument("name", nargs="?", choices=MEASURES, help="one measure; without it, all and the report")
    given = parser.parse_args(arguments)
    machine, start = this_machine(), time.perf_counter()
    results: list[Measurement | Table] = []
    try:
        with Inputs() as inputs:
            if given.name != "imports":
                assert inputs.archive
            for name in [given.name] if given.name else MEASURES:
                taken = MEASURES[name](inputs)
                results += taken
                show(taken)
    except (BenchError, CbiError) as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 1
    if not given.name:
        write_bytes(REPORT, render(machine, results, took_s=time.perf_counter() - start).encode())
        print(f"\nwritten: {REPORT.relative_to(PROJECT)}")
    for result in results:
        if isinstance(result, Measurement) and result.met is False:
            print(f"warning: {result.name}: {result.figure:.3g} {result.unit}, limit {result.limit:g}", file=sys.stderr)
    return 0


def show(results: Sequence[Measurement | Table]) -> None:
    """Print what was measured, as the report has it."""
    for result in results:
        if isinstance(result, Table):
            print(f"{result.title}\n{result.frame.to_string(index=False)}\n{result.note}", flush=True)
            continue
        cells = dict(zip(HEADINGS, row(result), strict=True))
        said = "; ".join(f"{name} {cells[name]}" for name in HEADINGS[1:] if cells[name])
        print(f"{result.name}: {said}" + (f"\n  {result.note}" if result.note else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
