"""Expectations on the data of sources: critical series, sums that must hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.gates.examples import EXAMPLES, example_rows
from tasks.gates.expectations.frame import (
    Finding,
    FrameExpectation,
    rows_at_fault,
    rows_where,
)


class ExpectCriticalSeriesPresent(FrameExpectation):
    """Every critical series has observations, and there is at least one critical series to ask about."""

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("critical", "observations")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        critical = frame["critical"].to_numpy(dtype=bool, na_value=False)
        if not critical.any():
            return Finding(1, 1, [{"fault": "no series is marked critical"}])
        empty = ~(frame["observations"] > 0).to_numpy(dtype=bool, na_value=False)
        return rows_at_fault(frame, critical & empty, ["observations"], elements=int(critical.sum()))


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
    finds_rows = True

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (*self.parts, "open_interest")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        positions = frame[[*self.parts, "open_interest"]].to_numpy(dtype="float64", na_value=np.nan)
        gap = np.abs(positions[:, :-1].sum(axis=1) - positions[:, -1])
        return rows_at_fault(frame, ~(gap <= self.tolerance), [*self.parts, "open_interest"])


class ExpectShortsEqualOpenInterest(ExpectLongsEqualOpenInterest):
    """The same of the shorts."""

    parts = ("noncommercial_short", "noncommercial_spread", "commercial_short", "nonreportable_short")


class ExpectPricesPositive(FrameExpectation):
    """A price is above zero, but for the series of ``unless``, which have traded below it."""

    fields: tuple[str, ...]
    unless: tuple[str, ...] = ()
    column: str = "value"
    finds_rows = True

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("series", "field", self.column)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        priced = rows_where(frame, {"field": list(self.fields)}) & ~rows_where(frame, {"series": list(self.unless)})
        fault = priced & (frame[self.column] <= 0).to_numpy(dtype=bool, na_value=False)
        return rows_at_fault(frame, fault, [self.column], elements=int(priced.sum()))


class ExpectSourcesToAgree(FrameExpectation):
    """``left`` is within ``tolerance`` (relative) of ``right`` on ``mostly`` of the ``last`` dates that right has.

    Each is named as ``source series field`` and read in its newest vintage. Where they disagree, the rows at fault are
    those of the left series from the first of these dates on, all fields: ``right`` is the reference. Without a shared
    date there is nothing to compare: a missing source is reported elsewhere.
    """

    left: str
    right: str
    tolerance: float
    mostly: float = 1.0
    last: int
    finds_rows = True

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("source", "series", "field", "observation_date", "vintage", "value")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        reference = _newest(frame, self.right).dropna().sort_index().tail(self.last)
        both = pd.concat({"left": _newest(frame, self.left), "right": reference}, axis=1, join="inner")
        both = both.dropna().sort_index().reset_index()
        apart = (both["left"] / both["right"] - 1).abs()
        shown = both.assign(relative_gap=apart.round(4)).rename(columns={"left": self.left, "right": self.right})
        worst = apart.sort_values(ascending=False).index
        beyond = ~(apart <= self.tolerance).to_numpy(dtype=bool)
        examples = example_rows(
            shown, [place for place in worst if beyond[place]][:EXAMPLES], [self.left, self.right, "relative_gap"]
        )
        found = Finding(int(beyond.sum()), len(both), examples, (self.left, self.right), allowed=1 - self.mostly)
        if found.success:
            return found
        source, series, _ = self.left.split(" ")
        ours = rows_where(frame, {"source": source, "series": series})
        since = (frame["observation_date"] >= both["observation_date"].min()).to_numpy(dtype=bool)
        return replace(found, rows=tuple(np.flatnonzero(ours & since).tolist()))


def _newest(frame: pd.DataFrame, name: str) -> pd.Series:
    """The newest vintage by date of a series named as ``source series field``."""
    source, series, field = name.split(" ")
    rows = frame[rows_where(frame, {"source": source, "series": series, "field": field})]
    newest = rows.sort_values("vintage").drop_duplicates("observation_date", keep="last")
    return newest.set_index("observation_date")["value"]


class ExpectBoardCrushExact(FrameExpectation):
    """``crush`` is what CME says it is, in USD a bushel, from oil (cents/lb), meal (USD/short ton), beans (cents/bu).

    11 lb of oil and 44 lb of meal come from a bushel. Worked out here from pounds, not from the feature's own
    constants: 0.02 for 0.022, or cents taken for dollars, shows on every row.
    """

    crush: str
    oil: str
    meal: str
    beans: str
    tolerance: float
    oil_lb_bu: ClassVar[float] = 11.0
    meal_lb_bu: ClassVar[float] = 44.0
    lb_short_ton: ClassVar[float] = 2000.0

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (self.crush, self.oil, self.meal, self.beans)

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        products = self.oil_lb_bu * frame[self.oil] / 100 + self.meal_lb_bu * frame[self.meal] / self.lb_short_ton
        expected = products - frame[self.beans] / 100
        gap = (frame[self.crush] - expected).abs()
        fault = (gap > self.tolerance) | (frame[self.crush].isna() != expected.isna())
        shown = frame.assign(expected=expected.round(6))
        return rows_at_fault(shown, fault.to_numpy(dtype=bool), [*self.needs(), "expected"])
