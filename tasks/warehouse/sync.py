"""Bring what the DuckDB warehouse has published to BigQuery: `cbi sync`.

Table by table, each replaced by one load job and read back: the checksums of both sides are told. A rerun finds the
tables that are equal already and leaves them, so that one killed halfway goes on where it was.
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
class Synced:
    """One table: what both sides say, and whether anything had to be done."""

    table: str
    rows: int
    source: str
    target: str
    loaded: bool

    @property
    def equal(self) -> bool:
        """Whether both sides say the same."""
        return self.source == self.target


def sync(
    source: DuckDbWarehouse,
    target: BigQueryWarehouse,
    *,
    staging: Path,
    done: Callable[[Synced], None] = lambda _: None,
) -> list[Synced]:
    """Make every table of ``target`` say what ``source`` has published, then its views and the zones' files.

    Raises:
        WarehouseError: nothing is published, or a table differs after it was loaded.
        CloudError: BigQuery refused or did not answer; run it again.
    """
    held = source.row_counts()
    newest = source.query("SELECT MAX(as_of) AS as_of FROM forecasts.zl_forecasts_daily")["as_of"].iloc[0]
    target.migrate()
    brought = []
    for table in tables().values():
        if table.name not in held:
            continue
        one = _bring(table, target.cut(table, source.read(table.name)), target)
        done(one)
        if not one.equal:
            raise WarehouseError(f"{table.name}: differs after it was loaded; run it again, and tell us if it stays so")
        brought.append(one)
    target.publish({}, as_of=newest, staging=staging)
    return brought


def _bring(table: Table, rows: pa.Table, target: BigQueryWarehouse) -> Synced:
    wanted = checksum(rows, table.key)
    types = {name: kind for name in rows.column_names for kind, arrow in ARROW.items() if rows[name].type == arrow}
    if target.rows_of(table.name) == rows.num_rows and _says(table, target) == wanted:
        return Synced(table.name, rows.num_rows, wanted, wanted, loaded=False)
    target.connection.load(table.name, rows, types, layout=table)
    return Synced(table.name, rows.num_rows, wanted, _says(table, target), loaded=True)


def _says(table: Table, target: BigQueryWarehouse) -> str:
    return checksum(target.read(table.name), table.key)
