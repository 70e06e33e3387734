"""The warehouse in BigQuery: loads are parquet jobs, a publish is one transaction, each question has its price checked.

Frames land in staging tables of the dataset ``scratch`` first (which forgets them after a day), are compared with what
is held, and what differs is merged by one script in one transaction: all tables change or none. A staged frame may be
loaded twice and a script may run twice; the second time finds nothing to change. Two machines that publish at once
touch the same tables: BigQuery lets one through and the other begins again.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.calendar import as_of_instant
from tasks.errors import SettingsError, WarehouseError
from tasks.gcp import credentials, explained, one_line
from tasks.settings import Settings
from tasks.storage.hashes import fingerprint, sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse.dialect import for_bigquery, parse_query, quoted
from tasks.warehouse.frames import ARROW, check, column_type, conform, to_frame
from tasks.warehouse.ledger import Ledger
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

if TYPE_CHECKING:
    from google.cloud import bigquery

EMULATOR = "BIGQUERY_EMULATOR_HOST"
META, SCRATCH = "meta", "scratch"
PUBLICATION = "meta.publication"
ALL_DATASETS = frozenset({*DATASETS, META, SCRATCH, REFRESHED})
THIN_ROWS = 100
WHOLE_WHEN_THIN = ("forecasts", "performance")
PATIENCE_S = 120.0
TRIES = 4
DAY_MS = 24 * 3600 * 1000
ZONE_TABLES = ("staging.observations_", "staging.quarantine_")
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where in BigQuery: ``bigquery://PROJECT?location=us-central1&prefix=``. A prefix keeps two warehouses apart."""

    project: str
    location: str = "us-central1"
    prefix: str = ""

    @classmethod
    def of(cls, address: str) -> Place:
        """Read CBI_WAREHOUSE.

        Raises:
            SettingsError: no project, or an unknown parameter.
        """
        parts = urlsplit(address)
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(given) - {"location", "prefix"})
        if parts.scheme != "bigquery" or not parts.netloc or parts.path.strip("/") or unknown:
            raise SettingsError(
                f"CBI_WAREHOUSE={address}: write `duckdb`, or bigquery://PROJECT?location=us-central1&prefix="
            )
        return cls(parts.netloc, given.get("location") or "us-central1", given.get("prefix", ""))


