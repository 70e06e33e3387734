"""Dalian and Zhengzhou against Chicago: units by hand, holidays, beta and lead-lag against numpy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features import cross_asset, soy_complex
from tasks.features.rolling import log_return

DAY = pd.Timestamp("2022-04-28")


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    return made_of(panel)


def made_of(panel: pd.DataFrame) -> pd.DataFrame:
    made = cross_asset.features(panel) | soy_complex.features(panel)
    return pd.DataFrame(made).set_axis(panel["date"])


def test_spreads_on_the_day_of_indonesias_ban_in_cents_a_pound(built):
    """2022-04-28: soybean oil 11,418, palm olein 11,978, rapeseed oil 13,946 CNY/t; 6.5595 CNY per USD; ZL 90.60."""
    soyoil, palm, rapeseed = (cny_t / 6.5595 * 100 / 2204.62 for cny_t in (11418, 11978, 13946))
    made = built.loc[DAY]
    assert made["dalian_soyoil_premium_cents_lb"] == pytest.approx(soyoil - 90.60, abs=0.001)
    assert made["oil_less_dalian_palm_cents_lb"] == pytest.approx(90.60 - palm, abs=0.001)
    assert made["zhengzhou_rapeseed_less_oil_cents_lb"] == pytest.approx(rapeseed - 90.60, abs=0.001)
    assert made["dalian_soyoil_less_palm_cents_lb"] == pytest.approx(soyoil - palm, abs=0.001)
    assert round(made["dalian_soyoil_premium_cents_lb"], 2) == -11.64, "Chicago was dearer, in cents and not in yuan"


def test_a_price_carried_over_golden_week_is_no_return_of_zero(built, panel):
    """Dalian soybean oil: 9,356 CNY/t on 2021-09-30, closed to 7 October, 9,714 on the 8th."""
    held = panel.set_index("date").loc["2021-09-30":"2021-10-08"]
    assert held["dalian_soyoil_cny_t"].tolist() == [9356] * 6 + [9714]
    day = pd.Timestamp("2021-10-08")
    at = panel.index[panel["date"] == day][0]
    rows = panel.iloc[at - 63 : at + 1]
    x, y = log_return(rows["dalian_soyoil_cny_t"], 1), log_return(rows["zl_roll_free"], 1)
    own = (rows["dalian_soyoil_cny_t__age_days"] == 0) & x.notna()
    assert x.iloc[-1] == pytest.approx(np.log(9714 / 9356)) and (x.iloc[-6:-1] == 0).all()
    assert built.at[day, "zl_dalian_soyoil_correlation_63d"] == pytest.approx(np.corrcoef(x[own], y[own])[0, 1])


def test_beta_and_lead_lag_against_numpy(built, panel):
    zl = log_return(panel["zl_roll_free"], 1)
    carried = panel["dalian_soyoil_cny_t__age_days"] != 0
    dalian = log_return(panel["dalian_soyoil_cny_t"], 1).mask(carried)
    rows = panel.index[panel["date"] <= DAY][-63:]
    y, x, before = zl[rows], dalian[rows], dalian.shift()[rows]
    both = x.notna() & y.notna()
    slope = np.polyfit(x[both], y[both], 1)[0]
    assert built.at[DAY, "zl_dalian_soyoil_beta_63d"] == pytest.approx(slope)
    both = before.notna() & y.notna()
    assert both.sum() < 63, "Chinese holidays are in the window"
    by_hand = np.corrcoef(before[both], y[both])[0, 1]
    assert built.at[DAY, "zl_after_dalian_soyoil_correlation_63d"] == pytest.approx(by_hand)


def test_without_chinas_prices_its_features_are_missing_and_no_others(panel, built):
    china = [c for c in panel if c.startswith(("dalian", "zhengzhou", "china")) and not c.endswith("__age_days")]
    without = panel.assign(**{c: np.nan for c in china})
    made = made_of(without)
    named = [c for c in made if "dalian" in c or "zhengzhou" in c or "china" in c]
    assert made[named].isna().all(axis=None) and len(named) == 32
    pd.testing.assert_frame_equal(made.drop(columns=named), built.drop(columns=named))


def test_features_do_not_change_when_later_rows_come(panel):
    for module in (cross_asset, soy_complex):
        whole = pd.DataFrame(module.features(panel))
        for rows in (1, 62, 63, 64, 252, 4000):  # at the edges of a window too
            cut = pd.DataFrame(module.features(panel[:rows]))
            pd.testing.assert_frame_equal(cut, whole[:rows], check_exact=True)
