"""docs/results/mutants.md: the share of planted faults that the tests notice, and the unnoticed ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evidence.mutant_worker import KILLED, NOT_REACHED, SLOWEST_S, SURVIVED, TIMED_OUT
from evidence.mutation import Mutant
from evidence.page import facts, table, write_page

OUTCOMES = (KILLED, TIMED_OUT, SURVIVED, NOT_REACHED)
Outcomes = Iterable[tuple[Mutant, str]]


def counted(outcomes: Outcomes) -> dict[str, dict[str, int]]:
    """Outcomes by module, and in total."""
    counts: dict[str, dict[str, int]] = {}
    for mutant, outcome in outcomes:
        for module in (module_of(mutant.path), "all"):
            counts.setdefault(module, dict.fromkeys(OUTCOMES, 0))[outcome] += 1
    return dict(sorted(counts.items(), key=lambda row: (row[0] == "all", row[0])))


def module_of(path: str) -> str:
    """The folder that a file counts for; a file directly under tasks/ counts for itself."""
    return "/".join(path.split("/")[:2]) if path.count("/") > 1 else path


def score(row: Mapping[str, int]) -> str:
    """The noticed share of those tried."""
    total = sum(row.values())
    return f"{(row[KILLED] + row[TIMED_OUT]) / total:.1%}" if total else "none tried"


def write(
    path: Path, stamp: str, outcomes: Sequence[tuple[Mutant, str]], *, possible: int, seed: int, minutes: float
) -> Path:
    """The page."""
    counts = counted(outcomes)
    left = [(mutant, outcome) for mutant, outcome in outcomes if outcome in (SURVIVED, NOT_REACHED)]
    left = sorted(left, key=lambda one: (one[0].path, one[0].line, one[0].after))
    return write_page(
        path,
        "Planted faults that the tests notice",
        stamp,
        "A fault is one small change: a comparison, an operator, a constant by one, a negation, `and` for `or`, a "
        "result left out, a keyword argument dropped. Docstrings, messages, annotations and logging are left alone. "
        "Each is tried against the tests that run its line, the quickest first.",
        facts(
            {
                "Possible changes": f"{possible:,}",
                "Tried": f"{len(outcomes):,}, drawn with seed {seed}",
                "Seconds of tests for each": f"{SLOWEST_S:.0f} at most",
                "Minutes of two busy cores": f"{minutes:.0f}",
            }
        ),
        table(
            ("module", *OUTCOMES, "noticed"),
            [(module, *(row[name] for name in OUTCOMES), score(row)) for module, row in counts.items()],
        ),
        "*Timed out* counts as noticed. *Not reached*: no test of these folders runs the function; tests of flows, "
        "which are not run here, may.",
        "## Not noticed",
        "Most of these change nothing that anybody sees: a tolerance by one, a default that is the same, a guard for "
        "what another line has excluded.",
        table(
            ("where", "in", "change", "outcome"),
            [
                (
                    f"{mutant.path}:{mutant.line}",
                    mutant.function or "the module",
                    f"{_code(mutant.before)} → {_code(mutant.after)}",
                    outcome,
                )
                for mutant, outcome in left
            ],
        ),
    )


def _code(text: str) -> str:
    """One line of code for a table's cell."""
    short = " ".join(text.split()).replace("`", "'")
    return f"`{short if len(short) <= 90 else short[:87] + '...'}`"
