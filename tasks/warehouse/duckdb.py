"""The warehouse as DuckDB files: a working file that a publish writes, and published snapshots for readers.

A DuckDB process with a write handle locks out all others, readers too. So the working file is opened only under the
lock and only during a merge, and readers open a copy whose name is in `published/CURRENT`.

Invariants: the working file counts its own changes (`main.publication`), in the transaction that makes them. A publish
that was killed after its commit left a revision without a snapshot; the next publish finds that. Published content is
never replaced by less: a working file that is lost, or older than the readers' snapshot, is restored from that
snapshot.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
from duckdb import DuckDBPyConnection

from tasks.calendar import as_of_instant
from tasks.errors import WarehouseError
from tasks.storage.files import in_shell, sweep_temporary, without_glob_signs, write_atomically, write_bytes
from tasks.storage.hashes import fingerprint
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse import record
from tasks.warehouse.dialect import for_duckdb, parse_query, quoted, written_for_duckdb
from tasks.warehouse.frames import ARROW, check, column_type, conform, to_frame
from tasks.warehouse.protocol import Published
from tasks.warehouse.statements import merge, withdraw
from tasks.warehouse.tables import DATASETS, FEATURES, OBSERVATIONS, REFUSED_CELLS, STATED, Table, table_named, tables
from tasks.warehouse.views import views

log = logging.getLogger(__name__)
DUCKDB_TYPES = {
    "DATE": "DATE",
    "STRING": "VARCHAR",
    "FLOAT64": "DOUBLE",
    "INT64": "BIGINT",
    "BOOL": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
}
SNAPSHOTS_KEPT = 2
OFFLINE: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": "false"}


def _quoted(*names: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for name in names for part in name.split("."))


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def one_line(error: Exception) -> str:
    """An engine's message without the excerpt of the statement below it."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())


