"""Rows that fail an expectation whose suite says ``quarantine`` are set aside, and the run goes on without them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.gates.run import NOT_SET_ASIDE, GateResult, gate_context, run_suite
from tasks.gates.suites import build_expectations, load_suites, suite_path
from tasks.staging.gather import stack


@dataclass(frozen=True)
class SetAside:
    """A table without the rows that failed, those rows, and what each expectation saw.

    ``rows`` has the table's columns and ``rule`` (``gate:<expectation>``) and ``reason``; a row that fails several
    expectations is there once, with the first of them.
    """

    kept: pd.DataFrame
    rows: pd.DataFrame
    results: tuple[GateResult, ...]


def set_aside(gate: str, table: str, frame: pd.DataFrame, *, expectations: Path) -> SetAside:
    """Part ``frame`` by the expectations of its suite that set rows aside. Nothing is written or changed.

    An expectation that could not be evaluated sets nothing aside: the gate blocks on it later.

    Invariants: every row is in ``kept`` or in ``rows``, in the order they had; of ``kept``, nothing is set aside again.

    Raises:
        RegistryError: the suite is misspelt.
    """
    suite = load_suites(gate, expectations)[table]
    rules = np.full(len(frame), "", dtype=object)
    reasons = np.full(len(frame), "", dtype=object)
    results = []
    if any(check.meta.on_fail == "quarantine" for check in suite.expectations):
        built = build_expectations(suite, suite_path(gate, table, expectations))
        for result, places in run_suite(gate_context(), gate, suite, built, frame, losing_only=True):
            if result.success or not result.answered:
                continue
            results.append(replace(result, on_fail="quarantine", reason=result.reason.removeprefix(NOT_SET_ASIDE)))
            fresh = np.array([place for place in places if not rules[place]], dtype="int64")
            rules[fresh], reasons[fresh] = f"gate:{result.expectation}", results[-1].reason
    lost = rules != ""
    rows = frame[lost].assign(rule=rules[lost], reason=reasons[lost])
    return SetAside(frame[~lost].reset_index(drop=True) if lost.any() else frame, rows, tuple(results))


def without_failing_rows(
    observations: pd.DataFrame, quarantine: pd.DataFrame, *, expectations: Path
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[GateResult, ...]]:
    """POST_STAGING's observations without the rows that fail, the quarantine with them, and what was seen.

    What was staged on disk stays as it is: a row is judged anew in every run, and comes back when the rule is mended.
    """
    found = set_aside("POST_STAGING", "observations", observations, expectations=expectations)
    if found.rows.empty:
        return observations, quarantine, found.results
    # which payload a row came from is not known any more; its source, date and vintage are
    rows = found.rows.assign(payload="", row=0)[list(quarantine.columns)]
    rows = rows.astype({"rule": "category", "reason": "category", "payload": "category"})
    return found.kept, stack([quarantine, rows]), found.results
