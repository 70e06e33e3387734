"""`python -m evidence.bigquery_cost`: what the published DuckDB warehouse would cost in BigQuery, by arithmetic.

Sizes are measured: logical bytes of every column by BigQuery's own sizes, and the rows that a session adds. What a
statement reads is the columns it names times their rows, as a dry run tells it; partitions are not taken off. What is
billed for it follows BigQuery's rules (tasks/warehouse/prices.py). Writes docs/results/bigquery_cost.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import sqlglot
from sqlglot import exp

from evidence.machine import commit
from tasks.command_line import command
from tasks.errors import CbiError
from tasks.features import in_sql
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import write_bytes
from tasks.storage.zones import Zones
from tasks.warehouse import prices, scheduled
from tasks.warehouse.bigquery.warehouse import THIN_ROWS, WHOLE_WHEN_THIN
from tasks.warehouse.dialect import quoted
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.frames import ARROW
from tasks.warehouse.sql_check import A_DAY
from tasks.warehouse.statements import keep_latest, merge, touched_by_merge, touched_by_withdraw
from tasks.warehouse.tables import OBSERVATIONS, REFUSED_CELLS, STATED, ZONE_VIEWS, table_named, tables
from tasks.warehouse.views import views

REPORT = PROJECT / "docs" / "results" / "bigquery_cost.md"
SESSIONS_A_YEAR, SESSIONS_A_MONTH, YEARS = 252, 21, 10
RUN_STATES_ALL = ("raw_intelligence.documents", "training.regime_calendar")
MODES = ("full", "thin")


@dataclass(frozen=True)
class Size:
    """One table as it is now: rows, logical bytes of each column, and what a session brings."""

    name: str
    rows: int
    bytes_of: dict[str, int]
    rows_a_session: float
    staged_whole: bool
    """Whether a run brings all of its rows again, or those of its session."""

    @property
    def total(self) -> int:
        """Logical bytes."""
        return sum(self.bytes_of.values())

    def a_row(self, columns: Iterable[str] | None = None) -> float:
        """Mean logical bytes of a row, of all columns or of some."""
        named = self.bytes_of if columns is None else {c: self.bytes_of[c] for c in columns if c in self.bytes_of}
        return sum(named.values()) / self.rows if self.rows else 0.0

    def held(self, mode: str, session: int) -> float:
        """Rows in BigQuery after so many sessions more."""
        rows = self.rows + self.rows_a_session * session
        return rows if self._whole(mode) else min(rows, THIN_ROWS)

    def staged(self, mode: str, session: int) -> float:
        """Rows that a run brings."""
        rows = self.rows + self.rows_a_session * session if self.staged_whole else self.rows_a_session
        return rows if self._whole(mode) else min(rows, THIN_ROWS)

    def _whole(self, mode: str) -> bool:
        return mode == "full" or self.name.split(".")[0] in WHOLE_WHEN_THIN


@dataclass(frozen=True)
class Read:
    """One table that a statement reads: its bytes a row there, and whether of the rows staged or of those held."""

    size: Size
    a_row: float
    staged: bool

    def bytes_read(self, mode: str, session: int) -> float:
        """After so many sessions more."""
        rows = self.size.staged(mode, session) if self.staged else self.size.held(mode, session)
        return self.a_row * rows


@dataclass(frozen=True)
class Job:
    """One statement of a day."""

    kind: str
    name: str
    reads: tuple[Read, ...]
    modes: tuple[str, ...] = MODES

    def bytes_read(self, mode: str, session: int = 0) -> float:
        """What a dry run would say, partitions not taken off."""
        return sum(read.bytes_read(mode, session) for read in self.reads)

    def billed(self, mode: str, session: int = 0) -> int:
        """Bytes billed for it; none where the mode has no such statement."""
        return prices.billed([read.bytes_read(mode, session) for read in self.reads]) if mode in self.modes else 0


def sizes(warehouse: DuckDbWarehouse) -> dict[str, Size]:
    """Every table, and the zones' observations and refused cells, as measured."""
    return {name: _size(warehouse, name) for name in warehouse.row_counts() if name in (*tables(), *ZONE_VIEWS)}


