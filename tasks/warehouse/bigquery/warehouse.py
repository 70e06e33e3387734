"""The warehouse in BigQuery: loads are parquet jobs, a publish is one transaction, each question has its price checked.

Frames land in staging tables of the dataset ``scratch`` first (which forgets them after a day), are compared with what
is held, and what differs is merged by one script in one transaction: all tables change or none. A staged frame may be
loaded twice and a script may run twice; the second time finds nothing to change. Two machines that publish at once
touch the same tables: BigQuery lets one through and the other begins again.
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
from tasks.warehouse.bigquery.connection import PATIENCE_S, Connection, Place
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
    """A frame in a table of its own, and the types it has there."""

    name: str
    types: Mapping[str, str]
    into: str
    is_new: bool
    """Whether the table it goes into was made for it."""


@dataclass(frozen=True)
class _Publication:
    """What the last publish left: its number, and what views and fixed tables it found in place."""

    revision: int = 0
    views: str = ""
    schema: str = ""


@dataclass(frozen=True)
class _Write:
    """One statement of the transaction, and how many rows of which table it touches."""

    table: str
    statement: str
    touched: int


class BigQueryWarehouse:
    """The warehouse in one project (`tasks.warehouse.protocol.Warehouse`)."""

    def __init__(self, place: Place, zones: Zones, settings: Settings) -> None:
        self.connection = Connection(place, zones, settings)
        self._zones = zones
        self._settings = settings

    @property
    def place(self) -> Place:
        """Where it lies."""
        return self.connection.place

    # -- schema -------------------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Create the datasets and fixed tables that are missing, and columns added to them since."""
        with self.connection.explained("creating datasets and tables"):
            self._migrate()

    def _migrate(self) -> None:
        """Additive, and versioned: what is declared is compared with what the last publish found in place."""
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        if self._publication().schema == _declared():
            return
        for name in sorted(ALL_DATASETS):
            reference = f"{self.place.project}.{self.place.prefix}{name}"
            with suppress(NotFound):  # asked first: who may only write into datasets is refused making one
                held = self.connection.client.get_dataset(reference, timeout=PATIENCE_S)
                if held.location and held.location.lower() != self.place.location.lower():
                    raise SettingsError(
                        f"the dataset {reference} lies in {held.location}, CBI_WAREHOUSE says {self.place.location}: "
                        f"write ?location={held.location}, or give another prefix"
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
        """Stage all frames, make the views anew if they changed, merge what differs in one transaction.

        Raises:
            WarehouseError: a frame does not fit its table; nothing was written.
            CloudError: BigQuery refused or did not answer; nothing was half done.
        """
        check(tables)
        with exclusive(self._zones, "warehouse"), self.connection.explained("publishing"):
            self._migrate()
            staged: dict[str, _Staged] = {}
            try:
                for name, frame in tables.items():
                    if len(frame):
                        staged[name] = self._stage(table_named(name), frame)
                writes = self._writes(tables, staged, None if session is None else pd.Timestamp(session))
                changed = {name: sum(write.touched for write in writes if write.table == name) for name in tables}
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
                    self.connection.drop(source.into)  # it has no row yet
                raise
            finally:
                self._forget(staged)
        where = f"{self.place.project}.{self.place.prefix}*"
        return Published(changed=changed, snapshot=f"{where} revision {revision}", switched=switched)

    def _stage(self, table: Table, frame: pd.DataFrame) -> _Staged:
        held = self.connection.columns(table.name)
        types = table.columns or {str(name): held.get(str(name)) or column_type(frame[name]) for name in frame}
        rows = self.cut(table, conform(table, frame, types))
        is_new = self.connection.ensure(table, types)
        name = f"{SCRATCH}.{table.name.replace('.', '__')}__{secrets.token_hex(6)}"
        self.connection.load(name, rows, types, layout=Table(name, table.key))
        return _Staged(name, types, table.name, is_new)

    def cut(self, table: Table, rows: pa.Table) -> pa.Table:
        """What this warehouse holds of the rows: a thin one the latest of most tables."""
        if not self._is_cut(table.name):
            return rows
        newest = [(table.ordered_by, "descending"), *((name, "ascending") for name in table.key)]
        return rows.sort_by(newest).slice(0, THIN_ROWS)

    def _is_cut(self, table: str) -> bool:
        """Whether a thin warehouse holds only the latest rows of this table."""
        return self._settings.warehouse_mode == "thin" and table.split(".")[0] not in WHOLE_WHEN_THIN

    def _writes(
        self, frames: Mapping[str, pd.DataFrame], staged: Mapping[str, _Staged], session: pd.Timestamp | None
    ) -> list[_Write]:
        """What has to be written, and how many rows each statement touches. What would touch none is left out."""
        found = []
        for name in frames:
            table, target, source = table_named(name), self.connection.quoted(name), staged.get(name)
            into = self.connection.quoted(source.name) if source else None
            asked: list[tuple[str, str]] = []
            if source and into:
                asked.append(
                    (
                        touched_by_merge(table, source.types, target=target, staged=into),
                        merge(table, source.types, target=target, staged=into),
                    )
                )
            if session is not None and name in STATED:
                day = session.date()
                asked.append(
                    (
                        touched_by_withdraw(table, day, target=target, staged=into),
                        withdraw(table, day, target=target, staged=into),
                    )
                )
            for question, statement in asked:
                touched = int(next(iter(self.connection.run(question, purpose="compare").result()))["touched"])
                if touched:
                    found.append(_Write(name, statement, touched))
            if self._is_cut(name) and any(write.table == name for write in found):
                found.append(_Write(name, keep_latest(table, THIN_ROWS, target=target), 0))
        return found

    def _forget(self, staged: Mapping[str, _Staged]) -> None:
        """Drop the staging tables; one that stays is forgotten by its dataset after a day."""
        for source in staged.values():
            self.connection.drop(source.name)

    def _commit(self, writes: list[_Write], wanted: dict[str, str], zones_changed: bool) -> tuple[int, bool]:
        """The views, then the transaction; the revision that readers see now, and whether it is a new one."""
        held = self._publication()
        views_now, schema_now = fingerprint(wanted), _declared()
        if not writes and (views_now, schema_now) == (held.views, held.schema) and not zones_changed:
            return held.revision, False
        if (views_now, schema_now) != (
            held.views,
            held.schema,
        ):  # before the rows: a view that cannot be made leaves them alone
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
        statements = [write.statement for write in writes] + [moved]
        script = "BEGIN TRANSACTION;\n" + ";\n".join(statements) + ";\nCOMMIT TRANSACTION;"
        self._transact(script, sum(self.connection.bytes_of(statement) for statement in statements))
        return held.revision + 1, True

    def _make_view(self, name: str, statement: str) -> None:
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self.connection.run(statement, purpose="view")
        except (BadRequest, NotFound) as error:
            raise WarehouseError(f"view {name} cannot be made: {one_line(error)}. No row was written") from None

    def _transact(self, script: str, expected_bytes: int) -> None:
        from google.api_core.exceptions import BadRequest

        for left in reversed(range(TRIES)):
            try:
                self.connection.run(script, purpose="publish", expected_bytes=expected_bytes)
                return
            except BadRequest as error:  # another machine wrote the same tables first: it counts, and we begin again
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
        """Every view that can be made now, by name. One waits until what it reads has been published."""
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
        held = {name for name in tables() if wide.get(name, True)} | set(wanted)
        features = set(wide[FEATURES])
        for view in views():
            if view.reads <= held and view.columns <= features:
                wanted[view.name] = self._placed(view.statement)
                held.add(view.name)
        return wanted

    def _placed(self, statement: object) -> str:
        return for_bigquery(
            statement,  # type: ignore[arg-type]
            project=self.place.project,
            prefix=self.place.prefix,
            datasets=ALL_DATASETS,
        )

    # -- reading ------------------------------------------------------------------------------------------------

    def query(self, sql: str) -> pd.DataFrame:
        """Rows of one SELECT, its price checked before.

        Raises:
            WarehouseError: nothing is published yet, the SQL does not run, or it would cost more than is allowed.
            CloudError: BigQuery refused or did not answer.
        """
        from google.api_core.exceptions import BadRequest, NotFound

        placed = self._placed(parse_query(sql))
        with self.connection.explained("a query"):
            try:
                return to_frame(self.connection.arrow(self.connection.run(placed, purpose="query").result()))
            except (BadRequest, NotFound) as error:
                if isinstance(error, NotFound) and not self.is_published():
                    raise WarehouseError(self._nothing_yet()) from None
                raise WarehouseError(one_line(error)) from None

    def _nothing_yet(self) -> str:
        return f"nothing is published in {self.place.project}.{self.place.prefix}* yet; run `cbi daily`"

    def is_published(self) -> bool:
        """Whether there is anything to read yet."""
        with self.connection.explained("looking for what is published"):
            return self._publication().revision > 0

    def rows_of(self, table: str) -> int | None:
        """Rows of a table; None where there is no such table."""
        from google.api_core.exceptions import NotFound

        with self.connection.explained(f"looking at {table}"):
            try:
                return int(self.connection.client.get_table(self.connection.name(table)).num_rows or 0)
            except NotFound:
                return None

    def read(self, table: str) -> pa.Table:
        """All rows of a table, in the table's types and no certain order.

        Raises:
            WarehouseError: no such table is held.
        """
        with self.connection.explained(f"reading {table}"):
            held = self.connection.columns(table)
            if not held:
                raise WarehouseError(f"{table} is not held in {self.place.project}.{self.place.prefix}*")
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
                asked = " UNION ALL ".join(
                    f"SELECT '{name}' AS name, COUNT(*) AS `rows` FROM {self.connection.quoted(name)}"  # noqa: S608 our own names
                    for name in counted
                )
                counts = {row["name"]: int(row["rows"]) for row in self.connection.run(asked, purpose="query").result()}
        return dict(sorted(counts.items()))


def _declared() -> str:
    """What the schema files declare, as one word: the version that a warehouse has been migrated to."""
    return fingerprint({name: [table.columns, table.key] for name, table in tables().items() if not table.wide})
