"""The naive variants, the volatility families and the ridge median, on the real feature table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ModelStoreError
from tasks.models import har, ridge
from tasks.models.catalogue import expected_move
from tasks.models.forecaster import Problem, forecaster, horizon_scale
from tasks.models.volatility_scaled import realised_ahead_pct
from tests.conftest import Registry

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
QUARTER = Problem("3m", 63, LEVELS)
FAMILIES = ("historical", "drift", "long_run", "pooled", "har", "har_seasonal", "garch", "ridge")


@pytest.fixture(scope="module")
def rows(features: pd.DataFrame, labels: pd.DataFrame, registry: Registry) -> SimpleNamespace:
    """Production features of 2003 to 2014 with three-month targets: nine years to learn from, three to forecast."""
    target = labels[labels["horizon"] == "3m"].set_index("date")["target_log_return"]
    table = features.set_index("date")[registry.features.production()].loc["2003":"2014"]
    table = table[target.reindex(table.index).notna() & table["zl_ewma_volatility_99_pct"].notna()]
    target = target.reindex(table.index)
    past = table.index < "2011-10"
    tables = {"past": table[past], "later": table["2012":]}
    return SimpleNamespace(**tables, target=target[past], outcome=target["2012":])


def fitted(family: str, rows: SimpleNamespace, problem: Problem = QUARTER):
    model = forecaster(family)(problem)
    model.fit(rows.past, rows.target)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_two_fits_are_equal_and_a_saved_model_forecasts_the_same(family: str, rows, tmp_path: Path) -> None:
    model, again = fitted(family, rows), fitted(family, rows)
    quantiles = model.predict_quantiles(rows.later)
    assert model.family == family
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) > 0).all(), "quantiles never cross"
    np.testing.assert_array_equal(again.predict_quantiles(rows.later), quantiles)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path, QUARTER)
    np.testing.assert_array_equal(loaded.predict_quantiles(rows.later), quantiles)
    np.testing.assert_array_equal(loaded.direction_probability(quantiles), model.direction_probability(quantiles))
    with pytest.raises(ModelStoreError, match=f"no {family} model"):
        type(model).load(tmp_path, Problem("3m", 63, (0.1, 0.5, 0.9)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_forecast_from_itself_and_a_missing_scale_stays_missing(family: str, rows) -> None:
    model = fitted(family, rows)
    whole = model.predict_quantiles(rows.later)
    np.testing.assert_allclose(model.predict_quantiles(rows.later.iloc[[100]]), whole[[100]], rtol=1e-12)
    blank = rows.later.iloc[:3].copy()
    blank.iloc[1] = np.nan
    told = model.predict_quantiles(blank)
    if family != "historical":  # which looks at no feature
        assert np.isnan(told[1]).all()
    np.testing.assert_allclose(told[[0, 2]], whole[[0, 2]], rtol=1e-12)


def test_the_naive_variants_say_what_they_say(rows) -> None:
    plain = fitted("historical", rows).predict_quantiles(rows.later)
    assert (np.ptp(plain, axis=0) == 0).all()
    expected = np.quantile(rows.target, LEVELS) - np.median(rows.target)
    np.testing.assert_allclose(plain[0], expected)
    drift = fitted("drift", rows).predict_quantiles(rows.later)
    np.testing.assert_allclose(drift[:, 3], rows.target.mean())
    ratio = np.ptp(drift[:, [1, 5]], axis=1) / horizon_scale(rows.later, 63)
    np.testing.assert_allclose(ratio, ratio[0])


def test_the_long_run_shrinks_the_scale_more_with_the_horizon(rows) -> None:
    def spread(sessions: int) -> float:
        scale = fitted("long_run", rows, Problem("any", sessions, LEVELS)).scale(rows.later)
        return float(np.log(scale).std())

    today = np.log(rows.later["zl_ewma_volatility_99_pct"]).std(ddof=0)
    assert today > spread(5) > 0.9 * today > spread(63) > spread(252) > 0
    model = fitted("long_run", rows)
    today_pct = float(rows.later["zl_ewma_volatility_99_pct"].iloc[0])
    ahead = [0.99**k * today_pct**2 + (1 - 0.99**k) * model.state["long_run_pct"] ** 2 for k in range(63)]
    assert model.scale(rows.later)[0] == pytest.approx(np.sqrt(sum(ahead) / 252) / 100)


def test_garch_is_the_recursion_carried_over_the_horizon(rows) -> None:
    model = fitted("garch", rows)
    alpha, beta, long_run = model.state["alpha"], model.state["decay"], model.state["long_run"]
    assert 0 < alpha < 1 - beta
    name = {0.94: "zl_ewma_volatility_94_pct", 0.97: "zl_ewma_volatility_97_pct"}[beta]
    weighted = (rows.later[name].iloc[0] / 100) ** 2 / 252
    omega = long_run * (1 - alpha - beta)
    variance, total = omega / (1 - beta) + alpha / (1 - beta) * weighted, 0.0
    for _ in range(63):
        total += variance
        variance = omega + (alpha + beta) * variance
    assert model.scale(rows.later)[0] == pytest.approx(np.sqrt(total))


def test_volatility_ahead_begins_tomorrow_and_ends_with_the_rows() -> None:
    returns = np.array([9.0, 0.01, -0.02, 0.03, np.nan, 0.01])
    found = realised_ahead_pct(pd.DataFrame({"zl_return_1d": returns}), 2)
    expected = 100 * np.sqrt(252 * np.array([0.0001 + 0.0004, 0.0004 + 0.0009]) / 2)
    np.testing.assert_allclose(found[:2], expected)
    assert np.isnan(found[2:]).all(), "one of two returns missing, or not yet there"


def test_har_learns_what_volatility_comes_after_volatility(rows) -> None:
    """On the rows it learnt from; whether it holds later is the bake-off's to say."""
    came = np.log(realised_ahead_pct(rows.past, 63))

    def error(scale: np.ndarray) -> float:
        return float(np.nanstd(came - np.log(scale)))

    baseline = error(horizon_scale(rows.past, 63))
    har, seasonal = (error(fitted(family, rows).scale(rows.past)) for family in ("har", "har_seasonal"))
    assert seasonal < har < 0.95 * baseline