def _size(warehouse: DuckDbWarehouse, name: str) -> Size:
    fields = warehouse.query(f"SELECT * FROM {name} LIMIT 0")
    types = _types(warehouse, name, [str(column) for column in fields])
    counted = ", ".join(f"COUNT({quoted(column)}) AS c{place}" for place, column in enumerate(types))
    row = warehouse.query(f"SELECT COUNT(*) AS counted, {counted} FROM {name}").iloc[0]
    held = {
        column: _text_bytes(warehouse, name, column) if kind == "STRING" else prices.BYTES_OF[kind] * int(row[f"c{at}"])
        for at, (column, kind) in enumerate(types.items())
    }
    return Size(name, int(row["counted"]), held, *_growth(warehouse, name, types))


def _text_bytes(warehouse: DuckDbWarehouse, name: str, column: str) -> int:
    of = quoted(column)
    asked = f"SELECT {of} AS said, COUNT(*) AS counted FROM {name} WHERE {of} IS NOT NULL GROUP BY {of}"
    texts = warehouse.query(asked)
    return sum((2 + len(text.encode())) * int(many) for text, many in zip(texts["said"], texts["counted"], strict=True))


def _types(warehouse: DuckDbWarehouse, name: str, columns: list[str]) -> dict[str, str]:
    if name in ZONE_VIEWS:
        return OBSERVATIONS if name == ZONE_VIEWS[0] else REFUSED_CELLS
    names = {kind: sql for sql, kind in ARROW.items()}
    return {field.name: names[field.type] for field in warehouse.read(name).schema if field.name in columns}


def _growth(warehouse: DuckDbWarehouse, name: str, types: dict[str, str]) -> tuple[float, bool]:
    """Rows that a session adds, and whether a run brings all rows again."""
    if name in tables() and tables()[name].wide:
        return 1.0, True
    if name == "training.regime_calendar":
        return 0.0, True
    if name in ZONE_VIEWS:  # a file that changed is loaded as a whole
        return _a_session(warehouse, name, "available_at"), True
    if name in RUN_STATES_ALL:
        return _a_session(warehouse, name, "available_at"), True
    parts = [c for c in ("as_of", "trained_as_of", "run") if c in types]
    grouped = ", ".join(parts)
    counted = warehouse.query(f"SELECT {grouped}, COUNT(*) AS counted FROM {name} GROUP BY {grouped}")
    return float(counted["counted"].max()) if len(counted) else 0.0, False


def _a_session(warehouse: DuckDbWarehouse, name: str, by: str) -> float:
    """Rows that the newest year brought, by a session."""
    day = f"DATE({by})"
    newest = f"(SELECT MAX({day}) FROM {name})"
    asked = f"SELECT COUNT(*) AS counted FROM {name} WHERE DATE_DIFF({newest}, {day}, DAY) < 365"
    return float(warehouse.query(asked)["counted"].iloc[0]) / SESSIONS_A_YEAR


def _written(size: Size, kind: str, sql: str, modes: tuple[str, ...] = MODES) -> Job:
    """A statement over ``t``, what is held, and ``s``, what is staged."""
    tree = sqlglot.parse_one(sql, read="bigquery")
    named: dict[str, set[str]] = {"t": set(), "s": set()}
    for column in tree.find_all(exp.Column):
        if column.table in named:
            named[column.table].add(column.name)
    # A statement that updates or deletes is billed for every column of the table it changes.
    held = size.a_row(None if isinstance(tree, (exp.Merge, exp.Delete)) else named["t"])
    reads = [Read(size, held, staged=False)]
    if kind == "keep latest":
        reads = [Read(size, held + size.a_row(named["s"]), staged=False)]
    elif named["s"]:
        reads.append(Read(size, size.a_row(named["s"]), staged=True))
    return Job(kind, size.name, tuple(reads), modes)


