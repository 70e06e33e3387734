"""How much of the feature table holds a value, and since when each feature does."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.registry import DataSources, FeatureRegistry


def first_dates(features: pd.DataFrame) -> pd.Series:
    """The first session with a value by feature, NaT where there is none."""
    known = features.drop(columns="date").notna().to_numpy()
    days = features["date"].to_numpy(dtype="datetime64[us]")
    begins = np.where(known.any(axis=0), days[known.argmax(axis=0)], np.datetime64("NaT"))
    return pd.Series(begins, index=features.columns.drop("date"), name="begins").astype("datetime64[us]")


def coverage_by_year(features: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """One row a category and year, those without a value too.

    Returns:
        ``category, year, features, sessions, share, first_date``: ``share`` of the year's features x sessions that hold
        a value; ``first_date``, the first session on which any feature of the category did, NaT for none.
    """
    years = features["date"].dt.year
    sessions = years.value_counts().sort_index()
    begins, parts = first_dates(features), []
    for category, entries in registry.categories.items():
        names = list(entries)
        known = features[names].notna().sum(axis=1).groupby(years).sum()
        part = pd.DataFrame({"category": category, "year": sessions.index, "features": len(names)})
        part["sessions"] = sessions.to_numpy()
        part["share"] = known.to_numpy() / (sessions.to_numpy() * len(names))
        part["first_date"] = begins[names].min()
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    return whole.astype({"year": "int64", "features": "int64", "sessions": "int64", "first_date": "datetime64[us]"})


def summarise_starts(
    features: pd.DataFrame, registry: FeatureRegistry, sources: DataSources, *, recorded: bool
) -> pd.DataFrame:
    """One row a feature: when it should have begun, when it did, and what that means.

    ``due``: its declared ``first_date`` is not after the last session; one that is not due has not begun, which is no
    fault. ``missing``: it is due and has no value at all. ``critical``: nothing it is made of may be absent, as all
    of it is the calendar or a critical series. ``recorded``: the origin is a recorded archive, as that from which the
    dates were declared, and not live sources, whose histories may be longer or shorter.
    """
    last = features["date"].max()
    always = {"calendar"} | {
        f"{source} {series}"
        for source, spec in sources.sources.items()
        for series, entry in spec.series.items()
        if entry.critical
    }
    declared = {name: pd.Timestamp(entry.first_date) for name, entry in registry.features.items()}
    frame = pd.DataFrame({"column": list(declared), "first_date": list(declared.values())})
    frame["begins"] = first_dates(features).reindex(list(declared)).to_numpy()
    frame["last_session"] = last
    frame["due"] = frame["first_date"] <= last
    frame["missing"] = frame["due"] & frame["begins"].isna()
    frame["critical"] = [set(entry.sources) <= always for entry in registry.features.values()]
    frame["recorded"] = recorded
    return frame.astype(dict.fromkeys(("first_date", "begins", "last_session"), "datetime64[us]"))