def test_few_outcomes_borrow_their_shape_from_weekly_returns(rows) -> None:
    own = forecaster("curve")(QUARTER)
    own.fit(rows.past, rows.target)
    pooled = fitted("pooled", rows)
    weekly = pooled._weekly_shape(rows.past, pooled.scale(rows.past))
    share = len(rows.past) / 63 / (len(rows.past) / 63 + 20)
    np.testing.assert_allclose(pooled.shape, share * own.scaled_quantiles + (1 - share) * weekly)
    week = Problem("1w", 5, LEVELS)
    assert np.abs(fitted("pooled", rows, week).shape - pooled.shape).max() > 0.01


def test_the_ridge_median_is_the_sum_of_its_reasons_and_small(rows) -> None:
    model = fitted("ridge", rows)
    quantiles, reasons = model.predict_quantiles(rows.later), model.explain(rows.later)
    np.testing.assert_allclose(reasons.sum(axis=1), quantiles[:, 3])
    assert reasons["base"].eq(0).all()
    assert {"big8_vix_stress", "year_sin"} <= set(reasons) and "big8_coverage" not in reasons
    drivers = quantiles[:, 3] - rows.later[expected_move(63)]
    assert 0 < np.abs(drivers).mean() < 0.25 * np.abs(rows.outcome).mean()
    unknown = rows.later.iloc[[0]].copy()
    unknown[model.state["columns"][0]] = np.nan
    assert model.explain(unknown).iloc[0][model.state["columns"][0]] == 0
    wild = rows.later.iloc[[0]].copy()
    wild[model.state["columns"][0]] = 1e9
    most = 3 * abs(model.state["input_weights"][0]) * model.scale(wild)[0]
    assert abs(model.explain(wild).iloc[0].iloc[0]) == pytest.approx(most)


def test_the_ridge_median_by_hand() -> None:
    """One driver that is +1 or -1 and moves the price by 2.2%; a penalty of 10 leaves a share 1 / (1 + 10) of it."""
    rng, sessions = np.random.default_rng(18), 600
    driver = np.where(rng.permutation(sessions) % 2 == 0, 1.0, -1.0)
    calm = {name: np.full(sessions, 16.0) for name in (*har.MEMORIES, *har.LEVELS, "vix")}
    table = pd.DataFrame(
        {**calm, "zl_return_1d": 0.01 * (-1.0) ** np.arange(sessions), "zl_return_5d": 0.01, "driver": driver}
    )
    target = pd.Series(0.022 * (driver - driver[:: ridge.EVERY].mean()))
    model = ridge.Ridge(QUARTER, {"median_penalty": 10.0})
    model.fit(table, target)
    centre = driver[:: ridge.EVERY].mean()
    assert model.state["columns"] == ["driver"] and model.reads == (*model.logs, *model.levels, "driver")
    for sign in (1.0, -1.0):
        today = table.iloc[[-1]].assign(driver=sign)
        moved = 0.022 * (sign - centre) / 11  # least squares give 2.2% a unit, of a standardised input times its spread
        assert model.location(today)[0] == pytest.approx(moved, rel=1e-9) and np.sign(moved) == sign
        assert model.predict_quantiles(today)[0, LEVELS.index(0.5)] == pytest.approx(moved, rel=1e-9)
        told = model.explain(today).iloc[0]
        assert told["driver"] == pytest.approx(moved, rel=1e-9) and told["base"] == 0
        up = model.direction_probability(model.predict_quantiles(today))[0]
        assert (up > 0.5) == (sign > 0), "a driver that points up makes a rise more likely"
