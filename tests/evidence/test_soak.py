"""What a soak says of its days, and that two homes that differ are not called alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evidence.soak_report import Soak, SoakDay, days_over, differences, trend, write_days, write_report
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse


def published(home: Path, weight: float) -> Path:
    dates = pd.date_range("2010-01-01", periods=2, unit="us")
    regimes = pd.DataFrame({"regime": ["a", "b"], "start_date": dates, "end_date": dates, "training_weight": weight})
    zones = Zones(home)
    DuckDbWarehouse(zones).publish({"training.regime_calendar": regimes}, as_of="2024-01-02", staging=zones.staging)
    return home


def test_homes_with_one_other_value_or_a_temporary_file_are_not_alike(tmp_path: Path) -> None:
    one, other = published(tmp_path / "one", 1.0), published(tmp_path / "other", 2.0)
    assert differences(one, other) == ["training.regime_calendar"]
    same = Path(shutil.copytree(one, tmp_path / "same"))
    assert differences(one, same) == []
    left = same / "warehouse" / ".tmp-1-2-cbi.duckdb"
    left.touch()
    assert differences(same, one) == [str(left)]


def test_a_leak_shows_as_a_slope_and_a_start_does_not() -> None:
    assert trend([100.0, *[500.0] * 20]) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert trend([500.0 + 3 * day for day in range(20)]) == pytest.approx((3.0, 0.0), abs=1e-9)
    assert np.isnan(trend([1.0, 2.0, 3.0, 4.0])).all()


def test_a_slope_within_the_noise_is_told_with_its_error() -> None:
    slope, error = trend(np.random.default_rng(7).normal(1000.0, 10.0, 120).tolist())
    assert abs(slope) < 2 * error < 0.2


def test_days_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    days = [
        SoakDay("2023-01-03", 5.0, 4.0, 900.0, 1300.0, 16, 9, 300.0, 40, "c0ffee", (1.5, 2.5), 4.0),
        SoakDay("2023-01-04", 5.0, 4.0, 900.0, 1300.0, 16, 9, 300.0, 40, "c0ffee"),
    ]
    assert days_over(tmp_path / "home") == []
    write_days(tmp_path / "home", days)
    assert days_over(tmp_path / "home") == days and [day.tries for day in days] == [3, 1]


def test_the_report_names_the_tables_that_differ(tmp_path: Path) -> None:
    days = [SoakDay(f"2023-01-{day:02d}", 5.0, 4.0, 900.0, 1300.0, 16, 9, 300.0, 40) for day in (3, 4, 5, 6)]
    soak = Soak(1, 250, ["2023-01-03 after 1.0 s"], days, days, tables=20, rows=1000, found=["ops.alerts"])
    page = write_report(tmp_path / "soak.md", soak).read_text()
    assert "| tables that differ | ops.alerts |" in page and "| sessions | 4 of 250, 2023-01-03 to 2023-01-06 |" in page
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG") and "(soak.png)" in page


def test_what_was_not_measured_on_some_days_is_told_from_the_others(tmp_path: Path) -> None:
    unmeasured = SoakDay("2023-01-03", 5.0, float("nan"), 900.0, 1300.0, 16, float("nan"), 300.0, 40)  # type: ignore[arg-type]
    days = [unmeasured, SoakDay("2023-01-04", 5.0, 4.0, 950.0, 1350.0, 16, 9, 300.0, 40)]
    page = write_report(tmp_path / "soak.md", Soak(1, 2, [], days, days, tables=20, rows=9, found=[])).read_text()
    assert "nan" not in page
    assert "threads of the process, first, last | 9, 9" in page
    none = write_report(tmp_path / "none.md", Soak(1, 2, [], days[:1], days[:1], tables=20, rows=9, found=[]))
    assert "threads of the process, first, last | not measured" in none.read_text()
