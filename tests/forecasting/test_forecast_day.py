"""What is published of a day agrees with itself: P(higher) with the quantiles, the drivers with the move."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.day import InputNotes
from tasks.errors import ModelStoreError, StaleSource
from tasks.forecasting.forecast import problem_of, why_no_direction
from tasks.labels import target_date
from tasks.models.catalogue import BASELINE, expected_move
from tasks.models.forecaster import forecaster
from tasks.quantiles import contradiction, probability_above_zero
from tests.forecasting.market import AS_OF, BANDS, BETTER_THAN_A_COIN, DAYS, TRAINED, Market


def test_a_chance_that_was_no_better_than_a_coin_is_not_published() -> None:
    assert why_no_direction(0.01, BETTER_THAN_A_COIN) == ""
    coin = why_no_direction(0.01, {"brier": 0.2467, "brier_high": 0.2531, "direction_slope": 0.17})
    assert coin == (
        "on past origins its chances did not beat a coin (Brier score 0.2467, slope +0.17, upper bound 0.2531)"
    )
    few = why_no_direction(0.01, {"brier": 0.2, "brier_high": np.nan, "direction_slope": 1.0})
    assert few == "too few past origins to say whether its chances beat a coin (Brier score 0.2000, slope +1.00)"
    assert "slope +0.00" in why_no_direction(0.01, BETTER_THAN_A_COIN | {"direction_slope": 0.0})
    assert "slope -0.45" in why_no_direction(0.01, BETTER_THAN_A_COIN | {"direction_slope": -0.45})
    assert "not measured" in why_no_direction(0.01, {}) and "not measured" in why_no_direction(0.01, {"brier": np.nan})
    assert "no view" in why_no_direction(0.0, BETTER_THAN_A_COIN)


def own_probability_of_higher(row: pd.Series) -> float:
    """That the price ends above the last one, read off the published quantiles by straight lines of log price."""
    levels, prices = list(BANDS), [row[name] for name in BANDS.values()]
    logs = np.log(np.array(prices) / row["last_price"])
    return 1 - float(np.interp(0.0, logs, levels))


@pytest.mark.parametrize("family", ["ridge", "lightgbm", "drift"])
def test_p_higher_is_what_the_published_quantiles_say(family: str, market: Market, tmp_path: Path) -> None:
    store = market.served_by(family, tmp_path / "store")
    for day in DAYS:
        row, _ = market.day(store, day)
        assert row["family"] == family and not row["is_baseline"]
        assert row["direction_probability"] == pytest.approx(own_probability_of_higher(row), abs=1e-9), day
        assert (row["direction_probability"] > 0.5) == (row["p50"] > row["last_price"]), "the median's side"
        assert row["conviction"] == pytest.approx(abs(2 * row["direction_probability"] - 1))


def test_the_baseline_has_a_view_of_the_direction_where_the_curve_has_one(market: Market, tmp_path: Path) -> None:
    """Where the curve expects a move, the quantiles around it say; where it expects none, there is no chance."""
    store, name = market.served_by(BASELINE, tmp_path / "store"), expected_move(21)
    row, _ = market.day(store)
    expected = market.features.set_index("date")[name].fillna(0.0)
    assert (
        row["p50"] == row["point"] == row["curve_centre"] == pytest.approx(row["last_price"] * np.exp(expected[AS_OF]))
    )
    assert row["centre_source"] == "curve" and (row["direction_probability"] > 0.5) == (expected[AS_OF] > 0)
    row, _ = market.day(store, features=market.features.assign(**{name: np.nan}))
    assert row["p50"] == row["point"] == row["last_price"] and np.isnan(row["curve_centre"])
    assert row["centre_source"] == "price: the curve is not known" and not row["degraded"]
    assert np.isnan(row["direction_probability"]) and np.isnan(row["conviction"]), "a constant is no probability"
    assert row["direction_reason"] == "the forecast is the last price: no view of the direction"


def test_p_higher_rises_with_the_distribution_and_is_never_beyond_what_the_quantiles_bound() -> None:
    levels = tuple(BANDS)
    shape = np.array([-0.16, -0.12, -0.06, 0.0, 0.05, 0.11, 0.15])
    shifts = np.linspace(-0.3, 0.3, 61)
    found = probability_above_zero(shape + shifts[:, None], levels)
    assert (np.diff(found) >= 0).all() and found[0] == 0.0 and found[-1] == 1.0
    assert found[30] == pytest.approx(0.5)
    for shift, up in zip(shifts, found, strict=True):
        below = [level for level, value in zip(levels, shape + shift, strict=True) if value <= 0]
        above = [level for level, value in zip(levels, shape + shift, strict=True) if value >= 0]
        assert (not below or up <= 1 - below[-1] + 1e-12) and (not above or up >= 1 - above[0] - 1e-12)
    # 0 lies a third of the way from the 25% quantile (-0.01) to the median (0.02): 1 - (0.25 + 0.25 / 3)
    by_hand = probability_above_zero(np.array([[-0.2, -0.1, -0.01, 0.02, 0.1, 0.2, 0.3]]), levels)
    assert by_hand[0] == pytest.approx(1 - (0.25 + 0.25 / 3))


def test_drivers_add_up_to_the_forecast_less_the_last_price_in_cents(market: Market, tmp_path: Path) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    for day in DAYS:
        row, drivers = market.day(store, day)
        assert drivers["served"].all() and set(drivers["family"]) == {"ridge"} and len(drivers) > 5
        assert abs(row["point"] - row["last_price"]) > 1e-4, "nothing moved, so nothing is tested"
        assert drivers["shap_cents_lb"].sum() == pytest.approx(row["point"] - row["last_price"], abs=1e-9)
        now = market.features[market.features["date"] == day].iloc[0]
        for told in drivers[drivers["feature"] != "base"].to_dict("records"):
            assert told["feature_value"] == now[told["feature"]] or np.isnan(now[told["feature"]])


@pytest.mark.parametrize("family", ["lightgbm", "drift", BASELINE])
def test_drivers_are_of_what_is_served_and_add_up_to_its_move(family: str, market: Market, tmp_path: Path) -> None:
    """What no feature explains, a tree's average or a drift, is the row `base`."""
    store = market.served_by(family, tmp_path / "store")
    for day in DAYS:
        row, drivers = market.day(store, day)
        assert drivers["served"].all() and set(drivers["model_version"]) == {f"{family}/1m/v0001"}
        assert drivers["shap_cents_lb"].sum() == pytest.approx(row["point"] - row["last_price"], abs=1e-9)
        own = drivers[drivers["feature"] == expected_move(21)]["shap_cents_lb"]
        if family == BASELINE:
            assert own.sum() == pytest.approx(row["curve_centre"] - row["last_price"], abs=1e-9)
        if family == "drift":
            moving = drivers[drivers["shap_cents_lb"].fillna(0.0).ne(0.0)]
            assert moving["group"].tolist() == ["calibration"]


