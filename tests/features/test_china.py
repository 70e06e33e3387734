"""Dalian and Zhengzhou against Chicago: units by hand, holidays, beta and lead-lag against numpy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features import cross_asset, soy_complex
from tasks.features.rolling import log_return, rolling_beta

DAY = pd.Timestamp("2022-04-28")


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    return pd.DataFrame(cross_asset.features(panel) | soy_complex.features(panel)).set_axis(panel["date"])


def test_spreads_on_the_day_of_indonesias_ban_in_cents_a_pound(built):
    """2022-04-28: soybean oil 11,418, palm olein 11,978, rapeseed oil 13,946 CNY/t; 6.5595 CNY per USD; ZL 90.60."""
    soyoil, palm, rapeseed = (cny_t / 6.5595 * 100 / 2204.62 for cny_t in (11418, 11978, 13946))
    made = built.loc[DAY]
    assert made["dalian_soyoil_premium_cents_lb"] == pytest.approx(soyoil - 90.60, abs=0.001)
    assert made["oil_less_dalian_palm_cents_lb"] == pytest.approx(90.60 - palm, abs=0.001)
    assert made["zhengzhou_rapeseed_less_oil_cents_lb"] == pytest.approx(rapeseed - 90.60, abs=0.001)
    assert made["dalian_soyoil_less_palm_cents_lb"] == pytest.approx(soyoil - palm, abs=0.001)
    assert round(made["dalian_soyoil_premium_cents_lb"], 2) == -11.64, "Chicago was dearer, in cents and not in yuan"


def test_a_price_carried_over_golden_week_is_no_return_of_zero(panel):
    """Dalian soybean oil: 9,356 CNY/t on 2021-09-30, closed to 7 October, 9,714 on the 8th."""
    daily = cross_asset.bar_return(panel, "dalian_soyoil_cny_t").set_axis(panel["date"])
    assert daily["2021-10-01":"2021-10-07"].isna().all()
    assert daily[pd.Timestamp("2021-10-08")] == pytest.approx(np.log(9714 / 9356))


def test_beta_and_lead_lag_against_numpy(built, panel):
    zl = log_return(panel["zl_last"], 1)
    dalian = cross_asset.bar_return(panel, "dalian_soyoil_cny_t")
    rows = panel.index[panel["date"] <= DAY][-63:]
    y, x, before = zl[rows], dalian[rows], dalian.shift()[rows]
    both = x.notna() & y.notna()
    slope = np.polyfit(x[both], y[both], 1)[0]
    assert built.at[DAY, "zl_dalian_soyoil_beta_63d"] == pytest.approx(slope)
    both = before.notna() & y.notna()
    assert both.sum() < 63, "Chinese holidays are in the window"
    by_hand = np.corrcoef(before[both], y[both])[0, 1]
    assert built.at[DAY, "zl_after_dalian_soyoil_correlation_63d"] == pytest.approx(by_hand)


def test_a_beta_to_what_does_not_move_is_missing():
    moves = pd.Series(np.random.default_rng(1).normal(size=100))
    assert rolling_beta(moves, pd.Series(np.zeros(100)), 63).isna().all()
    assert rolling_beta(3 * moves, moves, 63).iloc[-1] == pytest.approx(3)


def test_without_chinas_prices_its_features_are_missing_and_no_others(panel, built):
    china = [c for c in panel if c.startswith(("dalian", "zhengzhou", "china")) and not c.endswith("__age_days")]
    without = panel.assign(**{c: np.nan for c in china})
    made = pd.DataFrame(cross_asset.features(without) | soy_complex.features(without)).set_axis(panel["date"])
    named = [c for c in made if "dalian" in c or "zhengzhou" in c or "china" in c]
    assert made[named].isna().all(axis=None) and len(named) == 32
    pd.testing.assert_frame_equal(made.drop(columns=named), built.drop(columns=named))


def test_features_do_not_change_when_later_rows_come(panel):
    for module in (cross_asset, soy_complex):
        whole = pd.DataFrame(module.features(panel))
        cut = pd.DataFrame(module.features(panel[:4000]))
        pd.testing.assert_frame_equal(cut, whole[:4000], check_exact=True)
