"""Example rows of a failure: few, plain, and with the key by which a person finds the row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

EXAMPLES = 3
KEYS = ("source", "series", "observation_date", "field", "vintage", "file", "column", "surface", "horizon", "date")


def plain(value: Any) -> Any:
    """A JSON value: dates as text, missing as None, infinities as text."""
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float) and np.isinf(value):
        return str(value)
    if isinstance(value, datetime):
        midnight = value.tzinfo is None and (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
        return value.date().isoformat() if midnight else value.isoformat()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def example_rows(frame: pd.DataFrame, places: Iterable[int], shown: Sequence[str]) -> list[dict[str, Any]]:
    """Up to three rows of ``frame`` by position: its key columns, then those ``shown``."""
    columns = list(dict.fromkeys([*(key for key in KEYS if key in frame.columns), *shown]))
    few = [int(place) for place in places if place < len(frame)][:EXAMPLES]
    return [{name: plain(frame[name].iloc[place]) for name in columns} for place in few]
