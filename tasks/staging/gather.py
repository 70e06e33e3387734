"""The staged data of all sources together, as known at the run's session."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tasks.staging.stage import Staged, known_by

TEXT = ("source", "series", "field", "unit", "rule", "reason", "payload")


def gather(staged: Iterable[Staged], *, as_of: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Observations and quarantine of all sources, cut at 18:00 Chicago of ``as_of``.

    Quarantine entries of a whole payload have no date and are always kept.
    """
    parts = sorted(staged, key=lambda part: part.source)
    observations = stack([known_by(part.observations, as_of) for part in parts])
    undated = [part.quarantine[part.quarantine["available_at"].isna()] for part in parts]
    quarantine = stack([known_by(part.quarantine, as_of) for part in parts] + undated)
    return observations, quarantine


def stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate without turning categories into text: a million rows repeat a hundred names."""
    parts = [part for part in parts if len(part)] or parts[:1]
    text = [name for name in TEXT if name in parts[0].columns]
    union = {name: sorted({str(value) for part in parts for value in part[name].cat.categories}) for name in text}
    kinds = {name: pd.CategoricalDtype(values) for name, values in union.items()}
    return pd.concat([part.astype(kinds) for part in parts], ignore_index=True)
