"""The state of a result in one word, and the order for readers: failures first."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

MET = "met"
STATES = ("blocked", "quarantined", "warned", "waived", MET)
"""The worst first. An expectation without a failure is met, whatever its on_fail is."""
FAILED_AS = {"block": "blocked", "quarantine": "quarantined", "warn": "warned"}
WAIVED = "waived until "
KEY = ["gate", "suite", "expectation", "column_name"]


def with_states(results: pd.DataFrame) -> pd.DataFrame:
    """Gate results with a ``state``. A waived failure is a warning whose reason begins with ``WAIVED``."""
    failed = results["on_fail"].map(FAILED_AS).where(~results["success"].astype(bool), MET)
    excused = failed.eq("warned") & results["reason"].str.startswith(WAIVED)
    return results.assign(state=failed.mask(excused, "waived").astype(str))


def worst_first(results: pd.DataFrame) -> pd.DataFrame:
    """Results with their states, the worst first, otherwise in the suites' order."""
    stated = with_states(results)
    return stated.sort_values("state", key=lambda states: states.map(STATES.index), kind="stable", ignore_index=True)


def count_states(results: pd.DataFrame) -> pd.DataFrame:
    """One row per gate: ``gate, expectations``, then the count of each state."""
    stated = with_states(results)
    counts = pd.crosstab(stated["gate"], stated["state"]).reindex(
        index=stated["gate"].unique(), columns=list(STATES), fill_value=0
    )
    counts.insert(0, "expectations", counts.sum(axis=1))
    return counts.reset_index().rename_axis(columns=None)


def result_table(results: pd.DataFrame) -> pd.DataFrame:
    """Results for readers: failures first, with example rows below the reason."""
    rows = []
    for row in worst_first(results).to_dict("records"):
        examples = [] if row["state"] == MET else json.loads(row["examples"])
        rows.append(
            {
                "gate": row["gate"],
                "suite": row["suite"],
                "expectation": row["expectation"],
                "column": row["column_name"],
                "result": row["state"],
                "count": counted(row["unexpected_count"], row["element_count"]),
                "reason": "\n".join([row["reason"], *map(_in_a_line, examples)]),
            }
        )
    return pd.DataFrame(rows)


def _in_a_line(example: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {'missing' if value is None else value}" for name, value in example.items())


def counted(unexpected: int, elements: int) -> str:
    """How many of how many."""
    return f"{int(unexpected):,} of {int(elements):,}"
