"""What is forecast and not served: the baseline, challengers, a champion that is out of control; and what it costs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tasks.forecasting.forecast import DayForecast, forecast_day
from tasks.forecasting.shadow import forecast_unserved, unserved
from tasks.model_store.champions import digest_of
from tasks.model_store.folder import FolderStore
from tasks.model_store.shadows import shadow_of, with_shadow
from tasks.models.catalogue import BASELINE
from tests.forecasting.market import AS_OF, Market, ReadHere

AT = pd.Timestamp("2014-12-29T16:00Z")


def day_of(market: Market, store: FolderStore, **given: object) -> tuple[DayForecast, ReadHere, dict]:
    models = ReadHere()
    known = {
        "registry": market.registry.features,
        "horizons": market.horizons,
        "as_of": AS_OF,
        "data_snapshot": "s",
        "code_version": "c",
    }
    inputs = (
        market.features[market.features["date"] <= AS_OF].reset_index(drop=True),
        market.panel[(market.panel["date"] <= AS_OF).to_numpy()].reset_index(drop=True),
    )
    day = forecast_day(*inputs, store, models=models, **known, **given)  # type: ignore[arg-type]
    return day, models, {"inputs": inputs, "known": known}


def beside(market: Market, store: FolderStore, **given: object) -> tuple[pd.Series, pd.DataFrame, list[str]]:
    """The served row, the unserved ones by version, and the notices."""
    day, models, asked = day_of(market, store, **given)
    versions, missing = unserved(store, day.forecasts, AS_OF)
    rows, failed = forecast_unserved(versions, *asked["inputs"], models, **asked["known"])
    table = rows.set_index("model_version") if len(rows) else rows
    return day.forecasts.iloc[0], table, [*missing, *failed]


def in_shadow(store: FolderStore, market: Market, *families: str, count: int = 60) -> None:
    for family in families:
        version = market.versions[family]
        shadow = shadow_of(version, digest_of(version), at=AT, count=count)
        store.change_shadows(lambda before, shadow=shadow: with_shadow(before, shadow))


def test_the_baseline_and_the_challengers_forecast_beside_the_champion(market: Market, tmp_path: Path) -> None:
    store = market.served_by("drift", tmp_path / "store")
    in_shadow(store, market, "ridge", "drift")
    served, rows, notices = beside(market, store)
    assert served["family"] == "drift" and set(rows.index) == {f"{BASELINE}/1m/v0001", "ridge/1m/v0001"}
    assert notices == [] and {"p05", "p95", "target_date", "degraded"} <= set(rows)
    for family in (BASELINE, "ridge"):
        alone, _ = market.day(market.served_by(family, tmp_path / family), max_age=63)
        row = rows.loc[f"{family}/1m/v0001"]
        for name in ("p05", "p50", "p95", "last_price", "degraded_reason"):
            assert row[name] == alone[name], "what it would have published"
    in_shadow(store, market, "ridge", count=1)
    assert "ridge/1m/v0001" not in beside(market, store)[1].index, "one session, which was the day before"


@pytest.mark.parametrize("damage", ["file", "gone", "replaced"])
def test_a_shadow_that_fails_is_a_notice_and_what_is_served_stays(market: Market, tmp_path: Path, damage: str) -> None:
    store = market.served_by("drift", tmp_path / "store")
    before, _, _ = beside(market, store)
    in_shadow(store, market, "ridge")
    folder = store.folder / "ridge" / "1m" / "v0001"
    if damage == "file":
        next(path for path in folder.iterdir() if "ridge" in path.name).write_text("{}")
    elif damage == "gone":
        shutil.rmtree(folder)
    else:
        store.change_shadows(lambda shadows: [one | {"metadata": "another"} for one in shadows])
    served, rows, [notice] = beside(market, store)
    pd.testing.assert_series_equal(served, before)
    assert list(rows.index) == [f"{BASELINE}/1m/v0001"] and "ridge/1m/v0001" in notice
    (store.folder / "shadows.json").write_text("[1]")
    served, rows, [notice] = beside(market, store)
    pd.testing.assert_series_equal(served, before)
    assert list(rows.index) == [f"{BASELINE}/1m/v0001"] and "shadows.json is not readable" in notice


def test_a_champion_out_of_control_is_replaced_by_the_baseline_and_forecasts_on_beside_it(
    market: Market, tmp_path: Path
) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    served, rows, _ = beside(market, store, alarms={"1m": "its 80% band covered 48% of 90 outcomes"})
    assert served["model_version"] == f"{BASELINE}/1m/v0001" and served["is_baseline"] and served["degraded"]
    reason = "ridge/1m/v0001 is out of control: its 80% band covered 48% of 90 outcomes"
    assert served["degraded_reason"] == reason
    assert list(rows.index) == ["ridge/1m/v0001"]
    other, _, _ = beside(market, store, alarms={"3m": "another horizon"})
    assert other["family"] == "ridge"


def test_without_a_baseline_a_champion_out_of_control_serves_and_says_so(market: Market, tmp_path: Path) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    shutil.rmtree(store.folder / BASELINE)
    served, _, _ = beside(market, store, alarms={"1m": "its bands failed"})
    assert served["family"] == "ridge" and served["degraded"]
    assert "ridge/1m/v0001 is out of control: its bands failed" in served["degraded_reason"]


def test_a_baseline_that_is_champion_is_never_replaced(market: Market, tmp_path: Path) -> None:
    store = market.served_by(BASELINE, tmp_path / "store")
    served, rows, _ = beside(market, store, alarms={"1m": "its bands failed"})
    assert served["family"] == BASELINE and "out of control" not in (served["degraded_reason"] or "")
    assert rows.empty


def test_alarms_are_alerts_of_their_own_kind(market: Market, tmp_path: Path) -> None:
    from tasks.alerts.of_run import raise_alerts

    store = market.served_by("ridge", tmp_path / "store")
    day, _, _ = day_of(market, store, alarms={"1m": "its bands failed"})
    day = replace(day, alarms={"1m": "its bands failed"})
    series = pd.DataFrame({"source": [], "series": []})
    alerts = raise_alerts([], series, day.forecasts, out_of_control=day.alarms)
    found = alerts.set_index("kind")
    assert found.loc["control", ["subject", "message"]].to_list() == ["1m", "its bands failed"]
    assert "is out of control: its bands failed" in found.loc["degraded", "message"]
