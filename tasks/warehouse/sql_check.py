"""`cbi project sql-check`: every SQL statement parsed in both dialects and run over empty tables.

With CBI_WAREHOUSE=bigquery://… each is dry-run there too, which reads nothing and costs nothing, and its bytes and
price are shown. The exit status is 1 if a statement fails; its file and name are printed.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import sqlglot
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Shown
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tasks.errors import CbiError
from tasks.features import in_sql
from tasks.panel.join import AGE
from tasks.registry import load_derived, load_features, load_join_spec, load_sources
from tasks.secrets import quoted as in_message
from tasks.settings import PROJECT, Settings
from tasks.warehouse import scheduled, tables
from tasks.warehouse.dialect import for_bigquery, for_duckdb, quoted
from tasks.warehouse.duckdb import DUCKDB_TYPES, one_line
from tasks.warehouse.prices import PRICES_OF, SOURCE, query_usd
from tasks.warehouse.statements import keep_latest, merge, touched_by_merge, touched_by_withdraw, withdraw
from tasks.warehouse.views import view_files

STATEMENTS = Path("tasks/warehouse/statements.py")
A_DAY = datetime.date(2024, 1, 2)
ZONES = {"staging.observations": tables.OBSERVATIONS, "staging.quarantine": tables.REFUSED_CELLS}


@dataclass(frozen=True)
class Statement:
    """One statement: its file, its name, and its tree, or why it does not parse."""

    file: str
    name: str
    tree: exp.Expr | None
    problem: str = ""


@dataclass(frozen=True)
class CheckedStatement:
    """The result of a statement. ``bytes_read`` is BigQuery's answer to a dry run; None without one."""

    statement: Statement
    problem: str
    bytes_read: int | None = None


def wide_columns(registry: Path) -> dict[str, dict[str, str]]:
    """The columns of the wide tables, from the registry."""
    sources = load_sources(registry)
    features = load_features(registry, sources)
    joined = [name for join in load_join_spec(registry, sources).joins for name in join.columns]
    panel = [name for name in (*joined, *(name + AGE for name in joined)) if name in in_sql.panel_columns()]
    lexicon = {"scorer": "STRING"} if load_derived(registry, sources).lexicon else {}

    def floats(names: list[str]) -> dict[str, str]:
        return {"date": "DATE"} | dict.fromkeys(names, "FLOAT64")

    trained = floats([*features.production(), "target_log_return", "target_price", "training_weight"])
    trained |= {"target_date": "DATE", "regime": "STRING"}
    return {
        tables.FEATURES: floats(list(features.features)),
        tables.PANEL: floats(panel),
        "features.zl_sentiment": floats(list(features.categories["sentiment"])) | lexicon,
        **{f"training.zl_training_prod_allhistory_{horizon}": trained for horizon in tables.horizons()},
    }


def _of_file(path: Path, text: str) -> Iterator[Statement]:
    file = str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
    try:
        trees = [tree for tree in sqlglot.parse(text, read="bigquery") if isinstance(tree, exp.Expr)]
    except SqlglotError as error:
        yield Statement(file, path.stem, None, f"does not parse: {_first_line(error)}")
        return
    for tree in trees:
        if isinstance(tree, exp.Create):
            target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
            yield Statement(file, target.sql("bigquery").replace("`", ""), tree)
        elif not isinstance(tree, exp.Semicolon):
            yield Statement(file, path.stem, tree)


def _first_line(error: Exception) -> str:
    return in_message(str(error).replace("\x1b[4m", "").replace("\x1b[0m", ""), most=300)


def schema_statements() -> list[Statement]:
    """The statements that create the fixed tables."""
    return [
        statement
        for path in sorted(tables.SCHEMA.glob("*.sql"))
        for statement in _of_file(path, path.read_text(encoding="utf-8"))
    ]


def statements(columns: dict[str, dict[str, str]]) -> Iterator[Statement]:
    """Every other statement; those that write, once per table. ``columns``: of the wide tables."""
    for path, text in view_files():
        yield from _of_file(path, text)
    for name in (*in_sql.OVER_PANEL, *in_sql.OVER_FEATURES):
        file = f"tasks/features/sql/{name}.sql"
        yield Statement(file, name, scheduled.over_warehouse(name))
        yield Statement(f"deploy/gcp/scheduled/{name}.sql", scheduled.refreshed(name), scheduled.refresh(name))
    for table in tables.tables().values():
        types, target = table.columns or columns[table.name], quoted(table.name)
        written = {
            "compare": touched_by_merge(table, types, target=target, staged=target),
            "merge": merge(table, types, target=target, staged=target),
            "keep latest": keep_latest(table, 100, target=target),
        }
        if table.name in tables.STATED:
            written["count withdrawn"] = touched_by_withdraw(table, A_DAY, target=target, staged=target)
            written["withdraw"] = withdraw(table, A_DAY, target=target, staged=target)
            written["withdraw all"] = withdraw(table, A_DAY, target=target, staged=None)
        for what, sql in written.items():
            yield Statement(str(STATEMENTS), f"{what} {table.name}", sqlglot.parse_one(sql, read="bigquery"))


