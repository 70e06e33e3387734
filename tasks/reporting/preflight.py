"""The pre-flight of a training and of a promotion: PRE_TRAINING on the files, the features and the realised figures."""

from __future__ import annotations

import pandas as pd

from tasks.errors import CbiError
from tasks.evaluation.realised import FIGURES, realised_figures
from tasks.gates.parity import metric_parity, metrics_unread, no_metrics
from tasks.gates.run import GateReport, pass_gate
from tasks.gates.tables import training_tables
from tasks.reporting.track_record import OUTCOMES
from tasks.run import RunContext, newest_session, open_run
from tasks.settings import Settings
from tasks.sources.payloads import LIVE
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.frames import to_frame
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse

TRACKING = "SELECT * FROM performance.vw_forecast_performance_tracking WHERE sliced_by = 'all'"


def preflight(run: RunContext) -> GateReport:
    """Pass PRE_TRAINING on what this home stores: the ten training files, the features, and the realised figures.

    Raises:
        GateFailed: every blocking failure with the values that differ; neither training nor promotion may go on.
    """
    path = run.work.features / "features.parquet"
    served = read_parquet(path) if path.exists() else None  # a machine that trains on a bundle serves nothing
    tables = training_tables(run.work.exports, run.features, run.horizons, served=served, realised=realised_parity(run))
    return pass_gate(run, "PRE_TRAINING", tables)


def objections(settings: Settings) -> list[str]:
    """What the pre-flight of this home's newest session says against a promotion; empty if it passes."""
    newest = newest_session(Zones(settings.home))
    if newest is None:
        return ["the pre-flight cannot run: this home has no training files; run `cbi daily`"]
    try:
        preflight(open_run(settings, origin=LIVE, as_of=f"{newest:%Y-%m-%d}"))
    except CbiError as error:
        return [f"the pre-flight fails: {error}"]
    return []


def realised_parity(run: RunContext) -> pd.DataFrame:
    """Realised figures in Python beside those in SQL, from the published outcomes (``metric_parity``).

    A warehouse that cannot be read is a row that does not agree, with the reason; nothing is raised.
    """
    try:
        warehouse = open_warehouse(run.settings)
        if not warehouse.is_published() or OUTCOMES not in warehouse.row_counts():
            return no_metrics()
        return compare_engines(warehouse, tuple(run.horizons.quantiles))
    except CbiError as error:
        return metrics_unread(f"the warehouse cannot be read: {error}")


def compare_engines(warehouse: Warehouse, levels: tuple[float, ...]) -> pd.DataFrame:
    """The same for one warehouse.

    Raises:
        WarehouseError: it cannot be read.
    """
    outcomes = to_frame(warehouse.read(OUTCOMES))
    return metric_parity(realised_figures(outcomes, levels), warehouse.query(TRACKING), FIGURES)