def daily_jobs(found: dict[str, Size]) -> list[Job]:
    """What a day of operation asks, where every table has something new."""
    jobs = []
    for name in (name for name in found if name in tables()):
        table, size = table_named(name), found[name]
        types = dict.fromkeys(size.bytes_of, "")
        names = {"target": quoted(name), "staged": "staged"}
        jobs.append(_written(size, "compare", touched_by_merge(table, types, **names)))
        jobs.append(_written(size, "merge", merge(table, types, **names)))
        if name in STATED:
            jobs.append(_written(size, "count withdrawn", touched_by_withdraw(table, A_DAY, **names)))
        if name.split(".")[0] not in WHOLE_WHEN_THIN:
            latest = keep_latest(table, THIN_ROWS, target=quoted(name))
            jobs.append(_written(size, "keep latest", latest, ("thin",)))
    revision = Size("meta.publication", 1, {"all": 200}, 0.0, True)
    jobs.append(Job("merge", revision.name, (Read(revision, 200.0, staged=False),)))
    for file in (*in_sql.OVER_PANEL, *in_sql.OVER_FEATURES):
        over = found[scheduled.READS["panel" if file in in_sql.OVER_PANEL else "built"]]
        reads = (Read(over, over.a_row(in_sql.query(file).mentions), staged=False),)
        jobs.append(Job("scheduled query", scheduled.refreshed(file), reads, ("full",)))
    return jobs + [
        _read_once(view.name, view.reads, view.statement, found) for view in views() if view.name[:4] == "api."
    ]


def _read_once(name: str, reads: Iterable[str], tree: exp.Expr, found: dict[str, Size]) -> Job:
    columns = None if tree.find(exp.Star) else {column.name for column in tree.find_all(exp.Column)}
    over = [Read(found[read], found[read].a_row(columns), staged=False) for read in sorted(reads) if read in found]
    return Job("dashboard", name, tuple(over))


def stored(size: Size, mode: str, session: int) -> tuple[float, float]:
    """Logical bytes, active and long-term: a partition is long-term when nothing changed it for 90 days."""
    rows = size.held(mode, session)
    table = tables().get(size.name)
    fresh = rows  # a table that is not parted, or is loaded anew, is active as a whole
    if table and table.partition:
        sessions = SESSIONS_A_YEAR * prices.LONG_TERM_AFTER_DAYS / 365
        sessions += SESSIONS_A_YEAR if table.partition[1] == "YEAR" else SESSIONS_A_MONTH
        fresh = min(rows, size.rows_a_session * sessions)
    return size.a_row() * fresh, size.a_row() * (rows - fresh)


def _storage_usd(found: dict[str, Size], mode: str, session: int) -> float:
    """USD a month."""
    parts = [stored(size, mode, session) for size in found.values()]
    active, long_term = (sum(part[place] for part in parts) / prices.GIB for place in (0, 1))
    return active * prices.USD_PER_GIB_MONTH_ACTIVE + long_term * prices.USD_PER_GIB_MONTH_LONG_TERM


def over_time(found: dict[str, Size], jobs: list[Job], mode: str) -> pd.DataFrame:
    """A row a span: what is billed for queries and for storage in all of it, and what is stored at its end."""
    last = SESSIONS_A_YEAR * YEARS
    spans = {"a day": 1, "a month": SESSIONS_A_MONTH, f"{YEARS} years": last}
    # Month by month: within one, nothing grows enough to matter.
    by_month = [sum(job.billed(mode, at) for job in jobs) for at in range(0, last, SESSIONS_A_MONTH)]
    storage = [_storage_usd(found, mode, at) for at in range(0, last, SESSIONS_A_MONTH)]
    rows = []
    for span, sessions in spans.items():
        months = sessions / SESSIONS_A_MONTH
        whole = int(months)
        billed = by_month[0] * sessions if whole < 1 else sum(by_month[:whole]) * SESSIONS_A_MONTH
        kept = storage[0] * months if whole < 1 else sum(storage[:whole])
        held = sum(sum(stored(size, mode, sessions)) for size in found.values())
        rows.append(
            {
                "mode": mode,
                "span": span,
                "billed for queries, GiB": billed / prices.GIB,
                "queries, USD": prices.query_usd(billed),
                "stored at the end, GiB": held / prices.GIB,
                "storage, USD": kept,
                "together, USD": prices.query_usd(billed) + kept,
            }
        )
    return pd.DataFrame(rows)