def test_drivers_that_do_not_add_up_are_not_shown(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doubled ones, for example."""
    store, kind = market.served_by("ridge", tmp_path / "store"), forecaster("ridge")
    day, explain = market.whole_day(store), kind.explain
    sound = market.explained(day)
    monkeypatch.setattr(kind, "explain", lambda self, features: 2 * explain(self, features))
    doubled = market.explained(day)
    assert len(sound.drivers) and sound.notices == () and doubled.drivers.empty and doubled.sentences.empty
    (notice,) = doubled.notices
    assert notice.startswith("no drivers at 1m: ridge/1m/v0001: its contributions add up to a log return of"), notice
    pd.testing.assert_frame_equal(market.whole_day(store).forecasts, day.forecasts)


def test_a_row_of_the_day_by_hand(market: Market, tmp_path: Path) -> None:
    """Of the ridge: bands are its own quantiles, widened by its calibration and brought to cents."""
    row, _ = market.day(market.served_by("ridge", tmp_path / "store"))
    model = market.versions["ridge"].load(problem_of("1m", market.horizons))
    raw = model.predict_quantiles(market.features[market.features["date"] == AS_OF])[0]
    close = market.panel.loc[market.panel["date"] == AS_OF, "zl_last"].item()
    for value, name in zip(raw, BANDS.values(), strict=True):
        assert row[name] == pytest.approx(close * np.exp(raw[3] + (value - raw[3]) * np.exp(0.1)), rel=1e-12)
    assert row["point"] == row["p50"] and row["last_price"] == close
    assert row["target_date"] == target_date(AS_OF, 21) and row["confidence"] == 0.8
    assert row["model_version"] == "ridge/1m/v0001" and not row["degraded"] and row["degraded_reason"] is None


@pytest.mark.parametrize("family", ["ridge", "lightgbm"])
def test_a_p_higher_that_contradicts_its_own_quantiles_is_not_published_and_the_baseline_serves(
    family: str, market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = market.served_by(family, tmp_path / "store")
    kind = forecaster(family)
    true = kind.direction_probability
    monkeypatch.setattr(kind, "direction_probability", lambda self, quantiles: 1 - true(self, quantiles))
    row, _ = market.day(store)
    assert row["is_baseline"] and row["degraded"] and row["family"] == BASELINE
    assert f"{family}/1m/v0001 cannot serve: {family}/1m/v0001: P(higher) is" in row["degraded_reason"]
    assert "but its own 50% quantile is a move of" in row["degraded_reason"]


def test_where_the_baseline_itself_tells_no_probability_nothing_is_published(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = market.served_by(BASELINE, tmp_path / "store")
    monkeypatch.setattr(forecaster(BASELINE), "direction_probability", lambda self, quantiles: np.array([1.2]))
    with pytest.raises(ModelStoreError, match=r"curve/1m/v0001: P\(higher\) is 1\.2, which is not a probability"):
        market.day(store)


@pytest.mark.parametrize(
    ("higher", "move", "told"),
    [
        (0.51, 0.01, None),
        (0.49, 0.01, "but its own 50% quantile is a move of +1.01%, so that it is at least 50%"),
        (0.51, -0.01, "but its own 50% quantile is a move of -1.00%, so that it is at most 50%"),
        (0.49, -0.01, None),
        (0.56, 0.0, None),  # the share of past moves that were up, where the median is the last price
        (0.74, 0.1, "but its own 25% quantile is a move of +5.13%, so that it is at least 75%"),
        (0.76, 0.1, None),
        (0.951, 0.1, "but its own 5% quantile is a move of -4.88%, so that it is at most 95%"),
        (float("nan"), 0.0, "which is not a probability"),
        (-0.01, 0.0, "which is not a probability"),
    ],
)
def test_p_higher_is_within_what_the_quantiles_say(higher: float, move: float, told: str | None) -> None:
    quantiles = np.array([-0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15]) + move
    found = contradiction(higher, quantiles, tuple(BANDS))
    assert found is None if told is None else found is not None and told in found


def test_a_champion_is_too_old_the_session_after_its_limit(market: Market, tmp_path: Path) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    age = len(sessions(TRAINED, AS_OF)) - 1
    assert market.day(store, max_age=age)[0]["degraded_reason"] is None
    row, _ = market.day(store, max_age=age - 1)
    assert row["family"] == "ridge" and row["degraded"]
    assert row["degraded_reason"] == f"the model was trained {age} sessions ago (limit {age - 1})"


def test_an_old_close_degrades_and_no_close_stops(market: Market, tmp_path: Path) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    last = market.panel["date"] == AS_OF
    aged = market.panel.assign(zl_last__age_days=market.panel["zl_last__age_days"].mask(last, 3.0))
    assert market.day(store, panel=aged)[0]["degraded_reason"] == "the last ZL close is 3 day(s) old"
    gone = aged.assign(zl_last=aged["zl_last"].mask(last))
    with pytest.raises(StaleSource, match=r"yahoo: ZL=F: newest close is 3 days before 2014-12-30"):
        market.day(store, panel=gone)


def test_an_unconfirmed_close_degrades_every_forecast(market: Market, tmp_path: Path) -> None:
    notes = InputNotes(unconfirmed={"yahoo ZL=F": "the bar repeats"})
    for family in ("ridge", BASELINE):
        row, _ = market.day(market.served_by(family, tmp_path / family), notes=notes)
        assert row["degraded_reason"] == "the close of yahoo ZL=F is unconfirmed: the bar repeats"


def test_a_champion_that_lacks_an_input_gives_way_to_the_newest_baseline_that_is_not_of_the_future(
    market: Market, tmp_path: Path
) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    held = market.versions[BASELINE]
    for day in ("2011-01-14", "2016-01-04"):
        metadata = {**held.metadata, "trained_as_of": day, "identity": day}
        store.add(market.folder.parent / BASELINE, metadata, {"coverage_80": 0.7})
    level = "zl_percentile_1260d"
    blind = market.features.assign(**{level: market.features[level].mask(market.features["date"] == AS_OF)})
    row, _ = market.day(store, features=blind)
    assert row["model_version"] == "curve/1m/v0002" and row["confidence"] == 0.7
    assert row["is_baseline"] and row["degraded"]
    assert row["degraded_reason"].startswith(
        "ridge/1m/v0001 cannot serve: no forecast without zl_percentile_1260d; `cbi health"
    )
    lost, _ = market.day(store, features=market.features.drop(columns="vix"))
    assert "the feature table no longer has ['vix']" in lost["degraded_reason"]
    shutil.rmtree(store.folder / "ridge")
    assert market.day(store)[0]["degraded_reason"].startswith("the champion cannot serve: ")
    shutil.rmtree(store.folder / BASELINE)
    with pytest.raises(ModelStoreError, match="was promoted but is gone"):
        market.day(store)


def test_without_a_champion_that_was_trained_by_the_day_nothing_is_forecast(market: Market, tmp_path: Path) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    assert market.day(store, TRAINED)[0]["family"] == "ridge"
    with pytest.raises(StaleSource, match="no champion for 1m trained by 2010-12-15"):
        market.day(store, TRAINED - pd.Timedelta(days=1))
