"""The base of our expectations: the frame that they read, and their findings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from tasks.gates.examples import EXAMPLES, example_rows


class TableRows(TableMetricProvider):
    """The metric that our expectations read: the frame itself."""

    metric_name = "table.rows"

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> pd.DataFrame:
        return execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)[0]


@dataclass(frozen=True)
class Finding:
    """The result of an expectation."""

    unexpected: int
    elements: int
    examples: list[dict[str, Any]]
    columns: tuple[str, ...] = ()
    allowed: float = 0.0  # the share of elements that may be unexpected
    rows: tuple[int, ...] = ()  # positions of the failing rows, if rows fail

    @property
    def success(self) -> bool:  # noqa: D102
        return self.unexpected <= self.allowed * self.elements


class FrameExpectation(BatchExpectation, ABC):
    """Base: subclasses say which columns they need and what is at fault in the frame."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows",)
    finds_rows: ClassVar[bool] = False  # whether each fault is a row of its own, which can be set aside
    finds_columns: ClassVar[bool] = False  # whether ``columns`` names every column at fault, which can be set aside

    def needs(self) -> Iterable[str]:
        """The columns that the expectation needs."""
        return ()

    @abstractmethod
    def find(self, frame: pd.DataFrame) -> Finding:
        """What is at fault in ``frame``, whose index is 0 to n-1 and whose needed columns are there."""

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        frame = metrics["table.rows"]
        missing = [name for name in self.needs() if name not in frame.columns]
        if missing:
            return {"success": False, "result": {"missing_columns": missing}}
        finding = self.find(frame)
        result = {
            "element_count": finding.elements,
            "unexpected_count": finding.unexpected,
            "examples": finding.examples,
            "columns": list(finding.columns),
            "unexpected_index_list": list(finding.rows),
        }
        return {"success": finding.success, "result": result}


def rows_at_fault(frame: pd.DataFrame, fault: np.ndarray, shown: Sequence[str], elements: int | None = None) -> Finding:
    """``fault``: which rows are at fault; ``shown``: the columns to show of them beside their key."""
    places = np.flatnonzero(fault)
    return Finding(
        unexpected=len(places),
        elements=len(frame) if elements is None else elements,
        examples=example_rows(frame, places[:EXAMPLES], shown),
        rows=tuple(places.tolist()),
    )


def rows_where(frame: pd.DataFrame, where: dict[str, Any] | None) -> np.ndarray:
    """The rows on which every column of ``where`` has the value given, or one of the values."""
    chosen = np.ones(len(frame), dtype=bool)
    for name, value in (where or {}).items():
        chosen &= frame[name].isin(value if isinstance(value, list) else [value]).to_numpy(dtype=bool)
    return chosen


def cells_at_fault(frame: pd.DataFrame, faults: dict[str, tuple[np.ndarray, list[str]]]) -> Finding:
    """``faults``: every column looked at, its rows at fault and the columns to show of them."""
    cells = 0
    rows: set[int] = set()
    columns: list[str] = []
    examples: list[dict[str, Any]] = []
    for name, (fault, shown) in faults.items():
        places = np.flatnonzero(fault)
        if len(places):
            cells += len(places)
            rows.update(places.tolist())
            columns.append(name)
            few = places[: EXAMPLES - len(examples)]
            examples += [{"column": name, **row} for row in example_rows(frame, few, shown)]
    return Finding(cells, len(frame) * len(faults), examples, tuple(columns), rows=tuple(sorted(rows)))


def columns_at_fault(faults: dict[str, dict[str, Any]], elements: int) -> Finding:
    """``faults``: each failing column and its details."""
    examples = [{"column": name, **detail} for name, detail in list(faults.items())[:EXAMPLES]]
    return Finding(unexpected=len(faults), elements=elements, examples=examples, columns=tuple(faults))


def numeric_columns(frame: pd.DataFrame, ignore: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The numeric columns as float64, but for those whose name is, or matches, an entry of ``ignore``."""
    return {
        name: frame[name].to_numpy(dtype="float64", na_value=np.nan)
        for name in frame.select_dtypes("number").columns
        if not any(fnmatchcase(name, pattern) for pattern in ignore)
    }


def comparable(values: pd.Series) -> pd.Series:
    """Instants as they are, naive dates as their UTC midnight, numbers as they are."""
    if pd.api.types.is_datetime64_dtype(values.dtype):
        return values.dt.tz_localize("UTC")
    return values
