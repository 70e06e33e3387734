"""Steps of the daily run that stand beside its forecast: what fails in one of them is a notice or an alert, no more."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from tasks.day import Day
    from tasks.decision.policy import DayDecisions
    from tasks.forecasting.apart import IsolatedModels
    from tasks.forecasting.day_reasons import DayReasons
    from tasks.forecasting.forecast import DayForecast
    from tasks.outcome import DayResult
    from tasks.run import RunContext


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


def tell(run: RunContext, result: DayResult) -> DayResult:
    """Record the alerts of a published run, tell a person, and emit Prefect events. It stops nothing."""
    from flows.report import emit_alerts
    from tasks.reporting.watch_session import tell

    notified = tell(run, result)
    emit_alerts(notified.raised)
    return replace(result, alert_note=notified.note)


def report(run: RunContext, result: DayResult) -> None:
    """The brief as files, and the run as artifacts. A brief that fails is a log line and stops nothing."""
    from flows.report import publish_artifacts
    from tasks.forecasting.explain import attempt
    from tasks.reporting.brief_files import write
    from tasks.reporting.brief_pages import markdown
    from tasks.warehouse.open import open_warehouse

    brief, failed = attempt("brief", lambda: markdown(write(run, open_warehouse(run.settings)).brief), "")
    for text in failed:
        log.warning(text)
    publish_artifacts(result, brief, site=run.zones.home / "site")


def back_up(run: RunContext, result: DayResult) -> DayResult:
    """Back up data that cannot be rebuilt. A failed backup becomes an alert and stops nothing."""
    from tasks.operations.backup import back_up
    from tasks.reporting.publication import publish_alert

    problem = back_up(run)
    if not problem:
        return result
    return publish_alert(run, result, kind="backup", subject=str(run.settings.backup), message=problem)


def build_site(run: RunContext, result: DayResult) -> DayResult:
    """Publish what was bought, and build the pages under CBI_HOME/site. A failure is an alert and stops nothing."""
    from tasks import clock
    from tasks.forecasting.explain import attempt
    from tasks.reporting.publication import publish_alert
    from tasks.reporting.purchases import publish_accounts
    from tasks.reporting.site.build import build_or_say_why
    from tasks.warehouse.open import open_warehouse

    for message in attempt("account of purchases", lambda: publish_accounts(run), None)[1]:
        result = publish_alert(run, result, kind="site", subject="purchases", message=message)
    problem = build_or_say_why(open_warehouse(run.settings), run.zones, now=clock.now().floor("s"))
    if not problem:
        return result
    return publish_alert(run, result, kind="site", subject="site", message=problem)
