"""The last step of a run: warehouse, chart, gate page, and the summary of what it came to."""

from __future__ import annotations

import logging
from dataclasses import replace

import pandas as pd

from tasks import clock
from tasks.errors import CbiError, ReportFailed, StorageFailed
from tasks.features.coverage import coverage_by_year
from tasks.outcome import DayResult
from tasks.registry import ended_tables
from tasks.reporting.alerts import raise_alerts
from tasks.reporting.charts import coverage_chart, fan_chart
from tasks.reporting.gate_page import write_gate_page
from tasks.reporting.summary import RunSummary
from tasks.run import RunContext, newest_session
from tasks.staging.documents import documents_known_by
from tasks.staging.summary import summarise_quarantine
from tasks.warehouse.daily_tables import daily_tables
from tasks.warehouse.open import open_warehouse

log = logging.getLogger(__name__)


def publish_alert(run: RunContext, summary: RunSummary, *, kind: str, subject: str, message: str) -> RunSummary:
    """One more alert of a run that is published already; where even that fails, it is in the summary alone."""
    alert = pd.DataFrame([{"kind": kind, "subject": subject, "level": "warning", "message": message}])
    try:
        open_warehouse(run.settings).publish(
            {"ops.alerts": alert.assign(as_of=run.as_of, created_at=clock.now().floor("s"))},
            as_of=newest_session(run.zones) or run.as_of,
            staging=run.zones.staging,
        )
    except CbiError as error:
        log.warning("the alert `%s` cannot be published: %s", message, error)
    return replace(summary, alerts=pd.concat([summary.alerts, alert], ignore_index=True))


def publish_run(run: RunContext, made: DayResult) -> RunSummary:
    """Publish all of a run's tables in one transaction, draw its charts and write its gate page.

    Raises:
        ReportFailed: everything is published, but a chart or the page could not be written.
    """
    refused = summarise_quarantine(made.quarantine, as_of=run.as_of)
    results = pd.concat([report.frame() for report in made.gates], ignore_index=True)
    coverage = coverage_by_year(made.features, run.features)
    ended = ended_tables(run.settings.registry, run.sources, run.as_of.date())
    alerts = raise_alerts(
        made.ingested,
        made.series,
        made.forecasts,
        notices=made.notices,
        ended=ended,
        inputs=made.inputs,
        gates=results,
    )
    tables = daily_tables(
        run,
        made,
        gates=results,
        quarantine=refused,
        alerts=alerts,
        documents=documents_known_by(run.zones, run.sources, as_of=run.as_of),
        coverage=coverage,
        now=clock.now().floor("s"),
    )
    published = open_warehouse(run.settings).publish(
        tables, as_of=newest_session(run.zones) or run.as_of, staging=run.zones.staging, session=run.as_of
    )
    day, folder = f"{run.as_of:%Y-%m-%d}", run.work.reports
    try:
        chart = fan_chart(
            folder / f"zl_fan_{day}.png", made.panel[["date", "zl_close"]], made.forecasts, origin=run.origin_kind
        )
        reach = coverage_chart(folder / f"feature_coverage_{day}.png", coverage, as_of=run.as_of)
        gate_page = write_gate_page(run, results)
    except (StorageFailed, OSError) as error:
        raise ReportFailed(
            f"the forecasts of {day} are published, their charts and gate page are not all there: {error}. "
            "Run it again once that is mended"
        ) from error
    return RunSummary(
        as_of=run.as_of,
        origin=run.origin_kind,
        forecasts=made.forecasts,
        explainers=made.explainers,
        leaderboard=made.leaderboard,
        series=made.series,
        quarantine=refused,
        gates=results,
        ingested=made.ingested,
        alerts=alerts,
        coverage=coverage,
        trained=made.trained,
        changed_rows=sum(published.changed.values()),
        chart=chart,
        coverage_chart=reach,
        gate_page=gate_page,
    )
