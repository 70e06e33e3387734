"""What a result came to, in one word, and the order people read results in: what failed first."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

MET = "met"
STATES = ("blocked", "quarantined", "warned", "waived", MET)
"""The worst first. Without a failure an expectation is met, whatever it would have done."""
FAILED_AS = {"block": "blocked", "quarantine": "quarantined", "warn": "warned"}
WAIVED = "waived until "
KEY = ["gate", "suite", "expectation", "column_name"]


def with_states(results: pd.DataFrame) -> pd.DataFrame:
    """Gate results with a ``state``. A failure whose waiver is in force only warns, and its reason begins so."""
    failed = results["on_fail"].map(FAILED_AS).where(~results["success"].astype(bool), MET)
    excused = failed.eq("warned") & results["reason"].str.startswith(WAIVED)
    return results.assign(state=failed.mask(excused, "waived").astype(str))


def worst_first(results: pd.DataFrame) -> pd.DataFrame:
    """Results with their states, failures before what was met, otherwise in the suites' order."""
    stated = with_states(results)
    return stated.sort_values("state", key=lambda states: states.map(STATES.index), kind="stable", ignore_index=True)


def count_states(results: pd.DataFrame) -> pd.DataFrame:
    """One row a gate: ``gate, expectations``, then how many came to each state."""
    stated = with_states(results)
    counts = pd.crosstab(stated["gate"], stated["state"]).reindex(
        index=stated["gate"].unique(), columns=list(STATES), fill_value=0
    )
    counts.insert(0, "expectations", counts.sum(axis=1))
    return counts.reset_index().rename_axis(columns=None)


def result_table(results: pd.DataFrame) -> pd.DataFrame:
    """Results as people read them, failures first and with their example rows below the reason."""
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
