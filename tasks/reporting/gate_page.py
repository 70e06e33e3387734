"""The gate page of a run, with the history that the warehouse holds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.gates.page import RUNS_SHOWN, render_gate_page
from tasks.gates.states import KEY
from tasks.gates.words import rules
from tasks.run import RunContext
from tasks.storage.files import write_bytes
from tasks.warehouse.open import open_warehouse


def gate_history(run: RunContext) -> pd.DataFrame:
    """Rows of ``ops.gate_results`` of the newest runs as of this session or an earlier one; none before a publish."""
    warehouse = open_warehouse(run.settings)
    if not warehouse.is_published():
        return pd.DataFrame()
    return warehouse.query(
        f"SELECT * FROM ops.gate_results WHERE as_of <= DATE '{run.as_of:%Y-%m-%d}' AND run IN (SELECT run "  # noqa: S608 a date
        f"FROM ops.gate_results WHERE as_of <= DATE '{run.as_of:%Y-%m-%d}' GROUP BY run "
        f"ORDER BY MAX(as_of) DESC, MAX(created_at) DESC LIMIT {RUNS_SHOWN})"
    )


def write_gate_page(run: RunContext, results: pd.DataFrame, *, name: str = "gates") -> Path:
    """Write ``reports/<name>_<as_of>.html`` of these results; the same results and history give the same file."""
    said = rules(results["gate"].unique(), run.settings.expectations)
    told = results.merge(said, on=KEY, how="left", validate="one_to_one")
    told = told.fillna({"table": told["suite"], "rule": told["expectation"]})  # gates without suites of their own
    page = render_gate_page(told, gate_history(run), run.as_of)
    return write_bytes(run.work.reports / f"{name}_{run.as_of:%Y-%m-%d}.html", page.encode())
