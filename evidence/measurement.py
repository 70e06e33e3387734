"""Results of measures, and functions that time calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from evidence.page import frame_table
from tasks.errors import CbiError

MEGABYTE = 1024 * 1024
HEADINGS = ("measure", "figure", "limit", "met?", "peer", "ratio")
Result = TypeVar("Result")


class BenchError(CbiError):
    """A measure cannot be taken; one clear line."""


@dataclass(frozen=True)
class Measurement:
    """One figure with its limit and its peer. ``ratio`` is the figure over the peer's."""

    name: str
    figure: float
    unit: str
    limit: float | None = None
    peer: str = ""
    ratio: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its limit; None without one."""
        return None if self.limit is None else self.figure <= self.limit

    @property
    def cells(self) -> list[str]:
        """The row of the report, in the order of HEADINGS."""
        figure, limit = amount(self.figure, self.unit), "none" if self.limit is None else amount(self.limit, self.unit)
        if self.met is False and figure == limit:
            figure = f"{self.figure} {self.unit}".strip()  # rounding would make it look like its limit
        met = {True: "yes", False: "**not met**", None: ""}[self.met]
        return [self.name, figure, limit, met, self.peer, "" if self.ratio is None else f"{self.ratio:.3g}"]


@dataclass(frozen=True)
class ReportTable:
    """A separate table under the measurements; its cells are text."""

    title: str
    frame: pd.DataFrame
    note: str

    @property
    def section(self) -> str:
        """The section of the page."""
        return f"## {self.title}\n\n{frame_table(self.frame)}\n\n{self.note}"


def amount(value: float, unit: str) -> str:
    """A figure with its unit: whole numbers from 100 on, else three digits."""
    return f"{value:,.0f} {unit}".strip() if abs(value) >= 100 else f"{value:.3g} {unit}".strip()


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def in_turns(
    *calls: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, Any]]:
    """Median seconds and the last result of each call, taken in turns so that a busy moment affects all."""
    seconds: list[list[float]] = [[] for _ in calls]
    results: list[Any] = [None] * len(calls)
    for _ in range(repeats):
        for place, call in enumerate(calls):
            start = clock()
            results[place] = call()
            seconds[place].append(clock() - start)
    return [(statistics.median(taken), result) for taken, result in zip(seconds, results, strict=True)]