class BigQueryWarehouse:
    """The warehouse in one project (`tasks.warehouse.protocol.Warehouse`)."""

    def __init__(self, place: Place, zones: Zones, settings: Settings) -> None:
        self.place = place
        self._zones = zones
        self._settings = settings
        self._ledger = Ledger(zones, place.project, settings)
        self._held_client: bigquery.Client | None = None

    # -- the wire -----------------------------------------------------------------------------------------------

    @property
    def _client(self) -> bigquery.Client:
        if self._held_client is None:
            from google.cloud import bigquery

            with self._told("connecting"):
                self._held_client = bigquery.Client(
                    project=self.place.project,
                    credentials=credentials(self._settings, emulator=EMULATOR),
                    location=self.place.location,
                )
        return self._held_client

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Google's errors as ours."""
        import requests
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, requests.RequestException) as error:
            raise explained(error, f"BigQuery project {self.place.project}, {what}") from None

    def _run(self, sql: str, *, purpose: str, expected_bytes: int | None = None) -> bigquery.QueryJob:
        """A query or script to its end, its price checked before: by dry run, where it is not told."""
        from google.cloud import bigquery
        from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY, DEFAULT_RETRY

        retry, again = DEFAULT_RETRY.with_timeout(PATIENCE_S), DEFAULT_JOB_RETRY.with_timeout(PATIENCE_S)
        self._ledger.allow(self.bytes_of(sql) if expected_bytes is None else expected_bytes, purpose)
        configured = bigquery.QueryJobConfig(
            labels=self._labels(purpose), maximum_bytes_billed=self._ledger.query_limit_bytes
        )
        job = self._client.query(sql, job_config=configured, retry=retry, job_retry=again, timeout=PATIENCE_S)
        job.result(retry=retry)
        self._ledger.note(job.job_id, int(job.total_bytes_billed or 0), purpose)
        return job

    def bytes_of(self, sql: str) -> int:
        """What a statement would read, by dry run (nothing runs, nothing is billed). BigQuery's own SQL, placed."""
        from google.cloud import bigquery
        from google.cloud.bigquery.retry import DEFAULT_RETRY

        dry = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        job = self._client.query(sql, job_config=dry, retry=DEFAULT_RETRY.with_timeout(PATIENCE_S), timeout=PATIENCE_S)
        return int(job.total_bytes_processed or 0)

    @staticmethod
    def _labels(purpose: str) -> dict[str, str]:
        return {"app": "cbi", "purpose": purpose}

    def _name(self, table: str) -> str:
        """``project.<prefix>dataset.table``, as the client's API wants it."""
        return f"{self.place.project}.{self.place.prefix}{table}"

    def _quoted(self, table: str) -> str:
        return quoted(self.place.project) + "." + quoted(f"{self.place.prefix}{table}")

    def _arrow(self, rows: bigquery.table.RowIterator) -> pa.Table:
        """All rows; over the Storage API where there is one (an emulator has none)."""
        return rows.to_arrow(create_bqstorage_client=not os.environ.get(EMULATOR))

    # -- schema -------------------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Create the datasets and fixed tables that are missing, and columns added to them since."""
        with self._told("creating datasets and tables"):
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
                held = self._client.get_dataset(reference, timeout=PATIENCE_S)
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
            self._client.create_dataset(dataset, exists_ok=True)
        for table in tables().values():
            if not table.wide:
                self._ensure(table, table.columns)
        self._ensure(Table(PUBLICATION, ("id",)), PUBLICATION_COLUMNS)

    def _held(self, table: str) -> dict[str, str]:
        """A table's columns and types; none where there is no such table."""
        from google.api_core.exceptions import NotFound

        try:
            held = self._client.get_table(self._name(table))
        except NotFound:
            return {}
        return {column.name: SQL_NAMES.get(column.field_type, column.field_type) for column in held.schema}

    def _ensure(self, table: Table, columns: Mapping[str, str]) -> bool:
        """Create the table, or add the columns it lacks; whether it was not there before."""
        from google.cloud import bigquery

        held = self._held(table.name)
        if not held:
            self._client.create_table(_new(self._name(table.name), columns, table), exists_ok=True)
            return True
        lacking = {name: kind for name, kind in columns.items() if name not in held}
        if lacking:
            added = [f"ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}" for name, kind in lacking.items()]
            # BigQuery changes a table five times in ten seconds at most; its emulator takes one column a statement.
            for clause in added if os.environ.get(EMULATOR) else [", ".join(added)]:
                self._run(f"ALTER TABLE {self._quoted(table.name)} {clause}", purpose="migrate", expected_bytes=0)
            known = self._client.get_table(self._name(table.name))
            told = {column.name for column in known.schema}
            if set(lacking) - told:  # an emulator's catalogue does not hear of it
                known.schema = [*known.schema, *(bigquery.SchemaField(n, k) for n, k in lacking.items())]
                self._client.update_table(known, ["schema"])
        return False

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
        with exclusive(self._zones, "warehouse"), self._told("publishing"):
            self._migrate()
            staged: dict[str, _Staged] = {}
            try:
                for name, frame in tables.items():
                    if len(frame):
                        staged[name] = self._stage(table_named(name), frame)
                writes = self._writes(tables, staged, None if session is None else pd.Timestamp(session))
                changed = {name: sum(write.touched for write in writes if write.table == name) for name in tables}
                zones_changed = self._load_zones(staging)
                wanted = self._views(as_of)
                revision, switched = self._commit(writes, wanted, zones_changed)
            except BaseException:
                for source in (source for source in staged.values() if source.is_new):
                    self._drop(source.into)  # it has no row yet
                raise
            finally:
                self._forget(staged)
        where = f"{self.place.project}.{self.place.prefix}*"
        return Published(changed=changed, snapshot=f"{where} revision {revision}", switched=switched)

    def _stage(self, table: Table, frame: pd.DataFrame) -> _Staged:
        held = self._held(table.name)
        types = table.columns or {str(name): held.get(str(name)) or column_type(frame[name]) for name in frame}
        rows = self.cut(table, conform(table, frame, types))
        is_new = self._ensure(table, types)
        name = f"{SCRATCH}.{table.name.replace('.', '__')}__{secrets.token_hex(6)}"
        self.load(name, rows, types, layout=Table(name, table.key))
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

    def load(
        self,
        table: str,
        rows: pa.Table,
        types: Mapping[str, str],
        *,
        append: bool = False,
        layout: Table | None = None,
    ) -> None:
        """Rows into a table by one parquet load job: all of them or none. Without ``append`` they replace what it held.

        Loads cost nothing. One that was cut off is begun again. The same rows are appended to a table once, whoever
        asks and however often.

        Raises:
            CloudError: BigQuery refused or did not answer.
        """
        import requests
        from google.api_core.exceptions import Conflict, ServerError, TooManyRequests
        from google.cloud import bigquery

        shape = layout or Table(table, ())
        made = _new(self._name(table), types, shape)
        required = pa.schema([pa.field(n, ARROW[kind], nullable=n not in shape.key) for n, kind in types.items()])
        held = io.BytesIO()
        pq.write_table(rows.select(list(types)).cast(required), held)
        disposition = bigquery.WriteDisposition
        configured = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=disposition.WRITE_APPEND if append else disposition.WRITE_TRUNCATE,
            schema=made.schema,
            time_partitioning=made.time_partitioning,
            clustering_fields=made.clustering_fields,
            labels=self._labels("load"),
        )

        # What is appended may not come twice: a job of this name runs once, whoever asks for it again.
        named = (
            f"cbi-append-{fingerprint(self._name(table), hashlib.sha256(held.getbuffer()).hexdigest())}"
            if append
            else None
        )

        def once() -> None:
            held.seek(0)
            try:  # without a size the client uploads resumably, in pieces
                job = self._client.load_table_from_file(
                    held,
                    self._name(table),
                    job_config=configured,
                    job_id=named,
                    job_id_prefix=None if named else "cbi-load-",
                    timeout=PATIENCE_S,
                    num_retries=1,  # a piece's; the whole load is begun again below
                )
            except Conflict:
                if named is None:
                    raise
                self._client.get_job(named).result()
                return
            job.result()

        with self._told(f"loading {table}"):
            self._client.create_table(made, exists_ok=True)
            _again(once, (ServerError, TooManyRequests, requests.ConnectionError))

    def _writes(
        self, frames: Mapping[str, pd.DataFrame], staged: Mapping[str, _Staged], session: pd.Timestamp | None
    ) -> list[_Write]:
        """What has to be written, and how many rows each statement touches. What would touch none is left out."""
        found = []
        for name in frames:
            table, target, source = table_named(name), self._quoted(name), staged.get(name)
            into = self._quoted(source.name) if source else None
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
                touched = int(next(iter(self._run(question, purpose="compare").result()))["touched"])
                if touched:
                    found.append(_Write(name, statement, touched))
            if self._is_cut(name) and any(write.table == name for write in found):
                found.append(_Write(name, keep_latest(table, THIN_ROWS, target=target), 0))
        return found

    def _forget(self, staged: Mapping[str, _Staged]) -> None:
        """Drop the staging tables; one that stays is forgotten by its dataset after a day."""
        for source in staged.values():
            self._drop(source.name)

    def _drop(self, table: str) -> None:
        with suppress(Exception):  # tidying: what went wrong before is what is told
            self._client.delete_table(self._name(table), not_found_ok=True, timeout=PATIENCE_S)

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
        publication = self._quoted(PUBLICATION)
        moved = (
            f"MERGE INTO {publication} AS t USING (SELECT 1 AS id) AS s ON t.id = s.id "  # noqa: S608 quoted names
            f"WHEN MATCHED THEN UPDATE SET revision = t.revision + 1, views = '{views_now}', "
            f"declared = '{schema_now}', published_at = CURRENT_TIMESTAMP() WHEN NOT MATCHED THEN "
            f"INSERT (id, revision, views, declared, published_at) "
            f"VALUES (1, 1, '{views_now}', '{schema_now}', CURRENT_TIMESTAMP())"
        )
        statements = [write.statement for write in writes] + [moved]
        script = "BEGIN TRANSACTION;\n" + ";\n".join(statements) + ";\nCOMMIT TRANSACTION;"
        self._transact(script, sum(self.bytes_of(statement) for statement in statements))
        return held.revision + 1, True

    def _make_view(self, name: str, statement: str) -> None:
        from google.api_core.exceptions import BadRequest, NotFound

        try:
            self._run(statement, purpose="view")
        except (BadRequest, NotFound) as error:
            raise WarehouseError(f"view {name} cannot be made: {one_line(error)}. No row was written") from None

    def _transact(self, script: str, expected_bytes: int) -> None:
        from google.api_core.exceptions import BadRequest

        for left in reversed(range(TRIES)):
            try:
                self._run(script, purpose="publish", expected_bytes=expected_bytes)
                return
            except BadRequest as error:  # another machine wrote the same tables first: it counts, and we begin again
                if left == 0 or "concurrent update" not in str(error):
                    raise

    def _publication(self) -> _Publication:
        from google.api_core.exceptions import NotFound

        try:
            rows = list(self._client.list_rows(self._name(PUBLICATION), timeout=PATIENCE_S))
        except NotFound:
            return _Publication()
        return _Publication(int(rows[0]["revision"]), rows[0]["views"], rows[0]["declared"]) if rows else _Publication()

    # -- zones and views ----------------------------------------------------------------------------------------

    def _load_zones(self, staging: Path) -> bool:
        """Observations and refused cells, a table a source, loaded when their file is another; whether any was."""
        found = False
        for folder, file, prefix, columns in (
            (staging, "observations.parquet", ZONE_TABLES[0], OBSERVATIONS),
            (self._zones.quarantine, "cells.parquet", ZONE_TABLES[1], REFUSED_CELLS),
        ):
            for path in sorted(folder.glob(f"*/{file}")):
                found |= self._load_file(path, f"{prefix}{path.parent.name}", columns)
        return found

    def _load_file(self, path: Path, name: str, columns: Mapping[str, str]) -> bool:
        from google.api_core.exceptions import NotFound

        table = Table(name, (), dict(columns), partition=("observation_date", "YEAR"), cluster=("series", "field"))
        digest = fingerprint(sha256_of(path), self._settings.warehouse_mode)[:60]
        with suppress(NotFound):
            if self._client.get_table(self._name(name)).labels.get("file") == digest:
                return False
        read = pq.read_table(path)
        rows = conform(table, read.select([c for c in columns if c in read.column_names]).to_pandas(), columns)
        if self._is_cut(name):
            rows = rows.sort_by([("observation_date", "descending"), ("series", "ascending")]).slice(0, THIN_ROWS)
        self.load(name, rows, columns, layout=table)
        loaded = self._client.get_table(self._name(name))
        loaded.labels = {"app": "cbi", "file": digest}  # last: a load that was not finished is done again
        self._client.update_table(loaded, ["labels"])
        return True

    def _zone_view(self, view: str, prefix: str, columns: Mapping[str, str], where: str) -> str:
        held = sorted(
            table.table_id
            for table in self._client.list_tables(f"{self.place.project}.{self.place.prefix}staging")
            if f"staging.{table.table_id}".startswith(prefix)
        )
        listed = ", ".join(map(quoted, columns))
        if held:
            parts = [f"SELECT {listed} FROM {self._quoted(f'staging.{name}')} WHERE {where}" for name in held]  # noqa: S608
            body = " UNION ALL ".join(parts)
        else:
            body = "SELECT " + ", ".join(f"CAST(NULL AS {k}) AS {quoted(n)}" for n, k in columns.items())
            body += " FROM (SELECT 1) WHERE FALSE"
        return f"CREATE OR REPLACE VIEW {self._quoted(view)} AS {body}"

    def _views(self, as_of: str | pd.Timestamp) -> dict[str, str]:
        """Every view that can be made now, by name. One waits until what it reads has been published."""
        known_by = f"available_at <= TIMESTAMP '{as_of_instant(as_of).tz_convert('UTC'):%Y-%m-%d %H:%M:%S}+00'"
        wanted = {
            "staging.observations": self._zone_view("staging.observations", ZONE_TABLES[0], OBSERVATIONS, known_by),
            "staging.quarantine": self._zone_view("staging.quarantine", ZONE_TABLES[1], REFUSED_CELLS, "TRUE"),
        }
        wide = {name: self._held(name) for name, table in tables().items() if table.wide}
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
        with self._told("a query"):
            try:
                return to_frame(self._arrow(self._run(placed, purpose="query").result()))
            except (BadRequest, NotFound) as error:
                if isinstance(error, NotFound) and not self.is_published():
                    raise WarehouseError(self._nothing_yet()) from None
                raise WarehouseError(one_line(error)) from None

    def _nothing_yet(self) -> str:
        return f"nothing is published in {self.place.project}.{self.place.prefix}* yet; run `python -m flows.daily`"

    def is_published(self) -> bool:
        """Whether there is anything to read yet."""
        with self._told("looking for what is published"):
            return self._publication().revision > 0

    def rows_of(self, table: str) -> int | None:
        """Rows of a table; None where there is no such table."""
        from google.api_core.exceptions import NotFound

        with self._told(f"looking at {table}"):
            try:
                return int(self._client.get_table(self._name(table)).num_rows or 0)
            except NotFound:
                return None

    def read(self, table: str) -> pa.Table:
        """All rows of a table, in the table's types and no certain order.

        Raises:
            WarehouseError: no such table is held.
        """
        with self._told(f"reading {table}"):
            held = self._held(table)
            if not held:
                raise WarehouseError(f"{table} is not held in {self.place.project}.{self.place.prefix}*")
            return self._arrow(self._client.list_rows(self._name(table)))

    def row_counts(self) -> dict[str, int]:
        """Rows of every table and view that was published, by ``dataset.name``."""
        counts = {}
        with self._told("counting rows"):
            if not self.is_published():
                raise WarehouseError(self._nothing_yet())
            counted = []
            for dataset in sorted(DATASETS):
                for item in self._client.list_tables(f"{self.place.project}.{self.place.prefix}{dataset}"):
                    name = f"{dataset}.{item.table_id}"
                    if not name.startswith(ZONE_TABLES):
                        counted.append(name)
            if counted:
                asked = " UNION ALL ".join(
                    f"SELECT '{name}' AS name, COUNT(*) AS `rows` FROM {self._quoted(name)}"  # noqa: S608 our own names
                    for name in counted
                )
                counts = {row["name"]: int(row["rows"]) for row in self._run(asked, purpose="query").result()}
        return dict(sorted(counts.items()))


