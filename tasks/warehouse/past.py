"""What the warehouse knows of earlier sessions' forecasts, for runs of later ones: empty where nothing is known yet."""

from __future__ import annotations

import pandas as pd

from tasks.errors import WarehouseError
from tasks.warehouse.protocol import Warehouse

OUTCOMES = "performance.forecast_outcomes"
UNSERVED = "forecasts.zl_shadow_daily"
FORECASTS = "forecasts.zl_forecasts_daily"
ROWS = "SELECT * FROM {table} WHERE {where} ORDER BY as_of, horizon"
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
    if FORECASTS not in (warehouse.row_counts() if warehouse.is_published() else {}):
        return None
    rows = warehouse.query(NEWEST.format(day=f"{as_of:%Y-%m-%d}"))
    newest = rows["newest"].iloc[0]
    return None if pd.isna(newest) else pd.Timestamp(newest)


def _rows(warehouse: Warehouse, table: str, where: str) -> pd.DataFrame:
    if not warehouse.is_published() or table not in warehouse.row_counts():
        return pd.DataFrame()
    rows = warehouse.query(ROWS.format(table=table, where=where or "TRUE"))
    dates = [name for name in ("as_of", "target_date") if name in rows]
    return rows.assign(**{name: pd.to_datetime(rows[name]).astype("datetime64[us]") for name in dates})
