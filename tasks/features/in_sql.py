"""The features that are also defined in SQL: tasks/features/sql/*.sql, in BigQuery's dialect, run on DuckDB here.

The daily build computes every feature in Python (build.py), about a hundred times faster on one machine. BigQuery uses
these files to refresh the same features; tests compare both within 1e-9 on every row. Each file is one SELECT: ``date``
and its features, one row per session. Three read ``panel``; interactions.sql reads ``built``, the other features.

Invariants: a value does not change when later rows are removed. DuckDB sums the floats of a window by segment tree, in
an order that depends on the number of rows and partitions, so the files only sum integers, and count.
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
    """One file: its features in order, every column name in it, and the statement for DuckDB."""

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
    """Every feature defined in SQL, in the order of the files."""
    return tuple(feature for name in (*OVER_PANEL, *OVER_FEATURES) for feature in query(name).features)


def panel_columns() -> frozenset[str]:
    """Every panel column that a file may read; names of the file's own are included."""
    return frozenset().union(*(query(name).mentions for name in OVER_PANEL))


def over_panel(panel: pd.DataFrame, files: Iterable[str] = OVER_PANEL) -> dict[str, pd.Series]:
    """Correlations and betas, moving averages, regimes from thresholds."""
    return _run(files, panel=panel)


def over_features(built: pd.DataFrame) -> dict[str, pd.Series]:
    """Products of features: ``built`` is ``date`` and the features computed so far."""
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
