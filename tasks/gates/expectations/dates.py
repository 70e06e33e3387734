"""Expectations on dates: sessions, order, as_of instants, and nothing known before its time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.gates.examples import EXAMPLES, plain
from tasks.gates.expectations.frame import (
    Finding,
    FrameExpectation,
    cells_at_fault,
    columns_at_fault,
    comparable,
    rows_at_fault,
    rows_where,
)

AGE_SUFFIX = "__age_days"


class ExpectColumnNotAboveColumn(FrameExpectation):
    """``column`` <= ``limit`` on the rows where the columns of ``where`` have the values given.

    Rows where a column of ``unless`` has one of its values are skipped. A row where either is missing fails only with
    ``missing_fails``. Naive dates mean their UTC midnight. ``beside``: columns to show of a failing row.
    """

    column: str
    limit: str
    beside: tuple[str, ...] = ()
    where: dict[str, Any] | None = None
    unless: dict[str, list[Any]] | None = None
    missing_fails: bool = False
    finds_rows = True

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column, self.limit, *self.beside, *(self.where or {}), *(self.unless or {}))

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        left, right = comparable(frame[self.column]), comparable(frame[self.limit])
        chosen = rows_where(frame, self.where)
        for name, values in (self.unless or {}).items():
            chosen &= ~frame[name].isin(values).to_numpy(dtype=bool)
        unknown = (left.isna() | right.isna()).to_numpy(dtype=bool)
        above = ~(left <= right).to_numpy(dtype=bool, na_value=False)
        fault = chosen & np.where(unknown, self.missing_fails, above)
        return rows_at_fault(frame, fault, [self.column, self.limit, *self.beside], elements=int(chosen.sum()))


class ExpectSessionsComplete(FrameExpectation):
    """The dates are the CBOT sessions from ``first`` to the last date: none missing, none that is not a session."""

    column: str = "date"
    first: str

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column,)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        present = pd.DatetimeIndex(frame[self.column].dropna().unique()).as_unit("us").sort_values()
        expected = sessions(self.first, present[-1] if len(present) else self.first)
        missing, strange = expected.difference(present), present.difference(expected)
        examples = [{self.column: plain(day), "fault": "session missing"} for day in missing[:EXAMPLES]]
        examples += [{self.column: plain(day), "fault": "not a session"} for day in strange[: EXAMPLES - len(examples)]]
        return Finding(len(missing) + len(strange), max(1, len(expected)), examples)


class ExpectColumnStrictlyIncreasing(FrameExpectation):
    """Each value is above the one before it. (The built-in one cannot compare dates.)"""

    column: str

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column,)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        values, before = frame[self.column], frame[self.column].shift()
        first = np.arange(len(frame)) == 0
        rises = np.where(first, values.notna(), (values > before).to_numpy(dtype=bool, na_value=False))
        return rows_at_fault(frame, ~rises, [self.column])


class ExpectAsOfExact(FrameExpectation):
    """``as_of_instant`` is 18:00 America/Chicago of ``date``: a later one lets a row see the next day."""

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("date", "as_of_instant")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        expected = as_of_instants(pd.DatetimeIndex(frame["date"]))
        fault = ~(frame["as_of_instant"] == expected).to_numpy(dtype=bool, na_value=False)
        return rows_at_fault(frame, fault, ["as_of_instant"])


class ExpectAgesNotNegative(FrameExpectation):
    """Every value column has its ``…__age_days``, none below zero, and a known value has a known age."""

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        ages = [name for name in frame.columns if name.endswith(AGE_SUFFIX)]
        valued = [name for name in frame.select_dtypes("number").columns if not name.endswith(AGE_SUFFIX)]
        unpaired = sorted({f"{name}{AGE_SUFFIX}" for name in valued}.symmetric_difference(ages))
        if unpaired or not ages:
            return columns_at_fault({name: {"fault": "value or age column missing"} for name in unpaired}, len(ages))
        faults = {}
        for value_name in valued:
            name = f"{value_name}{AGE_SUFFIX}"
            age = frame[name].to_numpy(dtype="float64", na_value=np.nan)
            faults[name] = ((age < 0) | (np.isnan(age) & frame[value_name].notna().to_numpy()), [value_name, name])
        return cells_at_fault(frame, faults)


class ExpectKnownAfterTheDay(FrameExpectation):
    """Values chosen by ``where`` are known no earlier than ``hours`` after midnight UTC of their own date.

    A session's bar that counts as known before the session has ended lets a forecast see its own evening.
    """

    hours: float
    where: dict[str, Any]
    column: str = "available_at"
    of: str = "observation_date"
    finds_rows = True

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column, self.of, *self.where)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        chosen = rows_where(frame, self.where)
        earliest = comparable(frame[self.of]) + pd.Timedelta(hours=self.hours)
        early = ~(frame[self.column] >= earliest).to_numpy(dtype=bool, na_value=False)
        return rows_at_fault(frame, chosen & early, [self.of, self.column], elements=int(chosen.sum()))
