"""The gate page: one self-contained HTML file that shows what was checked and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from tasks.gates.states import KEY, MET, STATES, count_states, counted, with_states, worst_first

TEMPLATE = Path(__file__).with_name("page.html.jinja")
RUNS_SHOWN = 20


@dataclass(frozen=True)
class Past:
    """One expectation in one run: a square of its history."""

    state: str
    text: str
    day: str


def render_gate_page(reports: pd.DataFrame, history: pd.DataFrame, as_of: pd.Timestamp) -> str:
    """The page as HTML text, failures first. Equal frames give equal text; every value is escaped.

    Args:
        reports: results of this run (``tasks.gates.run.REPORT_COLUMNS``) with ``table`` and ``rule`` in words.
        history: rows of ``ops.gate_results`` of this and earlier runs; may be empty.
        as_of: the session.
    """
    runs = _runs(history)
    past = _past(history)
    checks = [_check(row, list(_squares(row, runs, past))) for row in worst_first(reports).to_dict("records")]
    gates = [
        {
            "name": counts["gate"],
            "counts": counts,
            "met": [c for c in checks if c["gate"] == counts["gate"] and c["met"]],
        }
        for counts in count_states(reports).to_dict("records")
    ]
    failed = [check for check in checks if not check["met"]]
    return _template().render(
        as_of=f"{as_of:%Y-%m-%d}", finding=_finding(reports), failed=failed, gates=gates, states=STATES
    )


@cache
def _template() -> Template:
    found = FileSystemLoader(TEMPLATE.parent)
    page = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.get_template(TEMPLATE.name)


def _finding(reports: pd.DataFrame) -> str:
    """The title, which states the main finding."""
    states = with_states(reports)["state"].value_counts()
    failed = [f"{states[state]} {state}" for state in STATES[:-1] if state in states]
    met = f"{states.get(MET, 0)} of {len(reports)} expectations met"
    return f"{met}; {', '.join(failed)}" if failed else f"All {met}"


def _check(row: dict[Any, Any], squares: list[Past]) -> dict[str, Any]:
    examples = [{name: _shown(value) for name, value in one.items()} for one in json.loads(row["examples"])]
    return {
        **{name: row[name] for name in ("gate", "rule", "table", "expectation", "state", "reason", "on_fail")},
        "met": row["state"] == MET,
        "column": row["column_name"],
        "count": counted(row["unexpected_count"], row["element_count"]),
        "failures": int(row["unexpected_count"]),
        "headings": list(dict.fromkeys(name for example in examples for name in example)),
        "examples": examples,
        "squares": squares,
    }


def _shown(value: Any) -> Any:
    """A value for people: fractions with six digits. The warehouse has all digits (ops.gate_results)."""
    return f"{value:.6g}" if isinstance(value, float) and abs(value) < 1e6 else value


def _runs(history: pd.DataFrame) -> pd.DataFrame:
    """The newest runs, oldest first: ``run, as_of, created_at``."""
    if history.empty:
        return pd.DataFrame(columns=["run", "as_of", "created_at"])
    runs = history.groupby("run", as_index=False).agg(as_of=("as_of", "max"), created_at=("created_at", "max"))
    return runs.sort_values(["as_of", "created_at", "run"]).tail(RUNS_SHOWN)


def _past(history: pd.DataFrame) -> dict[tuple[str, ...], tuple[str, str]]:
    """State and count of every expectation in every run, by run and key."""
    if history.empty:
        return {}
    stated = with_states(history)
    counts = map(counted, stated["unexpected_count"], stated["element_count"])
    keys = stated[["run", *KEY]].itertuples(index=False, name=None)
    return dict(zip(keys, zip(stated["state"], counts, strict=True), strict=True))


def _squares(row: dict[Any, Any], runs: pd.DataFrame, past: dict[tuple[str, ...], tuple[str, str]]) -> Iterator[Past]:
    for one in runs.to_dict("records"):
        state, count = past.get((one["run"], *(row[name] for name in KEY)), ("absent", ""))
        day = f"{one['as_of']:%Y-%m-%d}"
        text = "not run" if state == "absent" else state if state == MET else f"{state}, {count}"
        yield Past(state, f"{day}: {text} (run at {one['created_at']:%Y-%m-%d %H:%M} UTC)", day)
