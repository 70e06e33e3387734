"""The statements that write, in BigQuery's dialect. Each moves rows from a staging table into a warehouse table.

``target`` and ``staged`` are quoted names; ``types`` are the table's columns and their types.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

from tasks.warehouse.dialect import quoted
from tasks.warehouse.tables import STAMP, Table


def _same_key(table: Table) -> str:
    return " AND ".join(f"t.{quoted(c)} = s.{quoted(c)}" for c in table.key)


def _differs(table: Table, columns: Iterable[str]) -> str:
    """Whether a stored row differs from the staged one, apart from its timestamp."""
    content = [c for c in columns if c not in (*table.key, STAMP)]
    return " OR ".join(f"t.{quoted(c)} IS DISTINCT FROM s.{quoted(c)}" for c in content)


def merge(table: Table, types: Mapping[str, str], *, target: str, staged: str) -> str:
    """Insert new keys, update rows whose content differs, leave the others unchanged, timestamp included."""
    rest = [c for c in types if c not in table.key]
    differs = _differs(table, types)
    update = ", ".join(f"{quoted(c)} = s.{quoted(c)}" for c in rest)
    matched = f"WHEN MATCHED AND ({differs}) THEN UPDATE SET {update} " if differs else ""
    return (
        f"MERGE INTO {target} AS t USING {staged} AS s ON {_same_key(table)} {matched}"  # noqa: S608 quoted names
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(map(quoted, types))}) "
        f"VALUES ({', '.join('s.' + quoted(c) for c in types)})"
    )


def touched_by_merge(table: Table, types: Mapping[str, str], *, target: str, staged: str) -> str:
    """How many rows `merge` would insert or update, as ``touched``."""
    first = f"t.{quoted(table.key[0])}"
    differs = _differs(table, types) or "FALSE"
    return (
        f"SELECT COUNTIF({first} IS NULL OR {differs}) AS touched "  # noqa: S608 quoted names
        f"FROM {staged} AS s LEFT JOIN {target} AS t ON {_same_key(table)}"
    )


def _not_stated(table: Table, session: datetime.date, staged: str | None) -> str:
    where = f"t.`as_of` = DATE '{session:%Y-%m-%d}'"
    if staged:
        where += f" AND NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {_same_key(table)})"  # noqa: S608 quoted names
    return where


def withdraw(table: Table, session: datetime.date, *, target: str, staged: str | None) -> str:
    """Delete the session's rows that are not among the staged ones; without ``staged``, all of the session."""
    return f"DELETE FROM {target} AS t WHERE {_not_stated(table, session, staged)}"  # noqa: S608 quoted names


def touched_by_withdraw(table: Table, session: datetime.date, *, target: str, staged: str | None) -> str:
    """How many rows `withdraw` would delete, as ``touched``."""
    where = _not_stated(table, session, staged)
    return f"SELECT COUNT(*) AS touched FROM {target} AS t WHERE {where}"  # noqa: S608 quoted names


def keep_latest(table: Table, rows: int, *, target: str) -> str:
    """Delete all but the latest ``rows`` by the table's date: what a thin warehouse stores of a table."""
    newest = ", ".join([f"{quoted(table.ordered_by)} DESC", *map(quoted, table.key)])
    key = ", ".join(map(quoted, table.key))
    kept = f"SELECT {key} FROM {target} ORDER BY {newest} LIMIT {rows}"  # noqa: S608 quoted names
    return f"DELETE FROM {target} AS t WHERE NOT EXISTS (SELECT 1 FROM ({kept}) AS s WHERE {_same_key(table)})"  # noqa: S608
