"""The connection to BigQuery: client, errors, a price check before each query, tables and loads."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import SettingsError
from tasks.gcp import credentials, explained
from tasks.settings import Settings
from tasks.storage.hashes import fingerprint
from tasks.storage.zones import Zones
from tasks.warehouse.dialect import quoted
from tasks.warehouse.frames import ARROW
from tasks.warehouse.ledger import Ledger
from tasks.warehouse.tables import Table

if TYPE_CHECKING:
    from google.cloud import bigquery

EMULATOR = "BIGQUERY_EMULATOR_HOST"
PATIENCE_S = 120.0
SQL_NAMES = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}
T = TypeVar("T")


@dataclass(frozen=True)
class BigQueryAddress:
    """Address: ``bigquery://PROJECT?location=us-central1&prefix=``. A prefix keeps two warehouses apart."""

    project: str
    location: str = "us-central1"
    prefix: str = ""

    @classmethod
    def of(cls, address: str) -> BigQueryAddress:
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


class Connection:
    """One BigQuery project, from the settings."""

    def __init__(self, place: BigQueryAddress, zones: Zones, settings: Settings) -> None:
        self.place = place
        self._settings = settings
        self._ledger = Ledger(zones, place.project, settings)
        self._client: bigquery.Client | None = None

    @property
    def client(self) -> bigquery.Client:
        """Google's client, created at its first use."""
        if self._client is None:
            from google.cloud import bigquery

            with self.explained("connecting"):
                self._client = bigquery.Client(
                    project=self.place.project,
                    credentials=credentials(self._settings, emulator=EMULATOR),
                    location=self.place.location,
                )
        return self._client

    @contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Convert Google's errors to ours. ``what``: the attempted action."""
        import requests
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, requests.RequestException) as error:
            raise explained(error, f"BigQuery project {self.place.project}, {what}") from None

    def run(
        self, sql: str, *, purpose: str, expected_bytes: int | None = None, within_s: float | None = None
    ) -> bigquery.QueryJob:
        """Run a query or script. Its price is checked first, by dry run unless ``expected_bytes`` is set.

        Args:
            within_s: BigQuery cancels the job after this many seconds.
        """
        from google.cloud import bigquery
        from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY, DEFAULT_RETRY

        retry, again = DEFAULT_RETRY.with_timeout(PATIENCE_S), DEFAULT_JOB_RETRY.with_timeout(PATIENCE_S)
        self._ledger.allow(self.bytes_of(sql) if expected_bytes is None else expected_bytes, purpose)
        configured = bigquery.QueryJobConfig(
            labels=self.labels(purpose), maximum_bytes_billed=self._ledger.query_limit_bytes
        )
        if within_s is not None:
            configured.job_timeout_ms = int(1000 * within_s)
        job = self.client.query(sql, job_config=configured, retry=retry, job_retry=again, timeout=PATIENCE_S)
        job.result(retry=retry)
        self._ledger.note(job.job_id, int(job.total_bytes_billed or 0), purpose)
        return job

    def bytes_of(self, sql: str) -> int:
        """Bytes that a statement would read, by dry run (nothing runs, nothing is billed). ``sql`` has full names."""
        from google.cloud import bigquery
        from google.cloud.bigquery.retry import DEFAULT_RETRY

        dry = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        job = self.client.query(sql, job_config=dry, retry=DEFAULT_RETRY.with_timeout(PATIENCE_S), timeout=PATIENCE_S)
        return int(job.total_bytes_processed or 0)

    @staticmethod
    def labels(purpose: str) -> dict[str, str]:
        """The labels of a job on Google's bill."""
        return {"app": "cbi", "purpose": purpose}

    def name(self, table: str) -> str:
        """``project.<prefix>dataset.table``, as the client's API needs it."""
        return f"{self.place.project}.{self.place.prefix}{table}"

    def quoted(self, table: str) -> str:
        """The full name, quoted for SQL."""
        return quoted(self.place.project) + "." + quoted(f"{self.place.prefix}{table}")

    def arrow(self, rows: bigquery.table.RowIterator) -> pa.Table:
        """All rows, over the Storage API if there is one (an emulator has none)."""
        return rows.to_arrow(create_bqstorage_client=not os.environ.get(EMULATOR))

    def columns(self, table: str) -> dict[str, str]:
        """A table's columns and types; empty if there is no such table."""
        from google.api_core.exceptions import NotFound

        try:
            existing = self.client.get_table(self.name(table))
        except NotFound:
            return {}
        return {column.name: SQL_NAMES.get(column.field_type, column.field_type) for column in existing.schema}

    def ensure(self, table: Table, columns: Mapping[str, str]) -> bool:
        """Create the table, or add missing columns. Returns whether it is new."""
        from google.cloud import bigquery

        existing = self.columns(table.name)
        if not existing:
            self.client.create_table(table_of(self.name(table.name), columns, table), exists_ok=True)
            return True
        lacking = {name: kind for name, kind in columns.items() if name not in existing}
        if lacking:
            added = [f"ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}" for name, kind in lacking.items()]
            # BigQuery allows five changes of a table in ten seconds; its emulator takes one column per statement.
            for clause in added if os.environ.get(EMULATOR) else [", ".join(added)]:
                self.run(f"ALTER TABLE {self.quoted(table.name)} {clause}", purpose="migrate", expected_bytes=0)
            known = self.client.get_table(self.name(table.name))
            listed = {column.name for column in known.schema}
            if set(lacking) - listed:  # an emulator does not update its catalog
                known.schema = [*known.schema, *(bigquery.SchemaField(n, k) for n, k in lacking.items())]
                self.client.update_table(known, ["schema"])
        return False

    def load(
        self,
        table: str,
        rows: pa.Table,
        types: Mapping[str, str],
        *,
        append: bool = False,
        layout: Table | None = None,
    ) -> None:
        """Load rows by one parquet job: all or none. Without ``append`` they replace the table's rows.

                Loads cost nothing. An interrupted load is started again. The same rows are appended to a table only
                once, however
        often and from wherever this is called.

        Raises:
            CloudError: BigQuery refused or did not answer.
        """
        import requests
        from google.api_core.exceptions import Conflict, ServerError, TooManyRequests
        from google.cloud import bigquery

        shape = layout or Table(table, ())
        definition = table_of(self.name(table), types, shape)
        required = pa.schema([pa.field(n, ARROW[kind], nullable=n not in shape.key) for n, kind in types.items()])
        buffer = io.BytesIO()
        pq.write_table(rows.select(list(types)).cast(required), buffer)
        disposition = bigquery.WriteDisposition
        configured = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=disposition.WRITE_APPEND if append else disposition.WRITE_TRUNCATE,
            schema=definition.schema,
            time_partitioning=definition.time_partitioning,
            clustering_fields=definition.clustering_fields,
            labels=self.labels("load"),
        )

        # Appended rows may not be loaded twice: BigQuery runs a job of this name only once.
        named = (
            f"cbi-append-{fingerprint(self.name(table), hashlib.sha256(buffer.getbuffer()).hexdigest())}"
            if append
            else None
        )

        def once() -> None:
            buffer.seek(0)
            try:  # without a size the client uploads resumably, in pieces
                job = self.client.load_table_from_file(
                    buffer,
                    self.name(table),
                    job_config=configured,
                    job_id=named,
                    job_id_prefix=None if named else "cbi-load-",
                    timeout=PATIENCE_S,
                    num_retries=1,  # of a piece; the whole load is started again below
                )
            except Conflict:
                if named is None:
                    raise
                self.client.get_job(named).result()
                return
            job.result()

        with self.explained(f"loading {table}"):
            self.client.create_table(definition, exists_ok=True)
            _retried(once, (ServerError, TooManyRequests, requests.ConnectionError))

    def drop(self, table: str) -> None:
        """Delete a table that is no longer needed. A failure is ignored."""
        with suppress(Exception):  # cleanup: an earlier error is the one to report
            self.client.delete_table(self.name(table), not_found_ok=True, timeout=PATIENCE_S)


def table_of(name: str, columns: Mapping[str, str], table: Table) -> bigquery.Table:
    """The definition of a table: partitioned by date, clustered, with its key for the optimizer."""
    from google.cloud import bigquery
    from google.cloud.bigquery.table import PrimaryKey, TableConstraints

    schema = [
        bigquery.SchemaField(column, kind, "REQUIRED" if column in table.key else "NULLABLE")
        for column, kind in columns.items()
    ]
    definition = bigquery.Table(name, schema=schema)
    definition.labels = {"app": "cbi"}
    if table.partition and table.partition[0] in columns:
        definition.time_partitioning = bigquery.TimePartitioning(type_=table.partition[1], field=table.partition[0])
    if table.cluster:
        definition.clustering_fields = list(table.cluster)
    if table.key:
        definition.table_constraints = TableConstraints(PrimaryKey(list(table.key)), None)
    return definition


def _retried(once: Callable[[], T], passing: tuple[type[Exception], ...]) -> T:
    """Run ``once``, again after a transient fault."""
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
