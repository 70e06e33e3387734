"""The last step of a run: warehouse, chart, gate page, and the summary of what it came to."""

from __future__ import annotations

import pandas as pd

from tasks.context import Run
from tasks.features.coverage import coverage_by_year
from tasks.made import Made
from tasks.reporting.alerts import raise_alerts
from tasks.reporting.charts import coverage_chart, fan_chart
from tasks.reporting.gate_page import write_gate_page
from tasks.reporting.summary import RunSummary
from tasks.staging.documents import documents_known_by
from tasks.staging.summary import summarise_quarantine
from tasks.warehouse.daily_tables import daily_tables
from tasks.warehouse.open import open_warehouse
from tasks.zones import read_json


def publish_run(run: Run, made: Made) -> RunSummary:
    """Publish all of a run's tables in one transaction, draw its charts and write its gate page."""
    refused = summarise_quarantine(made.quarantine, as_of=run.as_of)
    results = pd.concat([report.frame() for report in made.gates], ignore_index=True)
    coverage = coverage_by_year(made.features, run.features)
    alerts = raise_alerts(made.ingested, made.series, made.forecasts, notices=made.notices)
    tables = daily_tables(
        run,
        made,
        gates=results,
        quarantine=refused,
        alerts=alerts,
        documents=documents_known_by(run.zones, run.sources, as_of=run.as_of),
        coverage=coverage,
        now=pd.Timestamp.now(tz="UTC").floor("s"),
    )
    newest = pd.Timestamp((read_json(run.zones.exports / "manifest.json") or {}).get("as_of", run.as_of))
    published = open_warehouse(run.settings).publish(
        tables, as_of=max(newest, run.as_of), staging=run.zones.staging, session=run.as_of
    )
    chart = fan_chart(
        run.work.reports / f"zl_fan_{run.as_of:%Y-%m-%d}.png", made.panel[["date", "zl_close"]], made.forecasts
    )
    reach = coverage_chart(run.work.reports / f"feature_coverage_{run.as_of:%Y-%m-%d}.png", coverage, as_of=run.as_of)
    return RunSummary(
        as_of=run.as_of,
        origin=run.origin,
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
        gate_page=write_gate_page(run, results),
    )
