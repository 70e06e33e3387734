"""Features in their units, worked out by hand from dated prices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features import regimes
from tasks.features.rolling import (
    correlation_and_slope,
    ewma_volatility,
    log_return,
    percentile,
    rolling_correlation,
    z_score,
)
from tasks.features.soy_complex import board_crush_usd_bu, boho_usd_gal, oil_less_palm_usd_t, oil_share

DAY = pd.Timestamp("2022-04-28")


@pytest.fixture
def closes(panel) -> pd.Series:
    return panel.set_index("date").loc[DAY]


def test_the_board_crush_of_2022_04_28_to_the_cent(closes, features):
    """11 lb of oil at 90.60 cents and 44 of the 2000 lb of a short ton of meal, less a bushel of beans."""
    oil, meal, beans = (round(closes[name], 2) for name in ("zl_last", "zm_last", "zs_last"))
    assert oil == 90.60
    by_hand = 11 * oil / 100 + 44 / 2000 * meal - beans / 100
    built = features.set_index("date").at[DAY, "board_crush_usd_bu"]
    assert built == pytest.approx(by_hand, abs=0.005)
    assert 1 < built < 4, "dollars a bushel, not cents"


def test_crush_of_round_prices():
    one = pd.Series([60.0]), pd.Series([400.0]), pd.Series([1400.0])
    assert board_crush_usd_bu(*one).iloc[0] == pytest.approx(6.60 + 8.80 - 14.00)
    assert oil_share(*one[:2]).iloc[0] == pytest.approx(6.6 / 15.4)


def test_boho_takes_seven_and_a_half_pounds_a_gallon(closes, features):
    assert boho_usd_gal(pd.Series([60.0]), pd.Series([3.0])).iloc[0] == pytest.approx(4.50 - 3.00)
    by_hand = 7.5 * closes["zl_last"] / 100 - closes["ho_last"]
    assert features.set_index("date").at[DAY, "boho_usd_gal"] == pytest.approx(by_hand)


def test_palm_is_compared_by_the_tonne(closes, features):
    assert oil_less_palm_usd_t(pd.Series([100.0]), pd.Series([0.0])).iloc[0] == pytest.approx(2204.62)
    by_hand = closes["zl_last"] / 100 * 2204.62 - closes["cpo_last"]
    assert features.set_index("date").at[DAY, "oil_less_palm_usd_t"] == pytest.approx(by_hand)


def test_cot_net_share_is_of_open_interest(closes, features):
    long, short = closes["cot_zl_noncommercial_long"], closes["cot_zl_noncommercial_short"]
    by_hand = (long - short) / closes["cot_zl_open_interest"]
    built = features.set_index("date")["cot_zl_noncommercial_net_share"]
    assert built[DAY] == pytest.approx(by_hand)
    assert built.abs().max() < 1


def test_a_return_over_a_negative_price_is_missing_never_infinite(features, panel):
    returns = log_return(panel["cl_last"], 21)
    assert np.isnan(returns[panel["date"] == "2020-04-20"].iloc[0])
    numbers = features.drop(columns="date").to_numpy()
    assert not np.isinf(numbers).any()


def test_trailing_arithmetic_against_numpy():
    chance = np.random.default_rng(3)
    x, y = pd.Series(chance.normal(size=300)), pd.Series(chance.normal(size=300))
    last = x.iloc[-252:]
    assert z_score(x).iloc[-1] == pytest.approx((last.iloc[-1] - last.mean()) / last.std())
    assert percentile(x, 100).iloc[-1] == pytest.approx((x.iloc[-100:] <= x.iloc[-1]).mean())
    assert rolling_correlation(x, y, 63).iloc[-1] == pytest.approx(np.corrcoef(x[-63:], y[-63:])[0, 1])
    weights = 0.94 ** np.arange(300)[::-1]
    assert ewma_volatility(x, 0.94).iloc[-1] == pytest.approx(np.sqrt((weights * x**2).sum() / weights.sum()))


def test_a_correlation_forgets_what_has_left_its_window():
    """Of a running sum from the first row, rounding of what was large once would stay for ever."""
    chance = np.random.default_rng(4)
    x, y = (pd.Series(np.r_[chance.normal(scale=1e5, size=100), chance.normal(scale=1e-3, size=900)]) for _ in "xy")
    made = rolling_correlation(x, y, 63)
    correlation, slope = correlation_and_slope(x.to_numpy(), y.to_numpy(), 63)
    np.testing.assert_array_equal(correlation, made)
    for end in (300, 500, 1000):
        last = slice(end - 63, end)
        assert made.iloc[end - 1] == pytest.approx(np.corrcoef(x[last], y[last])[0, 1], abs=1e-12)
        assert slope[end - 1] == pytest.approx(np.polyfit(y[last], x[last], 1)[0], rel=1e-9)


def test_a_regime_is_missing_not_calm_where_its_rank_is_missing(panel):
    """A placeholder in place of a missing value is a false reading."""
    built = regimes.thresholds(panel)
    rank = percentile(panel["vix_last"], 756)
    assert built["regime_risk_off"].isna().equals(rank.isna())
    assert rank.isna().sum() > 300
