"""Homes and projects in folders as people name them: every sign of a name is a sign, nowhere a pattern or a command."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.zones import Zones, write_parquet

NAMES = [
    "Satechi Hub",
    "Süßöl [1] 100%",
    'Kirk\'s "SSD"',
    "a*b",
    "#1 $HOME `x` {y} & (z);",
    "[!a]",
    "value=9",
    "~tilde",
    "-dash",
]


def observations(value: float) -> pd.DataFrame:
    """One observation, with the columns that the view shows."""
    from tasks.warehouse.frames import conform
    from tasks.warehouse.tables import OBSERVATIONS, Table

    known = pd.Timestamp("2023-12-28", tz="UTC")
    row = {"source": "mei", "series": "mei", "field": "value", "value": value, "available_at": known}
    row |= {"observation_date": pd.Timestamp("2023-12-01"), "fetched_at": known, "vintage": known}
    frame = pd.DataFrame([{name: row.get(name) for name in OBSERVATIONS}])
    return conform(Table("staging.observations", (), dict(OBSERVATIONS)), frame, OBSERVATIONS).to_pandas()


def a_home_with(folder: Path, value: float) -> Zones:
    zones = Zones(folder)
    write_parquet(zones.staging / "mei" / "observations.parquet", observations(value))
    return zones


@pytest.mark.parametrize("name", NAMES)
def test_the_warehouse_of_a_home_shows_its_own_observations_and_no_others(name, tmp_path):
    zones = a_home_with(tmp_path / name / "home", 1.0)
    a_home_with(tmp_path / "axb" / "home", 2.0)  # which the pattern `a*b` would find too
    warehouse = DuckDbWarehouse(zones)
    warehouse.publish({}, as_of="2023-12-29", staging=zones.staging)
    assert list(warehouse.query("SELECT value FROM staging.observations")["value"]) == [1.0]
