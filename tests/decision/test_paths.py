"""Joint paths: their marginals are the published quantiles, their dependence that of past moves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.decision.paths import fit_dependence, log_quantiles_at, published_quantiles, simulate
from tasks.errors import DecisionFailed
from tests.decision.published import LAST, LEVELS, QUANTILES, SESSIONS, forecasts_of

DAYS = list(QUANTILES)


def published(day: str) -> dict[int, np.ndarray]:
    return published_quantiles(forecasts_of(day), SESSIONS, LEVELS)


@pytest.mark.parametrize("day", DAYS)
def test_at_every_horizon_the_paths_have_the_published_quantiles(day):
    at = list(SESSIONS.values())
    paths = simulate(published(day), LEVELS, LAST[day], at, power=0.5, seed=1)
    for place, wanted in enumerate(QUANTILES[day].values()):
        np.testing.assert_allclose(np.quantile(paths[:, place], LEVELS), wanted, rtol=5e-4)


def test_a_dates_prices_do_not_depend_on_the_dates_beside_it():
    day = DAYS[0]
    alone = simulate(published(day), LEVELS, LAST[day], [40], power=0.5, seed=1)
    among = simulate(published(day), LEVELS, LAST[day], [5, 40, 200], power=0.7, seed=9)
    np.testing.assert_array_equal(np.sort(alone[:, 0]), np.sort(among[:, 1]))


def test_the_same_seed_gives_the_same_paths_and_another_another_order():
    def drawn(seed: int) -> np.ndarray:
        return simulate(published(DAYS[0]), LEVELS, LAST[DAYS[0]], [21, 63], power=0.5, seed=seed)

    np.testing.assert_array_equal(drawn(20210429), drawn(20210429))
    assert (drawn(1) != drawn(2)).any()


def test_between_horizons_the_median_is_linear_and_distances_grow_as_roots():
    rows = {4: np.array([80.0, 100.0, 125.0]), 16: np.array([64.0, 100.0, 156.25])}
    # logs of the distance: a at 4 sessions, 2a at 16; squares 1 and 4, and 2.5 halfway: root 1.5811
    found = np.exp(log_quantiles_at(rows, 100.0, 1, [0, 1, 4, 10, 16, 17]))
    np.testing.assert_allclose(found[:, 1][:5], 100.0)
    np.testing.assert_allclose(found[1], [100 * 0.8**0.5, 100, 100 * 1.25**0.5])
    np.testing.assert_allclose(found[3], [100 * 0.8**2.5**0.5, 100, 100 * 1.25**2.5**0.5])
    assert np.isnan(found[5]).all(), "nothing is known beyond the farthest horizon"


def test_beyond_the_outermost_levels_the_tail_goes_on_as_a_normal_one():
    day = DAYS[2]
    paths = np.sort(simulate(published(day), LEVELS, LAST[day], [21], power=0.5, seed=1)[:, 0])
    low, high = np.log(QUANTILES[day]["1m"][-2:])
    slope = (high - low) / (1.644854 - 1.281552)
    far = high + slope * (2.326348 - 1.644854)  # the 99% quantile
    assert np.quantile(paths, 0.99) == pytest.approx(np.exp(far), rel=2e-3)


def test_moves_over_two_horizons_are_as_dependent_as_the_power_says():
    day, at = DAYS[1], [21, 84]
    paths = simulate(published(day), LEVELS, LAST[day], at, power=0.5, seed=3)
    ranks = pd.DataFrame(paths).rank()
    # Spearman's correlation of a Gaussian copula: 6 / pi * asin(r / 2), r = (21 / 84) ** 0.5
    assert ranks.corr().iloc[0, 1] == pytest.approx(6 / np.pi * np.arcsin(0.25), abs=0.03)
    together = simulate(published(day), LEVELS, LAST[day], [21, 21], power=0.5, seed=3)
    np.testing.assert_array_equal(together[:, 0], together[:, 1])


def test_the_power_of_a_random_walk_is_one_half_and_depends_on_the_past_only():
    random = np.random.default_rng(7)
    closes = pd.Series(np.exp(np.cumsum(0.01 * random.standard_normal(20_000))))
    assert fit_dependence(closes, list(SESSIONS.values())) == pytest.approx(0.5, abs=0.1)
    assert fit_dependence(closes[:2000], [5, 21]) == fit_dependence(closes.iloc[:2000].copy(), [21, 5])


def test_the_recorded_closes_move_like_a_random_walk(panel):
    closes = panel.set_index("date")["zl_close"]
    assert fit_dependence(closes, list(SESSIONS.values())) == pytest.approx(0.50, abs=0.02)


def test_too_few_closes_are_refused():
    closes = pd.Series(np.linspace(30, 40, 999))
    with pytest.raises(DecisionFailed, match="999 closes are too few"):
        fit_dependence(closes, [5, 21])


def test_quantiles_that_cross_are_refused_and_a_missing_row_is_left_out():
    rows = forecasts_of(DAYS[0])
    with pytest.raises(DecisionFailed, match=r"1m: quantiles .* cross"):
        published_quantiles(rows.assign(p95=rows["p95"].where(rows["horizon"] != "1m", 1.0)), SESSIONS, LEVELS)
    rows.loc[rows["horizon"] == "12m", "p50"] = np.nan
    assert list(published_quantiles(rows, SESSIONS, LEVELS)) == [5, 21, 63, 126]
