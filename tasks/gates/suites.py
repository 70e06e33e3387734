"""Suites: which expectations a table must meet at a gate, read from expectations/<gate>/<table>.json.

Only loading and checking of the files belongs here. Every model forbids unknown keys, and an unknown expectation type
is an error: Great Expectations itself only logs and drops it, so the check would be lost silently.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from tasks.command_line import nearest
from tasks.errors import RegistryError
from tasks.registry import Entry

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

OnFail = Literal["quarantine", "block", "warn"]

COLUMN_KWARGS = ("column", "column_A", "column_B", "limit")
# Which tables can lose rows or columns. A row of observations, or of a source's own table, is a cell or a report. A row
# of `panel_summary` or `feature_starts` stands for a column of the panel or the features, which is set aside with it.
# `features` loses columns. Panel and labels lose nothing: without a row, counts of sessions would be wrong.
SUMMARIES = {("POST_STAGING", "series_summary"), ("POST_STAGING", "source_summary")}
LOSES_COLUMNS = {("POST_FEATURES", "features")}
LOSES_ROWS = {("POST_ASSEMBLY", "panel_summary"), ("POST_FEATURES", "feature_starts")}


def can_lose(gate: str, table: str) -> str:
    """`rows` or `columns`: what the table can lose at the gate; empty for neither."""
    if (gate, table) in LOSES_COLUMNS:
        return "columns"
    staged = gate == "POST_STAGING" and (gate, table) not in SUMMARIES
    return "rows" if staged or (gate, table) in LOSES_ROWS else ""


@dataclass(frozen=True)
class Gate:
    """One gate: the folder of its suites, and what to do when it stops a run."""

    folder: str
    next_step: str


GATES = {
    "POST_COLLECTION": Gate(
        "collection",
        "Read why each source failed under `Data`, fix its key, endpoint or network, and run `cbi ingest <source>`",
    ),
    "POST_STAGING": Gate(
        "staging",
        "Look at the refused cells in quarantine/, then refetch with `cbi ingest <source>`; if the source "
        "itself is wrong, fix its range or rule in registry/data_sources.yaml",
    ),
    "POST_FEATURES": Gate(
        "features",
        "Fix the feature in tasks/features/, or the series it reads (`formula` and `sources` in "
        "registry/feature_registry.yaml), then run `cbi daily`",
    ),
    "POST_ASSEMBLY": Gate(
        "assembly",
        "Fix the source's series, the join in registry/join_spec.yaml (panel) or tasks/labels.py (labels), then run "
        "`cbi daily`",
    ),
    "PRE_TRAINING": Gate(
        "training",
        "Delete the folder exports/ and run `cbi daily`, which writes the training files again; if they "
        "come out the same, fix tasks/exports.py, tasks/labels.py or registry/regime_calendar.csv",
    ),
}


class Meta(Entry):
    """The consequence of a failure, and the reason for the check."""

    on_fail: OnFail
    reason: str = Field(min_length=10, description="what goes wrong later if this is let through")


class Check(Entry):
    """One expectation as written in a suite."""

    type: str = Field(pattern="^expect_[a-z0-9_]+$")
    kwargs: dict[str, Any]
    meta: Meta

    @property
    def columns(self) -> list[str]:
        """The columns that its arguments name."""
        named = [str(self.kwargs[key]) for key in COLUMN_KWARGS if self.kwargs.get(key) is not None]
        return named + [str(name) for name in self.kwargs.get("column_list", ()) if self.type.endswith("unique")]

    @property
    def column_name(self) -> str:
        """The column that it checks; empty for the table."""
        return str(self.kwargs["column"]) if "column" in self.kwargs else ", ".join(self.columns)


class Suite(Entry):
    """The expectations on one table."""

    name: str
    table: str
    expectations: tuple[Check, ...] = Field(min_length=1)

    def names(self) -> list[str]:
        """The expectations' names, unique per column: a repeated type includes the arguments that differ.

        Raises:
            RegistryError: the same expectation twice with the same arguments.
        """
        groups: dict[tuple[str, str], list[Check]] = defaultdict(list)
        for check in self.expectations:
            groups[check.type, check.column_name].append(check)
        names = []
        for check in self.expectations:
            group = groups[check.type, check.column_name]
            every = sorted({key for other in group for key in other.kwargs})
            differ = [key for key in every if len({json.dumps(other.kwargs.get(key)) for other in group}) > 1]
            arguments = ",".join(f"{key}={json.dumps(check.kwargs.get(key), separators=(',', ':'))}" for key in differ)
            names.append(f"{check.type}[{arguments}]" if differ else check.type)
        keys = [(name, check.column_name) for name, check in zip(names, self.expectations, strict=True)]
        double = sorted({name for name, column in keys if keys.count((name, column)) > 1})
        if double:
            raise RegistryError(f"the same expectation twice: {', '.join(double)}; delete one")
        return names


def gate_named(name: str) -> Gate:
    """One gate.

    Raises:
        RegistryError: no such gate; the message lists the gates.
    """
    if name not in GATES:
        raise RegistryError(
            f"unknown gate `{name}`; known: {', '.join(GATES)} (tasks/gates/suites.py).{nearest(name, GATES)}"
        )
    return GATES[name]


def suite_path(gate: str, table: str, expectations: Path) -> Path:
    """The file of a table's suite."""
    return expectations / gate_named(gate).folder / f"{table}.json"


