"""Run a gate: every suite on its table, one report, one decision.

A gate never stops at the first fault: a person mends them together. An expectation that cannot be answered (a column
is missing, it raised) blocks, whatever its suite says: a check that did not run proves nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks.errors import GateFailed, RegistryError
from tasks.gates.examples import EXAMPLES, example_rows
from tasks.gates.suites import Check, OnFail, Suite, build_expectations, gate_named, load_suites, suite_path

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.expectations.expectation import Expectation

REPORT_COLUMNS = (
    "gate",
    "suite",
    "expectation",
    "column_name",
    "on_fail",
    "success",
    "unexpected_count",
    "element_count",
    "examples",
    "reason",
)
COLUMNS_NAMED = 5


@dataclass(frozen=True)
class GateResult:
    """What one expectation saw. Table-level ones have no ``column_name`` and name ``columns`` at fault, if any."""

    gate: str
    suite: str
    expectation: str
    column_name: str
    on_fail: OnFail
    success: bool
    unexpected_count: int
    element_count: int
    examples: tuple[dict[str, Any], ...]
    columns: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        """What a person reads: where, how much, why it matters, and example rows."""
        at_fault = [self.column_name] if self.column_name else list(self.columns)
        named = ", ".join(f"`{name}`" for name in at_fault[:COLUMNS_NAMED])
        named += f" and {len(at_fault) - COLUMNS_NAMED} more" if len(at_fault) > COLUMNS_NAMED else ""
        where = f"{self.suite}, {f'column {named}' if named else 'table'}"
        lines = [f"{where}: {self.unexpected_count:,} of {self.element_count:,} fail {self.expectation}. {self.reason}"]
        return "\n".join([*lines, *(f"    {json.dumps(row, ensure_ascii=False)}" for row in self.examples)])


@dataclass(frozen=True)
class GateReport:
    """All results of one gate on one run."""

    gate: str
    results: tuple[GateResult, ...]

    def failed(self, on_fail: OnFail) -> list[GateResult]:
        """The failures that block, or those that warn."""
        return [result for result in self.results if not result.success and result.on_fail == on_fail]

    def require(self) -> None:
        """Go on only when nothing that blocks has failed.

        Raises:
            GateFailed: every blocking failure at once, each with its example rows, and what to do next.
        """
        failed = self.failed("block")
        if failed:
            blocking = sum(result.on_fail == "block" for result in self.results)
            listed = "\n".join(f"- {result}" for result in failed)
            raise GateFailed(
                f"{self.gate}: {len(failed)} of {blocking} blocking expectations failed; nothing was written after "
                f"it, the last good outputs stay.\n{listed}\n{gate_named(self.gate).next_step}."
            )

    def frame(self) -> pd.DataFrame:
        """One row an expectation, unique on gate, suite, expectation, column_name: the shape of ops.gate_results."""
        rows = [
            {**{name: getattr(result, name) for name in REPORT_COLUMNS}, "examples": json.dumps(result.examples)}
            for result in self.results
        ]
        return pd.DataFrame(rows, columns=list(REPORT_COLUMNS))


def run_gate(gate: str, tables: Mapping[str, pd.DataFrame], *, expectations: Path) -> GateReport:
    """Hold every table against its suite. Nothing is written, printed or sent.

    Raises:
        RegistryError: a suite is misspelt, or a table has none.
        GateFailed: a suite's table was not given.
    """
    suites = load_suites(gate, expectations)
    folder = expectations / gate_named(gate).folder
    unguarded = sorted(set(tables) - set(suites))
    if unguarded:
        raise RegistryError(f"{gate}: no suite for {', '.join(unguarded)}; write {folder / unguarded[0]}.json")
    absent = sorted(set(suites) - set(tables))
    if absent:
        raise GateFailed(
            f"{gate}: table {', '.join(absent)} was not given, so its suite in {folder} did not run. "
            "Give the table to run_gate, or delete the suite"
        )
    built = {table: build_expectations(suite, suite_path(gate, table, expectations)) for table, suite in suites.items()}
    context = _context()
    results = [
        result
        for table, suite in suites.items()
        for result in _run_suite(context, gate, suite, built[table], tables[table])
    ]
    return GateReport(gate, tuple(results))


def _context() -> EphemeralDataContext:
    from great_expectations import get_context
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # at INFO it tells of its own inner life
    # The default configuration makes a temporary folder for Data Docs; this one keeps everything in memory.
    return get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


def _run_suite(
    context: EphemeralDataContext, gate: str, suite: Suite, built: list[Expectation], table: pd.DataFrame
) -> Iterator[GateResult]:
    from great_expectations import ExpectationSuite

    frame = table.reset_index(drop=True)
    asset = context.data_sources.add_pandas(f"{gate}.{suite.name}").add_dataframe_asset(suite.table)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    # SUMMARY, not COMPLETE: it gives the first places at fault without a list of a million others.
    validated = batch.validate(
        ExpectationSuite(name=suite.name, expectations=built),
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES},
    )
    seen = {
        (result.expectation_config.meta or {})["place"]: result
        for result in validated.results
        if result.expectation_config
    }
    for place, (name, check) in enumerate(zip(suite.names(), suite.expectations, strict=True)):
        yield _judge(gate, suite, name, check, seen[place], frame)


def _judge(
    gate: str, suite: Suite, name: str, check: Check, seen: ExpectationValidationResult, frame: pd.DataFrame
) -> GateResult:
    success, result = bool(seen.success), seen.result
    problem = None if success else _problem(check, seen, frame)
    if "unexpected_count" in result:
        unexpected, elements = int(result["unexpected_count"]), int(result["element_count"])
    else:
        unexpected, elements = int(not success), 1
    return GateResult(
        gate=gate,
        suite=suite.name,
        expectation=name,
        column_name=check.column_name,
        on_fail="block" if problem else check.meta.on_fail,
        success=success,
        unexpected_count=unexpected,
        element_count=elements,
        examples=() if success and not unexpected else tuple(_examples(check, result, frame)),
        columns=tuple(result.get("columns", ())),
        reason=problem or check.meta.reason,
    )


def _problem(check: Check, seen: ExpectationValidationResult, frame: pd.DataFrame) -> str | None:
    """Why the expectation has no answer, if it has none."""
    raised = _exception_messages(seen.exception_info)
    missing = list(seen.result.get("missing_columns", ()))
    if raised:
        missing += [name for name in check.columns if name not in frame.columns]
    if missing:
        return f"column {', '.join(f'`{name}`' for name in dict.fromkeys(missing))} is missing"
    return f"it could not be evaluated: {raised[0]}" if raised else None


def _exception_messages(info: Mapping[str, Any]) -> list[str]:
    """Great Expectations gives one exception, or one for each metric that failed."""
    single = [info] if "raised_exception" in info else list(info.values())
    return [str(one["exception_message"]) for one in single if one["raised_exception"]]


def _examples(check: Check, result: Mapping[str, Any], frame: pd.DataFrame) -> list[dict[str, Any]]:
    if "examples" in result:
        return list(result["examples"])
    if "partial_unexpected_index_list" in result:
        shown = [name for name in check.columns if name in frame.columns]
        return example_rows(frame, result["partial_unexpected_index_list"], shown)
    if "details" in result and "mismatched" in result["details"]:
        return [
            {"place": one["Expected Column Position"], "expected": one["Expected"], "found": one["Found"]}
            for one in result["details"]["mismatched"][:EXAMPLES]
        ]
    return [{"observed": str(result["observed_value"])}] if "observed_value" in result else []
