"""The coverage of a run's features is published once, and a category that a rerun no longer has is gone."""

from __future__ import annotations

import pandas as pd

from tasks.calendar import sessions
from tasks.features.coverage import coverage_by_year
from tasks.registry import FeatureEntry, FeatureRegistry

DAY = pd.Timestamp("2001-12-31")


def test_coverage_is_published_once_and_stated_whole(zones, warehouse):
    entry = FeatureEntry(formula="x", unit="x", sources=["x"], point_in_time="exact", sign="?", first_date=DAY)
    features = pd.DataFrame({"date": sessions("2000-01-03", DAY), "a": 1.0, "b": float("nan")})
    both = coverage_by_year(features, FeatureRegistry(categories={"price": {"a": entry}, "absent": {"b": entry}}))

    def publish(coverage: pd.DataFrame) -> int:
        tables = {"ops.feature_coverage": coverage.assign(as_of=DAY)}
        return sum(warehouse.publish(tables, as_of=DAY, staging=zones.staging, session=DAY).changed.values())

    assert publish(both) == 4 and publish(both) == 0
    held = warehouse.query("SELECT category, year, share, first_date FROM ops.feature_coverage ORDER BY category, year")
    assert (
        held["share"].tolist() == [0.0, 0.0, 1.0, 1.0]
        and held["first_date"].isna().tolist() == [True] * 2 + [False] * 2
    )
    publish(both[both["category"] == "price"])
    assert set(warehouse.query("SELECT category FROM ops.feature_coverage")["category"]) == {"price"}
