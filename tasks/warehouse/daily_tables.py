"""The rows of one daily run for the warehouse, by table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.day import Day
from tasks.exports import training_table
from tasks.features import in_sql
from tasks.features.universe import feature_universe
from tasks.outcome import DayResult
from tasks.registry import DerivedSeries, FeatureRegistry, load_regime_calendar
from tasks.run import RunContext
from tasks.sources.ingest import Ingested
from tasks.storage.hashes import fingerprint
from tasks.texts.lexicon import scorer_name
from tasks.warehouse.tables import FEATURES, PANEL, table_named

MEASURED = [
    "run",
    "trained_as_of",
    "horizon",
    "family",
    "model_version",
    "folds",
    "origins",
    "first_origin",
    "last_origin",
    "pinball_log_return",
    "crps_log_return",
    "better_naive",
    "skill_pct",
    "skill_pct_low",
    "skill_pct_high",
    "best_naive",
    "served_gain_pct",
    "promotion_p_value",
    "independent_periods",
    "dm_p_value",
    "mape_pct",
    "rmse_cents_lb",
    "coverage_50",
    "coverage_80",
    "coverage_80_low",
    "coverage_80_high",
    "coverage_90",
    "width_80_log_return",
    "calibration_error",
    "brier",
    "brier_high",
    "direction_slope",
    "direction_hit_rate",
    "direction_hit_rate_low",
    "direction_hit_rate_high",
    "sharpe",
    "sharpe_low",
    "sharpe_high",
    "periods",
    "refusal",
    "champion",
]


def daily_tables(
    run: RunContext,
    day: Day,
    result: DayResult,
    *,
    documents: pd.DataFrame,
    now: pd.Timestamp,
) -> dict[str, pd.DataFrame]:
    """Frames by ``dataset.table``. ``now`` becomes ``created_at`` of rows that are new or changed.

    A replay of an earlier session does not write the feature and training tables: they are as of the
    newest session, targets included, and an earlier run knows less. Its feature universe has its own session.
    """
    identity = fingerprint("daily", run.as_of, run.origin, result.data_snapshot, run.code_version)
    regimes = load_regime_calendar(run.settings.registry)
    tables = {
        "forecasts.zl_forecasts_daily": result.forecasts.assign(origin=run.origin_kind, created_at=now),
        **reason_tables(result),
        "forecasts.zl_contracts_daily": result.contracts.assign(
            origin=run.origin_kind,
            data_snapshot=result.data_snapshot,
            code_version=run.code_version,
            created_at=now,
        ),
        "forecasts.zl_shadow_daily": _of_run(result.shadows, origin=run.origin_kind, created_at=now),
        "performance.promotions": _of_run(result.promotions, created_at=now),
        "forecasts.zl_decisions_daily": result.decisions.assign(
            origin=run.origin_kind,
            data_snapshot=result.data_snapshot,
            code_version=run.code_version,
            created_at=now,
        ),
        "performance.leaderboard": _leaderboard(result.leaderboard).assign(created_at=now),
        "ops.ingest_runs": _ingest_runs(run, result.ingested, result.series, result.quarantine).assign(
            run=identity, created_at=now
        ),
        "ops.gate_results": result.gates.assign(run=identity, as_of=run.as_of, created_at=now),
        "ops.quarantine_summary": result.quarantine,
        "ops.feature_coverage": result.coverage.assign(as_of=run.as_of),
        "ops.alerts": result.alerts.assign(as_of=run.as_of, created_at=now),
        "raw_intelligence.documents": documents,
        "features.master_feature_universe": feature_universe(day.features, run.features).assign(
            as_of=run.as_of, created_at=now
        ),
        "training.regime_calendar": regimes.rename(columns={"start": "start_date", "end": "end_date"}),
    }
    if not run.is_replay:
        production = run.features.production()
        tables[FEATURES] = day.features
        tables[PANEL] = panel_in_sql(day.panel)
        tables["features.zl_sentiment"] = sentiment(day.features, run.features, run.derived)
        for horizon in run.horizons.horizons:
            tables[f"training.zl_training_prod_allhistory_{horizon}"] = training_table(
                day.features, day.labels, regimes, horizon=horizon, columns=production
            )
    return tables


def _of_run(rows: pd.DataFrame | None, **named: Any) -> pd.DataFrame:
    """Rows with the columns of their run; none stay none."""
    return pd.DataFrame() if rows is None or rows.empty else rows.assign(**named)


def reason_tables(result: DayResult) -> dict[str, pd.DataFrame]:
    """The frames that explain the forecasts. What could not be computed has a note and few columns."""
    scenarios, surface = (table_named(f"forecasts.zl_{name}_daily") for name in ("scenarios", "surface"))
    frames = {
        "forecasts.zl_explainers_daily": result.explainers,
        "forecasts.zl_explanations_daily": result.explanations,
        "forecasts.zl_changes_daily": result.changes,
        scenarios.name: result.scenarios.reindex(columns=list(scenarios.columns)),
        surface.name: result.surface.reindex(columns=list(surface.columns)),
        "raw_intelligence.document_scores": result.document_scores,
    }
    return {name: frame if len(frame) else pd.DataFrame() for name, frame in frames.items()}


def panel_in_sql(panel: pd.DataFrame) -> pd.DataFrame:
    """The panel's columns that SQL features read. All values with their history are in staging.observations.

    If a file of tasks/features/sql reads one more column, it is added automatically. The whole panel would be twenty
    times as wide, and each publish compares every cell.
    """
    return panel[[name for name in panel if name in in_sql.panel_columns()]]


def sentiment(features: pd.DataFrame, registry: FeatureRegistry, derived: DerivedSeries) -> pd.DataFrame:
    """The sentiment features, with the scorer of the texts on every row (tasks/texts/lexicon.py)."""
    scorer = scorer_name(derived.lexicon) if derived.lexicon else None
    return features[["date", *registry.categories["sentiment"]]].assign(scorer=scorer)


def _leaderboard(board: pd.DataFrame) -> pd.DataFrame:
    out = board.reindex(columns=MEASURED)
    dates = {name: "datetime64[us]" for name in ("trained_as_of", "first_origin", "last_origin")}
    return out.astype(
        dates
        | {name: "Int64" for name in ("folds", "origins", "periods", "independent_periods")}
        | {"champion": "bool"}
    )


def _ingest_runs(
    run: RunContext, ingested: list[Ingested], series: pd.DataFrame, quarantine: pd.DataFrame
) -> pd.DataFrame:
    refused = quarantine.groupby("source")["cells"].sum() if len(quarantine) else pd.Series(dtype="int64")
    rows = []
    for result in ingested:
        part = series[series["source"] == result.source]
        rows.append(
            {
                "source": result.source,
                "as_of": run.as_of,
                "origin": run.origin,
                "status": result.status,
                "payloads": result.payloads,
                "observations": int(part["observations"].sum()),
                "quarantined": int(refused.get(result.source, 0)),
                "series": len(part),
                "first_date": part["first_date"].min(),
                "last_date": part["last_date"].max(),
                "message": result.message or None,
            }
        )
    return pd.DataFrame(rows)