def _in_duckdb(tree: exp.Expr) -> str:
    """The statement for DuckDB, without what only BigQuery has: partitions, clusters, unenforced keys."""
    if not isinstance(tree, exp.Create):
        return for_duckdb(tree)
    bare = tree.copy()
    bare.set("properties", None)
    for key in list(bare.find_all(exp.PrimaryKey)):
        key.pop()
    return for_duckdb(bare)


def _empty_tables(columns: dict[str, dict[str, str]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    for dataset in (*tables.DATASETS, tables.REFRESHED):
        connection.execute(f"CREATE SCHEMA {dataset}")
    for name, types in (columns | ZONES).items():
        listed = ", ".join(f'"{column}" {DUCKDB_TYPES[kind]}' for column, kind in types.items())
        connection.execute(f"CREATE TABLE {name} ({listed})")
    return connection


def check(registry: Path, dry_run: Callable[[exp.Expr], int] | None = None) -> list[CheckedStatement]:
    """The result of every statement. ``dry_run`` asks BigQuery for the bytes; it raises CbiError if that is refused."""
    created = schema_statements()
    if any(statement.problem for statement in created):  # all others need the tables
        return [CheckedStatement(statement, statement.problem) for statement in created]
    columns = wide_columns(registry)
    connection = _empty_tables(columns)
    outcomes = []
    for statement in (*created, *statements(columns)):
        problem, bytes_read = statement.problem, None
        if statement.tree is not None:
            try:
                translated = _in_duckdb(statement.tree)
                sqlglot.parse(translated, read="duckdb")
                connection.execute(translated).fetchall()
                bytes_read = dry_run(statement.tree) if dry_run else None
            except duckdb.Error as error:
                problem = f"DuckDB: {one_line(error)}"
            except (CbiError, SqlglotError) as error:
                problem = _first_line(error)
        outcomes.append(CheckedStatement(statement, problem, bytes_read))
    connection.close()
    return outcomes


def dry_run(settings: Settings) -> Callable[[exp.Expr], int]:
    """A function that asks BigQuery how many bytes a statement would read. Nothing runs there."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests import RequestException

    from tasks.gcp import explained
    from tasks.storage.zones import Zones
    from tasks.warehouse.bigquery.connection import BigQueryAddress
    from tasks.warehouse.bigquery.warehouse import ALL_DATASETS, BigQueryWarehouse

    place = BigQueryAddress.of(settings.warehouse)
    warehouse = BigQueryWarehouse(place, Zones(settings.home), settings)

    def bytes_of(tree: exp.Expr) -> int:
        # Creating a view reads nothing; its cost is what its SELECT reads.
        priced = tree.expression if isinstance(tree, exp.Create) and tree.kind == "VIEW" else tree
        placed = for_bigquery(priced, project=place.project, prefix=place.prefix, datasets=ALL_DATASETS)
        try:
            return warehouse.connection.bytes_of(placed)
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise explained(error, "BigQuery, dry run") from None

    return bytes_of


def show(outcomes: list[CheckedStatement], *, with_bytes: bool) -> int:
    """Print one line per statement. Returns the exit status."""
    shown = Shown("file", "statement", "outcome")
    if with_bytes:
        shown.add_column("bytes", justify="right")
        shown.add_column("USD", justify="right")
    for one in outcomes:
        cells = [one.statement.file, one.statement.name, "[red]fails[/red]" if one.problem else "ok"]
        if with_bytes:
            read = one.bytes_read
            cells += ["", ""] if read is None else [f"{read:,}", f"{query_usd(read):.6f}"]
        shown.add_row(*(cell if cell.startswith("[red]") else escape(cell) for cell in cells))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(shown)
    failed = [one for one in outcomes if one.problem]
    on = "DuckDB and by dry run on BigQuery" if with_bytes else "DuckDB"
    print(f"{len(outcomes)} statements parsed in both dialects and run on {on}, {len(failed)} of them fail")
    if with_bytes:
        print(f"USD on demand, list prices of {PRICES_OF} ({SOURCE}); a table is billed as 10 MB at least")
    for one in failed:
        print(f"{one.statement.file}: {one.statement.name}: {one.problem}", file=sys.stderr)
    return 1 if failed else 0
