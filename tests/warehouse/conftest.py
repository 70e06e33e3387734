"""Small frames in the shapes the flows publish."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import tables

STAMP = pd.Timestamp("2024-01-03 00:05", tz="UTC")
KINDS = {"STRING": None, "FLOAT64": np.nan, "INT64": None, "BOOL": None, "DATE": pd.NaT, "TIMESTAMP": STAMP}


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    return Zones(tmp_path / "home")


@pytest.fixture(params=["duckdb", pytest.param("bigquery", marks=pytest.mark.cloud)])
def warehouse(request: pytest.FixtureRequest, zones: Zones) -> Warehouse:
    """The warehouse on each engine: what a test says of it holds for both."""
    if request.param == "duckdb":
        return DuckDbWarehouse(zones)
    request.getfixturevalue("bigquery_emulator")
    place = f"bigquery://test-project?prefix=t{secrets.token_hex(4)}_"
    request.getfixturevalue("monkeypatch").setenv("CBI_WAREHOUSE", place)
    return open_warehouse(Settings(home=zones.home, warehouse=place))


@pytest.fixture
def publish(warehouse: DuckDbWarehouse, zones: Zones):
    def run(frames: dict[str, pd.DataFrame], as_of: str = "2024-01-02", session: str | None = None):
        return warehouse.publish(frames, as_of=as_of, staging=zones.staging, session=session)

    return run


def rows(table: str, *given: dict) -> pd.DataFrame:
    """A frame with every column of a fixed table; what a row does not give is empty."""
    columns = tables()[table].columns
    assert all(set(row) <= set(columns) for row in given)
    return pd.DataFrame([{name: row.get(name, KINDS[kind]) for name, kind in columns.items()} for row in given])


def forecast(horizon: str = "1w", **given) -> dict:
    row = {"as_of": pd.Timestamp("2024-01-02"), "horizon": horizon, "model_version": "lightgbm/v1"}
    return {**row, "last_price": 50.0, "point": 51.0, "is_baseline": False, "created_at": STAMP, **given}


@pytest.fixture
def forecasts() -> Callable[..., pd.DataFrame]:
    def make(*given: dict) -> pd.DataFrame:
        return rows("forecasts.zl_forecasts_daily", *[forecast(**row) for row in given])

    return make


@pytest.fixture
def rows_of() -> Callable[..., pd.DataFrame]:
    return rows


@pytest.fixture
def features() -> pd.DataFrame:
    dates = pd.to_datetime(["2023-12-28", "2023-12-29", "2024-01-02"])
    return pd.DataFrame({"date": dates, "close": [48.1, 48.2, 47.9], "vix": [12.5, np.nan, 13.2]})


@pytest.fixture
def training(features: pd.DataFrame) -> pd.DataFrame:
    return features.assign(
        target_log_return=[0.01, -0.02, np.nan],
        target_price=[48.6, 47.2, np.nan],
        target_date=pd.to_datetime(["2024-01-05", "2024-01-08", "2024-01-09"]),
        training_weight=400,
        regime="trump_anticipation",
    )
