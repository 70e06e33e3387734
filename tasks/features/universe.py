"""The features of a run: their registry entries, and the dates and share of their values."""

from __future__ import annotations

import pandas as pd

from tasks.features import in_sql
from tasks.registry import FeatureRegistry


def feature_universe(features: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """One row per registered feature, in order. ``missing_share`` counts from its first value on."""
    by_sql, production = set(in_sql.sql_features()), set(registry.production())
    rows = []
    for place, (name, entry) in enumerate(registry.features.items(), start=1):
        known = features[name].notna().to_numpy()
        dates = features["date"][known]
        first = int(known.argmax())
        rows.append(
            {
                "feature": name,
                "place": place,
                "category": registry.category_of[name],
                "unit": entry.unit,
                "formula": entry.formula,
                "sources": "; ".join(entry.sources),
                "point_in_time": entry.point_in_time,
                "expected_sign": entry.sign,
                "made_in": "python and sql" if name in by_sql else "python",
                "in_production": name in production,
                "first_date": dates.min(),
                "last_date": dates.max(),
                "missing_share": float(1 - known[first:].mean()) if len(known) else 1.0,
            }
        )
    return pd.DataFrame(rows).astype({"first_date": "datetime64[us]", "last_date": "datetime64[us]"})
