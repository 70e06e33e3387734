"""Expectations on whole columns: types, infinities, constants, duplicates, placeholders, gaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from tasks.gates.examples import plain
from tasks.gates.expectations.frame import (
    Finding,
    FrameExpectation,
    cells_at_fault,
    columns_at_fault,
    numeric_columns,
    rows_at_fault,
    rows_where,
)


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
        return columns_at_fault(faults, frame.shape[1])


class ExpectNoInfiniteValues(FrameExpectation):
    """No numeric cell is infinite. A missing value is no fault here."""

    finds_rows = True
    finds_columns = True

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers = numeric_columns(frame)
        return cells_at_fault(frame, {name: (np.isinf(values), [name]) for name, values in numbers.items()})


class ExpectColumnsNotConstant(FrameExpectation):
    """No numeric column has one value on all of its newest ``last`` known rows; with fewer known it is not judged.

    ``ignore`` has names or patterns (``*_flag``) of columns that really stay at one value for years.
    """

    ignore: tuple[str, ...] = ()
    last: int = 2

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers, faults = numeric_columns(frame, self.ignore), {}
        for name, values in numbers.items():
            known = values[~np.isnan(values)][-self.last :]
            if len(known) >= self.last and (known == known[0]).all():
                faults[name] = {"value": plain(known[0]), "rows": len(known)}
        return columns_at_fault(faults, len(numbers))


class ExpectNoIdenticalColumns(FrameExpectation):
    """No two numeric columns have the same values on the same rows, with ``min_known`` values at least.

    Columns without a value are no fault here.
    """

    min_known: int = 1

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers, faults = numeric_columns(frame), {}
        first: dict[bytes, str] = {}
        for name, values in numbers.items():
            unknown = np.isnan(values)
            if (~unknown).sum() < max(1, self.min_known):
                continue
            same_as = first.setdefault(np.where(unknown, np.nan, values + 0.0).tobytes(), name)
            if same_as != name:
                faults[name] = {"same_as": same_as}
        return columns_at_fault(faults, len(numbers))


class ExpectNoPlaceholder(FrameExpectation):
    """No numeric column that varies has one single value on more than ``max_share`` of its newest ``last`` known rows.

    ``ignore`` has names or patterns (``*_flag``) of true indicators, which do; a column with fewer than ``last`` known
    rows is not judged.
    """

    max_share: float
    ignore: tuple[str, ...] = ()
    last: int = 2

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        numbers, faults = numeric_columns(frame, self.ignore), {}
        for name, values in numbers.items():
            known = values[~np.isnan(values)][-self.last :]
            distinct, counts = np.unique(known, return_counts=True)
            if len(distinct) > 1 and len(known) >= self.last and counts.max() > self.max_share * len(known):
                top = counts.argmax()
                share = round(float(counts[top] / len(known)), 3)
                faults[name] = {"value": plain(distinct[top]), "rows": int(counts[top]), "share_of_known": share}
        return columns_at_fault(faults, len(numbers))


class ExpectShareBelow(FrameExpectation):
    """At most ``max_share`` of the rows that ``where`` chooses have ``column`` true.

    ``ignore``: names or patterns of the ``column`` of a table with one row per column; those rows are skipped.
    """

    column: str
    max_share: float
    where: dict[str, Any] | None = None
    ignore: tuple[str, ...] = ()
    finds_rows = True

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.column, *(self.where or {}), *(("column",) if self.ignore else ()))

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        chosen = rows_where(frame, self.where)
        if self.ignore:
            chosen &= ~frame["column"].map(lambda name: any(fnmatchcase(name, p) for p in self.ignore)).to_numpy(bool)
        fault = chosen & frame[self.column].to_numpy(dtype=bool, na_value=True)
        found = rows_at_fault(frame, fault, [self.column, *(self.where or {})], elements=int(chosen.sum()))
        return replace(found, allowed=self.max_share)
