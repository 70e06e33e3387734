"""docs/results/bench.md from measurements."""

from __future__ import annotations

from collections.abc import Iterable

from evidence.machine import Machine
from evidence.measurement import Measurement, Table

HEADINGS = ("measure", "figure", "limit", "met?", "peer", "ratio")
HOW_TO_READ = (
    "The ratio is the product's figure over the peer's, both taken in the same run on the same machine: below 1 the "
    "product is faster or smaller. Figures in seconds depend on the machine and on what else it is doing (see the "
    "load); ratios hardly do. A limit is for 2 cores. Nothing here is a test: a limit that is not met is written "
    "down. What each peer does, and what is asserted equal, is said in the docstrings of `evidence/`."
)


def render(machine: Machine, results: Iterable[Measurement | Table], *, took_s: float) -> str:
    """The whole page."""
    results = list(results)
    measured = [result for result in results if isinstance(result, Measurement)]
    parts = [
        "# Benchmarks (written by `make bench`: generated, never edited)",
        f"- Machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gb:.0f} GB memory; {machine.system}; "
        f"Python {machine.python}\n"
        f"- Load average before the run: {machine.load}\n"
        f"- Commit: {machine.commit}\n"
        f"- Date: {machine.date}; the run took {took_s:.0f} s",
        table(HEADINGS, [row(m) for m in measured]),
        f"## How to read it\n\n{HOW_TO_READ}",
    ]
    notes = [f"- {m.name}: {m.note}" for m in measured if m.note]
    if notes:
        parts.append("\n".join(notes))
    for result in results:
        if isinstance(result, Table):
            rows = [[str(cell) for cell in line] for line in result.frame.itertuples(index=False)]
            parts.append(f"## {result.title}\n\n{table(result.frame.columns, rows)}\n\n{result.note}")
    return "\n\n".join(parts) + "\n"


def row(measurement: Measurement) -> list[str]:
    """The cells of one measurement."""
    m = measurement
    figure = amount(m.figure, m.unit)
    if m.met is False and m.limit is not None and figure == amount(m.limit, m.unit):
        figure = f"{m.figure} {m.unit}".strip()  # rounded, it would look like its limit
    return [
        m.name,
        figure,
        "none" if m.limit is None else amount(m.limit, m.unit),
        {True: "yes", False: "**not met**", None: ""}[m.met],
        m.peer,
        "" if m.ratio is None else f"{m.ratio:.3g}",
    ]


def amount(value: float, unit: str) -> str:
    """A figure with its unit: whole numbers from 100 on, else three digits."""
    return f"{value:,.0f} {unit}".strip() if abs(value) >= 100 else f"{value:.3g} {unit}".strip()


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    headings = list(headings)
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
