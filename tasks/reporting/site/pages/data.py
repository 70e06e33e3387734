"""Data: sources, series, coverage by year, refused cells, gates with their history, and the dictionary."""

from __future__ import annotations

import json
from typing import Any

from tasks.reporting.site.figures import Row, grouped, rows_of, written
from tasks.reporting.site.frames import Content, Frames

VIEWS = (
    "api.vw_sources",
    "api.vw_data_freshness",
    "api.vw_coverage",
    "api.vw_quarantine",
    "api.vw_quarantine_rules",
    "api.vw_gates",
    "api.vw_gate_history",
    "features.master_feature_universe",
)
EXAMPLES = 3
RUNS_SHOWN = 100  # rows of the history: five gates a run
GATE = ("run", "gate", "suite", "expectation", "column_name")


def content(frames: Frames) -> Content:
    """Everything that says how sound the data are."""
    coverage = frames["api.vw_coverage"]
    refused = dict(
        grouped(rows_of("api.vw_quarantine", frames["api.vw_quarantine"], "rule", "source", "series", "field"), "rule")
    )
    gates = rows_of("api.vw_gates", frames["api.vw_gates"], *GATE)
    features = frames["features.master_feature_universe"]
    newest = features[features["as_of"] == features["as_of"].max()].sort_values("place") if len(features) else features
    return Content(
        {
            "sources": rows_of("api.vw_sources", frames["api.vw_sources"], "source"),
            "series": [
                row
                for row in rows_of("api.vw_data_freshness", frames["api.vw_data_freshness"], "source", "series")
                if row.has("series")
            ],
            "years": sorted(coverage["year"].unique().tolist(), reverse=True) if len(coverage) else [],
            "coverage": [
                (category, {row["year"]: row for row in rows})
                for category, rows in grouped(rows_of("api.vw_coverage", coverage, "category", "year"), "category")
            ],
            "rules": [
                (row, refused.get(row["rule"], [])[:EXAMPLES])
                for row in rows_of("api.vw_quarantine_rules", frames["api.vw_quarantine_rules"], "rule")
            ],
            "failed": [(row, _examples(row)) for row in gates if not row["success"]],
            "gates": list(grouped(gates, "gate")),
            "history": rows_of("api.vw_gate_history", frames["api.vw_gate_history"], "run", "gate")[:RUNS_SHOWN],
            "features": rows_of("features.master_feature_universe", newest, "as_of", "feature"),
        }
    )


def _examples(row: Row) -> list[str]:
    """The first rows that failed, as `column: value` pairs."""
    found: list[dict[str, Any]] = json.loads(row["examples"] or "[]")
    return ["; ".join(f"{name}: {written(value)}" for name, value in one.items()) for one in found[:EXAMPLES]]
