"""The tables each gate looks at, made of what the run has: what a suite guards is decided here and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.gates.suites import suite_path
from tasks.registry import DataSources, FeatureRegistry
from tasks.staging.summary import newest_values

Tables = dict[str, pd.DataFrame]


def staging_tables(
    observations: pd.DataFrame, series: pd.DataFrame, sources: DataSources, *, expectations: Path
) -> Tables:
    """All cells, all series, and each source that has a suite of its own."""
    guarded = {
        name: newest_values(observations, name, spec)
        for name, spec in sources.sources.items()
        if suite_path("POST_STAGING", name, expectations).exists()
    }
    return {"observations": observations, "series_summary": series, **guarded}


def feature_tables(features: pd.DataFrame, panel: pd.DataFrame, registry: FeatureRegistry) -> Tables:
    """The feature table."""
    return {"features": features}


def assembly_tables(panel: pd.DataFrame, panel_summary: pd.DataFrame, labels: pd.DataFrame) -> Tables:
    """The panel, a line a column of it, and the targets."""
    return {"panel": panel, "panel_summary": panel_summary, "labels": labels}
