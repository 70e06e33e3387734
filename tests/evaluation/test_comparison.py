"""Figures with intervals, skill and its test: by hand, against an independent way, and on simulated frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.errors import TrainingFailed
from tasks.evaluation.bootstrap import block_length, bounds, resampled_means, resampled_rows
from tasks.evaluation.comparison import (
    better_naive,
    by_regime,
    by_year,
    diebold_mariano,
    evaluate,
    leaderboard,
    overlapping_origins,
    sliced,
)
from tasks.evaluation.metrics import annual_sharpe, measure, sign_strategy
from tasks.quantiles import column

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Z = np.array([-1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449])
MONTH = {"sessions": 21, "step": 5, "round_trip_cost_cents_lb": 0.03}


def simulated(count: int, *, width: float = 1.0, shift: float = 0.0, seed: int = 3) -> pd.DataFrame:
    """Monthly outcomes at weekly origins that overlap as real ones do, and quantiles of a chosen width."""
    rng = np.random.default_rng(seed)
    weekly = rng.normal(0, 0.03, count + 4)
    target = np.convolve(weekly, np.ones(4), "valid")[:count]
    dates = pd.bdate_range("2010-01-04", periods=count, freq="7D")
    return pd.DataFrame(
        {
            "date": dates,
            "target_date": dates + pd.Timedelta(days=28),
            "target_log_return": target,
            "last_price": 50.0,
            "fold": dates.year,
            "scored": True,
            "direction_probability": 0.6,
            **{column(p): shift + width * 0.06 * z for p, z in zip(LEVELS, Z, strict=True)},
        }
    )


def test_diebold_mariano_by_hand() -> None:
    """d = 1, 2, 3, 2: mean 2, autocovariances 0.5 and 0; without and with an overlap of two."""
    loss, reference = np.array([1.0, 1.0, 1.0, 1.0]), np.array([2.0, 3.0, 4.0, 3.0])
    alone = diebold_mariano(loss, reference, overlap=1)
    assert alone.statistic == pytest.approx(2 / np.sqrt(0.5 / 4) * np.sqrt(3 / 4))
    both = diebold_mariano(loss, reference, overlap=2)
    # centred -1, 0, 1, 0: the products of neighbours are 0, 0, 0
    assert both.statistic == pytest.approx(2 / np.sqrt(0.5 / 4) * np.sqrt((4 + 1 - 4 + 2 / 4) / 4))
    turned = diebold_mariano(reference, loss, overlap=1)
    assert turned.statistic == pytest.approx(-alone.statistic)
    assert alone.p_value + turned.p_value == pytest.approx(1)
    # Student's t with 3 degrees: P(T > x) = 1/2 - (atan(x/sqrt 3) + (x/sqrt 3)/(1 + x^2/3)) / pi
    x = alone.statistic / np.sqrt(3)
    assert alone.p_value == pytest.approx(0.5 - (np.arctan(x) + x / (1 + x * x)) / np.pi)


def test_diebold_mariano_has_bartlett_weights_where_equal_ones_give_no_variance() -> None:
    difference = np.array([3.0, -1.0, 3.0, -1.0, 3.0, -1.0])  # autocovariances 4 and -10/3: 4 - 20/3 is below zero
    found = diebold_mariano(np.zeros(6), difference, overlap=2)
    expected = 1 / np.sqrt((4 + 2 * 0.5 * -10 / 3) / 6) * np.sqrt((6 + 1 - 4 + 2 / 6) / 6)
    assert found.statistic == pytest.approx(expected)


def test_nothing_is_tested_where_there_is_nothing_to_test() -> None:
    assert np.isnan(diebold_mariano(np.ones(9), np.ones(9), overlap=2).p_value)
    assert np.isnan(diebold_mariano(np.ones(9), np.arange(9.0), overlap=5).p_value)


def test_equal_forecasts_are_rarely_told_apart_though_their_targets_overlap() -> None:
    """5% of tests of equal losses with overlap 4 reject at 5%; ignoring the overlap, several times as many."""
    rng = np.random.default_rng(1)
    rejected = []
    for _ in range(600):
        difference = np.convolve(rng.normal(size=203), np.ones(4), "valid")
        rejected.append([diebold_mariano(np.zeros(200), difference, overlap=h).p_value < 0.05 for h in (4, 1)])
    honest, naive = np.mean(rejected, axis=0)
    assert honest < 0.09
    assert naive > 0.15


def test_means_of_replicates_are_those_of_their_rows() -> None:
    values = np.random.default_rng(2).normal(size=(23, 2))
    rows = resampled_rows(23, block=5, replicates=40)
    np.testing.assert_allclose(resampled_means(values, block=5, replicates=40), values[rows].mean(axis=1))
    assert (np.diff(rows[:, :5], axis=1) % 23 == 1).all(), "neighbours stay together"
    drawn = np.bincount(resampled_rows(23, block=5, replicates=5000).ravel(), minlength=23) / (5000 * 23)
    np.testing.assert_allclose(drawn, 1 / 23, rtol=0.06, err_msg="the first and the last count like the others")
    np.testing.assert_array_equal(rows, resampled_rows(23, block=5, replicates=40))
    assert (block_length(650, overlap=51), block_length(650, overlap=1)) == (51, 9)


def test_the_interval_of_a_mean_of_overlapping_outcomes_holds_it_and_that_of_single_rows_does_not() -> None:
    rng = np.random.default_rng(4)
    held = []
    for trial in range(200):
        values = np.convolve(rng.normal(size=253), np.ones(4), "valid")[:, None]
        of = [bounds(resampled_means(values, block=b, replicates=300, seed=trial)) for b in (12, 1)]
        held.append([float(low[0] <= 0 <= high[0]) for low, high in of])
    blocks, single = np.mean(held, axis=0)
    assert 0.82 < blocks < 0.95
    assert single < 0.75


def test_the_figures_beyond_those_of_one_row_by_hand() -> None:
    oof = simulated(2).assign(target_log_return=[np.log(1.1), np.log(0.9)], p50=0.0)
    found = measure(oof, LEVELS)
    assert found["rmse_cents_lb"] == pytest.approx(5)
    assert found["crps_log_return"] == pytest.approx(2 * found["pinball_log_return"])
    assert found["width_80_log_return"] == pytest.approx(2 * 1.2816 * 0.06)
    observed = np.array([(oof["target_log_return"] <= oof[column(p)]).mean() for p in LEVELS])
    assert found["calibration_error"] == pytest.approx(np.abs(observed - np.array(LEVELS)).mean())


def test_the_sign_strategy_trades_no_two_periods_at_once_and_pays_for_each() -> None:
    oof = simulated(12).assign(direction_probability=[0.6, 0.6, 0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.5, 0.6, 0.6, 0.6])
    traded = sign_strategy(oof.sample(frac=1, random_state=1), round_trip_cost_cents_lb=0.5)
    assert traded.index.tolist() == oof["date"].iloc[[0, 4, 8]].tolist()
    moves = np.expm1(oof["target_log_return"].iloc[[0, 4, 8]].to_numpy())
    np.testing.assert_allclose(traded, [moves[0] - 0.01, -moves[1] - 0.01, 0.0])
    two = np.array([[0.02, 0.00], [0.01, 0.01]])
    expected = 0.01 / np.sqrt(2 * 0.01**2) * np.sqrt(12)
    np.testing.assert_allclose(annual_sharpe(two, sessions=21), [expected, np.nan])


def test_a_better_forecast_has_skill_above_zero_and_the_true_one_covers() -> None:
    true, wide = simulated(650), simulated(650, width=1.6)
    found = evaluate(true, wide, LEVELS, **MONTH)
    own, other = measure(true, LEVELS), measure(wide, LEVELS)
    assert found["skill_pct"] == pytest.approx(100 * (1 - own["pinball_log_return"] / other["pinball_log_return"]))
    assert 0 < found["skill_pct_low"] < found["skill_pct"] < found["skill_pct_high"]
    assert found["dm_p_value"] < 0.01
    assert found["coverage_80_low"] < 0.8 < found["coverage_80_high"]
    assert found["periods"] == 163
    again = pd.Series(evaluate(true, wide, LEVELS, **MONTH), dtype="object")
    pd.testing.assert_series_equal(again, pd.Series(found, dtype="object"))  # a fixed seed
    assert np.isnan(evaluate(true[:14], wide, LEVELS, **MONTH)["skill_pct_low"]), "one group gives no interval"
    assert overlapping_origins(21, 5) == 5


def test_forecasts_of_other_outcomes_are_not_compared() -> None:
    with pytest.raises(TrainingFailed, match="other outcomes at the same origin"):
        evaluate(simulated(100), simulated(100, seed=5), LEVELS, **MONTH)


def test_each_family_is_held_against_the_best_naive_of_its_own_origins() -> None:
    oofs = {
        "no_change": simulated(300, width=1.6),
        "long_run": simulated(300, width=1.2),
        "drift": simulated(40),  # the best of all, but not there for most origins
        "net": simulated(300).iloc[200:].reset_index(drop=True),
    }
    board = leaderboard(oofs, LEVELS, **MONTH).set_index("family")
    assert board.loc["no_change", "better_naive"] == "long_run"
    assert board.loc["net", ["better_naive", "origins"]].tolist() == ["long_run", 100]
    assert board.loc["long_run", "skill_pct"] == 0
    with pytest.raises(TrainingFailed, match="none of curve, no_change"):
        better_naive({"net": oofs["net"]}, LEVELS, on=oofs["net"])


def test_slices_are_parts_of_the_whole() -> None:
    regimes = pd.DataFrame(
        {
            "regime": ["calm", "storm"],
            "start": pd.to_datetime(["2010-06-01", "2012-01-01"]),
            "end": pd.to_datetime(["2011-12-31", "2012-12-31"]),  # the last goes on until the next is written down
        }
    )
    oofs = {"no_change": simulated(200, width=1.5), "ridge": simulated(200)}
    named = {family: by_regime(oof, regimes) for family, oof in oofs.items()}
    assert named["ridge"].isna().sum() == (oofs["ridge"]["date"] < "2010-06-01").sum() > 0
    assert (named["ridge"][oofs["ridge"]["date"] > "2012-12-31"] == "storm").all()
    board = sliced(oofs, named, LEVELS, **MONTH)
    assert set(board["slice"]) == {"calm", "storm"}
    of_ridge = board[board["family"] == "ridge"]
    assert of_ridge["origins"].tolist() == [(named["ridge"] == name).sum() for name in ("calm", "storm")]
    yearly = sliced(oofs, {family: by_year(oof) for family, oof in oofs.items()}, LEVELS, **MONTH)
    ridge = yearly[yearly["family"] == "ridge"]
    whole = leaderboard(oofs, LEVELS, **MONTH).set_index("family").loc["ridge", "pinball_log_return"]
    assert np.average(ridge["pinball_log_return"], weights=ridge["origins"]) == pytest.approx(whole)
    base = yearly[yearly["family"] == "no_change"]
    assert (base["skill_pct"] == 0).all() and (base["origins"].to_numpy() == ridge["origins"].to_numpy()).all()