def load_suites(gate: str, expectations: Path) -> dict[str, Suite]:
    """The suites of a gate by table.

    Raises:
        RegistryError: no suites, or an invalid one; the message names the file and the key.
    """
    folder = expectations / gate_named(gate).folder
    suites: dict[str, Suite] = {}
    for path in sorted(folder.glob("*.json")):
        suite = _load(path)
        if suite.table != path.stem:
            raise RegistryError(f"{path}: its table is `{suite.table}`; name the file {suite.table}.json")
        _require_something_to_lose(gate, suite, path)
        if suite.name in {other.name for other in suites.values()}:
            raise RegistryError(f"{path}: another suite of {gate} has the name `{suite.name}`; choose another")
        suites[suite.table] = suite
    if not suites:
        raise RegistryError(f"{gate}: no suites in {folder}; restore them with `git checkout expectations`")
    return suites


def _require_something_to_lose(gate: str, suite: Suite, path: Path) -> None:
    """Raise if a suite says ``quarantine`` for a table that cannot lose anything."""
    wrong = [check.type for check in suite.expectations if check.meta.on_fail == "quarantine"]
    if wrong and not can_lose(gate, suite.table):
        raise RegistryError(
            f"{path}: {', '.join(wrong)}: on_fail `quarantine`, but {suite.table} cannot lose rows or columns at "
            f"{gate} (tasks/gates/suites.py says which tables can); write `block` or `warn`"
        )


def build_expectations(suite: Suite, path: Path) -> list[Expectation]:
    """The suite's Great Expectations objects, in order; their meta has the position.

    Raises:
        RegistryError: an unknown type or a bad argument; the message names the file and the entry.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import, which also takes seconds
    from great_expectations.compatibility.pydantic import ValidationError as BadArguments
    from great_expectations.exceptions import ExpectationNotFoundError, InvalidExpectationConfigurationError
    from great_expectations.expectations.expectation import ColumnMapExpectation, MulticolumnMapExpectation
    from great_expectations.expectations.registry import get_expectation_impl

    import tasks.gates.expectations  # noqa: F401 registers ours

    built = []
    for place, check in enumerate(suite.expectations):
        entry = f"{path}: expectations[{place}] {check.type}"
        try:
            kind = get_expectation_impl(check.type)
            if check.meta.on_fail == "quarantine" and not (
                getattr(kind, "finds_rows", False)
                or getattr(kind, "finds_columns", False)
                or issubclass(kind, (ColumnMapExpectation, MulticolumnMapExpectation))
            ):
                raise RegistryError(
                    f"{entry}: on_fail `quarantine`, but it finds no rows and no columns; write `block` or `warn`"
                )
            built.append(kind(**check.kwargs, meta={"place": place}))
        except ExpectationNotFoundError:
            raise RegistryError(
                f"{entry}: no such expectation; fix the name, or add it to tasks/gates/expectations/"
            ) from None
        except BadArguments as error:
            problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
            raise RegistryError(f"{entry}: {problems}. Fix its kwargs") from None
        except (InvalidExpectationConfigurationError, TypeError, ValueError) as error:
            raise RegistryError(f"{entry}: {error}. Fix its kwargs") from None
    return built


def _load(path: Path) -> Suite:
    try:
        suite = Suite.model_validate(json.loads(path.read_text(encoding="utf-8")))
        suite.names()
    except json.JSONDecodeError as error:
        raise RegistryError(f"{path} is not JSON: {error}") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise RegistryError(f"{path}: {problems}") from None
    except RegistryError as error:
        raise RegistryError(f"{path}: {error}") from None
    return suite
