"""The track record: forecasts whose outcome is known now get their row in ``performance.forecast_outcomes``."""

from __future__ import annotations

import logging
import re

import pandas as pd

from tasks import clock
from tasks.errors import CbiError, WarehouseError
from tasks.forecasting.history import KEY, due_outcomes
from tasks.registry import load_quality_gates
from tasks.run import RunContext, newest_session
from tasks.secrets import quoted
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.record import PUBLISHED, REPLAYS

log = logging.getLogger(__name__)
OUTCOMES = "performance.forecast_outcomes"
# Every forecast of each session and horizon of which any is due and has no outcome yet.
UNSCORED = """
WITH due AS (
  SELECT * FROM (SELECT *, {replay} AS record FROM {table}) AS named
  WHERE target_date < DATE '{as_of}' AND record = '{name}'
),
joined AS (
  SELECT
    due.*, outcomes.as_of IS NOT NULL AS scored,
    COALESCE(due.record = '' AND due.model_version = champions.model_version, FALSE) AS is_champion
  FROM due
  LEFT JOIN api.vw_champions AS champions ON champions.as_of = due.as_of AND champions.horizon = due.horizon
  LEFT JOIN performance.forecast_outcomes AS outcomes
    ON outcomes.origin = COALESCE(due.origin, 'unknown') AND outcomes.replay = due.record
    AND outcomes.as_of = due.as_of AND outcomes.horizon = due.horizon AND outcomes.model_version = due.model_version
),
counted AS (
  SELECT *, COUNTIF(NOT scored) OVER (PARTITION BY origin, as_of, horizon) AS unscored FROM joined
)
SELECT * FROM counted WHERE unscored > 0
"""


def unscored_forecasts(warehouse: Warehouse, *, as_of: pd.Timestamp, replay: str = "") -> pd.DataFrame:
    """The published forecasts that are due by ``as_of`` without an outcome, and those of the same session and horizon.

    Args:
        replay: the name of a replay, whose forecasts are read instead of the published ones.

    Returns:
        rows of the table of forecasts, with ``scored`` (whether it has its outcome) and ``is_champion`` (whether the
        published forecast is of the version that serves its session).

    Raises:
        WarehouseError: nothing is published, or the name is not one of a replay.
    """
    if not re.fullmatch(r"[\w.:-]*", replay):
        raise WarehouseError(f"{quoted(replay)!r} is no name of a replay: use letters, digits, `-`, `_`, `.` and `:`")
    table, column = (REPLAYS, "replay") if replay else (PUBLISHED, "''")
    rows = warehouse.query(UNSCORED.format(table=table, replay=column, as_of=f"{as_of:%Y-%m-%d}", name=replay))
    return rows.drop(columns=["record", "unscored"])


def publish_due(
    run: RunContext,
    observations: pd.DataFrame,
    *,
    replay: str = "",
    baselines: pd.DataFrame | None = None,
) -> int:
    """Publish the outcome of every forecast that is due by the run's session and has none yet; their number.

    A run as of an earlier session writes what was due by then, from prices known then: the same rows.

    Args:
        observations: in all vintages known at the run's session. replay: the name of a replay; default: what was
            published. baselines: forecasts to compare with (``tasks.forecasting.history.due_outcomes``).

    Raises:
        WarehouseError: nothing is published, or the outcomes do not fit. Forecasts are not affected.
    """
    warehouse = open_warehouse(run.settings)
    forecasts = unscored_forecasts(warehouse, as_of=run.as_of, replay=replay)
    if forecasts.empty:
        return 0
    cost = load_quality_gates(run.settings.registry).trading_cost.round_trip_cents_lb
    outcomes = due_outcomes(
        forecasts,
        observations,
        run.horizons,
        as_of=run.as_of,
        round_trip_cost_cents_lb=cost,
        baselines=baselines,
    )
    known = forecasts[forecasts["scored"]].assign(replay=replay)[KEY]
    new = (
        outcomes.merge(known, on=KEY, how="left", indicator=True).query("_merge == 'left_only'").drop(columns="_merge")
    )
    if new.empty:
        return 0
    warehouse.publish(
        {OUTCOMES: new.assign(created_at=clock.now().floor("s"))},
        as_of=newest_session(run.zones) or run.as_of,
        staging=run.zones.staging,
    )
    return len(new)


def score(run: RunContext, observations: pd.DataFrame) -> str:
    """As ``publish_due``, for the daily run: why outcomes are missing, or empty. Nothing is raised.

    The forecast is published already, and the next run writes what is missing.
    """
    try:
        publish_due(run, observations)
    except Exception as error:  # whatever it is, it must not stop or alter a published forecast
        text = quoted(f"{error}" if isinstance(error, CbiError) else f"{type(error).__name__}: {error}")
        log.warning("no outcomes of past forecasts as of %s: %s", f"{run.as_of:%Y-%m-%d}", text)
        return f"the outcomes of past forecasts are missing: {text}"
    return ""
