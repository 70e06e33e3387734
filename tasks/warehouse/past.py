"""What the warehouse knows of earlier sessions' forecasts, for runs of later ones: empty where nothing is known yet."""

from __future__ import annotations

import pandas as pd

from tasks.errors import WarehouseError
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import tables

OUTCOMES = "performance.forecast_outcomes"
UNSERVED = "forecasts.zl_shadow_daily"
FORECASTS = "forecasts.zl_forecasts_daily"
ROWS = "SELECT * FROM {table} WHERE {where} ORDER BY as_of, horizon"
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


def published_before(warehouse: Warehouse, as_of: pd.Timestamp) -> pd.Timestamp | None:
    """The newest session before ``as_of`` whose forecast is published."""
    rows = _asked(warehouse, NEWEST.format(day=f"{as_of:%Y-%m-%d}"))
    newest = rows["newest"].iloc[0] if len(rows) else None
    return None if pd.isna(newest) else pd.Timestamp(newest)


def _rows(warehouse: Warehouse, table: str, where: str) -> pd.DataFrame:
    if table not in tables():
        return pd.DataFrame()
    rows = _asked(warehouse, ROWS.format(table=table, where=where or "TRUE"))
    dates = [name for name in ("as_of", "target_date", "settled_on") if name in rows]
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
