"""The views over the tables, in the order they are made. views/*.sql is BigQuery SQL; `{horizon}` is filled in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlglot
from sqlglot import exp

from tasks.warehouse.tables import HORIZONS

VIEWS = Path(__file__).parent / "views"


@dataclass(frozen=True)
class View:
    """One view: its statement, and the tables and views it reads."""

    name: str
    statement: exp.Expression
    reads: frozenset[str]


def _views_of(text: str) -> list[View]:
    found = []
    for create in sqlglot.parse(text, read="bigquery"):
        if isinstance(create, exp.Create):
            name = create.this.sql()
            reads = frozenset(f"{t.db}.{t.name}" for t in create.expression.find_all(exp.Table) if t.db)
            found.append(View(name, create, reads))
    return found


@cache
def views() -> tuple[View, ...]:
    """Every view written in SQL, each after those it reads."""
    found: list[View] = []
    for path in sorted(VIEWS.glob("*.sql")):
        text = path.read_text()
        fills = HORIZONS if "{horizon}" in text else ("",)
        for horizon in fills:
            found += _views_of(text.replace("{horizon}", horizon))
    return tuple(found)
