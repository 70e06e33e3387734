"""What the warehouse knows of earlier sessions' forecasts, for runs of later ones: empty where nothing is known yet."""

from __future__ import annotations

import pandas as pd

from tasks.errors import WarehouseError
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import tables

OUTCOMES = "performance.forecast_outcomes"
UNSERVED = "forecasts.zl_shadow_daily"
FORECASTS = "forecasts.zl_forecasts_daily"
ROWS = "SELECT * FROM {table} WHERE {where} ORDER BY {order}"
ALERT_EVENTS = "ops.alert_events"
# as tasks/warehouse/published.py chooses, for many sessions
SERVED = """
SELECT * FROM (
  SELECT
    *,
    FIRST_VALUE(data_snapshot) OVER (PARTITION BY as_of, horizon ORDER BY created_at DESC, model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily
  WHERE as_of < DATE '{day}' AND as_of >= DATE '{since}'
) AS published
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY as_of, horizon
  ORDER BY IF(data_snapshot = newest_snapshot, 0, 1), degraded, created_at DESC, is_baseline, model_version DESC
) = 1
ORDER BY as_of, horizon
"""
NO_TABLE = ("does not exist", "Not found: Table", "was not found")
NEWEST = "SELECT MAX(as_of) AS newest FROM forecasts.zl_forecasts_daily WHERE as_of < DATE '{day}'"


def past_outcomes(warehouse: Warehouse, origin: str) -> pd.DataFrame:
    """The outcomes of published forecasts of one origin of payloads; dates are dates, prices in cents/lb."""
    return _rows(warehouse, OUTCOMES, f"origin = '{origin}' AND actual_price IS NOT NULL")


def unserved_forecasts(warehouse: Warehouse, *, version: str = "", baselines: bool = False) -> pd.DataFrame:
    """Forecasts that were not served: of a version, or of the baselines; all without either."""
    if version and not version.replace("/", "").replace("_", "").isalnum():
        raise WarehouseError(f"{version!r} is no name of a version")
    chosen = [f"model_version = '{version}'"] if version else []
    return _rows(warehouse, UNSERVED, " AND ".join([*chosen, *(["is_baseline"] if baselines else [])]))


def alert_events(warehouse: Warehouse) -> pd.DataFrame:
    """Every event of alerts; none if there is no such table yet."""
    return _rows(warehouse, ALERT_EVENTS, "TRUE", order="kind, subject, number")


def served_before(warehouse: Warehouse, as_of: pd.Timestamp, since: pd.Timestamp) -> pd.DataFrame:
    """Forecasts as they were served from ``since`` to before ``as_of``, one row per session and horizon."""
    rows = _asked(warehouse, SERVED.format(day=f"{as_of:%Y-%m-%d}", since=f"{since:%Y-%m-%d}"))
    return _with_dates(rows)


def decisions_between(warehouse: Warehouse, as_of: pd.Timestamp, since: pd.Timestamp) -> pd.DataFrame:
    """Rows of ``forecasts.zl_decisions_daily`` from ``since`` to before ``as_of``."""
    where = f"as_of < DATE '{as_of:%Y-%m-%d}' AND as_of >= DATE '{since:%Y-%m-%d}'"
    return _rows(warehouse, "forecasts.zl_decisions_daily", where, order="as_of, need, month")


def rows_on(warehouse: Warehouse, table: str, as_of: pd.Timestamp, order: str = "horizon") -> pd.DataFrame:
    """The rows of one session."""
    return _rows(warehouse, table, f"as_of = DATE '{as_of:%Y-%m-%d}'", order=order)


def decisions_on(warehouse: Warehouse, as_of: pd.Timestamp) -> pd.DataFrame:
    """Rows of ``forecasts.zl_decisions_daily`` of one session, the months of a need before all of them."""
    rows = rows_on(warehouse, "forecasts.zl_decisions_daily", as_of, order="need, month")
    return rows.fillna({"reason": ""}) if len(rows) else rows


def published_before(warehouse: Warehouse, as_of: pd.Timestamp) -> pd.Timestamp | None:
    """The newest session before ``as_of`` whose forecast is published."""
    rows = _asked(warehouse, NEWEST.format(day=f"{as_of:%Y-%m-%d}"))
    newest = rows["newest"].iloc[0] if len(rows) else None
    return None if pd.isna(newest) else pd.Timestamp(newest)


def _rows(warehouse: Warehouse, table: str, where: str, order: str = "as_of, horizon") -> pd.DataFrame:
    if table not in tables():
        return pd.DataFrame()
    rows = _asked(warehouse, ROWS.format(table=table, where=where or "TRUE", order=order))
    return _with_dates(rows)


def _with_dates(rows: pd.DataFrame) -> pd.DataFrame:
    dates = [name for name in ("as_of", "target_date", "settled_on", "due_date", "roll_date") if name in rows]
    return rows.assign(**{name: pd.to_datetime(rows[name]).astype("datetime64[us]") for name in dates})


def _asked(warehouse: Warehouse, sql: str) -> pd.DataFrame:
    """The rows of a query; none if nothing is published, or if what is published is older than the table."""
    if not warehouse.is_published():
        return pd.DataFrame()
    try:
        return warehouse.query(sql)
    except WarehouseError as error:
        if any(words in str(error) for words in NO_TABLE):
            return pd.DataFrame()
        raise
