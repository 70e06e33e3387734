"""Forecasts as they are published."""

from __future__ import annotations

import pandas as pd

from tasks.warehouse.protocol import Warehouse

# of two versions the one of the data that was read last; on the same data a sound forecast before a degraded one
# (views/40_api.sql chooses in the same way)
OF_SESSION = """
SELECT * FROM (
  SELECT
    *,
    FIRST_VALUE(data_snapshot) OVER (PARTITION BY horizon ORDER BY created_at DESC, model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily
  WHERE as_of = DATE '{session:%Y-%m-%d}'
) AS published
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY horizon
  ORDER BY IF(data_snapshot = newest_snapshot, 0, 1), degraded, created_at DESC, is_baseline, model_version DESC
) = 1
"""


def published_forecasts(warehouse: Warehouse, session: pd.Timestamp) -> pd.DataFrame:
    """The published forecasts of a session, one row per horizon; empty if there are none."""
    if not warehouse.is_published():
        return pd.DataFrame()
    return warehouse.query(OF_SESSION.format(session=session))
