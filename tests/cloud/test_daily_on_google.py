"""The daily run with BigQuery and Cloud Storage in place of DuckDB and a folder ends with the same, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.checksum import checksum
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import STAMP, tables

WAREHOUSE = "bigquery://test-project?prefix=daily_"


def said(warehouse: Warehouse) -> dict[str, str]:
    """A checksum of every table's content; the clock time of its rows is none of it."""
    held = warehouse.row_counts()
    found = {}
    for name, table in tables().items():
        if name in held:
            rows = warehouse.read(name)
            found[name] = checksum(rows.select([c for c in rows.column_names if c != STAMP]), table.key)
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("daily")  # the emulators first: without them no Prefect server is started
@pytest.mark.timeout(900)
def test_both_emulators_give_what_duckdb_and_a_folder_give_and_a_second_run_changes_nothing(
    bigquery_server_address, storage_emulator, run_daily, first_run, models_uri, bigquery_emulator, tmp_path: Path
):
    home = tmp_path / "home"
    shutil.copytree(first_run.home / "fits", home / "fits")  # what was fitted from the same files is the same
    cloud = {"CBI_WAREHOUSE": WAREHOUSE, "CBI_MODELS": models_uri}
    done = run_daily(home, first_run.archive, **cloud)
    warehouse = open_warehouse(Settings(home=home, warehouse=WAREHOUSE))
    local = DuckDbWarehouse(Zones(first_run.home))
    assert not (home / "warehouse" / "cbi.duckdb").exists() and not (home / "models").exists()
    assert done.forecasts.drop(columns="created_at", errors="ignore").equals(
        first_run.summary.forecasts.drop(columns="created_at", errors="ignore")
    )
    assert warehouse.row_counts() == local.row_counts()
    first = said(warehouse)
    assert first == said(local)
    again = run_daily(home, first_run.archive, **cloud)
    assert again.changed_rows == 0 and not again.trained
    assert said(warehouse) == first
