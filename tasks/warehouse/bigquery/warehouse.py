"""The warehouse in BigQuery: loads are parquet jobs, a publish is one transaction, each query's price is checked.

Frames are loaded into staging tables of the dataset ``scratch`` (which deletes them after a day) and compared with the
stored rows. The differences are merged by one script in one transaction: all tables change or none. A staged frame may
be loaded twice and a script may run twice; the second time changes nothing. If two machines publish at once to the
same tables, BigQuery lets one through and the other starts again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tasks.calendar import as_of_instant
from tasks.errors import SettingsError, WarehouseError
from tasks.gcp import one_line
from tasks.settings import Settings
from tasks.storage.hashes import fingerprint
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse import record
from tasks.warehouse.bigquery.connection import PATIENCE_S, BigQueryAddress, Connection
from tasks.warehouse.bigquery.zones import ZONE_TABLES, load_zones, zone_view
from tasks.warehouse.dialect import for_bigquery, parse_query
from tasks.warehouse.frames import check, column_type, conform, to_frame
from tasks.warehouse.protocol import Published
from tasks.warehouse.statements import keep_latest, merge, touched_by_merge, touched_by_withdraw, withdraw
from tasks.warehouse.tables import (
    DATASETS,
    FEATURES,
    OBSERVATIONS,
    REFRESHED,
    REFUSED_CELLS,
    STATED,
    Table,
    table_named,
    tables,
)
from tasks.warehouse.views import views

META, SCRATCH = "meta", "scratch"
PUBLICATION = "meta.publication"
PUBLICATION_COLUMNS = {
    "id": "INT64",
    "revision": "INT64",
    "views": "STRING",
    "declared": "STRING",
    "published_at": "TIMESTAMP",
}
ALL_DATASETS = frozenset({*DATASETS, META, SCRATCH, REFRESHED})
THIN_ROWS = 100
WHOLE_WHEN_THIN = ("forecasts", "performance")
TRIES = 4
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class _Staged:
    """A frame in its own staging table, and its types there."""

    name: str
    types: Mapping[str, str]
    into: str
    is_new: bool
    """Whether its target table is new."""


@dataclass(frozen=True)
class _Publication:
    """The last publish: its number, and hashes of the views and the fixed tables."""

    revision: int = 0
    views: str = ""
    schema: str = ""


@dataclass(frozen=True)
class _Write:
    """One statement of the transaction, its table, and the number of rows that it touches."""

    table: str
    statement: str
    touched: int


class BigQueryWarehouse:
    """The warehouse in one project (`tasks.warehouse.protocol.Warehouse`)."""

    def __init__(self, place: BigQueryAddress, zones: Zones, settings: Settings) -> None:
        self.connection = Connection(place, zones, settings)
        self._zones = zones
        self._settings = settings

    @property
    def place(self) -> BigQueryAddress:
        """Where it lies."""
        return self.connection.place

    # -- schema -------------------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Create the datasets and fixed tables that are missing, and the columns added to them since."""
        with self.connection.explained("creating datasets and tables"):
            self._migrate()

    def _migrate(self) -> None:
        """Additive and versioned: the declared schema is compared with that of the last publish."""
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        if self._publication().schema == _declared():
            return
        for name in sorted(ALL_DATASETS):
            reference = f"{self.place.project}.{self.place.prefix}{name}"
            with suppress(NotFound):  # looked up first: an account that may only write into datasets cannot create one
                existing = self.connection.client.get_dataset(reference, timeout=PATIENCE_S)
                if existing.location and existing.location.lower() != self.place.location.lower():
                    raise SettingsError(
                        f"the dataset {reference} is in {existing.location}, CBI_WAREHOUSE says {self.place.location}: "
                        f"write ?location={existing.location}, or set another prefix"
                    )
                continue
            dataset = bigquery.Dataset(reference)
            dataset.location = self.place.location
            dataset.labels = {"app": "cbi"}
            if name == SCRATCH:
                dataset.default_table_expiration_ms = DAY_MS
            self.connection.client.create_dataset(dataset, exists_ok=True)
        for table in tables().values():
            if not table.wide:
                self.connection.ensure(table, table.columns)
        self.connection.ensure(Table(PUBLICATION, ("id",)), PUBLICATION_COLUMNS)

    # -- writing ------------------------------------------------------------------------------------------------

    def publish(
        self,
        tables: Mapping[str, pd.DataFrame],
        *,
        as_of: str | pd.Timestamp,
        staging: Path,
        session: str | pd.Timestamp | None = None,
    ) -> Published:
        """Stage all frames, create changed views again, merge the differences in one transaction.

        Raises:
            WarehouseError: a frame does not fit its table; nothing was written.
            CloudError: BigQuery refused or did not answer; nothing was left half done.
        """
        from google.api_core.exceptions import GoogleAPICallError

        check(tables)
        with exclusive(self._zones, "warehouse"), self.connection.explained("publishing"):
            self._migrate()
            for left in reversed(range(TRIES)):
                try:
                    return self._publish(tables, as_of, staging, session)
                except GoogleAPICallError as error:
                    # another machine has added a link first: seal again, after it
                    if left == 0 or record.HAS_GROWN not in str(error):
                        raise
        raise AssertionError("unreachable")

    def _publish(
        self,
        frames: Mapping[str, pd.DataFrame],
        as_of: str | pd.Timestamp,
        staging: Path,
        session: str | pd.Timestamp | None,
    ) -> Published:
        tables = dict(frames)
        if record.CHAIN not in tables:  # a restore brings the record with it
            tables[record.CHAIN] = record.new_links(tables, self._ask)
        staged: dict[str, _Staged] = {}
        try:
            for name, frame in tables.items():
                if len(frame):
                    staged[name] = self._stage(table_named(name), frame)
            writes = self._writes(tables, staged, None if session is None else pd.Timestamp(session))
            changed = {name: sum(write.touched for write in writes if write.table == name) for name in frames}
            zones_changed = load_zones(
                self.connection,
                staging,
                self._zones.quarantine,
                rows_kept=THIN_ROWS if self._settings.warehouse_mode == "thin" else None,
            )
            wanted = self._views(as_of)
            revision, switched = self._commit(writes, wanted, zones_changed)
        except BaseException:
            for source in (source for source in staged.values() if source.is_new):
                self.connection.drop(source.into)  # it has no rows yet
            raise
        finally:
            self._forget(staged)
        where = f"{self.place.project}.{self.place.prefix}*"
        return Published(changed=changed, snapshot=f"{where} revision {revision}", switched=switched)

    def _stage(self, table: Table, frame: pd.DataFrame) -> _Staged:
        existing = self.connection.columns(table.name)
        types = table.columns or {str(name): existing.get(str(name)) or column_type(frame[name]) for name in frame}
        rows = self.cut(table, conform(table, frame, types))
        is_new = self.connection.ensure(table, types)
        name = f"{SCRATCH}.{table.name.replace('.', '__')}__{secrets.token_hex(6)}"
        self.connection.load(name, rows, types, layout=Table(name, table.key))
        return _Staged(name, types, table.name, is_new)

    def cut(self, table: Table, rows: pa.Table) -> pa.Table:
        """The rows that this warehouse stores. A thin one stores only the latest rows of most tables."""
        if not self._is_cut(table.name):
            return rows
        newest = [(table.ordered_by, "descending"), *((name, "ascending") for name in table.key)]
        return rows.sort_by(newest).slice(0, THIN_ROWS)

    def _is_cut(self, table: str) -> bool:
        """Whether this is a thin warehouse that stores only the latest rows of this table."""
        return self._settings.warehouse_mode == "thin" and table.split(".")[0] not in WHOLE_WHEN_THIN

    def _ask(self, sql: str) -> pa.Table:
        return self.connection.arrow(self.connection.run(self._placed(parse_query(sql)), purpose="record").result())

    def _writes(
        self, frames: Mapping[str, pd.DataFrame], staged: Mapping[str, _Staged], session: pd.Timestamp | None
    ) -> list[_Write]:
        """The statements to run, with the number of rows that each touches. Those that touch none are left out."""
        found = []
        for name in frames:
            table, target, source = table_named(name), self.connection.quoted(name), staged.get(name)
            into = self.connection.quoted(source.name) if source else None
            queries: list[tuple[str, str]] = []
            if source and into:
                queries.append(
                    (
                        touched_by_merge(table, source.types, target=target, staged=into),
                        merge(table, source.types, target=target, staged=into),
                    )
                )
            if session is not None and name in STATED:
                day = session.date()
                queries.append(
                    (
                        touched_by_withdraw(table, day, target=target, staged=into),
                        withdraw(table, day, target=target, staged=into),
                    )
                )
            if name == record.CHAIN and into:  # first in the transaction, in which nothing else may add links
                found.append(_Write(name, record.guard(target=target, staged=into), 0))
            for question, statement in queries:
                touched = int(next(iter(self.connection.run(question, purpose="compare").result()))["touched"])
                if touched:
                    found.append(_Write(name, statement, touched))
            if self._is_cut(name) and any(write.table == name for write in found):
                found.append(_Write(name, keep_latest(table, THIN_ROWS, target=target), 0))
        return found

    def _forget(self, staged: Mapping[str, _Staged]) -> None:
        """Drop the staging tables. The dataset deletes any that stay after a day."""
        for source in staged.values():
            self.connection.drop(source.name)

    def _commit(self, writes: list[_Write], wanted: dict[str, str], zones_changed: bool) -> tuple[int, bool]:
        """Create the views, then run the transaction. Returns the readers' revision, and whether it is new."""
        last = self._publication()
        views_now, schema_now = fingerprint(wanted), _declared()
        if not writes and (views_now, schema_now) == (last.views, last.schema) and not zones_changed:
            return last.revision, False
        if (views_now, schema_now) != (
            last.views,
            last.schema,
        ):  # before the rows: if a view fails, no row changes
            for name, statement in wanted.items():
                self._make_view(name, statement)
        publication = self.connection.quoted(PUBLICATION)
        moved = (
            f"MERGE INTO {publication} AS t USING (SELECT 1 AS id) AS s ON t.id = s.id "  # noqa: S608 quoted names
            f"WHEN MATCHED THEN UPDATE SET revision = t.revision + 1, views = '{views_now}', "
            f"declared = '{schema_now}', published_at = CURRENT_TIMESTAMP() WHEN NOT MATCHED THEN "
            f"INSERT (id, revision, views, declared, published_at) "
            f"VALUES (1, 1, '{views_now}', '{schema_now}', CURRENT_TIMESTAMP())"
        )
        writes = sorted(writes, key=lambda write: write.table != record.CHAIN)  # the guard of the record is the first
        statements = [write.statement for write in writes] + [moved]
        script = "BEGIN TRANSACTION;\n" + ";\n".join(statements) + ";\nCOMMIT TRANSACTION;"
        self._transact(script, sum(self.connection.bytes_of(statement) for statement in statements))
        return last.revision + 1, True

    def _make_view(self, name: str, statement: str) -> None:
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self.connection.run(statement, purpose="view")
        except (BadRequest, NotFound) as error:
            raise WarehouseError(f"view {name} cannot be created: {one_line(error)}. No row was written") from None

    def _transact(self, script: str, expected_bytes: int) -> None:
        from google.api_core.exceptions import BadRequest

        for left in reversed(range(TRIES)):
            try:
                self.connection.run(script, purpose="publish", expected_bytes=expected_bytes)
                return
            except BadRequest as error:  # another machine wrote the same tables first: this one starts again
                if left == 0 or "concurrent update" not in str(error):
                    raise

    def _publication(self) -> _Publication:
        from google.api_core.exceptions import NotFound

        try:
            rows = list(self.connection.client.list_rows(self.connection.name(PUBLICATION), timeout=PATIENCE_S))
        except NotFound:
            return _Publication()
        return _Publication(int(rows[0]["revision"]), rows[0]["views"], rows[0]["declared"]) if rows else _Publication()

    # -- views --------------------------------------------------------------------------------------------------

    def _views(self, as_of: str | pd.Timestamp) -> dict[str, str]:
        """Every view that can be created now, by name. A view waits until its tables have been published."""
        known_by = f"available_at <= TIMESTAMP '{as_of_instant(as_of).tz_convert('UTC'):%Y-%m-%d %H:%M:%S}+00'"
        wanted = {
            "staging.observations": zone_view(
                self.connection, "staging.observations", ZONE_TABLES[0], OBSERVATIONS, known_by
            ),
            "staging.quarantine": zone_view(
                self.connection, "staging.quarantine", ZONE_TABLES[1], REFUSED_CELLS, "TRUE"
            ),
        }
        wide = {name: self.connection.columns(name) for name, table in tables().items() if table.wide}
        readable = {name for name in tables() if wide.get(name, True)} | set(wanted)
        features = set(wide[FEATURES])
        for view in views():
            if view.reads <= readable and view.columns <= features:
                wanted[view.name] = self._placed(view.statement)
                readable.add(view.name)
        return wanted

    def _placed(self, statement: object) -> str:
        return for_bigquery(
            statement,  # type: ignore[arg-type]
            project=self.place.project,
            prefix=self.place.prefix,
            datasets=ALL_DATASETS,
        )

    # -- reading ------------------------------------------------------------------------------------------------

    def query(self, sql: str, *, within_s: float | None = None) -> pd.DataFrame:
        """Rows of one SELECT. Its price is checked before. BigQuery cancels the job after ``within_s`` seconds.

        Raises:
            WarehouseError: nothing is published yet, the SQL does not run, or it would cost more than the limit.
            CloudError: BigQuery refused or did not answer.
        """
        from google.api_core.exceptions import BadRequest, NotFound

        placed = self._placed(parse_query(sql))
        with self.connection.explained("a query"):
            try:
                job = self.connection.run(placed, purpose="query", within_s=within_s)
                return to_frame(self.connection.arrow(job.result()))
            except (BadRequest, NotFound) as error:
                if isinstance(error, NotFound) and not self.is_published():
                    raise WarehouseError(self._nothing_yet()) from None
                raise WarehouseError(one_line(error)) from None

    def _nothing_yet(self) -> str:
        return f"nothing is published in {self.place.project}.{self.place.prefix}* yet; run `cbi daily`"

    def is_published(self) -> bool:
        """Whether anything was published yet."""
        with self.connection.explained("looking for what is published"):
            return self._publication().revision > 0

    def rows_of(self, table: str) -> int | None:
        """Rows of a table; None if there is no such table."""
        from google.api_core.exceptions import NotFound

        with self.connection.explained(f"looking at {table}"):
            try:
                return int(self.connection.client.get_table(self.connection.name(table)).num_rows or 0)
            except NotFound:
                return None

    def read(self, table: str) -> pa.Table:
        """All rows of a table, in the table's types, in any order.

        Raises:
            WarehouseError: there is no such table.
        """
        with self.connection.explained(f"reading {table}"):
            existing = self.connection.columns(table)
            if not existing:
                raise WarehouseError(f"there is no {table} in {self.place.project}.{self.place.prefix}*")
            return self.connection.arrow(self.connection.client.list_rows(self.connection.name(table)))

    def row_counts(self) -> dict[str, int]:
        """Rows of every table and view that was published, by ``dataset.name``."""
        counts = {}
        with self.connection.explained("counting rows"):
            if not self.is_published():
                raise WarehouseError(self._nothing_yet())
            counted = []
            for dataset in sorted(DATASETS):
                for item in self.connection.client.list_tables(f"{self.place.project}.{self.place.prefix}{dataset}"):
                    name = f"{dataset}.{item.table_id}"
                    if not name.startswith(ZONE_TABLES):
                        counted.append(name)
            if counted:
                sql = " UNION ALL ".join(
                    f"SELECT '{name}' AS name, COUNT(*) AS `rows` FROM {self.connection.quoted(name)}"  # noqa: S608 our own names
                    for name in counted
                )
                counts = {row["name"]: int(row["rows"]) for row in self.connection.run(sql, purpose="query").result()}
        return dict(sorted(counts.items()))


def _declared() -> str:
    """A hash of the schema files: the version that a warehouse was migrated to."""
    return fingerprint({name: [table.columns, table.key] for name, table in tables().items() if not table.wide})
