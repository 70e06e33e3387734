"""Publishing the real tables of a daily run into an empty warehouse, and again without changes.

Peer: DuckDB writing the same frames as plain tables into an empty file, without key, merge, views, snapshot or check:
the cost of a daily overwrite. Both end with the same row counts (asserted).
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd

from evidence.inputs import AS_OF, Inputs
from evidence.measurement import Measurement, in_turns
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import tables

REPEATS = 3


def measure(inputs: Inputs) -> list[Measurement]:
    published = inputs.first_run.row_counts
    source = DuckDbWarehouse(Zones(inputs.home))
    frames = {
        name: source.query(f"SELECT * FROM {name}")  # names of tasks.warehouse.tables
        for name in tables()
        if published.get(name)
    }
    staging = Zones(inputs.home).staging
    warehouses = [DuckDbWarehouse(Zones(inputs.folder / f"warehouse-{repeat}")) for repeat in range(REPEATS)]
    empty, full = iter(warehouses), iter(warehouses)
    files = iter(inputs.folder / f"plain-{repeat}.duckdb" for repeat in range(REPEATS))
    (first, _), (second, again), (other, counts) = in_turns(
        lambda: next(empty).publish(frames, as_of=AS_OF, staging=staging),
        lambda: next(full).publish(frames, as_of=AS_OF, staging=staging),
        lambda: overwrite(next(files), frames),
        repeats=REPEATS,
    )
    assert not any(again.changed.values()) and not again.switched, again
    assert counts == {name: warehouses[-1].row_counts()[name] for name in frames}
    cells = sum(frame.size for frame in frames.values())
    size = f"{len(frames)} tables, {sum(map(len, frames.values())):,} rows, {cells:,} cells; median of {REPEATS}"
    peer = f"DuckDB overwriting plain tables, {other:.2f} s"
    return [
        Measurement("warehouse publish, empty", first, "s", peer=peer, ratio=first / other, note=size),
        Measurement("warehouse publish, nothing changed", second, "s", peer=peer, ratio=second / other, note=size),
    ]


def overwrite(file: Path, frames: dict[str, pd.DataFrame]) -> dict[str, int]:
    """Write every frame as a table. Returns the rows of each."""
    with duckdb.connect(str(file)) as connection:
        counts = {}
        for name, frame in frames.items():
            connection.register("incoming", frame)
            table = '"' + name.replace(".", "_") + '"'
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
            counts[name] = int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchall()[0][0])
            connection.unregister("incoming")
    return counts
