"""All SQL here is in BigQuery's dialect. This module translates it for each engine."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError

from tasks.command_line import nearest
from tasks.errors import WarehouseError
from tasks.secrets import quoted as in_message

KEYWORDS = ("SELECT", "FROM", "WHERE", "GROUP", "ORDER", "LIMIT", "JOIN", "HAVING", "QUALIFY", "UNION", "WITH")
"""Keywords of a query. Mistyped, one of them looks like a name."""


def parse_query(sql: str) -> exp.Query:
    """Parse one SELECT.

    Raises:
        WarehouseError: it does not parse, is more than one statement, or writes.
    """
    try:
        statements = [s for s in sqlglot.parse(sql, read="bigquery") if s is not None]
    except ParseError as error:
        found = error.errors[0]
        raise WarehouseError(
            f"SQL does not parse as BigQuery's dialect: {found['description'].rstrip('.')} "
            f"at {found['highlight']!r} (line {found['line']}, column {found['col']}){_near_keyword(sql)}"
        ) from None
    except SqlglotError as error:
        raise WarehouseError(f"SQL cannot run here: {' '.join(str(error).split())}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise WarehouseError(f"one SELECT at a time, and nothing that writes: {in_message(sql, most=120)!r}")
    return statements[0]


def read_names(statement: exp.Expr) -> list[str]:
    """The tables and views that a statement reads, as ``dataset.name``, each once."""
    return list(dict.fromkeys(f"{table.db}.{table.name}" for table in statement.find_all(exp.Table) if table.db))


def _near_keyword(sql: str) -> str:
    """A hint for the first word that is almost a keyword."""
    for word in re.findall(r"[A-Za-z_]+", re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", " ", sql)):
        if word.upper() not in KEYWORDS and (near := nearest(word, KEYWORDS, at_least=0.7)):
            return f".{near}"
    return ""


def for_duckdb(statement: exp.Expr) -> str:
    """The statement in DuckDB's dialect.

    Raises:
        WarehouseError: DuckDB has no counterpart of a construct.
    """
    try:
        return statement.sql("duckdb", comments=False, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        raise WarehouseError(f"SQL cannot run here: {' '.join(str(error).split())}") from None


def written_for_duckdb(sql: str) -> str:
    """One statement of this package, from BigQuery's dialect to DuckDB's."""
    # A MERGE differs in its quotes only; parsing one of 460 columns takes longer than running it
    if sql.startswith("MERGE ") and not any(sign in sql for sign in "\"'\\"):
        return sql.replace("`", '"')
    return for_duckdb(sqlglot.parse_one(sql, read="bigquery"))


def for_bigquery(statement: exp.Expr, *, project: str, prefix: str, datasets: frozenset[str]) -> str:
    """The statement with full table names: ``dataset.table`` becomes ``project.<prefix>dataset.table``."""

    def placed(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Table) and node.db in datasets and not node.catalog:
            node.set("db", exp.to_identifier(f"{prefix}{node.db}", quoted=True))
            node.set("catalog", exp.to_identifier(project, quoted=True))
        return node

    return statement.copy().transform(placed).sql("bigquery", comments=False)


def quoted(*names: str) -> str:
    """Names as quoted identifiers of BigQuery, dotted ones part by part."""
    return ".".join(f"`{part}`" for name in names for part in name.split("."))
