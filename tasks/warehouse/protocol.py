"""The protocol of a warehouse. Flows and reports use this module, not an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa


@dataclass(frozen=True)
class Published:
    """The result of one publish."""

    changed: dict[str, int]
    """Rows inserted or updated, by given table. All zero if the content was the same."""
    snapshot: str
    """Name of the readers' snapshot."""
    switched: bool
    """Whether that snapshot is new."""


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

        Invariants: all tables change or none. No row is deleted, except rows of ``session`` in the tables of ``STATED``
        that
            are no longer in the frame. The same content again changes nothing, ``created_at`` included. Readers see the
            state before or after, never between. Forecasts that are new or changed are sealed by links of
            ``forecasts.record_chain`` in the same transaction (tasks/warehouse/record.py), unless ``tables`` has that
            table, as a restore does.

        Args:
            tables: frames by ``dataset.table``. A frame without rows changes nothing.
            as_of: the run's session; ``staging.observations`` shows what was known at its 18:00 Chicago time.
            staging: the staging zone that this view reads.
            session: the frames contain all alerts, refused cells, drivers and features of this session.

        Raises:
            WarehouseError: an unknown table, a missing or unknown column, a NULL or duplicate key, a value
                that does not fit its column. Nothing was written to any table.
        """
        ...

    def query(self, sql: str, *, within_s: float | None = None) -> pd.DataFrame:
        """Rows of one SELECT over the published snapshot; never blocks a writer.

        Args:
            within_s: the engine stops the query after this many seconds. None: no limit.

        Raises:
            WarehouseError: nothing is published yet, the SQL does not run, or it took too long; one clear line.
        """
        ...

    def is_published(self) -> bool:
        """Whether anything was published yet."""
        ...

    def read(self, table: str) -> pa.Table:
        """All rows of a table, in the table's types, in any order.

        Raises:
            WarehouseError: there is no such table.
        """
        ...

    def row_counts(self) -> dict[str, int]:
        """Rows of every published table and view, by ``dataset.name``."""
        ...
