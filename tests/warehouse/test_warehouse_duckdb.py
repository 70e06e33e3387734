"""What only the DuckDB warehouse has: snapshots that readers open, and a writer's file that can be held or broken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tasks.errors import WarehouseError
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse

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
    with pytest.raises(WarehouseError, match=r"CURRENT names cannot be read .* next `cbi daily` writes it"):
        warehouse.query("SELECT 1")
    assert publish({FORECASTS: forecasts({})}).switched
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [51.0]


READ = """
import sys
from pathlib import Path
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.storage.zones import Zones
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


@pytest.mark.faults
@pytest.mark.parametrize(("pointer", "file"), [("there", "gone"), ("gone", "gone"), ("there", "emptied")])
def test_without_its_working_file_a_publish_goes_on_from_what_is_published(
    publish, warehouse, zones, forecasts, pointer, file
):
    """It began an empty warehouse, and readers went from the whole history to one day."""
    first = publish({FORECASTS: forecasts({}, {"horizon": "1m"}, {"horizon": "12m"})})
    (zones.warehouse / "cbi.duckdb").unlink()
    if file == "emptied":
        (zones.warehouse / "cbi.duckdb").touch()
    if pointer == "gone":
        (zones.warehouse / "published" / "CURRENT").unlink()
    done = publish({FORECASTS: forecasts({"point": 52.0})})
    assert done.changed == {FORECASTS: 1} and done.snapshot > first.snapshot, "numbered on"
    held = warehouse.query(f"SELECT horizon, point FROM {FORECASTS}").set_index("horizon")["point"]
    assert held.to_dict() == {"1w": 52.0, "1m": 51.0, "12m": 51.0}


@pytest.mark.faults
def test_an_older_working_file_takes_nothing_back_that_readers_have(publish, warehouse, zones, forecasts):
    """Restored from yesterday it counted up to a name that readers had already, and they never saw the new rows."""
    file = zones.warehouse / "cbi.duckdb"
    publish({FORECASTS: forecasts({})})
    older = file.read_bytes()
    publish({FORECASTS: forecasts({"horizon": "1m"})})
    file.write_bytes(older)
    done = publish({FORECASTS: forecasts({"horizon": "12m"})})
    assert done.switched
    assert set(warehouse.query(f"SELECT horizon FROM {FORECASTS}")["horizon"]) == {"1w", "1m", "12m"}
    assert file.with_name("cbi.duckdb.older").read_bytes() == older, "nothing is thrown away"


@pytest.mark.faults
def test_the_working_file_of_another_warehouse_is_refused_with_the_remedy(
    publish, warehouse, zones, forecasts, tmp_path
):
    other = Zones(tmp_path / "other")
    DuckDbWarehouse(other).publish({FORECASTS: forecasts({})}, as_of="2024-01-02", staging=other.staging)
    publish({FORECASTS: forecasts({"horizon": "1m"})})
    (zones.warehouse / "cbi.duckdb").write_bytes((other.warehouse / "cbi.duckdb").read_bytes())
    with pytest.raises(WarehouseError, match=r"is not the file that .* was published from") as refusal:
        publish({FORECASTS: forecasts({"horizon": "12m"})})
    subprocess.run(str(refusal.value).split("`")[1], shell=True, check=True)
    publish({FORECASTS: forecasts({"horizon": "12m"})})
    assert set(warehouse.query(f"SELECT horizon FROM {FORECASTS}")["horizon"]) == {"1m", "12m"}


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def zeros_in_the_middle(path: Path) -> None:
    """One block of the table's own rows, behind the headers: a file that opens."""
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 4096] + bytes(len(whole) - 6 * 4096) + whole[-3 * 4096 :])


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [half, zeros, zeros_in_the_middle, emptied, Path.unlink])
def test_a_damaged_snapshot_is_told_and_written_again_by_the_next_publish(
    publish, warehouse, zones, forecasts, record_property, damage
):
    snapshot = publish({FORECASTS: forecasts({})}).snapshot
    damage(zones.warehouse / "published" / snapshot)
    with pytest.raises(WarehouseError, match=r"CURRENT names cannot be read .* next `cbi daily` writes it"):
        warehouse.query(f"SELECT * FROM {FORECASTS}")
    began = time.monotonic()
    again = publish({FORECASTS: forecasts({})})
    record_property("healed_s", time.monotonic() - began)
    assert again.snapshot == snapshot and again.switched, "nothing new, and yet it is written"
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [51.0]


@pytest.mark.faults
@pytest.mark.parametrize("pointer", [b"", b"\0" * 25, b"\xff\xfe", b"../../elsewhere.duckdb", None])
def test_a_damaged_pointer_is_told_and_written_again_by_the_next_publish(
    publish, warehouse, zones, forecasts, record_property, pointer
):
    publish({FORECASTS: forecasts({})})
    current = zones.warehouse / "published" / "CURRENT"
    current.unlink() if pointer is None else current.write_bytes(pointer)
    with pytest.raises(WarehouseError, match="nothing is published" if pointer is None else "CURRENT names cannot be"):
        warehouse.query("SELECT 1")
    began = time.monotonic()
    publish({FORECASTS: forecasts({})})
    record_property("healed_s", time.monotonic() - began)
    assert warehouse.query(f"SELECT point FROM {FORECASTS}")["point"].tolist() == [51.0]


@pytest.mark.faults
def test_without_its_working_file_the_newest_snapshot_that_can_be_read_is_gone_on_from(
    publish, warehouse, zones, forecasts
):
    publish({FORECASTS: forecasts({})})
    newest = publish({FORECASTS: forecasts({"horizon": "1m"})}).snapshot
    (zones.warehouse / "cbi.duckdb").unlink()
    zeros(zones.warehouse / "published" / newest)
    publish({FORECASTS: forecasts({"horizon": "3m"})})
    assert set(warehouse.query(f"SELECT horizon FROM {FORECASTS}")["horizon"]) == {"1w", "3m"}


@pytest.mark.faults
def test_where_nothing_of_the_history_can_be_read_no_new_warehouse_takes_its_place(
    publish, warehouse, zones, forecasts
):
    kept = zones.warehouse / "published" / publish({FORECASTS: forecasts({})}).snapshot
    backup = kept.read_bytes()
    (zones.warehouse / "cbi.duckdb").unlink()
    zeros(kept)
    with pytest.raises(WarehouseError, match=r"replace all history\. Restore one of them") as refusal:
        publish({FORECASTS: forecasts({"horizon": "1m"})})
    damaged = kept.read_bytes()
    kept.write_bytes(backup)
    publish({FORECASTS: forecasts({"horizon": "1m"})})
    assert set(warehouse.query(f"SELECT horizon FROM {FORECASTS}")["horizon"]) == {"1w", "1m"}
    (zones.warehouse / "cbi.duckdb").unlink()
    for path in (zones.warehouse / "published").glob("*.duckdb"):
        path.write_bytes(damaged)
    subprocess.run(str(refusal.value).split("`")[1], shell=True, check=True)
    publish({FORECASTS: forecasts({"horizon": "1m"})})
    assert set(warehouse.query(f"SELECT horizon FROM {FORECASTS}")["horizon"]) == {"1m"}
