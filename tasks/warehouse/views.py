"""The views over the tables, in the order of creation. views/*.sql is BigQuery SQL.

`{horizon}` stands for each horizon, `{correlations}` and similar for the features of tasks/features/sql.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlglot
from sqlglot import exp

from tasks.features import in_sql
from tasks.warehouse.tables import FEATURES, ZONE_VIEWS, horizons, tables

VIEWS = Path(__file__).parent / "views"


@dataclass(frozen=True)
class View:
    """One view: its statement, the tables and views it reads, and the columns that it reads of the feature table.

    These arrive with runs: a home without a publish since a feature was added lacks its column.
    """

    name: str
    statement: exp.Expression
    reads: frozenset[str]
    columns: frozenset[str]


def _views_of(text: str) -> list[View]:
    found = []
    for create in sqlglot.parse(text, read="bigquery"):
        if isinstance(create, exp.Create):
            name = create.this.sql()
            reads = frozenset(f"{t.db}.{t.name}" for t in create.expression.find_all(exp.Table) if t.db)
            named = frozenset(column.name for column in create.expression.find_all(exp.Column))
            found.append(View(name, create, reads, named if reads == {FEATURES} else frozenset()))
    return found


def view_files() -> Iterator[tuple[Path, str]]:
    """Each file and its SQL with placeholders filled in; once per horizon if it has a placeholder for one."""
    for path in sorted(VIEWS.glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        for name in in_sql.OVER_PANEL:
            text = text.replace(f"{{{name}}}", ", ".join(in_sql.query(name).features))
        text = text.replace("{horizon_order}", _order_of("horizon"))
        for horizon in horizons() if "{horizon}" in text else ("",):
            yield path, text.replace("{horizon}", horizon)


def _order_of(column: str) -> str:
    """SQL that ranks a column of horizons, the nearest first."""
    ranks = " ".join(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(horizons(), 1))
    return f"CASE {column} {ranks} END"


@cache
def views() -> tuple[View, ...]:
    """Every view in SQL, each after the views that it reads."""
    return tuple(view for _, text in view_files() for view in _views_of(text))


def known_names() -> set[str]:
    """Every table and view that a run publishes, as ``dataset.name``."""
    return {*tables(), *(view.name for view in views()), *ZONE_VIEWS}
