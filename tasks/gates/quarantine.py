"""Data that fails an expectation with ``on_fail: quarantine`` is set aside, and the run continues without it.

This can be rows of observations, a source's reports, columns of the panel, or features; each is reported with its
reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.gates.run import NOT_SET_ASIDE, GateResult, gate_context, run_suite
from tasks.gates.suites import build_expectations, load_suites, suite_path
from tasks.registry import DataSources
from tasks.staging.gather import stack
from tasks.staging.summary import newest_values


@dataclass(frozen=True)
class SetAside:
    """A table without the rows that failed, those rows, and the result of each expectation.

    ``rows`` has the table's columns and ``rule`` (``gate:<expectation>``) and ``reason``; a row that fails several
    expectations is listed once, with the first of them.
    """

    kept: pd.DataFrame
    rows: pd.DataFrame
    results: tuple[GateResult, ...]


def set_aside(gate: str, table: str, frame: pd.DataFrame, *, expectations: Path) -> SetAside:
    """Split ``frame`` by the expectations of its suite that set rows aside. Nothing is written or changed.

    An expectation that could not be evaluated sets nothing aside: the gate blocks on it later.

    Invariants: every row is in ``kept`` or in ``rows``, in the original order; a second call sets nothing aside.

    Raises:
        RegistryError: the suite is invalid.
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
    observations: pd.DataFrame, quarantine: pd.DataFrame, sources: DataSources, *, expectations: Path
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[GateResult, ...]]:
    """POST_STAGING's observations without failing rows, the quarantine with these rows, and the results.

    A source with its own suite loses all fields of the dates that fail it. Staged files are not changed: every run
    judges the rows again, so a row returns once the rule is corrected.
    """
    found = set_aside("POST_STAGING", "observations", observations, expectations=expectations)
    kept, lost, results = found.kept, [found.rows], [*found.results]
    for name, spec in sources.sources.items():
        if not suite_path("POST_STAGING", name, expectations).exists():
            continue
        reports = set_aside("POST_STAGING", name, newest_values(kept, name, spec), expectations=expectations)
        results += reports.results
        if len(reports.rows):
            keys = ["series", "observation_date"]
            why = reports.rows.set_index(keys)[["rule", "reason"]]
            cells = kept[keys].astype({"series": "str"}).join(why, on=keys)
            bad = (kept["source"] == name).to_numpy() & cells["rule"].notna().to_numpy()
            lost.append(kept[bad].assign(rule=cells["rule"][bad], reason=cells["reason"][bad]))
            kept = kept[~bad].reset_index(drop=True)
    rows = pd.concat([part for part in lost if len(part)] or lost[:1], ignore_index=True)
    if rows.empty:
        return observations, quarantine, tuple(results)
    # the payload of a row is no longer known; its source, date and vintage are
    rows = rows.assign(payload="", row=0)[list(quarantine.columns)]
    text = ("source", "series", "field", "unit", "rule", "reason", "payload")
    return kept, stack([quarantine, rows.astype(dict.fromkeys(text, "category"))]), tuple(results)


@dataclass(frozen=True)
class ColumnsAside:
    """A table in which failing columns are missing, the reason of each such column, and the results."""

    table: pd.DataFrame
    summary: pd.DataFrame
    reasons: dict[str, str]
    results: tuple[GateResult, ...]


def without_failing_columns(panel: pd.DataFrame, panel_summary: pd.DataFrame, *, expectations: Path) -> ColumnsAside:
    """POST_ASSEMBLY's panel in which the columns that fail in the summary are missing."""
    found = set_aside("POST_ASSEMBLY", "panel_summary", panel_summary, expectations=expectations)
    reasons = dict(zip(found.rows["column"], found.rows["reason"], strict=True))
    return ColumnsAside(_emptied(panel, reasons), found.kept, reasons, found.results)


def without_failing_features(features: pd.DataFrame, starts: pd.DataFrame, *, expectations: Path) -> ColumnsAside:
    """POST_FEATURES' features in which those that fail are missing, by their row of ``starts`` or their values."""
    found = set_aside("POST_FEATURES", "feature_starts", starts, expectations=expectations)
    reasons = dict(zip(found.rows["column"], found.rows["reason"], strict=True))
    results = [*found.results]
    suite = load_suites("POST_FEATURES", expectations)["features"]
    if any(check.meta.on_fail == "quarantine" for check in suite.expectations):
        built = build_expectations(suite, suite_path("POST_FEATURES", "features", expectations))
        for result, _ in run_suite(gate_context(), "POST_FEATURES", suite, built, features, losing_only=True):
            if result.success or not result.answered:
                continue
            results.append(replace(result, on_fail="quarantine", reason=result.reason.removeprefix(NOT_SET_ASIDE)))
            reasons |= {name: results[-1].reason for name in result.columns if name not in reasons}
    return ColumnsAside(_emptied(features, reasons), found.kept, reasons, tuple(results))


def _emptied(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with these columns set to missing; ages and order do not change."""
    lost = [name for name in columns if name in table.columns]
    return table.assign(**dict.fromkeys(lost, np.nan)) if lost else table
