"""A view's rows as a JSON answer, with limits on rows, bytes and time. A missing value is null, with its reason."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.command_line import nearest
from tasks.errors import Refused, WarehouseError
from tasks.warehouse.past import NO_TABLE
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.views import views

DATASET = "api."
ROWS, MOST_ROWS = 500, 10_000
MOST_BYTES = 8_000_000
WITHIN_S = 15.0
NOT_PUBLISHED = "the warehouse has no value here"
REASONS: Mapping[str, Mapping[str, str]] = {
    "api.vw_latest_forecast": {"direction_probability": "direction_reason", "conviction": "direction_reason"},
    "api.vw_ultimate_adaptive_signal": {"direction_probability": "direction_reason"},
    "api.vw_scenarios": {"scenario_price": "note", "scenario_centre": "note"},
    "api.vw_changes": {"centre_cents_lb": "note", "width_cents_lb": "note"},
    "api.vw_data_freshness": {"last_observation": "message", "series": "message"},
    "api.vw_decision": {"wait_median": "reason", "now_price": "reason", "signal": "reason"},
}
"""By view: a column, and the column of the same row that says why it is missing."""
NO_FAULT: Mapping[str, str] = {
    "degraded_reason": "the forecast is not degraded",
    "direction_reason": "a chance of a higher price is published",
    "message": "the source reported nothing",
    "note": "there is no note",
}
"""By column: what it means that a text is missing."""


@dataclass(frozen=True)
class Limits:
    """What one answer may cost."""

    rows: int = MOST_ROWS
    size_bytes: int = MOST_BYTES
    within_s: float = WITHIN_S


LIMITS = Limits()


def names() -> tuple[str, ...]:
    """The views that the door serves."""
    return tuple(view.name for view in views() if view.name.startswith(DATASET))


def read_view(
    warehouse: Warehouse, name: str, *, rows: int = ROWS, where: Mapping[str, str | None] | None = None,
    limits: Limits = LIMITS,
) -> dict[str, Any]:  # fmt: skip
    """The first rows of a view, as values that JSON has.

    Args:
        name: with or without ``api.``.
        rows: how many rows at most.
        where: by column, the value that rows must have; None does not filter.

    Returns:
        ``view, as_of, columns, rows, truncated, missing``: ``missing`` has one entry per column and reason, with the
        number of rows whose value is null for it. ``empty`` says why there is no row.

    Raises:
        Refused: an unknown view, filter or value; more rows than the limit; or a larger answer.
        WarehouseError: nothing is published, or the query took too long.
    """
    view = known_view(name)
    if not 1 <= rows <= limits.rows:
        raise Refused(f"{rows} rows were requested; between 1 and {limits.rows} are served at once")
    filters = {column: value for column, value in (where or {}).items() if value is not None}
    wanted = limits.rows if filters else rows
    frame, there = _query(warehouse, view, wanted + 1, limits)
    cut = len(frame) > wanted
    frame = frame.head(wanted)
    for column, value in filters.items():
        frame = _having(frame, view, column, value, cut=cut)
    answer = {
        "view": view,
        "as_of": _newest(frame, "as_of"),
        "published_at": _newest(frame, "created_at"),
        "columns": [str(column) for column in frame],
        "rows": plain_rows(frame.head(rows)),
        "truncated": cut or len(frame) > rows,
        "missing": missing(view, frame.head(rows)),
        "empty": None if len(frame) else _why_empty(view, there, filters),
    }
    size = len(json.dumps(answer, ensure_ascii=False).encode())
    if size > limits.size_bytes:
        raise Refused(
            f"{view}: {rows} rows are {size:,} bytes, the limit is {limits.size_bytes:,}; request fewer rows",
            413,
        )
    return answer


def known_view(name: str) -> str:
    """The full name of a view of ``api``.

    Raises:
        Refused: there is no such view, or it is not of ``api``.
    """
    full = name if name.startswith(DATASET) else f"{DATASET}{name}"
    if full not in names():
        raise Refused(f"no view {name!r} is served.{nearest(full, names())} All are listed at /v1/views", 404)
    return full


def _query(warehouse: Warehouse, view: str, rows: int, limits: Limits) -> tuple[pd.DataFrame, bool]:
    """The rows, and whether this home's warehouse has the view."""
    try:
        return warehouse.query(f"SELECT * FROM {view} LIMIT {rows}", within_s=limits.within_s), True  # noqa: S608
    except WarehouseError as error:
        if not any(words in str(error) for words in NO_TABLE):
            raise
        return pd.DataFrame(), False


def _having(frame: pd.DataFrame, view: str, column: str, value: str, *, cut: bool) -> pd.DataFrame:
    """The rows with a value. ``cut``: whether the view has more rows than these."""
    if frame.empty:
        return frame
    known = sorted({str(one) for one in frame[column].dropna()})
    if value not in known:
        listed = ", ".join(known[:19]) + (" …" if len(known) > 19 else "")
        where = f"{view}: its first {len(frame):,} rows have" if cut else f"{view} has"
        raise Refused(f"{where} no {column} {value!r}; known: {listed}.{nearest(value, known)}")
    return frame[frame[column].astype(str) == value]


def _newest(frame: pd.DataFrame, column: str) -> Any:
    return plain(frame[column].max()) if column in frame and len(frame) else None


def _why_empty(view: str, there: bool, filters: Mapping[str, str]) -> str:
    if not there:
        return f"this home's warehouse does not have {view} yet; the next `cbi daily` adds it"
    return f"{view} has no rows" + (" with these values" if filters else "")


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as mappings of plain values."""
    columns = {str(name): [plain(value) for value in frame[name]] for name in frame}
    return [{name: values[place] for name, values in columns.items()} for place in range(len(frame))]


def plain(value: Any) -> Any:
    """A value as JSON has it: dates and instants as ISO 8601; what is missing or no finite number is None."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp):
        is_date = value.tzinfo is None and value == value.normalize()
        return f"{value:%Y-%m-%d}" if is_date else value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | bool | int):
        return value
    return str(value)


def missing(view: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Which columns have nulls, in how many rows, and why: one entry per column and reason."""
    found = []
    for column in map(str, frame):
        empty = [plain(value) is None for value in frame[column]]
        default = NO_FAULT.get(column, NOT_PUBLISHED)
        beside = REASONS.get(view, {}).get(column)
        texts = [plain(one) for one in frame.loc[empty, beside]] if beside in frame else [None] * sum(empty)
        counts = Counter(str(text or default) for text in texts)
        found += [{"column": column, "rows": count, "reason": reason} for reason, count in counts.items()]
    return found
