"""The features that SQL defines too: tasks/features/sql/*.sql, in BigQuery's dialect, run on DuckDB here.

The daily build makes every feature in Python (build.py), which is some hundred times as fast on one machine. The files
are what BigQuery refreshes the same features with; tests hold the two to each other within 1e-9 on every row. Each file
is one SELECT: ``date`` and its features, a row a session. Three read ``panel``; interactions.sql reads ``built``, the
features made before it.

Invariants: a value does not change when later rows are removed. DuckDB adds the floats of a window by segment tree, in
an order that depends on how many rows and partitions there are, so the files only ever add whole numbers, and count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from tasks.errors import RegistryError

FOLDER = Path(__file__).parent / "sql"
OVER_PANEL = ("correlations", "moving_averages", "regimes")
OVER_FEATURES = ("interactions",)


@dataclass(frozen=True)
class Query:
    """One file: the features it makes in order, every column name in it, and the statement as DuckDB runs it."""

    features: tuple[str, ...]
    mentions: frozenset[str]
    duckdb: str


@cache
def query(name: str) -> Query:
    """``sql/<name>.sql``, parsed."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import ErrorLevel

    statement = sqlglot.parse_one(
        (FOLDER / f"{name}.sql").read_text(encoding="utf-8"), read="bigquery", into=exp.Select
    )
    return Query(
        features=tuple(column for column in statement.named_selects if column != "date"),
        mentions=frozenset(column.name for column in statement.find_all(exp.Column)),
        duckdb=statement.sql("duckdb", comments=False, unsupported_level=ErrorLevel.RAISE),
    )


def sql_features() -> tuple[str, ...]:
    """Every feature that SQL defines, in the order of the files."""
    return tuple(feature for name in (*OVER_PANEL, *OVER_FEATURES) for feature in query(name).features)


def panel_columns() -> frozenset[str]:
    """Every column of the panel that a file may read: what it names, among names of its own."""
    return frozenset().union(*(query(name).mentions for name in OVER_PANEL))


def over_panel(panel: pd.DataFrame, files: Iterable[str] = OVER_PANEL) -> dict[str, pd.Series]:
    """Correlations and betas, moving averages, regimes from thresholds."""
    return _run(files, panel=panel)


def over_features(built: pd.DataFrame) -> dict[str, pd.Series]:
    """Products of features: ``built`` is ``date`` and the features made so far."""
    return _run(OVER_FEATURES, built=built)


def _run(names: Iterable[str], **tables: pd.DataFrame) -> dict[str, pd.Series]:
    """The features of some files over one table, on its index."""
    import duckdb
    import pyarrow as pa

    ((table, frame),) = tables.items()
    results: dict[str, pd.Series] = {}
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        for name in names:
            inputs = frame[[column for column in frame.columns if column in query(name).mentions]]
            connection.register(table, pa.Table.from_pandas(inputs, preserve_index=False))  # NaN becomes NULL
            try:
                columns = connection.execute(query(name).duckdb).df()
            except duckdb.Error as error:
                problem = " ".join(str(error).split("\n\nLINE ")[0].split())
                raise RegistryError(f"tasks/features/sql/{name}.sql does not run over the {table}: {problem}") from None
            results |= {of: columns[of].astype("float64").set_axis(frame.index) for of in query(name).features}
    return results
