"""What a run reads of earlier sessions: empty where nothing is known, and only the rows that it asks for."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.errors import WarehouseError
from tasks.model_store.administration import promotions_table
from tasks.warehouse import past
from tests.warehouse.conftest import STAMP, forecast, rows

TRAINED = {"horizon": "1w", "family": "har", "version": "v0001", "trained_as_of": "2024-01-02", "run": "r"}
CHOSEN = TRAINED | {"version": "v0002", "by": "person", "at": "2024-01-03T16:00:00Z", "reason": "why", "forced": "yes"}


def test_before_anything_is_published_nothing_is_known(warehouse) -> None:
    assert past.past_outcomes(warehouse, "live").empty and past.unserved_forecasts(warehouse).empty
    assert past.published_before(warehouse, pd.Timestamp("2024-01-03")) is None


def test_unserved_forecasts_are_read_by_version_or_of_the_baselines(warehouse, publish, monkeypatch) -> None:
    served = rows("forecasts.zl_forecasts_daily", forecast(), forecast(as_of=pd.Timestamp("2024-01-05")))
    unserved = rows(
        "forecasts.zl_shadow_daily",
        forecast(model_version="curve/1w/v0001", is_baseline=True, target_date=pd.Timestamp("2024-01-09")),
        forecast(model_version="har/1w/v0001"),
    )
    publish({"forecasts.zl_forecasts_daily": served, "forecasts.zl_shadow_daily": unserved})
    assert list(past.unserved_forecasts(warehouse)["model_version"]) == ["curve/1w/v0001", "har/1w/v0001"]
    [baseline] = past.unserved_forecasts(warehouse, baselines=True).to_dict("records")
    assert baseline["model_version"] == "curve/1w/v0001" and baseline["target_date"] == pd.Timestamp("2024-01-09")
    assert list(past.unserved_forecasts(warehouse, version="har/1w/v0001")["last_price"]) == [50.0]
    with pytest.raises(WarehouseError, match="no name of a version"):
        past.unserved_forecasts(warehouse, version="har' OR TRUE --")
    days = {
        day: past.published_before(warehouse, pd.Timestamp(day)) for day in ("2024-01-02", "2024-01-05", "2024-02-01")
    }
    assert days == {
        "2024-01-02": None,
        "2024-01-05": pd.Timestamp("2024-01-02"),
        "2024-02-01": pd.Timestamp("2024-01-05"),
    }
    monkeypatch.setattr(past, "UNSERVED", "training.zl_training_prod_allhistory_1w")  # declared, never published
    assert past.unserved_forecasts(warehouse).empty


def test_promotions_are_published_once_and_a_new_store_rewrites_none(warehouse, publish) -> None:
    for history in ([TRAINED], [TRAINED, CHOSEN], [TRAINED, CHOSEN], [TRAINED | {"run": "another"}]):
        publish({"performance.promotions": promotions_table(history).assign(created_at=STAMP)})
    found = warehouse.query("SELECT * FROM performance.promotions ORDER BY position, run")
    assert list(found["run"]) == ["another", "r", "r"] and list(found["promoted_by"]) == ["training"] * 2 + ["person"]
    chosen = found.iloc[-1]
    assert chosen["forced"] and chosen["reason"] == "why" and chosen["model_version"] == "har/1w/v0002"
    assert pd.Timestamp(chosen["counts_from"]) == pd.Timestamp("2024-01-03")
    assert pd.Timestamp(chosen["promoted_at"]) == pd.Timestamp("2024-01-03T16:00Z")
