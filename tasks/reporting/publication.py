"""The last step of a run: its result, and the warehouse, charts and gate page that show it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tasks import clock
from tasks.alerts.of_run import raise_alerts
from tasks.day import Day
from tasks.decision.policy import DayDecisions
from tasks.errors import CbiError, ReportFailed, StorageFailed
from tasks.features.coverage import coverage_by_year
from tasks.forecasting.contract import with_contracts
from tasks.forecasting.day_reasons import DayReasons
from tasks.forecasting.explain import attempt
from tasks.forecasting.forecast import DayForecast
from tasks.gates.run import GateReport
from tasks.outcome import DayResult, Pages
from tasks.registry import ended_tables
from tasks.reporting.charts import coverage_chart, fan_chart
from tasks.reporting.explanation_charts import beeswarm, waterfall
from tasks.reporting.gate_page import write_gate_page
from tasks.reporting.price_words import price_notes, thin_front
from tasks.run import RunContext, newest_session
from tasks.sources.ingest import Ingested
from tasks.staging.documents import documents_known_by
from tasks.staging.summary import summarise_quarantine
from tasks.warehouse.daily_tables import daily_tables, reason_tables
from tasks.warehouse.frames import refuse_unsound
from tasks.warehouse.open import open_warehouse

log = logging.getLogger(__name__)
OF_REASONS = {
    "explainers": "forecasts.zl_explainers_daily",
    "explanations": "forecasts.zl_explanations_daily",
    "changes": "forecasts.zl_changes_daily",
    "scenarios": "forecasts.zl_scenarios_daily",
    "surface": "forecasts.zl_surface_daily",
    "document_scores": "raw_intelligence.document_scores",
}
"""The fields of a result that explain its forecasts, and their tables."""


def result_of(
    run: RunContext,
    day: Day,
    forecast: DayForecast,
    reasons: DayReasons,
    *,
    data_snapshot: str,
    ingested: list[Ingested],
    gates: Sequence[GateReport],
    decided: DayDecisions | None = None,
) -> DayResult:
    """The result of the run, before it is published."""
    results = pd.concat([report.frame() for report in gates], ignore_index=True)
    price_age_days = float(day.panel["zl_last__age_days"].iloc[-1])
    contracts, decided = forecast.contracts, decided or DayDecisions()
    forecasts = with_contracts(
        forecast.forecasts, run.rolls.rolls["ZL"], priced_on=run.as_of - pd.Timedelta(days=price_age_days)
    )
    shadows = forecast.shadows
    if len(shadows):
        shadows = with_contracts(
            shadows, run.rolls.rolls["ZL"], priced_on=run.as_of - pd.Timedelta(days=price_age_days)
        )
    thin = thin_front(day.panel, forecasts)
    return DayResult(
        as_of=run.as_of,
        origin=run.origin_kind,
        data_snapshot=data_snapshot,
        forecasts=forecasts,
        contracts=contracts,
        explainers=reasons.explained.drivers,
        explanations=reasons.explained.sentences,
        driver_history=reasons.explained.history,
        changes=reasons.changes,
        scenarios=reasons.scenarios,
        surface=reasons.surface,
        document_scores=reasons.document_scores,
        leaderboard=forecast.leaderboard,
        ingested=ingested,
        series=day.series,
        quarantine=summarise_quarantine(day.quarantine, as_of=run.as_of),
        gates=results,
        alerts=raise_alerts(
            ingested,
            day.series,
            forecast.forecasts,
            notices=forecast.notices,
            unexplained=reasons.notices,
            thin=thin,
            ended=ended_tables(run.settings.registry, run.sources, run.as_of.date()),
            inputs=day.notes,
            gates=results,
            out_of_control=forecast.alarms,
            decision=decided.problems,
        ),
        coverage=coverage_by_year(day.features, run.features),
        trained=False,
        price_notes=price_notes(forecasts, contracts, day.panel),
        shadows=shadows,
        promotions=forecast.promotions,
        decisions=decided.table,
    )


def publish_run(run: RunContext, day: Day, result: DayResult) -> DayResult:
    """Publish all of a run's tables in one transaction, draw its charts and write its gate page.

    Raises:
        ReportFailed: everything is published, but a chart or the page could not be written.
    """
    documents = documents_known_by(run.zones, run.sources, as_of=run.as_of)
    result = with_sound_reasons(result)
    tables = daily_tables(run, day, result, documents=documents, now=clock.now().floor("s"))
    published = open_warehouse(run.settings).publish(
        tables, as_of=newest_session(run.zones) or run.as_of, staging=run.zones.staging, session=run.as_of
    )
    date, folder = f"{run.as_of:%Y-%m-%d}", run.work.reports
    prices = day.panel[["date", "zl_close"]]
    try:
        pages = Pages(
            fan_chart=fan_chart(
                folder / f"zl_fan_{date}.png", prices, result.forecasts, result.contracts, origin=result.origin
            ),
            coverage_chart=coverage_chart(folder / f"feature_coverage_{date}.png", result.coverage, as_of=run.as_of),
            gate_page=write_gate_page(run, result.gates),
        )
    except (StorageFailed, OSError) as error:
        raise ReportFailed(
            f"the forecasts of {date} are published, but a chart or the gate page is missing: {error}. "
            "Run it again once that is fixed"
        ) from error
    none: dict[str, Any] = {}
    drawn, failed = attempt("pictures of the drivers", lambda: _reason_charts(folder, date, result), none)
    result = replace(result, changed_rows=sum(published.changed.values()), pages=replace(pages, **drawn))
    for problem in failed:
        result = publish_alert(run, result, kind="explanation", subject="pictures", message=problem)
    return result


def with_sound_reasons(result: DayResult) -> DayResult:
    """The result without those reasons that their table would refuse: they must not stop the forecast's publish."""
    for field, name in OF_REASONS.items():

        def work(name: str = name, result: DayResult = result) -> None:
            refuse_unsound({name: reason_tables(result)[name]})

        if problem := attempt(name, work, None)[1]:
            alert = {"kind": "explanation", "subject": name, "level": "warning", "message": problem[0]}
            alerts = pd.concat([result.alerts, pd.DataFrame([alert])], ignore_index=True)
            changed: dict[str, Any] = {"alerts": alerts, field: pd.DataFrame()}
            result = replace(result, **changed)
    return result


def _reason_charts(folder: Path, date: str, result: DayResult) -> dict[str, Any]:
    if result.explainers.empty:
        return {}
    return {
        "waterfall": waterfall(
            folder / f"zl_waterfall_{date}.png", result.forecasts, result.explainers, result.explanations
        ),
        "beeswarm": beeswarm(folder / f"zl_beeswarm_{date}.png", result.forecasts, result.driver_history),
    }


def publish_alert(run: RunContext, result: DayResult, *, kind: str, subject: str, message: str) -> DayResult:
    """Publish one more alert of a published run. If that fails too, it is only in the result."""
    alert = pd.DataFrame([{"kind": kind, "subject": subject, "level": "warning", "message": message}])
    try:
        open_warehouse(run.settings).publish(
            {"ops.alerts": alert.assign(as_of=run.as_of, created_at=clock.now().floor("s"))},
            as_of=newest_session(run.zones) or run.as_of,
            staging=run.zones.staging,
        )
    except CbiError as error:
        log.warning("the alert `%s` cannot be published: %s", message, error)
    return replace(result, alerts=pd.concat([result.alerts, alert], ignore_index=True))
