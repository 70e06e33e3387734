"""The warehouse's tables: names, natural keys, columns. Fixed tables are declared once, in schema/*.sql.

The columns of a wide table come from the frames published to it; new columns are added, and none is ever dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import sqlglot
from sqlglot import exp

from tasks.errors import WarehouseError
from tasks.registry import load_horizons
from tasks.settings import PROJECT

SCHEMA = Path(__file__).parent / "schema"
DATASETS = (
    "raw_intelligence",
    "market_data",
    "staging",
    "features",
    "training",
    "forecasts",
    "predictions",
    "performance",
    "ops",
    "api",
)
FEATURES = "features.zl_daily_v1"
PANEL = "features.zl_panel_daily_v1"
"""The panel's columns that tasks/features/sql reads: BigQuery refreshes those features from them."""
REFRESHED = "refreshed"
"""BigQuery only: the dataset of its scheduled queries (tasks/warehouse/scheduled.py)."""
STAMP = "created_at"
"""Time at which a row's content was written. A rerun with the same content does not change it."""


ZONE_VIEWS = ("staging.observations", "staging.quarantine")
# the columns of these two views over the zones' files
OBSERVATIONS = {
    "source": "STRING",
    "series": "STRING",
    "observation_date": "DATE",
    "field": "STRING",
    "value": "FLOAT64",
    "unit": "STRING",
    "available_at": "TIMESTAMP",
    "fetched_at": "TIMESTAMP",
    "vintage": "INT64",
}
REFUSED_CELLS = {**OBSERVATIONS, "rule": "STRING", "reason": "STRING", "payload": "STRING", "row": "INT64"}

# Tables that a run writes completely for its session: rows that a rerun no longer has are deleted.
STATED = (
    "ops.alerts",
    "ops.quarantine_summary",
    "ops.feature_coverage",
    "forecasts.zl_explainers_daily",
    "forecasts.zl_explanations_daily",
    "forecasts.zl_changes_daily",
    "forecasts.zl_scenarios_daily",
    "forecasts.zl_surface_daily",
    "forecasts.zl_contracts_daily",
    "forecasts.zl_decisions_daily",
    "forecasts.zl_purchases_daily",
    "features.master_feature_universe",
)


@dataclass(frozen=True)
class Table:
    """One table. ``columns`` maps a column to its BigQuery type; a wide table has no fixed columns."""

    name: str
    key: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)
    partition: tuple[str, str] | None = None
    """The date column that BigQuery partitions the table by, and the unit."""
    cluster: tuple[str, ...] = ()
    rebuilt: bool = True
    """Whether a run can rebuild its rows from payloads and registry. The other tables are backed up."""

    @property
    def wide(self) -> bool:
        """Whether the columns come from the frame."""
        return not self.columns

    @property
    def ordered_by(self) -> str:
        """The column that orders rows from old to new."""
        return self.partition[0] if self.partition else self.key[0]


@cache
def horizons() -> tuple[str, ...]:
    """The names of registry/horizons.yaml, the nearest first. Tables and views are named after them."""
    return tuple(load_horizons(PROJECT / "registry").horizons)


def _wide() -> list[Table]:
    names = [
        FEATURES,
        PANEL,
        "features.zl_sentiment",
        *(f"training.zl_training_prod_allhistory_{h}" for h in horizons()),
    ]
    return [Table(name, ("date",), partition=("date", "YEAR")) for name in names]


def _declared(path: Path) -> list[Table]:
    declared = []
    for create in sqlglot.parse(path.read_text(encoding="utf-8"), read="bigquery"):
        if not isinstance(create, exp.Create):
            continue
        key = create.find(exp.PrimaryKey)
        if key is None:
            raise WarehouseError(f"{path}: {create.this.this.sql()} has no PRIMARY KEY; a merge needs one")
        columns = {
            column.name: column.kind.sql("bigquery")
            for column in create.this.expressions
            if isinstance(column, exp.ColumnDef) and column.kind
        }
        truncated, cluster = create.find(exp.PartitionedByProperty), create.find(exp.ClusterProperty)
        declared.append(
            Table(
                create.this.this.sql(),
                tuple(part.name for part in key.expressions),
                columns,
                _partition(truncated.this) if truncated else None,
                tuple(column.name for column in cluster.expressions) if cluster else (),
                _is_rebuilt(create, path),
            )
        )
    return declared


def _is_rebuilt(create: exp.Create, path: Path) -> bool:
    """The label ``made_again`` of a table's declaration: yes or no."""
    labels = {
        name.name: value.name
        for option in create.find_all(exp.Property)
        if option.name == "labels" and isinstance(option.args["value"], exp.Array)
        for name, value in (pair.expressions for pair in option.args["value"].expressions)
    }
    if labels.get("made_again") not in ("yes", "no"):
        raise WarehouseError(
            f"{path}: {create.this.this.sql()} does not say whether a run makes it again: end its declaration with "
            "OPTIONS (labels = [('made_again', 'yes')]), or 'no', which has it backed up"
        )
    return labels["made_again"] == "yes"


def _partition(by: exp.Expression) -> tuple[str, str]:
    """``DATE_TRUNC(column, UNIT)`` as column and unit."""
    column = by.find(exp.Column)
    unit = by.args.get("unit")
    if column is None or unit is None:
        raise WarehouseError(f"PARTITION BY {by.sql('bigquery')}: write it as DATE_TRUNC(column, MONTH)")
    return column.name, unit.name


@cache
def tables() -> dict[str, Table]:
    """Every table by ``dataset.table``."""
    fixed = [table for path in sorted(SCHEMA.glob("*.sql")) for table in _declared(path)]
    return {table.name: table for table in [*fixed, *_wide()]}


def table_named(name: str) -> Table:
    """One table.

    Raises:
        WarehouseError: no such table; the message lists the known ones.
    """
    if name not in tables():
        raise WarehouseError(f"unknown table {name}; known: {', '.join(sorted(tables()))} (tasks/warehouse/schema)")
    return tables()[name]
