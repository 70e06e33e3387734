"""The gate page of a run, with the history from the warehouse."""

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
    wording = rules(results["gate"].unique(), run.settings.expectations)
    rows = results.merge(wording, on=KEY, how="left", validate="one_to_one")
    rows = rows.fillna({"table": rows["suite"], "rule": rows["expectation"]})  # gates without their own suites
    page = render_gate_page(rows, gate_history(run), run.as_of)
    return write_bytes(run.work.reports / f"{name}_{run.as_of:%Y-%m-%d}.html", page.encode())
