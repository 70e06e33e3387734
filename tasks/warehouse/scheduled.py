"""The SQL features as scheduled queries of BigQuery: `cbi project scheduled-sql` writes the scripts.

Each file of tasks/features/sql becomes one script of deploy/gcp/scheduled, which builds the table
``refreshed.zl_<file>`` from the published tables; deploy/gcp/setup.sh schedules them. The scripts name
``${PROJECT}`` and ``${PREFIX}``, which setup.sh fills in.

Invariants: a script replaces its table as a whole, so that a failed run leaves yesterday's table, and one that
runs twice changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import sqlglot
from sqlglot import exp

from tasks.features import in_sql
from tasks.settings import PROJECT
from tasks.storage.files import write_bytes
from tasks.warehouse.dialect import for_bigquery
from tasks.warehouse.tables import FEATURES, PANEL, REFRESHED

FOLDER = PROJECT / "deploy" / "gcp" / "scheduled"
READS = {"panel": PANEL, "built": FEATURES}
"""The warehouse's names of the tables in the files."""
PLACED = frozenset({PANEL.split(".")[0], FEATURES.split(".")[0], REFRESHED})


def refreshed(name: str) -> str:
    """The table with a file's refreshed features."""
    return f"{REFRESHED}.zl_{name}"


def over_warehouse(name: str) -> exp.Expr:
    """A file's SELECT over the warehouse's tables."""

    def placed(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Table) and node.name in READS and not node.db:
            return exp.to_table(READS[node.name], alias=node.alias or node.name)
        return node

    text = (in_sql.FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    return sqlglot.parse_one(text, read="bigquery").transform(placed)


def refresh(name: str) -> exp.Expr:
    """The statement that builds a file's table."""
    layout = "PARTITION BY DATE_TRUNC(date, YEAR) OPTIONS (labels = [('app', 'cbi')])"
    create = sqlglot.parse_one(f"CREATE OR REPLACE TABLE {refreshed(name)} {layout} AS SELECT 1", read="bigquery")
    select = over_warehouse(name)
    select.set("order", None)  # a table has no order
    create.set("expression", select)
    return create


def script(name: str) -> str:
    """The script that BigQuery runs on a schedule, ``${PROJECT}`` and ``${PREFIX}`` not filled in."""
    placed = for_bigquery(refresh(name), project="${PROJECT}", prefix="${PREFIX}", datasets=PLACED)
    sql = sqlglot.parse_one(placed, read="bigquery").sql("bigquery", pretty=True, comments=False)
    return (
        f"-- {refreshed(name)}: the features of tasks/features/sql/{name}.sql, refreshed inside BigQuery.\n"
        "-- Written by `cbi project scheduled-sql`: generated, never edited.\n"
        f"{sql};\n"
    )


def scripts() -> dict[str, str]:
    """Every script by its file name."""
    return {f"{name}.sql": script(name) for name in (*in_sql.OVER_PANEL, *in_sql.OVER_FEATURES)}


def write_scripts() -> list[Path]:
    """Write the scripts. A script without its SQL file is deleted."""
    wanted = scripts()
    for path in FOLDER.glob("*.sql"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        write_bytes(FOLDER / name, text.encode())
    return [FOLDER / name for name in wanted]
