"""`python -m evidence`: run every measure and write docs/results/bench.md; with a NAME, run and print that one."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evidence import accuracy, daily, features, growth, imports, ingest, neural, panel, staging, warehouse
from evidence.command_line import command, exit_status
from evidence.inputs import Inputs
from evidence.machine import stamp
from evidence.measurement import HEADINGS, Measurement, ReportTable
from evidence.page import facts, page, table
from tasks.settings import PROJECT
from tasks.storage.files import write_bytes

REPORT = PROJECT / "docs" / "results" / "bench.md"
MEASURES: dict[str, Callable[[Inputs], Sequence[Measurement | ReportTable]]] = {
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
HOW_TO_READ = (
    "The ratio is the product's figure over the peer's, both taken in the same run on the same machine: below 1 the "
    "product is faster or smaller. Figures in seconds depend on the machine and on what else it is doing (see the "
    "load); ratios hardly do. A limit is for 2 cores. Nothing here is a test: a limit that is not met is written "
    "down. What each peer does, and what is asserted equal, is said in the docstrings of `evidence/`."
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. A limit that is not met is a warning, never a failure."""
    parser = command("evidence", __doc__, "", "panel    # one measure")
    parser.add_argument("name", nargs="?", choices=MEASURES, help="one measure; without it, all and the report")
    given = parser.parse_args(arguments)
    return exit_status(lambda: take(given.name))


def take(name: str | None) -> int:
    """Run one measure, or all of them and write the report."""
    before, start = stamp("make bench"), time.perf_counter()
    results: list[Measurement | ReportTable] = []
    with tempfile.TemporaryDirectory(prefix="cbi-bench-") as folder:
        inputs = Inputs(Path(folder))
        if name != "imports":
            assert inputs.archive
        for one in [name] if name else MEASURES:
            measured = MEASURES[one](inputs)
            results += measured
            for result in measured:
                print(shown(result), flush=True)
    if not name:
        write_bytes(REPORT, render(before, results, took_s=time.perf_counter() - start).encode())
        print(f"\nwritten: {REPORT.relative_to(PROJECT)}")
    for result in results:
        if isinstance(result, Measurement) and result.met is False:
            print(f"warning: {result.name}: {result.figure:.3g} {result.unit}, limit {result.limit:g}", file=sys.stderr)
    return 0


def shown(result: Measurement | ReportTable) -> str:
    """A result as text for the terminal."""
    if isinstance(result, ReportTable):
        return result.section
    named = [f"{head} {cell}" for head, cell in zip(HEADINGS[1:], result.cells[1:], strict=True) if cell]
    return f"{result.name}: {'; '.join(named)}\n  {result.note}"


def render(stamp: str, results: Sequence[Measurement | ReportTable], *, took_s: float) -> str:
    """The whole page."""
    measured = [result for result in results if isinstance(result, Measurement)]
    return page(
        "Benchmarks",
        stamp,
        f"The load was read before the run, which took {took_s:.0f} s.",
        table(HEADINGS, [measurement.cells for measurement in measured]),
        f"## How to read it\n\n{HOW_TO_READ}",
        facts({measurement.name: measurement.note for measurement in measured if measurement.note}),
        *(result.section for result in results if isinstance(result, ReportTable)),
    )


if __name__ == "__main__":
    sys.exit(main())
