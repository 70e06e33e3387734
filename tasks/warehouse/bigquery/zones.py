"""The zones' files in BigQuery: one table per source for observations and refused cells, and a view over them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from tasks.storage.hashes import fingerprint, sha256_of
from tasks.warehouse.bigquery.connection import Connection
from tasks.warehouse.dialect import quoted
from tasks.warehouse.frames import conform
from tasks.warehouse.tables import OBSERVATIONS, REFUSED_CELLS, Table

ZONE_TABLES = ("staging.observations_", "staging.quarantine_")


def load_zones(connection: Connection, staging: Path, quarantine: Path, *, rows_kept: int | None) -> bool:
    """Load observations and refused cells of changed files, one table per source. Returns whether any was loaded.

    ``rows_kept``: limit of the latest rows per table; None for all.
    """
    found = False
    for folder, file, prefix, columns in (
        (staging, "observations.parquet", ZONE_TABLES[0], OBSERVATIONS),
        (quarantine, "cells.parquet", ZONE_TABLES[1], REFUSED_CELLS),
    ):
        for path in sorted(folder.glob(f"*/{file}")):
            found |= _load_file(connection, path, f"{prefix}{path.parent.name}", columns, rows_kept)
    return found


def _load_file(
    connection: Connection, path: Path, name: str, columns: Mapping[str, str], rows_kept: int | None
) -> bool:
    from google.api_core.exceptions import NotFound

    table = Table(name, (), dict(columns), partition=("observation_date", "YEAR"), cluster=("series", "field"))
    digest = fingerprint(sha256_of(path), "full" if rows_kept is None else "thin")[:60]
    with suppress(NotFound):
        if connection.client.get_table(connection.name(name)).labels.get("file") == digest:
            return False
    read = pq.read_table(path)
    rows = conform(table, read.select([c for c in columns if c in read.column_names]).to_pandas(), columns)
    if rows_kept is not None:
        rows = rows.sort_by([("observation_date", "descending"), ("series", "ascending")]).slice(0, rows_kept)
    connection.load(name, rows, columns, layout=table)
    loaded = connection.client.get_table(connection.name(name))
    loaded.labels = {"app": "cbi", "file": digest}  # last: an unfinished load is repeated
    connection.client.update_table(loaded, ["labels"])
    return True


def zone_view(connection: Connection, view: str, prefix: str, columns: Mapping[str, str], where: str) -> str:
    """The statement for a view of all sources' tables. Without tables it has the same columns and no rows."""
    loaded = sorted(
        table.table_id
        for table in connection.client.list_tables(f"{connection.place.project}.{connection.place.prefix}staging")
        if f"staging.{table.table_id}".startswith(prefix)
    )
    listed = ", ".join(map(quoted, columns))
    if loaded:
        parts = [f"SELECT {listed} FROM {connection.quoted(f'staging.{name}')} WHERE {where}" for name in loaded]  # noqa: S608
        body = " UNION ALL ".join(parts)
    else:
        body = "SELECT " + ", ".join(f"CAST(NULL AS {k}) AS {quoted(n)}" for n, k in columns.items())
        body += " FROM (SELECT 1) WHERE FALSE"
    return f"CREATE OR REPLACE VIEW {connection.quoted(view)} AS {body}"
