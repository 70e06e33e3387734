"""The share of the feature table with values, and the first date of each feature."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.panel.curve import OF_THE_QUOTE_ALONE
from tasks.registry import DataSources, FeatureRegistry


def first_dates(features: pd.DataFrame) -> pd.Series:
    """The first session with a value per feature, NaT if there is none."""
    known = features.drop(columns="date").notna().to_numpy()
    days = features["date"].to_numpy(dtype="datetime64[us]")
    begins = np.where(known.any(axis=0), days[known.argmax(axis=0)], np.datetime64("NaT"))
    return pd.Series(begins, index=features.columns.drop("date"), name="begins").astype("datetime64[us]")


def coverage_by_year(features: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """One row per category and year, also those without a value.

    Returns:
        ``category, year, features, sessions, share, first_date``: ``share`` of the year's features x sessions with
        a value; ``first_date``: the first session with a value of any feature of the category, NaT for none.
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
    features: pd.DataFrame, registry: FeatureRegistry, sources: DataSources, panel_summary: pd.DataFrame
) -> pd.DataFrame:
    """One row per feature: when it begins, when its inputs begin, and whether it should have begun.

    ``inputs_begin``: the first session with a value of any of its inputs in the panel, NaT if none of them is a panel
    column; a feature that begins earlier was filled or uses the future.
    ``first_date``: from the registry, for the recorded archive. ``due``: it is not after the last session.
    ``missing``: it is due and has no value at all. ``recorded``: all its sources have values in the panel.
    ``critical``: its only inputs are the calendar and critical series, so none of them may be absent.
    """
    last = features["date"].max()
    always = {"calendar"} | {
        f"{source} {series}"
        for source, spec in sources.sources.items()
        for series, entry in spec.series.items()
        if entry.critical
    }
    always |= {f"derived {series}" for series in OF_THE_QUOTE_ALONE}
    declared = {name: pd.Timestamp(entry.first_date) for name, entry in registry.features.items()}
    frame = pd.DataFrame({"column": list(declared), "first_date": list(declared.values())})
    begun = _inputs_begin(panel_summary, features["date"].min())
    frame["begins"] = first_dates(features).reindex(list(declared)).to_numpy()
    known = [
        [begun[name] for name in entry.sources if pd.notna(begun.get(name))] for entry in registry.features.values()
    ]
    frame["inputs_begin"] = pd.Series([min(days, default=pd.NaT) for days in known], dtype="datetime64[us]")
    frame["last_session"] = last
    frame["due"] = frame["first_date"] <= last
    frame["missing"] = frame["due"] & frame["begins"].isna()
    frame["recorded"] = [all(pd.notna(begun.get(name, last)) for name in e.sources) for e in registry.features.values()]
    frame["critical"] = [set(entry.sources) <= always for entry in registry.features.values()]
    return frame.astype(dict.fromkeys(("first_date", "begins", "inputs_begin", "last_session"), "datetime64[us]"))


def _inputs_begin(panel_summary: pd.DataFrame, first_session: pd.Timestamp) -> dict[str, pd.Timestamp]:
    """The first session with a value of each source and each `source series`; NaT without any value."""
    by_series = panel_summary.groupby(["source", "series"], observed=True)["first_known"].min()
    by_source = panel_summary.groupby("source", observed=True)["first_known"].min()
    begun = {" ".join(map(str, key)): day for key, day in zip(by_series.index, by_series, strict=True)}
    begun |= {str(source): day for source, day in by_source.items()}
    return begun | {"calendar": first_session}
