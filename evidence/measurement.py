"""What a measure hands back, and the ways to take a figure."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import pandas as pd
import psutil

MEGABYTE = 1024 * 1024
Ours = TypeVar("Ours")
Theirs = TypeVar("Theirs")


class BenchError(Exception):
    """A measure cannot be taken; one clear line."""


@dataclass(frozen=True)
class Measurement:
    """One figure, beside its limit and its peer. ``ratio`` is the figure over the peer's."""

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


@dataclass(frozen=True)
class Table:
    """A table of its own under the measurements; its cells are already text."""

    title: str
    frame: pd.DataFrame
    note: str


def timed(call: Callable[[], Ours]) -> tuple[float, Ours]:
    """Seconds of one call, and what it gave."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def repeated(call: Callable[[], Ours], *, repeats: int) -> tuple[float, Ours]:
    """Median seconds and the last result of a call."""
    taken = [timed(call) for _ in range(repeats)]
    return statistics.median(seconds for seconds, _ in taken), taken[-1][1]


def side_by_side(
    ours: Callable[[], Ours], theirs: Callable[[], Theirs], *, repeats: int
) -> tuple[float, Ours, float, Theirs]:
    """Median seconds and the last result of both, taken in turns so that a busy moment meets both."""
    own, other = [], []
    for _ in range(repeats):
        seconds, result = timed(ours)
        own.append(seconds)
        seconds, peer_result = timed(theirs)
        other.append(seconds)
    return statistics.median(own), result, statistics.median(other), peer_result


class PeakMemory:
    """The largest resident memory of a process and its children while the block runs, by sampling.

    Pages that parent and child share count in both, so the figure is an upper bound.
    """

    def __init__(self, pid: int | None = None, *, every_s: float = 0.02) -> None:
        self.megabytes = 0.0
        self._process = psutil.Process(pid)
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.megabytes = max(self.megabytes, self._resident() / MEGABYTE)
            if self._done.wait(self._every_s):
                return

    def _resident(self) -> int:
        total = 0
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return 0
        for process in family:
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it ended meanwhile
                continue
        return total
