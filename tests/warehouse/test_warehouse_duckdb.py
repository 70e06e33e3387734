"""What only the DuckDB warehouse has: snapshots that readers open, and a writer's file that can be held or broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tasks.errors import WarehouseError
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.zones import exclusive

FORECASTS = "forecasts.zl_forecasts_daily"


@pytest.fixture
def warehouse(zones) -> DuckDbWarehouse:
    return DuckDbWarehouse(zones)


def snapshots(zones) -> list[str]:
    return sorted(path.name for path in (zones.warehouse / "published").glob("*.duckdb"))


def test_readers_see_the_newest_snapshot_and_two_are_kept(publish, warehouse, zones, forecasts):
    names = [publish({FORECASTS: forecasts({"point": price})}).snapshot for price in (51.0, 52.0, 53.0)]
    assert len(set(names)) == 3
    assert snapshots(zones) == sorted(names[-2:])
    assert (zones.warehouse / "published" / "CURRENT").read_text() == names[-1] + "\n"
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [53.0]


def test_a_snapshot_that_went_missing_is_made_again(publish, warehouse, zones, forecasts):
    name = publish({FORECASTS: forecasts({})}).snapshot
    (zones.warehouse / "published" / name).unlink()
    with pytest.raises(WarehouseError, match=r"CURRENT names cannot be read .* run `python -m flows.daily`"):
        warehouse.query("SELECT 1")
    assert publish({FORECASTS: forecasts({})}).switched
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [51.0]


READ = """
import sys
from pathlib import Path
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.zones import Zones
print(DuckDbWarehouse(Zones(Path(sys.argv[1]))).query("SELECT point FROM forecasts.zl_forecasts_daily")["point"][0])
"""


def test_another_process_reads_while_the_writer_is_open(publish, zones, forecasts):
    publish({FORECASTS: forecasts({})})
    with exclusive(zones, "warehouse"), duckdb.connect(str(zones.warehouse / "cbi.duckdb")) as writer:
        writer.execute(f"UPDATE {FORECASTS} SET point = 99")
        read = subprocess.run([sys.executable, "-c", READ, zones.home], capture_output=True, text=True, cwd=Path.cwd())
    assert read.stdout == "51.0\n", read.stderr


HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_writer_file_held_by_another_program_is_said(publish, zones, forecasts):
    publish({FORECASTS: forecasts({})})
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, zones.warehouse / "cbi.duckdb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WarehouseError, match="open in another program; close it and run again"):
            publish({FORECASTS: forecasts({"point": 52.0})})
    finally:
        holder.communicate()


@pytest.mark.faults
def test_a_corrupt_writer_file_says_the_cure_and_the_cure_works(publish, warehouse, zones, forecasts):
    publish({FORECASTS: forecasts({})})
    (zones.warehouse / "cbi.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError, match=r"cannot be used .* with `rm -f") as refusal:
        publish({FORECASTS: forecasts({"point": 52.0})})
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [51.0]
    subprocess.run(str(refusal.value).split("`")[1], shell=True, check=True)
    assert publish({FORECASTS: forecasts({"point": 52.0})}).changed == {FORECASTS: 1}
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [52.0]


def test_a_corrupt_writer_file_without_a_snapshot_is_moved_away(publish, warehouse, zones, forecasts):
    zones.warehouse.mkdir(parents=True)
    (zones.warehouse / "cbi.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError, match=r"move it away with `mv .*`, then run `make demo`"):
        publish({FORECASTS: forecasts({})})


def test_the_same_content_again_makes_no_file_and_a_refused_frame_writes_none(publish, zones, forecasts):
    first = publish({FORECASTS: forecasts({})})
    publish({FORECASTS: forecasts({})})
    with pytest.raises(WarehouseError):
        publish({FORECASTS: forecasts({"point": 99.0}).drop(columns="regime")})
    assert snapshots(zones) == [first.snapshot]
    with duckdb.connect(str(zones.warehouse / "cbi.duckdb"), read_only=True) as writer:
        assert writer.execute(f"SELECT horizon, point FROM {FORECASTS}").fetchall() == [("1w", 51.0)]
