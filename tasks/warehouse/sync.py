"""Copy the published DuckDB warehouse to BigQuery: `cbi sync`.

Table by table, each replaced by one load job and read back; the checksums of both sides are shown. A rerun skips tables
that are already equal, so that a sync that was killed continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.errors import WarehouseError
from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
from tasks.warehouse.checksum import checksum
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.frames import ARROW
from tasks.warehouse.tables import Table, tables


@dataclass(frozen=True)
class SyncedTable:
    """One table: the checksums of both sides, and whether it was loaded."""

    table: str
    rows: int
    source: str
    target: str
    loaded: bool

    @property
    def equal(self) -> bool:
        """Whether both sides are equal."""
        return self.source == self.target


def sync(
    source: DuckDbWarehouse,
    target: BigQueryWarehouse,
    *,
    staging: Path,
    done: Callable[[SyncedTable], None] = lambda _: None,
) -> list[SyncedTable]:
    """Make every table of ``target`` equal to the published one of ``source``, then its views and the zones' files.

    Raises:
        WarehouseError: nothing is published, or a table differs after it was loaded.
        CloudError: BigQuery refused or did not answer; run it again.
    """
    published = source.row_counts()
    newest = source.query("SELECT MAX(as_of) AS as_of FROM forecasts.zl_forecasts_daily")["as_of"].iloc[0]
    target.migrate()
    brought = []
    for table in tables().values():
        if table.name not in published:
            continue
        one = _bring(table, target.cut(table, source.read(table.name)), target)
        done(one)
        if not one.equal:
            raise WarehouseError(
                f"{table.name}: differs after it was loaded; run it again, and report it if that stays"
            )
        brought.append(one)
    target.publish({}, as_of=newest, staging=staging)
    return brought


def _bring(table: Table, rows: pa.Table, target: BigQueryWarehouse) -> SyncedTable:
    wanted = checksum(rows, table.key)
    types = {name: kind for name in rows.column_names for kind, arrow in ARROW.items() if rows[name].type == arrow}
    if target.rows_of(table.name) == rows.num_rows and _says(table, target) == wanted:
        return SyncedTable(table.name, rows.num_rows, wanted, wanted, loaded=False)
    target.connection.load(table.name, rows, types, layout=table)
    return SyncedTable(table.name, rows.num_rows, wanted, _says(table, target), loaded=True)


def _says(table: Table, target: BigQueryWarehouse) -> str:
    return checksum(target.read(table.name), table.key)
