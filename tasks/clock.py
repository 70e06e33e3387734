"""The clock that every run reads: the machine's clock, or one that starts at the instant in ``CBI_NOW``.

A rehearsal of another day sets ``CBI_NOW=2023-11-03T18:30-05:00``: the process then runs as if it had started at that
instant, and time goes on from there. Waits, time limits and the age of log files still use the machine's clock.
"""

from __future__ import annotations

import os
from functools import lru_cache

import pandas as pd

from tasks.errors import SettingsError

STARTED = pd.Timestamp.now(tz="UTC")
NAME = "CBI_NOW"


def now() -> pd.Timestamp:
    """The present instant, UTC.

    Raises:
        SettingsError: ``CBI_NOW`` is not an instant with a time zone.
    """
    real = pd.Timestamp.now(tz="UTC")
    given = os.environ.get(NAME)
    return real if not given else _instant(given) + (real - STARTED)


def is_simulated() -> bool:
    """Whether ``CBI_NOW`` is set."""
    return bool(os.environ.get(NAME))


@lru_cache(maxsize=8)
def _instant(given: str) -> pd.Timestamp:
    instant = pd.to_datetime(given, format="ISO8601", errors="coerce")
    if pd.isna(instant) or instant.tzinfo is None:
        raise SettingsError(f"{NAME}={given}: write an instant with its time zone, as 2023-11-03T18:30-05:00")
    return instant.tz_convert("UTC").as_unit("us")
