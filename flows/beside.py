"""Steps of the daily run that stand beside its forecast: what fails in one of them is a notice or an alert, no more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from tasks.day import Day
    from tasks.decision.policy import DayDecisions
    from tasks.forecasting.apart import IsolatedModels
    from tasks.forecasting.day_reasons import DayReasons
    from tasks.forecasting.forecast import DayForecast
    from tasks.model_store.protocol import ModelStore
    from tasks.outcome import DayResult
    from tasks.run import RunContext


def forecast_beside(
    run: RunContext,
    day: Day,
    data_snapshot: str,
    models: IsolatedModels,
    store: ModelStore,
    forecasted: DayForecast,
) -> tuple[dict[str, DataFrame], list[str]]:
    """What is stored beside the forecasts: those that are not served, and the store's promotions; and notices.

    Whatever fails here is a notice. It never stops what is served.
    """
    from tasks.forecasting.shadow import forecast_unserved, unserved
    from tasks.model_store.administration import promotions_table

    try:
        versions, missing = unserved(store, forecasted.forecasts, run.as_of)
        shadows, failed = forecast_unserved(
            versions,
            day.features,
            day.panel,
            models,
            registry=run.features,
            horizons=run.horizons,
            as_of=run.as_of,
            data_snapshot=data_snapshot,
            code_version=run.code_version,
            notes=day.notes,
        )
        return {"shadows": shadows, "promotions": promotions_table(store.history())}, [*missing, *failed]
    except Exception as error:
        return {}, [f"no forecasts beside the served ones: {type(error).__name__}: {error}"]


def control_alarms(run: RunContext, store: ModelStore) -> tuple[dict[str, str], list[str]]:
    """By horizon, why its champion is out of control, from outcomes published before this session; and notices.

    A chart that cannot be drawn alarms nobody: the champion serves, and the notice says that nothing watches it.
    """
    from tasks.forecasting.control import alarms, judge_champions
    from tasks.forecasting.shadow import baselines_of
    from tasks.registry import load_control_rule
    from tasks.warehouse.open import open_warehouse
    from tasks.warehouse.past import past_outcomes, published_before, unserved_forecasts

    try:
        warehouse = open_warehouse(run.settings)
        before = published_before(warehouse, run.as_of)
        if before is None:
            return {}, []
        states = judge_champions(
            store.history(),
            past_outcomes(warehouse, run.origin_kind),
            baselines_of(unserved_forecasts(warehouse, baselines=True)),
            load_control_rule(run.settings.registry),
            run.horizons,
            run.as_of,
            known_by=before,
        )
        return alarms(states), []
    except Exception as error:
        return {}, [f"the control chart of the champions cannot be drawn: {type(error).__name__}: {error}"]


def decide(run: RunContext, day: Day, forecasted: DayForecast) -> DayDecisions:
    """What each buyer's need should do today. A failure becomes an alert and stops nothing."""
    from tasks.decision.day import decide_or_say_why

    return decide_or_say_why(run, forecasted.forecasts, forecasted.contracts, day.panel)


def explain(run: RunContext, day: Day, forecasted: DayForecast, models: IsolatedModels) -> DayReasons:
    """Drivers, changes since the session before, scenarios and scored texts. A part that fails is a notice."""
    from tasks.forecasting.day_reasons import DayReasons, reasons_of_day
    from tasks.forecasting.explain import attempt
    from tasks.model_store.open import open_store
    from tasks.staging.documents import documents_known_by
    from tasks.warehouse.open import open_warehouse
    from tasks.warehouse.published import published_forecasts

    def work() -> DayReasons:
        return reasons_of_day(
            run,
            day,
            forecasted,
            models,
            open_store(run.settings),
            published=lambda session: published_forecasts(open_warehouse(run.settings), session),
            documents=lambda: documents_known_by(run.zones, run.sources, as_of=run.as_of),
        )

    reasons, failed = attempt("explanations", work, DayReasons())
    return replace(reasons, notices=reasons.notices + failed)


def score_past(run: RunContext, day: Day, result: DayResult) -> DayResult:
    """Publish the outcomes of forecasts that came due. A failure becomes an alert and stops nothing."""
    from tasks.reporting.publication import publish_alert
    from tasks.reporting.track_record import score

    problem = score(run, day.observations)
    if not problem:
        return result
    return publish_alert(run, result, kind="history", subject="performance.forecast_outcomes", message=problem)


def back_up(run: RunContext, result: DayResult) -> DayResult:
    """Back up data that cannot be rebuilt. A failed backup becomes an alert and stops nothing."""
    from tasks.operations.backup import back_up
    from tasks.reporting.publication import publish_alert

    problem = back_up(run)
    if not problem:
        return result
    return publish_alert(run, result, kind="backup", subject=str(run.settings.backup), message=problem)
