"""What the views show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.errors import WarehouseError
from tasks.zones import write_parquet

FORECASTS = "forecasts.zl_forecasts_daily"


def observation(available_at: str, value: float, **given) -> dict:
    instant = pd.Timestamp(available_at)
    row = {"source": "fred", "series": "DGS10", "observation_date": pd.Timestamp("2024-03-08"), "field": "value"}
    return {**row, "value": value, "unit": "pct", "available_at": instant, "fetched_at": instant, "vintage": 1, **given}


# 18:00 in Chicago is 00:00 UTC in winter, 23:00 UTC from the second Sunday of March (2024-03-10).
@pytest.mark.parametrize("as_of, seen", [("2024-03-07", []), ("2024-03-08", [1.0]), ("2024-03-11", [1.0, 2.0, 3.0])])
def test_staged_observations_are_cut_at_six_in_chicago(as_of, seen, publish, warehouse, zones):
    held = [
        observation("2024-03-09T00:00Z", 1.0),  # 18:00 CST on the 8th
        observation("2024-03-09T00:01Z", 2.0),
        observation("2024-03-11T23:00Z", 3.0),  # 18:00 CDT on the 11th
        observation("2024-03-11T23:01Z", 4.0),
    ]
    write_parquet(zones.staging / "fred" / "observations.parquet", pd.DataFrame(held[:2]))
    write_parquet(zones.staging / "noaa" / "observations.parquet", pd.DataFrame(held[2:]).assign(source="noaa"))
    publish({}, as_of=as_of)
    frame = warehouse.query("SELECT * FROM staging.observations ORDER BY value")
    assert frame["value"].tolist() == seen
    assert list(frame) == list(held[0])


def test_staging_views_are_there_before_any_file(publish, warehouse, zones):
    publish({})
    assert list(warehouse.query("SELECT * FROM staging.observations")) == list(observation("2024-01-01T00:00Z", 1.0))
    assert warehouse.query("SELECT rule, reason, payload, `row` FROM staging.quarantine").empty
    cell = observation("2024-03-09T00:00Z", -1.0, rule="range", reason="below 0", payload="a.csv")
    write_parquet(zones.quarantine / "fred" / "cells.parquet", pd.DataFrame([{**cell, "row": 7}]))
    assert publish({}).switched
    held = warehouse.query("SELECT source, rule, `row` FROM staging.quarantine")
    assert held.to_dict("records") == [{"source": "fred", "rule": "range", "row": 7}]


def test_the_regime_lookup_has_one_row_a_day(publish, warehouse):
    calendar = pd.DataFrame(
        {
            "regime": ["calm", "storm"],
            "start_date": pd.to_datetime(["2024-01-01", "2024-01-03"]),
            "end_date": pd.to_datetime(["2024-01-02", "2024-01-03"]),
            "training_weight": [100, 400],
        }
    )
    publish({"training.regime_calendar": calendar})
    held = warehouse.query("SELECT * FROM training.regime_lookup ORDER BY date")
    assert list(held) == ["date", "regime", "training_weight"]
    assert [(f"{d:%d}", r, w) for d, r, w in held.itertuples(index=False)] == [
        ("01", "calm", 100.0),
        ("02", "calm", 100.0),
        ("03", "storm", 400.0),
    ]


def test_training_views_split_on_a_known_target(publish, warehouse, features, training):
    other = features.assign(date=features["date"] + pd.Timedelta(days=60))
    tables = {f"training.zl_training_prod_allhistory_{h}": training for h in ("1w", "12m")}
    publish({"features.zl_daily_v1": pd.concat([features, other]), **tables})
    for horizon in ("1w", "12m"):
        held = warehouse.query(f"SELECT * FROM training.vw_zl_{horizon}_v1 ORDER BY date")
        assert held["split"].tolist() == ["train", "train", "serve"]
        assert list(held) == [*training, "split"]
    ready = warehouse.query("SELECT * FROM training.vw_training_features_ready ORDER BY date")
    assert ready["date"].tolist() == training["date"].tolist()[:2]
    assert list(ready) == list(features)
    assert "training.vw_zl_3m_v1" not in warehouse.row_counts()  # waits for its table


def test_the_latest_forecast_is_one_row_a_horizon_in_order(publish, warehouse, forecasts):
    later = pd.Timestamp("2024-01-03 09:00", tz="UTC")
    publish(
        {
            FORECASTS: forecasts(
                {"as_of": pd.Timestamp("2023-12-29"), "point": 1.0},
                {"horizon": "12m", "p10": 40.0, "p90": 60.0},
                {"horizon": "1m", "model_version": "naive/v1", "point": 50.0},
                {"horizon": "1m", "model_version": "lightgbm/v2", "point": 49.0, "created_at": later},
                {"horizon": "1w"},
            )
        }
    )
    held = warehouse.query("SELECT * FROM api.vw_latest_forecast")
    assert held["horizon"].tolist() == ["1w", "1m", "12m"]
    assert held["model_version"].tolist() == ["lightgbm/v1", "lightgbm/v2", "lightgbm/v1"]
    assert held["expected_change_pct"].round(9).tolist() == [2.0, -2.0, 2.0]
    assert held.loc[2, ["lower_80", "upper_80", "p10", "p90"]].tolist() == [40, 60, 40, 60]
    older = warehouse.query("SELECT * FROM predictions.zl_predictions ORDER BY date, horizon")
    assert list(older) == ["date", "horizon", "predicted_price", "confidence"]
    assert older["predicted_price"].tolist() == [1.0, 51.0, 49.0, 51.0]


def test_explainer_groups_add_up_their_features(publish, warehouse):
    base = {"as_of": pd.Timestamp("2024-01-02"), "horizon": "1w", "family": "lightgbm", "served": True}
    shap = [("palm", "oils", 0.5), ("rapeseed", "oils", -0.2), ("vix", "risk", 0.1)]
    frame = pd.DataFrame(
        [{**base, "feature": f, "group": g, "shap_cents_lb": s, "feature_value": 1.0} for f, g, s in shap]
    ).assign(model_version="v1")
    publish({"forecasts.zl_explainers_daily": frame})
    held = warehouse.query("SELECT * FROM api.vw_explainer_groups").set_index("group")["shap_cents_lb"]
    assert held.round(9).to_dict() == {"oils": 0.3, "risk": 0.1}


def test_alerts_are_current_from_the_newest_forecast_on(publish, warehouse, forecasts, rows_of):
    days = pd.to_datetime(["2023-12-29", "2024-01-02", "2024-01-03"])
    alerts = rows_of("ops.alerts", *[{"as_of": d, "kind": "stale", "subject": "cot", "level": "warn"} for d in days])
    publish({"ops.alerts": alerts})
    assert warehouse.query("SELECT is_current FROM api.vw_alerts")["is_current"].tolist() == [True] * 3
    publish({FORECASTS: forecasts({})})
    held = warehouse.query("SELECT as_of, is_current FROM api.vw_alerts")
    assert held["as_of"].tolist() == days[::-1].tolist()
    assert held["is_current"].tolist() == [True, True, False]


def test_a_view_that_cannot_be_made_leaves_nothing_written(publish, warehouse, features):
    publish({})
    with pytest.raises(WarehouseError, match=r"view training.vw_zl_1w_v1 cannot be made: .*target_log_return"):
        publish({"training.zl_training_prod_allhistory_1w": features.assign(weight=np.nan)})
    publish({"features.zl_daily_v1": features})
    assert "training.zl_training_prod_allhistory_1w" not in warehouse.row_counts()
