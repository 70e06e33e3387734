"""What the pages read: views by name, an empty frame where a home does not have one yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.errors import WarehouseError
from tasks.reporting.site.charts import Chart
from tasks.warehouse.past import NO_TABLE
from tasks.warehouse.protocol import Warehouse

QUERIES = {
    "api.vw_prediction_accuracy": (
        "SELECT origin, replay, as_of, horizon, horizon_order, target_date, model_version, last_price, "
        "predicted_price, lower_80, upper_80, actual_price, error_cents_lb, inside_80 FROM api.vw_prediction_accuracy"
    ),
    "forecasts.zl_forecasts_daily": (
        "SELECT origin, as_of, horizon, model_version, target_date, p10, p50, p90 FROM forecasts.zl_forecasts_daily"
    ),
}
"""Views of which a page does not read everything."""
Frames = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Content:
    """What a page shows: values for its template, and its charts in the order of the page."""

    values: dict[str, Any]
    charts: list[Chart] = field(default_factory=list)


def read_frames(warehouse: Warehouse, views: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The rows of each view. A view that this home's warehouse does not have yet is an empty frame.

    Raises:
        WarehouseError: a view is there and cannot be read.
    """
    return {view: _rows(warehouse, view) for view in dict.fromkeys(views)}


def _rows(warehouse: Warehouse, view: str) -> pd.DataFrame:
    if not warehouse.is_published():
        return pd.DataFrame()
    try:
        rows = warehouse.query(QUERIES.get(view, f"SELECT * FROM {view}"))  # noqa: S608 a name from this package
    except WarehouseError as error:
        if any(words in str(error) for words in NO_TABLE):
            return pd.DataFrame()
        raise
    return rows.assign(**{str(name): as_dates(rows[name]) for name in rows if _holds_dates(rows[name])})


def sentences_shown(frames: Frames) -> pd.DataFrame:
    """The sentences of the forecasts that are shown.

    A session that is run again with a damaged model writes the sentences of the model that stood in, while its sound
    forecast stays the one that is shown: those sentences are left out.
    """
    sentences = frames["api.vw_explanations"]
    if sentences.empty:
        return sentences
    shown = ["as_of", "horizon", "model_version"]
    return sentences.merge(frames["api.vw_latest_forecast"][shown], on=shown)


def _holds_dates(column: pd.Series) -> bool:
    return str(column.dtype) in ("dbdate", "date32[day][pyarrow]")


def as_dates(column: pd.Series) -> pd.Series:
    """A column of dates, whatever the engine, as naive midnights."""
    return pd.to_datetime(column).astype("datetime64[us]")


def newest_day(frame: pd.DataFrame, column: str = "date") -> str:
    """The last date of a frame, as 2023-12-29."""
    return f"{frame[column].max():%Y-%m-%d}" if len(frame) else "not known"
