"""What a publish writes, refuses and leaves alone, whichever engine holds the warehouse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.errors import WarehouseError
from tasks.warehouse.tables import tables

FORECASTS = "forecasts.zl_forecasts_daily"
FEATURES = "features.zl_daily_v1"
LATER = pd.Timestamp("2024-01-04 12:00", tz="UTC")


def test_the_same_content_again_changes_no_row_and_makes_no_snapshot(publish, warehouse, forecasts, features):
    frames = {FORECASTS: forecasts({}, {"horizon": "1m"}), FEATURES: features}
    first = publish(frames)
    held = warehouse.query(f"SELECT * FROM {FORECASTS} ORDER BY horizon")
    again = publish({FORECASTS: frames[FORECASTS].assign(created_at=LATER), FEATURES: features.copy()})
    assert first.changed == {FORECASTS: 2, FEATURES: 3}
    assert first.switched
    assert again.changed == {FORECASTS: 0, FEATURES: 0}
    assert not again.switched
    assert again.snapshot == first.snapshot
    pd.testing.assert_frame_equal(warehouse.query(f"SELECT * FROM {FORECASTS} ORDER BY horizon"), held)


def test_a_changed_row_is_updated_and_restamped_and_its_neighbour_is_not(publish, warehouse, forecasts):
    publish({FORECASTS: forecasts({}, {"horizon": "1m"})})
    done = publish({FORECASTS: forecasts({"point": 52.0, "created_at": LATER}, {"horizon": "1m", "created_at": LATER})})
    held = warehouse.query(f"SELECT horizon, point, created_at FROM {FORECASTS}").set_index("horizon")
    assert done.changed == {FORECASTS: 1}
    assert done.switched
    assert held["point"].to_dict() == {"1w": 52.0, "1m": 51.0}
    assert held["created_at"].eq(LATER).to_dict() == {"1w": True, "1m": False}


def test_a_value_that_becomes_null_is_a_change_too(publish, warehouse, forecasts):
    publish({FORECASTS: forecasts({"confidence": 0.7})})
    assert publish({FORECASTS: forecasts({"confidence": np.nan})}).changed == {FORECASTS: 1}
    assert warehouse.query(f"SELECT confidence IS NULL AS gone FROM {FORECASTS}")["gone"].tolist() == [True]


def test_rows_that_are_not_in_the_frame_stay(publish, warehouse, features):
    publish({FEATURES: features})
    publish({FEATURES: features.tail(1).assign(date=pd.Timestamp("2024-01-03"))})
    publish({FEATURES: features.head(0)})
    assert warehouse.row_counts()[FEATURES] == 4


def test_nan_lands_as_null(publish, warehouse, features):
    publish({FEATURES: features})
    held = warehouse.query(f"SELECT COUNTIF(vix IS NULL) AS nulls, COUNTIF(IS_NAN(vix)) AS nans FROM {FEATURES}")
    assert held.iloc[0].to_dict() == {"nulls": 1, "nans": 0}


def test_a_new_column_is_added_and_a_lost_one_stays(publish, warehouse, features):
    publish({FEATURES: features})
    dates = pd.to_datetime(["2024-01-02", "2024-01-03"])
    publish({FEATURES: pd.DataFrame({"date": dates, "close": [47.9, 48.0], "palm": [812, 815]})})
    held = warehouse.query(f"SELECT * FROM {FEATURES} ORDER BY date")
    assert list(held) == ["date", "close", "vix", "palm"]
    assert held["vix"].fillna(-1).tolist() == [12.5, -1, 13.2, -1]
    assert held["palm"].fillna(-1).tolist() == [-1, -1, 812, 815]


def test_a_view_of_all_columns_shows_a_column_added_later(publish, warehouse, training):
    name = "training.zl_training_prod_allhistory_1w"
    publish({name: training})
    publish({name: training.assign(palm=1.5)})
    assert warehouse.query("SELECT palm FROM training.vw_zl_1w_v1")["palm"].tolist() == [1.5] * 3


def test_a_whole_number_column_can_hold_a_fraction_later(publish, warehouse, features):
    publish({FEATURES: features.assign(cot=[1, 2, 3])})
    publish({FEATURES: features.assign(cot=[1, 2.5, np.nan])})
    held = warehouse.query(f"SELECT cot FROM {FEATURES} ORDER BY date")["cot"]
    assert held.fillna(-1).tolist() == [1, 2.5, -1]


REFUSED = {
    "duplicate key": (lambda f: pd.concat([f, f.tail(1)]), r"1 of 4 rows repeat a key \(date\), e.g. date=2024-01-02"),
    "null key": (
        lambda f: f.assign(date=f["date"].where(f["close"] > 48)),
        "key column date is NULL in 1 of 3 rows, e.g. row 2",
    ),
    "missing key": (lambda f: f.drop(columns="date"), "1 columns missing from the frame: date"),
    "case only": (lambda f: f.assign(Close=1.0), r"\['close', 'Close'\] differ only in case"),
    "time of day": (
        lambda f: f.assign(date=f["date"] + pd.Timedelta("1h")),
        "date is DATE, the frame does not fit: 3 values have a time of day, e.g. 2023-12-28 01:00",
    ),
    "time zone": (
        lambda f: f.assign(date=f["date"].dt.tz_localize("UTC")),
        "date is DATE, the frame does not fit: has a time zone",
    ),
    "text in a number": (lambda f: f.assign(vix=["a", "b", "c"]), "vix is FLOAT64, the frame does not fit"),
}


@pytest.mark.parametrize("break_it, said", REFUSED.values(), ids=REFUSED.keys())
def test_one_bad_frame_is_refused_and_no_table_is_written(break_it, said, publish, warehouse, forecasts, features):
    publish({FORECASTS: forecasts({}), FEATURES: features})
    with pytest.raises(WarehouseError, match=said) as refusal:
        publish({FORECASTS: forecasts({"point": 99.0}, {"horizon": "1m"}), FEATURES: break_it(features)})
    assert FEATURES in str(refusal.value)
    held = warehouse.query(f"SELECT horizon, point FROM {FORECASTS}")
    assert held.to_dict("records") == [{"horizon": "1w", "point": 51.0}]


def test_a_fixed_table_refuses_other_columns_and_other_types(publish, forecasts):
    frame = forecasts({})
    with pytest.raises(WarehouseError, match=r"1 columns missing from the frame: regime"):
        publish({FORECASTS: frame.drop(columns="regime")})
    with pytest.raises(WarehouseError, match=r"1 unknown columns: mood; declare them in tasks/warehouse/schema/fore"):
        publish({FORECASTS: frame.assign(mood=1)})
    with pytest.raises(WarehouseError, match=r"degraded is BOOL, .* float64 values are not boolean, e.g. 0.5"):
        publish({FORECASTS: frame.assign(degraded=0.5)})
    with pytest.raises(WarehouseError, match=r"created_at is TIMESTAMP, .* has no time zone"):
        publish({FORECASTS: frame.assign(created_at=pd.Timestamp("2024-01-02"))})
    with pytest.raises(WarehouseError, match=r"unknown table forecasts.nope; known: .*ops.alerts"):
        publish({"forecasts.nope": frame})


def test_a_count_with_a_fraction_is_refused_not_rounded(publish, rows_of):
    key = {"run": "r", "source": "fred", "payloads": 1.5}
    with pytest.raises(WarehouseError, match=r"ops.ingest_runs.payloads is INT64, .* 1.5"):
        publish({"ops.ingest_runs": rows_of("ops.ingest_runs", key)})


def test_a_column_declared_since_is_added_and_readers_get_it(warehouse, publish, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.delitem(tables()["performance.leaderboard"].columns, "calibration_error")  # which no view reads
        publish({})
        assert "calibration_error" not in warehouse.query("SELECT * FROM performance.leaderboard")
    warehouse.migrate()
    assert publish({}).switched
    assert "calibration_error" in warehouse.query("SELECT * FROM performance.leaderboard")


@pytest.mark.parametrize("sql", ["DELETE FROM ops.alerts WHERE TRUE", "SELECT 1; SELECT 2", "DROP TABLE ops.alerts"])
def test_a_query_is_one_select(sql, publish, warehouse):
    publish({})
    with pytest.raises(WarehouseError, match="one SELECT at a time, and nothing that writes"):
        warehouse.query(sql)


def test_what_a_rerun_no_longer_says_of_its_session_is_withdrawn_and_other_sessions_stay(publish, warehouse):
    def alerts(day, *subjects):
        rows = [
            {"as_of": pd.Timestamp(day), "kind": "source", "subject": s, "level": "warning", "message": "failed"}
            for s in subjects
        ]
        return pd.DataFrame(rows, columns=["as_of", "kind", "subject", "level", "message"]).assign(created_at=LATER)

    publish({"ops.alerts": alerts("2024-01-02", "cftc")})
    publish({"ops.alerts": alerts("2024-01-03", "cftc", "noaa")})
    publish({"ops.alerts": alerts("2024-01-03", "noaa")}, session="2024-01-03")
    held = warehouse.query("SELECT as_of, subject FROM ops.alerts ORDER BY as_of, subject")
    assert list(held["subject"]) == ["cftc", "noaa"]
    assert publish({"ops.alerts": alerts("2024-01-03")}, session="2024-01-03").changed == {"ops.alerts": 1}
    assert list(warehouse.query("SELECT subject FROM ops.alerts")["subject"]) == ["cftc"]
