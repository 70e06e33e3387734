"""Run a gate: every suite on its table, one report, one decision.

A gate reports all failures at once, so that a person can fix them together. An expectation that cannot be evaluated (a
column is missing, or it raised) blocks, whatever its suite says: a check that did not run proves nothing. No waiver
applies to it.

Failing rows or columns of tables that can lose them are set aside before the gate (tasks/gates/quarantine.py). If the
gate still finds any, it blocks. A gate blocks only what it guards: see ``pass_gate`` and ``see_gate``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks import clock
from tasks.errors import GateFailed, RegistryError
from tasks.gates.examples import EXAMPLES, example_rows
from tasks.gates.suites import GATES, Check, OnFail, Suite, build_expectations, gate_named, load_suites, suite_path
from tasks.registry import GateWaiver, load_waivers

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.expectations.expectation import Expectation

    from tasks.run import RunContext

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
NOT_SET_ASIDE = "the failing data was not set aside before the gate. "


@dataclass(frozen=True)
class GateResult:
    """The result of one expectation. Table-level ones have no ``column_name`` but name the failing ``columns``."""

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
    answered: bool = True  # False: it could not be evaluated, and ``reason`` says why

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Its key in ops.gate_results and in registry/gate_waivers.yaml."""
        return self.gate, self.suite, self.expectation, self.column_name

    def __str__(self) -> str:
        """The text for people: where, how much, why it matters, and example rows."""
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
        """The failures that block, those whose rows were set aside, or those that warn."""
        return [result for result in self.results if not result.success and result.on_fail == on_fail]

    def require(self) -> None:
        """Raise if a blocking expectation failed.

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
        """One row per expectation, unique on gate, suite, expectation, column_name: the shape of ops.gate_results."""
        rows = [
            {**{name: getattr(result, name) for name in REPORT_COLUMNS}, "examples": json.dumps(result.examples)}
            for result in self.results
        ]
        return pd.DataFrame(rows, columns=list(REPORT_COLUMNS))


def run_gate(
    gate: str,
    tables: Mapping[str, pd.DataFrame],
    *,
    expectations: Path,
    set_aside: Sequence[GateResult] = (),
    waivers: Sequence[GateWaiver] = (),
    today: date | None = None,
) -> GateReport:
    """Check every table against its suite. Nothing is written, printed or sent.

    Args:
        set_aside: earlier results of ``tasks.gates.quarantine.set_aside``; they become part of the report.
        waivers: of any gate. One in force on ``today`` (default: the date in Chicago) turns a blocking failure into a
            warning; one not in force is reported.

    Raises:
        RegistryError: a suite is invalid, a table has none, or a waiver names no blocking expectation.
        GateFailed: a suite's table was not given.
    """
    suites = load_suites(gate, expectations)
    today = today or clock.now().tz_convert("America/Chicago").date()
    mine = _waivers_of(gate, suites, waivers)
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
    context = gate_context()
    before = {result.key: result for result in set_aside}
    results = [
        _with_waiver(before.get(result.key, result) if result.success else result, mine, today)
        for table, suite in suites.items()
        for result, _ in run_suite(context, gate, suite, built[table], tables[table])
    ]
    idle = [_not_in_force(waiver) for waiver in mine.values() if not _in_force(waiver, today)]
    return GateReport(gate, (*results, *idle))


def pass_gate(
    run: RunContext, gate: str, tables: Mapping[str, pd.DataFrame], *, set_aside: Sequence[GateResult] = ()
) -> GateReport:
    """Check a run's tables at a gate, with the suites and waivers of its settings; raise if the gate fails.

    Raises:
        GateFailed: every blocking failure at once. RegistryError: as ``run_gate``.
    """
    report = run_gate(
        gate,
        tables,
        expectations=run.settings.expectations,
        set_aside=set_aside,
        waivers=load_waivers(run.settings.registry),
    )
    report.require()
    return report


def see_gate(
    run: RunContext, gate: str, tables: Mapping[str, pd.DataFrame], *, set_aside: Sequence[GateResult] = ()
) -> GateReport:
    """As ``pass_gate``, but never raise on failures: for a gate that guards something this run does not do.

    A day without training is not stopped by PRE_TRAINING; the report says that training is blocked.
    """
    return run_gate(
        gate,
        tables,
        expectations=run.settings.expectations,
        set_aside=set_aside,
        waivers=load_waivers(run.settings.registry),
    )


def _waivers_of(
    gate: str, suites: Mapping[str, Suite], waivers: Sequence[GateWaiver]
) -> dict[tuple[str, str, str, str], GateWaiver]:
    """The waivers of a gate by the expectation that they waive.

    Raises:
        RegistryError: a waiver names no gate, or no blocking expectation of its gate.
    """
    blocking = {
        (gate, suite.name, name, check.column_name)
        for suite in suites.values()
        for name, check in zip(suite.names(), suite.expectations, strict=True)
        if check.meta.on_fail == "block"
    }
    lost = [w for w in waivers if w.gate not in GATES or (w.gate == gate and w.key not in blocking)]
    if lost:
        named = "; ".join(" ".join(waiver.key).strip() for waiver in lost)
        raise RegistryError(
            f"gate_waivers.yaml: no blocking expectation {named}; write gate, suite, expectation and column as the "
            "gate's message and ops.gate_results do, or delete the entry"
        )
    return {waiver.key: waiver for waiver in waivers if waiver.gate == gate}


def _in_force(waiver: GateWaiver, today: date) -> bool:
    return waiver.granted <= today <= waiver.expires


def _with_waiver(
    result: GateResult, waivers: Mapping[tuple[str, str, str, str], GateWaiver], today: date
) -> GateResult:
    """A failure with a waiver only warns. No waiver covers an expectation that could not be evaluated."""
    waiver = waivers.get(result.key)
    if waiver is None or result.success or result.on_fail != "block" or not result.answered:
        return result
    if _in_force(waiver, today):
        reason = f"waived until {waiver.expires}: {waiver.reason}. {result.reason}"
        return replace(result, on_fail="warn", reason=reason)
    return replace(result, reason=f"{result.reason}. Its waiver is not in force: {waiver.granted} to {waiver.expires}")


def _not_in_force(waiver: GateWaiver) -> GateResult:
    """A warning for a waiver that is not in force."""
    _, suite, expectation, column = waiver.key
    return GateResult(
        gate=waiver.gate,
        suite="registry.gate_waivers",
        expectation="expect_waiver_in_force",
        column_name=" ".join(part for part in (suite, expectation, column) if part),
        on_fail="warn",
        success=False,
        unexpected_count=1,
        element_count=1,
        examples=({"granted": f"{waiver.granted}", "expires": f"{waiver.expires}", "reason": waiver.reason},),
        columns=(),
        reason="This waiver waives nothing: fix what it was for and delete it, or grant it again with a new date",
    )


def gate_context() -> EphemeralDataContext:
    """A Great Expectations context without files, progress bars or analytics."""
    from great_expectations import get_context
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # at INFO it logs its own internals
    # The default configuration makes a temporary folder for Data Docs; this one keeps everything in memory.
    return get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


def run_suite(
    context: EphemeralDataContext,
    gate: str,
    suite: Suite,
    built: list[Expectation],
    table: pd.DataFrame,
    *,
    losing_only: bool = False,
) -> Iterator[tuple[GateResult, list[int]]]:
    """The result of each expectation, and for those that set rows aside the positions of all failing rows.

    ``losing_only``: run only expectations that set rows aside.
    """
    from great_expectations import ExpectationSuite

    frame = table.reset_index(drop=True)
    # Great Expectations 1.24 compares integers of other widths cell by cell, in Python
    frame = frame.astype({name: "int64" for name, kind in frame.dtypes.items() if kind in ("int32", "int16", "int8")})
    asset = context.data_sources.add_pandas(f"{gate}.{suite.name}").add_dataframe_asset(suite.table)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    loses = [check.meta.on_fail == "quarantine" for check in suite.expectations]
    losing = [one for one, lost in zip(built, loses, strict=True) if lost]
    others = [one for one, lost in zip(built, loses, strict=True) if not lost and not losing_only]
    by_place: dict[int, ExpectationValidationResult] = {}
    # only expectations that set rows aside need all failing rows; the others report the first positions
    for chosen, detail in ((losing, "COMPLETE"), (others, "SUMMARY")):
        if chosen:
            validated = batch.validate(
                ExpectationSuite(name=f"{suite.name} {detail}", expectations=chosen),
                result_format={"result_format": detail, "partial_unexpected_count": EXAMPLES},
            )
            by_place |= {
                (result.expectation_config.meta or {})["place"]: result
                for result in validated.results
                if result.expectation_config
            }
    for place, (name, check) in enumerate(zip(suite.names(), suite.expectations, strict=True)):
        if place in by_place:
            rows = list(by_place[place].result.get("unexpected_index_list") or []) if loses[place] else []
            yield _judge(gate, suite, name, check, by_place[place], frame), rows


def _judge(
    gate: str, suite: Suite, name: str, check: Check, validation: ExpectationValidationResult, frame: pd.DataFrame
) -> GateResult:
    success, result = bool(validation.success), validation.result
    problem = None if success else _problem(check, validation, frame)
    if "unexpected_count" in result:
        unexpected, elements = int(result["unexpected_count"]), int(result["element_count"])
    else:
        unexpected, elements = int(not success), 1
    met_here = NOT_SET_ASIDE if check.meta.on_fail == "quarantine" else ""
    return GateResult(
        gate=gate,
        suite=suite.name,
        expectation=name,
        column_name=check.column_name,
        on_fail="block" if problem or (met_here and not success) else check.meta.on_fail,
        success=success,
        unexpected_count=unexpected,
        element_count=elements,
        examples=() if success and not unexpected else tuple(_examples(check, result, frame)),
        columns=tuple(result.get("columns", ())),
        reason=problem or (check.meta.reason if success else met_here + check.meta.reason),
        answered=problem is None,
    )


def _problem(check: Check, validation: ExpectationValidationResult, frame: pd.DataFrame) -> str | None:
    """Why the expectation could not be evaluated; None if it could."""
    raised = _exception_messages(validation.exception_info)
    missing = list(validation.result.get("missing_columns", ()))
    if raised:
        missing += [name for name in check.columns if name not in frame.columns]
    if missing:
        return f"column {', '.join(f'`{name}`' for name in dict.fromkeys(missing))} is missing"
    return f"it could not be evaluated: {raised[0]}" if raised else None


def _exception_messages(info: Mapping[str, Any]) -> list[str]:
    """The messages of one exception, or of one exception per failed metric."""
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