PUBLICATION_COLUMNS = {
    "id": "INT64",
    "revision": "INT64",
    "views": "STRING",
    "declared": "STRING",
    "published_at": "TIMESTAMP",
}
SQL_NAMES = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}


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


def _declared() -> str:
    """What the schema files declare, as one word: the version that a warehouse has been migrated to."""
    return fingerprint({name: [table.columns, table.key] for name, table in tables().items() if not table.wide})


def _new(name: str, columns: Mapping[str, str], table: Table) -> bigquery.Table:
    """A table to be made: parted by its date, clustered, its key told to the optimiser."""
    from google.cloud import bigquery
    from google.cloud.bigquery.table import PrimaryKey, TableConstraints

    schema = [
        bigquery.SchemaField(column, kind, "REQUIRED" if column in table.key else "NULLABLE")
        for column, kind in columns.items()
    ]
    made = bigquery.Table(name, schema=schema)
    made.labels = {"app": "cbi"}
    if table.partition and table.partition[0] in columns:
        made.time_partitioning = bigquery.TimePartitioning(type_=table.partition[1], field=table.partition[0])
    if table.cluster:
        made.clustering_fields = list(table.cluster)
    if table.key:
        made.table_constraints = TableConstraints(PrimaryKey(list(table.key)), None)
    return made


def _again(once: Callable[[], T], passing: tuple[type[Exception], ...]) -> T:
    """``once``, begun again after a fault that passes."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

    for attempt in Retrying(
        retry=retry_if_exception_type(passing),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_exponential_jitter(initial=0.5, max=20),
        reraise=True,
    ):
        with attempt:
            return once()
    raise AssertionError("tenacity ends with a result or an error")
