"""What a warehouse can do, whichever engine holds it. Flows and reports know this module, not the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa


@dataclass(frozen=True)
class Published:
    """What one publish did."""

    changed: dict[str, int]
    """Rows inserted or updated, by table. All zero when the same content came again."""
    snapshot: str
    """Name of the snapshot that readers see now."""
    switched: bool
    """Whether that snapshot is a new one."""


class Warehouse(Protocol):
    """Tables are named ``dataset.table`` (tasks/warehouse/tables.py); SQL is BigQuery's dialect."""

    def migrate(self) -> None:
        """Create the datasets and fixed tables that are missing, and columns added to them since."""
        ...

    def publish(
        self,
        tables: Mapping[str, pd.DataFrame],
        *,
        as_of: str | pd.Timestamp,
        staging: Path,
        session: str | pd.Timestamp | None = None,
    ) -> Published:
        """Merge every frame into its table on the natural key, in one transaction, then switch readers to it.

        Invariants: all tables change or none; no row is deleted but those of ``session`` in the tables of ``STATED``
            that the frame no longer has; the same content again changes nothing,
        ``created_at`` included; readers see the state before or after, never between.

        Args:
            tables: frames by ``dataset.table``. A frame without rows is nothing to do.
            as_of: the run's session; ``staging.observations`` shows what was known at 18:00 Chicago of it.
            staging: the staging zone that view reads.
            session: the session whose alerts, refused cells, drivers and features the frames state completely.

        Raises:
            WarehouseError: an unknown table, a missing or unknown column, a NULL or duplicate key, a value
                that does not fit its column. Nothing of any table was written.
        """
        ...

    def query(self, sql: str) -> pd.DataFrame:
        """Rows of one SELECT over the published snapshot; never blocks a writer.

        Raises:
            WarehouseError: nothing is published yet, or the SQL does not run; one clear line.
        """
        ...

    def is_published(self) -> bool:
        """Whether there is anything to read yet."""
        ...

    def read(self, table: str) -> pa.Table:
        """All rows of a table, in the table's types and no certain order.

        Raises:
            WarehouseError: no such table is held.
        """
        ...

    def row_counts(self) -> dict[str, int]:
        """Rows of every published table and view, by ``dataset.name``."""
        ...
