"""Opens the warehouse of the settings."""

from __future__ import annotations

from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.protocol import Warehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """DuckDB under CBI_HOME, or BigQuery.

    Raises:
        SettingsError: CBI_WAREHOUSE names neither.
    """
    zones = Zones(settings.home)
    if settings.warehouse == "duckdb":
        from tasks.warehouse.duckdb import DuckDbWarehouse

        return DuckDbWarehouse(zones)
    from tasks.warehouse.bigquery.connection import BigQueryAddress
    from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse

    return BigQueryWarehouse(BigQueryAddress.of(settings.warehouse), zones, settings)
