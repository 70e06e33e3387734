"""The control charts of the serving champions, drawn from what the warehouse knows of earlier sessions."""

from __future__ import annotations

from tasks.evaluation.realised import counted
from tasks.forecasting.control import ControlState, alarms, judge_champions
from tasks.forecasting.shadow import baselines_of
from tasks.model_store.protocol import ModelStore
from tasks.registry import load_control_rule
from tasks.run import RunContext
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.past import past_outcomes, published_before, unserved_forecasts


def control_states(run: RunContext, store: ModelStore) -> dict[str, ControlState]:
    """The state of each horizon's champion at the run's session, from outcomes published before it.

    Raises:
        CbiError: the warehouse, the history of the store or the rule cannot be read.
    """
    warehouse = open_warehouse(run.settings)
    before = published_before(warehouse, run.as_of)
    if before is None:
        return {}
    outcomes = past_outcomes(warehouse, run.origin_kind)
    return judge_champions(
        store.history(),
        counted(outcomes) if len(outcomes) else outcomes,
        baselines_of(unserved_forecasts(warehouse, baselines=True)),
        load_control_rule(run.settings.registry),
        run.horizons,
        run.as_of,
        known_by=before,
    )


def control_alarms(run: RunContext, store: ModelStore) -> tuple[dict[str, str], list[str]]:
    """By horizon, why its champion is out of control; and notices.

    A chart that cannot be drawn alarms nobody: the champion serves, and the notice says that nothing watches it.
    """
    try:
        return alarms(control_states(run, store)), []
    except Exception as error:  # a chart never stops a forecast
        return {}, [f"the control chart of the champions cannot be drawn: {type(error).__name__}: {error}"]
