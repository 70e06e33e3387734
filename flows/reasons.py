"""The step of a daily run that explains its forecasts. What fails in it is a warning, and stops nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.day import Day
    from tasks.forecasting.apart import IsolatedModels
    from tasks.forecasting.day_reasons import DayReasons
    from tasks.forecasting.forecast import DayForecast
    from tasks.run import RunContext


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
