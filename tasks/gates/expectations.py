"""Expectations of our own, for what Great Expectations has none. Importing this module registers them.

Each looks at the whole frame, vectorised, and reports how many cells, rows or columns are at fault with three examples
that carry their key. Importing takes seconds, so only tasks/gates/suites.py imports it, inside a function.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from tasks.calendar import as_of_instants, sessions
from tasks.gates.examples import EXAMPLES, example_rows, plain

AGE_SUFFIX = "__age_days"


class TableRows(TableMetricProvider):
    """The metric our expectations read: the frame itself."""

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
    """What an expectation saw."""

    unexpected: int
    elements: int
    examples: list[dict[str, Any]]
    columns: tuple[str, ...] = ()
    allowed: float = 0.0  # the share of elements that may be unexpected

    @property
    def success(self) -> bool:  # noqa: D102
        return self.unexpected <= self.allowed * self.elements


class FrameExpectation(BatchExpectation, ABC):
    """Base: subclasses say which columns they need and what is at fault in the frame."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("table.rows",)

    def needs(self) -> Iterable[str]:
        """Columns without which the question has no answer."""
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
        }
        return {"success": finding.success, "result": result}


def _rows_at_fault(
    frame: pd.DataFrame, fault: np.ndarray, shown: Sequence[str], elements: int | None = None
) -> Finding:
    places = np.flatnonzero(fault)
    return Finding(
        unexpected=len(places),
        elements=len(frame) if elements is None else elements,
        examples=example_rows(frame, places[:EXAMPLES], shown),
    )


def _cells_at_fault(frame: pd.DataFrame, faults: dict[str, tuple[np.ndarray, list[str]]]) -> Finding:
    """``faults``: every column looked at, its rows at fault and the columns to show of them."""
    cells = 0
    columns: list[str] = []
    examples: list[dict[str, Any]] = []
    for name, (fault, shown) in faults.items():
        places = np.flatnonzero(fault)
        if len(places):
            cells += len(places)
            columns.append(name)
            few = places[: EXAMPLES - len(examples)]
            examples += [{"column": name, **row} for row in example_rows(frame, few, shown)]
    return Finding(cells, len(frame) * len(faults), examples, tuple(columns))


def _columns_at_fault(faults: dict[str, dict[str, Any]], elements: int) -> Finding:
    """``faults``: column at fault, and what to say of it."""
    examples = [{"column": name, **said} for name, said in list(faults.items())[:EXAMPLES]]
    return Finding(unexpected=len(faults), elements=elements, examples=examples, columns=tuple(faults))


