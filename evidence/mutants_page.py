"""docs/results/mutants.md: what share of the planted faults the tests notice, and which ones they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evidence.mutant_worker import KILLED, NOT_REACHED, SURVIVED, TIMED_OUT

OUTCOMES = (KILLED, TIMED_OUT, SURVIVED, NOT_REACHED)
Result = Mapping[str, Any]


def counted(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """Outcomes by module, and of all."""
    table: dict[str, dict[str, int]] = {}
    for result in results:
        for module in (module_of(result["mutant"]["path"]), "all"):
            table.setdefault(module, dict.fromkeys(OUTCOMES, 0))[result["outcome"]] += 1
    return dict(sorted(table.items(), key=lambda row: (row[0] == "all", row[0])))


def module_of(path: str) -> str:
    """The folder that a file counts for; a file straight under tasks/ counts for itself."""
    return "/".join(path.split("/")[:2]) if path.count("/") > 1 else path


def score(row: Mapping[str, int]) -> str:
    """Share noticed, of those tried."""
    total = sum(row.values())
    return f"{(row[KILLED] + row[TIMED_OUT]) / total:.1%}" if total else "none tried"


def render(now: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """The page. ``before``: an earlier run of the same mutants, in whose place ``now`` tried those left unnoticed."""
    table = counted(now["results"])
    earlier = counted(before["results"]) if before else {}
    tried = len(now["results"]) + len(now["gone"])
    lines = [
        "# Planted faults that the tests notice",
        "",
        f"Written by `make mutants` (`python -m evidence.mutants`). {now['possible']:,} small changes of tasks/panel, "
        "tasks/staging, tasks/evaluation, tasks/forecasting and tasks/labels.py are possible: a comparison, an "
        "operator, a constant by one, a negation, `and` for `or`, a result left out, a keyword argument dropped. "
        "Docstrings, messages, annotations and logging are left alone. "
        f"{tried:,} were tried, drawn with seed {now['seed']}, each against the tests that run its line, the quickest "
        f"first, up to {now['slowest_s']:.0f} seconds of tests.",
        "",
        f"Commit {now['commit']}, {now['minutes']:.0f} minutes of two busy cores for {now['tried_now']:,} mutants.",
    ]
    if before:
        lines += [
            "",
            f"*Before* is commit {before['commit']} with its own tests ({before['minutes']:.0f} minutes). What it "
            "noticed was not tried again; what it did not notice was, with today's tests on today's code. "
            f"{len(now['gone'])} of the mutants are of code that has changed or is gone since, and are left out.",
        ]
    head = ["module", *OUTCOMES, *(["noticed before"] if before else []), "noticed"]
    lines += ["", "| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for module, row in table.items():
        was = [score(earlier[module]) if module in earlier else "none tried"] if before else []
        lines.append("| " + " | ".join([module, *(str(row[name]) for name in OUTCOMES), *was, score(row)]) + " |")
    lines += [
        "",
        "*Timed out* counts as noticed. *Not reached*: no test of these folders runs the function; tests of flows, "
        "which are not asked here, may.",
        "",
        "## Not noticed",
        "",
        "Most of these change nothing that anybody sees: a tolerance by one, a default that is the same, a guard for "
        "what another line has excluded. What mattered has a test by now.",
        "",
        "| where | in | change | |",
        "|---|---|---|---|",
    ]
    left = [r for r in now["results"] if r["outcome"] in (SURVIVED, NOT_REACHED)]
    for result in sorted(left, key=lambda r: (r["mutant"]["path"], r["mutant"]["line"], r["mutant"]["after"])):
        told = result["mutant"]
        change = f"{_code(told['before'])} → {_code(told['after'])}"
        why = "" if result["outcome"] == SURVIVED else NOT_REACHED
        lines.append(f"| {told['path']}:{told['line']} | {told['function'] or 'the module'} | {change} | {why} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """One line of code for a table's cell."""
    short = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{short if len(short) <= 90 else short[:87] + '...'}`"
