"""Python, DuckDB and BigQuery compute the same realised figures from the same outcomes, on the archive's closes."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.evaluation.realised import FIGURES
from tasks.forecasting.history import due_outcomes
from tasks.gates.parity import AGREES
from tasks.registry import Horizons
from tasks.reporting.preflight import TRACKING, compare_engines
from tasks.reporting.track_record import OUTCOMES
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.bigquery.connection import BigQueryAddress
from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.protocol import Warehouse
from tests.conftest import AS_OF
from tests.forecasting.test_history import horizons, weekly, yahoo

__all__ = ["horizons", "weekly", "yahoo"]  # fixtures


def test_python_and_sql_agree_on_both_engines(
    bigquery_emulator: str, weekly: pd.DataFrame, yahoo: pd.DataFrame, horizons: Horizons, tmp_path: Path
) -> None:
    found = due_outcomes(weekly, yahoo, horizons, as_of=AS_OF, round_trip_cost_cents_lb=0.03)
    frames = {OUTCOMES: found.assign(created_at=pd.Timestamp("2024-01-02", tz="UTC"))}
    place = BigQueryAddress("test-project", prefix=f"t{secrets.token_hex(4)}_")
    home = Zones(tmp_path / "bigquery")
    warehouses: list[Warehouse] = [
        DuckDbWarehouse(Zones(tmp_path / "duckdb")),
        BigQueryWarehouse(place, home, Settings(home=home.home)),
    ]
    in_sql = []
    for warehouse in warehouses:
        warehouse.publish(frames, as_of=AS_OF, staging=tmp_path / "none")
        parity = compare_engines(warehouse, tuple(horizons.quantiles))
        assert parity["verdict"].eq(AGREES).all() and len(parity) == 5 * len(FIGURES)
        assert parity["difference"].max() < 1e-9
        in_sql.append(warehouse.query(TRACKING).sort_values("horizon").reset_index(drop=True))
    one, other = (frame.select_dtypes("number").astype("float64") for frame in in_sql)
    assert list(one) == list(other)
    np.testing.assert_allclose(one, other, rtol=1e-9)