def _table(frame: pd.DataFrame) -> list[str]:
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    for row in frame.itertuples(index=False):
        lines.append("| " + " | ".join(_cell(value) for value in row) + " |")
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def report(found: dict[str, Size], *, commit: str, now: pd.Timestamp) -> str:
    """The page."""
    jobs = daily_jobs(found)
    totals = pd.concat([over_time(found, jobs, mode) for mode in MODES], ignore_index=True)
    held = pd.DataFrame(
        {
            "table": size.name,
            "rows": size.rows,
            "columns": len(size.bytes_of),
            "logical MB": size.total / prices.MB,
            "rows a session": size.rows_a_session,
            "in thin mode, MB": sum(stored(size, "thin", 0)) / prices.MB,
        }
        for size in found.values()
    )
    asked = pd.DataFrame(
        {
            "statement": job.kind,
            "of": job.name,
            "reads, MB": job.bytes_read("full") / prices.MB if "full" in job.modes else 0.0,
            "billed, MB": job.billed("full") / prices.MB,
            "thin: reads, MB": job.bytes_read("thin") / prices.MB if "thin" in job.modes else 0.0,
            "thin: billed, MB": job.billed("thin") / prices.MB,
        }
        for job in jobs
    )
    first = {mode: totals[totals["mode"] == mode].iloc[1] for mode in MODES}
    floor = sum(job.bytes_read("full") for job in jobs if "full" in job.modes)
    return "\n".join(
        [
            "# What BigQuery would cost (written by `make cost-report`: generated, never edited)",
            "",
            f"- Commit: {commit}",
            f"- Date: {now:%Y-%m-%d %H:%M} UTC",
            "- Sizes: measured on the published DuckDB warehouse by BigQuery's logical "
            f"sizes ([data type sizes]({prices.TYPE_SIZES})); a NULL is 0 bytes",
            f"- Prices: {prices.USD_PER_TIB_READ:g} USD per TiB read, {prices.USD_PER_GIB_MONTH_ACTIVE:g} "
            f"USD per GiB and month stored, {prices.USD_PER_GIB_MONTH_LONG_TERM:g} where a partition is unchanged for "
            f"{prices.LONG_TERM_AFTER_DAYS} days: list prices for the US, {prices.PRICES_OF}, from <{prices.SOURCE}>",
            f"- Not taken off: the free {prices.FREE_TIB_READ_A_MONTH} TiB of queries and "
            f"{prices.FREE_GIB_STORED} GiB of storage a month. Partition pruning is not counted either",
            "",
            "No bill was seen: this is what BigQuery's rules make of the sizes and statements here. Loads, dry runs, "
            "listing and copying are free. The bucket of the models is not in it.",
            "",
            "## In all",
            "",
            *_table(totals),
            "",
            f"A month of the full warehouse bills {first['full'].iloc[2]:,.1f} GiB for queries and one of the thin "
            f"warehouse {first['thin'].iloc[2]:,.1f} GiB; 1,024 GiB a month are free.",
            f"What a day's statements of the full warehouse read is {floor / prices.MB:,.0f} MB; they are billed "
            f"{sum(job.billed('full') for job in jobs) / prices.MB:,.0f} MB, because each table that a statement names "
            "counts as 10 MB at least.",
            "",
            "A day is one run in which every table has something new, the four scheduled queries (full only), and each "
            f"view of `api` read once. A month is {SESSIONS_A_MONTH} sessions, a year {SESSIONS_A_YEAR}; every table "
            "grows by the rows a session below, month by month.",
            "",
            "## Tables",
            "",
            *_table(held),
            "",
            "`staging.observations` and `staging.quarantine` lie in a table a source; a changed file is loaded anew, "
            "so they count as active storage. Rows a session are those of the newest run, or of the newest year.",
            "",
            "## Statements of a day",
            "",
            *_table(asked),
            "",
        ]
    )


def main() -> int:
    """Measure, compute and write the page; the exit status."""
    try:
        settings = load_settings()
        found = sizes(DuckDbWarehouse(Zones(settings.home)))
    except CbiError as error:
        print(error, file=sys.stderr)
        return 2
    write_bytes(REPORT, report(found, commit=commit(), now=pd.Timestamp.now(tz="UTC")).encode())
    print(f"written: {REPORT.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    command("evidence.bigquery_cost", __doc__, "").parse_args()  # --help is answered, and nothing is made for it
    sys.exit(main())