def _numbers(frame: pd.DataFrame, ignore: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The numeric columns as float64, but for those whose name is, or matches, an entry of ``ignore``."""
    return {
        name: frame[name].to_numpy(dtype="float64", na_value=np.nan)
        for name in frame.select_dtypes("number").columns
        if not any(fnmatchcase(name, pattern) for pattern in ignore)
    }


def _comparable(values: pd.Series) -> pd.Series:
    """Instants as they are, naive dates as their UTC midnight, numbers as they are."""
    if pd.api.types.is_datetime64_dtype(values.dtype):
        return values.dt.tz_localize("UTC")
    return values


class ExpectColumnDtypes(FrameExpectation):
    """The columns have the dtypes given; ``others`` is the dtype of every column not named."""

    dtypes: dict[str, str]
    others: str | None = None

    def needs(self) -> Iterable[str]:  # noqa: D102
        return self.dtypes

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        faults = {}
        for name, found in frame.dtypes.items():
            expected = self.dtypes.get(str(name), self.others)
            if expected is not None and str(found) != expected:
                faults[str(name)] = {"expected": expected, "found": str(found)}
        return _columns_at_fault(faults, frame.shape[1])


class ExpectNoInfiniteValues(FrameExpectation):
    """No numeric cell is infinite. A missing value is no fault here."""

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers = _numbers(frame)
        return _cells_at_fault(frame, {name: (np.isinf(values), [name]) for name, values in numbers.items()})


class ExpectColumnNotAboveColumn(FrameExpectation):
    """``column`` <= ``limit`` on the rows where the columns of ``where`` have the values given.

    Rows where a column of ``unless`` has one of its values are not asked. A row where either is missing is a fault only
    with ``missing_fails``. Naive dates stand for their UTC midnight.
    """

    column: str
    limit: str
    where: dict[str, Any] | None = None
    unless: dict[str, list[Any]] | None = None
    missing_fails: bool = False

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column, self.limit, *(self.where or {}), *(self.unless or {}))

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        left, right = _comparable(frame[self.column]), _comparable(frame[self.limit])
        chosen = np.ones(len(frame), dtype=bool)
        for name, value in (self.where or {}).items():
            chosen &= (frame[name] == value).to_numpy(dtype=bool, na_value=False)
        for name, values in (self.unless or {}).items():
            chosen &= ~frame[name].isin(values).to_numpy(dtype=bool)
        unknown = (left.isna() | right.isna()).to_numpy(dtype=bool)
        above = ~(left <= right).to_numpy(dtype=bool, na_value=False)
        fault = chosen & np.where(unknown, self.missing_fails, above)
        return _rows_at_fault(frame, fault, [self.column, self.limit], elements=int(chosen.sum()))


class ExpectCriticalSeriesPresent(FrameExpectation):
    """Every critical series has observations, and there is at least one critical series to ask about."""

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("critical", "observations")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        critical = frame["critical"].to_numpy(dtype=bool, na_value=False)
        if not critical.any():
            return Finding(1, 1, [{"fault": "no series is marked critical"}])
        empty = ~(frame["observations"] > 0).to_numpy(dtype=bool, na_value=False)
        return _rows_at_fault(frame, critical & empty, ["observations"], elements=int(critical.sum()))


class ExpectLongsEqualOpenInterest(FrameExpectation):
    """Every long of the COT report has an owner: the groups' longs and spreads add up to open interest.

    A missing part is a fault.
    """

    parts: ClassVar[tuple[str, ...]] = (
        "noncommercial_long",
        "noncommercial_spread",
        "commercial_long",
        "nonreportable_long",
    )
    tolerance: float
    mostly: float = 1.0

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (*self.parts, "open_interest")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        held = frame[[*self.parts, "open_interest"]].to_numpy(dtype="float64", na_value=np.nan)
        gap = np.abs(held[:, :-1].sum(axis=1) - held[:, -1])
        found = _rows_at_fault(frame, ~(gap <= self.tolerance), [*self.parts, "open_interest"])
        return replace(found, allowed=1 - self.mostly)


class ExpectShortsEqualOpenInterest(ExpectLongsEqualOpenInterest):
    """The same of the shorts."""

    parts = ("noncommercial_short", "noncommercial_spread", "commercial_short", "nonreportable_short")


class ExpectSessionsComplete(FrameExpectation):
    """The dates are the CBOT sessions from ``first`` to the last date: none missing, none that is not a session."""

    column: str = "date"
    first: str

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column,)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        held = pd.DatetimeIndex(frame[self.column].dropna().unique()).as_unit("us").sort_values()
        expected = sessions(self.first, held[-1] if len(held) else self.first)
        missing, strange = expected.difference(held), held.difference(expected)
        said = [{self.column: plain(day), "fault": "session missing"} for day in missing[:EXAMPLES]]
        said += [{self.column: plain(day), "fault": "not a session"} for day in strange[: EXAMPLES - len(said)]]
        return Finding(len(missing) + len(strange), max(1, len(expected)), said)


class ExpectColumnStrictlyIncreasing(FrameExpectation):
    """Each value is above the one before it. (The built-in one cannot compare dates.)"""

    column: str

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column,)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        values, before = frame[self.column], frame[self.column].shift()
        first = np.arange(len(frame)) == 0
        rises = np.where(first, values.notna(), (values > before).to_numpy(dtype=bool, na_value=False))
        return _rows_at_fault(frame, ~rises, [self.column])


class ExpectColumnsNotConstant(FrameExpectation):
    """No numeric column has one value on all its known rows (two or more)."""

    ignore: tuple[str, ...] = ()

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers, faults = _numbers(frame, self.ignore), {}
        for name, values in numbers.items():
            known = values[~np.isnan(values)]
            if len(known) > 1 and (known == known[0]).all():
                faults[name] = {"value": plain(known[0]), "rows": len(known)}
        return _columns_at_fault(faults, len(numbers))


class ExpectNoIdenticalColumns(FrameExpectation):
    """No two numeric columns have the same values on the same rows. Columns without a value are no fault here."""

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers, faults = _numbers(frame), {}
        first: dict[bytes, str] = {}
        for name, values in numbers.items():
            unknown = np.isnan(values)
            if unknown.all():
                continue
            same_as = first.setdefault(np.where(unknown, np.nan, values + 0.0).tobytes(), name)
            if same_as != name:
                faults[name] = {"same_as": same_as}
        return _columns_at_fault(faults, len(numbers))


class ExpectNoPlaceholder(FrameExpectation):
    """No numeric column that varies has one single value on more than ``max_share`` of its known rows.

    ``ignore`` holds names or patterns (``*_flag``) of true indicators, which do.
    """

    max_share: float
    ignore: tuple[str, ...] = ()

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers, faults = _numbers(frame, self.ignore), {}
        for name, values in numbers.items():
            known = values[~np.isnan(values)]
            distinct, counts = np.unique(known, return_counts=True)
            if len(distinct) > 1 and counts.max() > self.max_share * len(known):
                top = counts.argmax()
                share = round(float(counts[top] / len(known)), 3)
                faults[name] = {"value": plain(distinct[top]), "rows": int(counts[top]), "share_of_known": share}
        return _columns_at_fault(faults, len(numbers))


class ExpectNoEmptyColumns(FrameExpectation):
    """At most ``max_share`` of the numeric columns have no value at all."""

    max_share: float

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers = _numbers(frame)
        faults: dict[str, dict[str, Any]] = {name: {} for name, values in numbers.items() if np.isnan(values).all()}
        return replace(_columns_at_fault(faults, len(numbers)), allowed=self.max_share)


class ExpectAsOfExact(FrameExpectation):
    """``as_of_instant`` is 18:00 America/Chicago of ``date``: a later one lets a row see the next day."""

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("date", "as_of_instant")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        expected = as_of_instants(pd.DatetimeIndex(frame["date"]))
        fault = ~(frame["as_of_instant"] == expected).to_numpy(dtype=bool, na_value=False)
        return _rows_at_fault(frame, fault, ["as_of_instant"])


class ExpectAgesNotNegative(FrameExpectation):
    """Every value column has its ``…__age_days``, none below zero, and a known value has a known age."""

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        ages = [name for name in frame.columns if name.endswith(AGE_SUFFIX)]
        valued = [name for name in frame.select_dtypes("number").columns if not name.endswith(AGE_SUFFIX)]
        unpaired = sorted({f"{name}{AGE_SUFFIX}" for name in valued}.symmetric_difference(ages))
        if unpaired or not ages:
            return _columns_at_fault({name: {"fault": "value or age column missing"} for name in unpaired}, len(ages))
        faults = {}
        for value_name in valued:
            name = f"{value_name}{AGE_SUFFIX}"
            age = frame[name].to_numpy(dtype="float64", na_value=np.nan)
            faults[name] = ((age < 0) | (np.isnan(age) & frame[value_name].notna().to_numpy()), [value_name, name])
        return _cells_at_fault(frame, faults)


class ExpectColumnKnownSinceFirst(FrameExpectation):
    """``column`` is known on at least ``min_share`` of the rows since its first value."""

    column: str
    min_share: float

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column,)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        known = frame[self.column].notna().to_numpy()
        if not known.any():
            return Finding(max(1, len(frame)), max(1, len(frame)), example_rows(frame, range(EXAMPLES), [self.column]))
        begun = np.maximum.accumulate(known)
        found = _rows_at_fault(frame, begun & ~known, [self.column], elements=int(begun.sum()))
        return replace(found, allowed=1 - self.min_share)


class ExpectTargetExact(FrameExpectation):
    """The target is ln(target_price / last_price), and known exactly where ``reachable``: never filled."""

    tolerance: float

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("target_log_return", "target_price", "last_price", "reachable")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        log_return, target, last = (
            frame[name].to_numpy(dtype="float64", na_value=np.nan)
            for name in ("target_log_return", "target_price", "last_price")
        )
        reachable = frame["reachable"].to_numpy(dtype=bool, na_value=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            wrong = ~(np.abs(np.log(target / last) - log_return) <= self.tolerance)
        filled = ~np.isnan(log_return) | ~np.isnan(target)
        return _rows_at_fault(
            frame,
            np.where(reachable, wrong, filled),
            ["last_price", "target_price", "target_log_return", "reachable"],
        )


class ExpectTargetDateExact(FrameExpectation):
    """``target_date`` is the session ``sessions_ahead`` after ``date``: calendar days on trading rows are a fault.

    It may be missing where the target is not reachable.
    """

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("date", "target_date", "sessions_ahead", "reachable")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        days = sessions()
        dates = pd.DatetimeIndex(frame["date"])
        ahead = days.searchsorted(dates) + frame["sessions_ahead"].to_numpy(dtype="int64")
        expected = days[np.clip(ahead, 0, len(days) - 1)]
        right = dates.isin(days) & (ahead < len(days)) & (pd.DatetimeIndex(frame["target_date"]) == expected)
        excused = frame["target_date"].isna().to_numpy() & ~frame["reachable"].to_numpy(dtype=bool, na_value=False)
        return _rows_at_fault(frame, ~right & ~excused, ["target_date", "sessions_ahead"])


class ExpectNoRepeatedTarget(FrameExpectation):
    """No target price (but zero) stands on more than ``max_run`` sessions in a row of a horizon: it was filled."""

    max_run: int

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("horizon", "date", "target_price")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        ordered = frame[["horizon", "date", "target_price"]].sort_values(["horizon", "date"], kind="stable")
        price = ordered["target_price"].to_numpy(dtype="float64", na_value=np.nan)
        same_horizon = (ordered["horizon"] == ordered["horizon"].shift()).to_numpy(dtype=bool, na_value=False)
        starts = ~(same_horizon & (price == np.concatenate([[np.nan], price[:-1]])[: len(price)]))
        run = np.cumsum(starts) - 1
        repeated = (np.bincount(run)[run] > self.max_run) & (price != 0) if len(run) else np.zeros(0, dtype=bool)
        fault = np.zeros(len(frame), dtype=bool)
        fault[ordered.index.to_numpy()[repeated]] = True
        return _rows_at_fault(frame, fault, ["target_price"])


class ExpectSessionsAheadOfHorizon(FrameExpectation):
    """``sessions_ahead`` is what ``sessions`` says of the row's horizon."""

    sessions: dict[str, int]

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("horizon", "sessions_ahead")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        expected = frame["horizon"].map(self.sessions)
        fault = ~(frame["sessions_ahead"] == expected).to_numpy(dtype=bool, na_value=False)
        return _rows_at_fault(frame, fault, ["sessions_ahead"])
