"""The last step of a run: warehouse, chart, gate page, and the summary of what it came to."""

from __future__ import annotations

import pandas as pd

from tasks.context import Run
from tasks.features.coverage import coverage_by_year
from tasks.reporting.alerts import raise_alerts
from tasks.reporting.charts import coverage_chart, fan_chart
from tasks.reporting.gate_page import write_gate_page
from tasks.reporting.summary import RunSummary
from tasks.sources.ingest import Ingested
from tasks.staging.documents import documents_known_by
from tasks.staging.summary import summarise_quarantine
from tasks.warehouse.daily_tables import daily_tables
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.zones import read_json


def publish_run(
    run: Run,
    *,
    data_snapshot: str,
    panel: pd.DataFrame,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    forecasts: pd.DataFrame,
    explainers: pd.DataFrame,
    leaderboard: pd.DataFrame,
    ingested: list[Ingested],
    series: pd.DataFrame,
    quarantine: pd.DataFrame,
    gates: list[pd.DataFrame],
    trained: bool,
) -> RunSummary:
    """Publish all of a run's tables in one transaction, draw its charts and write its gate page."""
    refused = summarise_quarantine(quarantine, as_of=run.as_of)
    results = pd.concat(gates, ignore_index=True)
    coverage = coverage_by_year(features, run.features)
    alerts = raise_alerts(ingested, series, forecasts)
    tables = daily_tables(
        run,
        data_snapshot=data_snapshot,
        features=features,
        labels=labels,
        forecasts=forecasts,
        explainers=explainers,
        leaderboard=leaderboard,
        ingested=ingested,
        series=series,
        gates=results,
        quarantine=refused,
        alerts=alerts,
        documents=documents_known_by(run.zones, run.sources, as_of=run.as_of),
        coverage=coverage,
        now=pd.Timestamp.now(tz="UTC").floor("s"),
    )
    newest = pd.Timestamp((read_json(run.zones.exports / "manifest.json") or {}).get("as_of", run.as_of))
    published = DuckDbWarehouse(run.zones).publish(
        tables, as_of=max(newest, run.as_of), staging=run.zones.staging, session=run.as_of
    )
    chart = fan_chart(run.work.reports / f"zl_fan_{run.as_of:%Y-%m-%d}.png", panel[["date", "zl_close"]], forecasts)
    reach = coverage_chart(run.work.reports / f"feature_coverage_{run.as_of:%Y-%m-%d}.png", coverage, as_of=run.as_of)
    return RunSummary(
        as_of=run.as_of,
        origin=run.origin,
        forecasts=forecasts,
        explainers=explainers,
        leaderboard=leaderboard,
        series=series,
        quarantine=refused,
        gates=results,
        ingested=ingested,
        alerts=alerts,
        coverage=coverage,
        trained=trained,
        changed_rows=sum(published.changed.values()),
        chart=chart,
        coverage_chart=reach,
        gate_page=write_gate_page(run, results),
    )
