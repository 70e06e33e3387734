"""Daily bars of single futures contracts from Yahoo Finance, such as ZLZ26.CBT: what a buyer can lock in.

They are fetched and read as all of Yahoo's bars. Only contracts that trade are requested, and none that goes off later
than is forecast: Yahoo does not list every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources import yahoo
from tasks.sources.payloads import Fetched, Window

AHEAD = timedelta(days=580)
"""18 months, and the rest of the last contract's month."""

parse = yahoo.parse


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The bars of one contract; nothing if it has gone off, or goes off too far ahead."""
    ends = spec.series[series].ended
    if ends is None or window.end <= ends <= window.end + AHEAD:
        yield from yahoo.fetch(series, window, spec, http)