@contextmanager
def _stopped_after(connection: DuckDBPyConnection, within_s: float | None) -> Iterator[None]:
    """Interrupt whatever the connection runs after that many seconds."""
    if within_s is None:
        yield
        return

    def stop() -> None:
        with suppress(duckdb.Error):  # it was closed meanwhile
            connection.interrupt()

    timer = threading.Timer(within_s, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_damage(error: duckdb.Error) -> bool:
    """Whether the error is a damaged file, and not a statement that cannot run."""
    return "corrupt" in str(error).casefold() or isinstance(error, duckdb.IOException)


def _revision(file: Path) -> tuple[str, int] | None:
    """The database and revision of a warehouse file; None if it has none yet or cannot be read."""
    try:
        with duckdb.connect(str(file), read_only=True, config=OFFLINE) as connection:
            row = connection.execute("SELECT database, revision FROM main.publication").fetchone()
    except duckdb.Error:  # new, in use or damaged: the next write reports it
        return None
    return (str(row[0]), int(row[1])) if row else None


class DuckDbWarehouse:
    """The warehouse under one CBI_HOME (`tasks.warehouse.protocol.Warehouse`)."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._file = zones.warehouse / "cbi.duckdb"
        self._folder = zones.warehouse / "published"
        self._pointer = self._folder / "CURRENT"

    # -- writing ------------------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Create the datasets and fixed tables that are missing, and columns added to them since."""
        with self._writer() as connection:
            connection.begin()
            self._migrate(connection)
            connection.commit()

    def publish(
        self,
        tables: Mapping[str, pd.DataFrame],
        *,
        as_of: str | pd.Timestamp,
        staging: Path,
        session: str | pd.Timestamp | None = None,
    ) -> Published:
        """Merge all frames in one transaction, then switch readers to a snapshot of the result.

        Raises:
            WarehouseError: a frame does not fit its table (nothing was written), or the file is not usable.
        """
        check(tables)
        with self._writer() as connection:
            sweep_temporary(self._file.parent)
            sweep_temporary(self._folder)
            connection.begin()
            self._migrate(connection)
            existing = self._columns(connection)
            if record.CHAIN not in tables:  # a restore brings the record with it
                links = record.new_links(tables, lambda sql: connection.sql(written_for_duckdb(sql)).to_arrow_table())
                self._append(connection, table_named(record.CHAIN), links)
            changed = {
                name: self._merge(connection, table_named(name), frame, existing.get(name, {})) if len(frame) else 0
                for name, frame in tables.items()
            }
            if session is not None:
                for name in (name for name in STATED if name in tables):
                    changed[name] += self._withdraw(connection, table_named(name), tables[name], pd.Timestamp(session))
            wanted = self._views(connection, as_of=as_of, staging=staging)
            snapshot = self._commit(connection, any(changed.values()), wanted)
            switched = snapshot != self._current() or not self._is_sound(snapshot)
            if switched:
                self._copy(connection, snapshot)
                write_bytes(self._pointer, f"{snapshot}\n".encode())
                self._drop_old_snapshots(snapshot)
        return Published(changed=changed, snapshot=snapshot, switched=switched)

    @contextmanager
    def _writer(self) -> Iterator[DuckDBPyConnection]:
        """The write handle, under the lock. Uncommitted changes are lost when it closes."""
        with exclusive(self._zones, "warehouse"):
            try:
                self._begin_from_what_is_published()
                if not self._file.exists():  # a kill during DuckDB's creation of a file would leave half a file
                    write_atomically(self._file, lambda new: duckdb.connect(str(new), config=OFFLINE).close())
                connection = duckdb.connect(str(self._file), config=OFFLINE)
            except duckdb.Error as error:
                if "lock on file" in str(error):
                    raise WarehouseError(
                        f"{self._file} is open in another program; close it and run again ({one_line(error)}). "
                        'To look, use `cbi query "SELECT ..."`: it never takes that lock'
                    ) from None
                raise WarehouseError(self._unreadable(error)) from None
            try:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
            except duckdb.Error as error:
                if _is_damage(error):
                    raise WarehouseError(self._unreadable(error)) from None
                raise WarehouseError(f"{self._file}: {one_line(error)}. Readers keep the last snapshot") from None
            finally:
                connection.close()

    def _begin_from_what_is_published(self) -> None:
        """Restore a working file that is lost, or older than the published snapshot, from that snapshot.

        Raises:
            WarehouseError: the working file is of another warehouse: neither may replace the other. Or it is gone, and
                the snapshots cannot be read.
        """
        snapshots = sorted((path.name for path in self._folder.glob("*.duckdb")), reverse=True)
        snapshots.sort(key=lambda name: name != self._current())  # the readers' one first, then the newest
        read = ((name, _revision(self._folder / name)) for name in snapshots)
        current, published = next(((name, identity) for name, identity in read if identity), (None, None))
        own_there = self._file.exists() and self._file.stat().st_size  # DuckDB takes an empty file for a new warehouse
        if snapshots and current is None and not own_there:
            raise WarehouseError(
                f"{self._file} is gone, and none of the snapshots in {self._folder} can be read: a new warehouse would "
                f"replace all history. Restore one of them from a backup; to start without history, "
                f"`mv {in_shell(self._folder)} {in_shell(f'{self._folder}.bad')}`. Then run again"
            )
        if current is None or published is None:
            return
        if own_there:
            own = _revision(self._file)
            if own is None or (own[0] == published[0] and own[1] >= published[1]):
                return
            if own[0] != published[0]:
                raise WarehouseError(
                    f"{self._file} is not the file that {current} was published from, and would replace its history. "
                    f"Move it away with `mv {in_shell(self._file)} {in_shell(f'{self._file}.other')}`: the next run "
                    "starts from the published snapshot"
                )
            aside = self._file.with_name(f"{self._file.name}.older")
            self._file.replace(aside)
            log.warning(
                "%s was older than %s, which readers have; now at %s; this run starts from the published snapshot",
                self._file,
                current,
                aside,
            )
        else:
            log.warning("%s was gone; it is restored from %s", self._file, current)
        self._file.with_name(f"{self._file.name}.wal").unlink(missing_ok=True)  # the log of the lost file
        write_atomically(self._file, lambda new: shutil.copyfile(self._folder / current, new))

    def _unreadable(self, error: Exception) -> str:
        current = self._current()
        file, log, bad = (in_shell(f"{self._file}{suffix}") for suffix in ("", ".wal", ".bad"))
        remedy = (
            f"go back to what was last published with `rm -f {log} && cp {in_shell(self._folder / current)} {file}`, "
            "then run `cbi daily`"
            if current
            else f"move it away with `mv {file} {bad}`, then run `make demo`"
        )
        return f"{self._file} cannot be used ({one_line(error)}). Readers are not affected. If it stays so, {remedy}"

    def _columns(self, connection: DuckDBPyConnection) -> dict[str, dict[str, str]]:
        """Every base table's columns and their BigQuery types."""
        kinds = {duck: kind for kind, duck in DUCKDB_TYPES.items()}
        found: dict[str, dict[str, str]] = {}
        for dataset, name, column, kind in connection.execute(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (database_name, schema_name, table_name) WHERE database_name = current_database() "
            "AND schema_name <> 'main' ORDER BY schema_name, table_name, column_index"
        ).fetchall():
            found.setdefault(f"{dataset}.{name}", {})[column] = kinds[kind]
        return found

    def _migrate(self, connection: DuckDBPyConnection) -> None:
        for dataset in DATASETS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(dataset)}")
        existing = self._columns(connection)
        for table in tables().values():
            if not table.wide:
                self._ensure(connection, table, table.columns, existing.get(table.name, {}))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS main.publication (database VARCHAR, revision BIGINT, views VARCHAR)"
        )
        if not connection.execute("SELECT 1 FROM main.publication").fetchall():
            connection.execute("INSERT INTO main.publication VALUES (?, 0, '')", [secrets.token_hex(4)])

    def _ensure(
        self, connection: DuckDBPyConnection, table: Table, columns: Mapping[str, str], existing: Mapping[str, str]
    ) -> None:
        """Create the table, or add missing columns."""
        if not existing:
            listed = ", ".join(
                f"{_column(name)} {DUCKDB_TYPES[kind]}{' NOT NULL' if name in table.key else ''}"
                for name, kind in columns.items()
            )
            connection.execute(f"CREATE TABLE {_quoted(table.name)} ({listed})")
            return
        for name, kind in columns.items():
            if name not in existing:
                connection.execute(f"ALTER TABLE {_quoted(table.name)} ADD COLUMN {_column(name)} {DUCKDB_TYPES[kind]}")

    def _merge(
        self, connection: DuckDBPyConnection, table: Table, frame: pd.DataFrame, existing: Mapping[str, str]
    ) -> int:
        """Insert new keys, update rows whose content differs; the number of rows touched. ``existing``: its columns."""
        types = table.columns or {str(name): existing.get(str(name)) or column_type(frame[name]) for name in frame}
        self._ensure(connection, table, types, existing)
        connection.register("incoming", conform(table, frame, types))
        try:
            statement = merge(table, types, target=quoted(table.name), staged="incoming")
            touched = connection.execute(written_for_duckdb(statement)).fetchall()
        finally:
            connection.unregister("incoming")
        return int(touched[0][0])

    def _append(self, connection: DuckDBPyConnection, table: Table, frame: pd.DataFrame) -> None:
        """Insert rows that are new by construction; nothing is updated."""
        if len(frame):
            connection.register("appended", conform(table, frame, table.columns))
            listed = ", ".join(map(_column, table.columns))
            connection.execute(f"INSERT INTO {_quoted(table.name)} ({listed}) SELECT {listed} FROM appended")  # noqa: S608
            connection.unregister("appended")

    def _withdraw(
        self, connection: DuckDBPyConnection, table: Table, frame: pd.DataFrame, session: pd.Timestamp
    ) -> int:
        """Delete the session's rows that are no longer in ``frame``; their number."""
        if len(frame):
            connection.register("stated", conform(table, frame, table.columns))
        statement = withdraw(table, session.date(), target=quoted(table.name), staged="stated" if len(frame) else None)
        gone = connection.execute(written_for_duckdb(statement)).fetchall()
        if len(frame):
            connection.unregister("stated")
        return int(gone[0][0])

    # -- views and revisions ------------------------------------------------------------------------------------

    def _views(self, connection: DuckDBPyConnection, *, as_of: str | pd.Timestamp, staging: Path) -> dict[str, str]:
        """Every view that can be created now, by name. A view waits until its tables have been published."""
        known_by = f"available_at <= TIMESTAMPTZ {_literal(as_of_instant(as_of).isoformat())}"
        observations = _over_files(staging, "observations.parquet", OBSERVATIONS, known_by)
        refused = _over_files(self._zones.quarantine, "cells.parquet", REFUSED_CELLS, "TRUE")
        wanted = {
            "staging.observations": f"CREATE VIEW staging.observations AS {observations}",
            "staging.quarantine": f"CREATE VIEW staging.quarantine AS {refused}",
        }
        existing = self._columns(connection)
        for view in views():
            if view.reads <= set(existing) | set(wanted) and view.columns <= set(existing.get(FEATURES, {})):
                wanted[view.name] = for_duckdb(view.statement)
        return wanted

    def _commit(self, connection: DuckDBPyConnection, changed: bool, wanted: dict[str, str]) -> str:
        """Commit if anything is new, with the views created again. Returns the name of this state's snapshot."""
        row = connection.execute("SELECT database, revision, views FROM main.publication").fetchall()[0]
        database, revision, views_before = row
        # Columns count too: a column that only `migrate` added is new to readers, although no row changed.
        views_now = fingerprint(wanted, self._columns(connection))
        if changed or views_now != views_before:
            revision += 1
            if views_now != views_before:
                self._make_views(connection, wanted)
            connection.execute("UPDATE main.publication SET revision = ?, views = ?", [revision, views_now])
            connection.commit()
        else:
            connection.rollback()
        return f"{database}-{revision:06d}.duckdb"

    def _make_views(self, connection: DuckDBPyConnection, wanted: dict[str, str]) -> None:
        for dataset, name in connection.execute(
            "SELECT schema_name, view_name FROM duckdb_views() "
            "WHERE database_name = current_database() AND NOT internal"
        ).fetchall():
            connection.execute(f"DROP VIEW {_quoted(dataset, name)}")
        for name, statement in wanted.items():
            try:
                connection.execute(statement)
            except duckdb.Error as error:
                raise WarehouseError(f"view {name} cannot be created: {one_line(error)}. Nothing was written") from None

    # -- snapshots ----------------------------------------------------------------------------------------------

    def _current(self) -> str | None:
        """Name of the readers' snapshot, if it is there."""
        try:
            name = self._pointer.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None
        return name if name and name == Path(name).name and (self._folder / name).is_file() else None

    def _copy(self, connection: DuckDBPyConnection, snapshot: str) -> None:
        """Write a compact copy. This reads, and so checks, every block before readers get it."""

        def copy_to(temporary: Path) -> None:
            connection.execute(f"ATTACH {_literal(temporary)} AS snapshot")
            connection.execute("COPY FROM DATABASE cbi TO snapshot")
            connection.execute("DETACH snapshot")

        write_atomically(self._folder / snapshot, copy_to)

    def _is_sound(self, snapshot: str) -> bool:
        """Whether every block of a snapshot is readable, by its checksums. A damaged one is written again."""
        try:
            with duckdb.connect(str(self._folder / snapshot), read_only=True, config=OFFLINE) as connection:
                for table in self._columns(connection):
                    connection.execute(f"SELECT BIT_XOR(HASH(rows)) FROM {_quoted(table)} AS rows").fetchall()  # noqa: S608
        except duckdb.Error as error:
            log.warning("the snapshot %s was damaged (%s); it is written again", snapshot, one_line(error))
            return False
        return True

    def _drop_old_snapshots(self, current: str) -> None:
        """Keep the newest ones. A process that has an older one open can still read it."""
        others = [path for path in self._folder.glob("*.duckdb") if path.name != current]
        for path in sorted(others, key=lambda p: p.stat().st_mtime_ns)[: -(SNAPSHOTS_KEPT - 1)]:
            path.unlink()

    # -- reading ------------------------------------------------------------------------------------------------

    def query(self, sql: str, *, within_s: float | None = None) -> pd.DataFrame:
        """Rows of one SELECT (BigQuery dialect) over the published snapshot.

        Raises:
            WarehouseError: nothing is published yet, the SQL does not run, or it took longer than ``within_s``.
        """
        translated = for_duckdb(parse_query(sql))
        with self._reader() as connection, _stopped_after(connection, within_s):
            try:
                return to_frame(connection.sql(translated).to_arrow_table())
            except duckdb.InterruptException:
                raise WarehouseError(f"the query took longer than {within_s:g} s and was stopped") from None
            except duckdb.Error as error:
                raise WarehouseError(self._unread(one_line(error)) if _is_damage(error) else one_line(error)) from None

    def is_published(self) -> bool:
        """Whether anything was published yet."""
        return self._pointer.exists()

    def read(self, table: str) -> pa.Table:
        """All rows of a published table, in the table's types, in any order.

        Raises:
            WarehouseError: no such table is published, or it cannot be read.
        """
        with self._reader() as connection:
            types = self._columns(connection).get(table)
            if types is None:
                raise WarehouseError(f"{table} is not published under {self._zones.home}; `make demo` publishes")
            try:
                rows = connection.sql(f"SELECT * FROM {_quoted(table)}").to_arrow_table()  # noqa: S608 quoted names
            except duckdb.Error as error:
                raise WarehouseError(self._unread(one_line(error))) from None
            return rows.cast(pa.schema([(name, ARROW[kind]) for name, kind in types.items()]))

    def row_counts(self) -> dict[str, int]:
        """Rows of every published table and view, by ``dataset.name``."""
        counts = {}
        with self._reader() as connection:
            names = connection.execute(
                "SELECT table_schema || '.' || table_name FROM information_schema.tables "
                "WHERE table_schema <> 'main' ORDER BY ALL"
            ).fetchall()
            for (name,) in names:
                try:
                    counts[name] = int(connection.execute(f"SELECT COUNT(*) FROM {_quoted(name)}").fetchall()[0][0])  # noqa: S608
                except duckdb.Error as error:
                    raise WarehouseError(
                        self._unread(one_line(error))
                        if _is_damage(error)
                        else f"{name}: {one_line(error)}. Run `cbi daily`"
                    ) from None
        return counts

    @contextmanager
    def _reader(self) -> Iterator[DuckDBPyConnection]:
        connection = self._open_snapshot()
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()

    def _open_snapshot(self) -> DuckDBPyConnection:
        reason = "no snapshot"
        for _ in range(5):  # a publish may drop the snapshot between reading the pointer and opening
            name = self._current()
            if name is None:
                if not self._pointer.exists():
                    raise WarehouseError(f"nothing is published under {self._zones.home} yet; run `make demo`")
                continue
            try:
                return duckdb.connect(str(self._folder / name), read_only=True, config=OFFLINE)
            except duckdb.Error as error:
                reason = one_line(error)
        raise WarehouseError(self._unread(reason))

    def _unread(self, reason: str) -> str:
        return (
            f"the snapshot that {self._pointer} names cannot be read ({reason}); the next `cbi daily` "
            "writes it again, from the warehouse's working file"
        )


def _over_files(folder: Path, file: str, columns: Mapping[str, str], where: str) -> str:
    """SELECT of a zone's parquet files, one per source. Without files it has the same columns and no rows."""
    columns = {name: DUCKDB_TYPES[kind] for name, kind in columns.items()}
    if not any(folder.glob(f"*/{file}")):
        listed = ", ".join(f"CAST(NULL AS {kind}) AS {_column(name)}" for name, kind in columns.items())
        return f"SELECT {listed} WHERE FALSE"
    listed = ", ".join(f"CAST({_column(name)} AS {kind}) AS {_column(name)}" for name, kind in columns.items())
    files = _literal(f"{without_glob_signs(folder.resolve())}/*/{file}")
    # a folder named `value=9` is not a partition: DuckDB would read the column's values from its name
    read = f"read_parquet({files}, union_by_name = true, hive_partitioning = false)"
    return f"SELECT {listed} FROM {read} WHERE {where}"  # noqa: S608
