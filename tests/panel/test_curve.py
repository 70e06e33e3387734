"""The curve as known at each session: by hand from the recorded contracts, under truncation, and without a source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import as_of_instants, sessions
from tasks.panel.curve import contract_prices, curve_known, daily_slopes, listed_contracts

LAST = pd.Timestamp("2023-12-29")
NAMES = (
    "curve.slope_pct_month",
    "curve.curvature_pct_month",
    "curve.slope_kept_a_month",
    "curve.roll_step_log",
    "curve.roll_free_close",
    "curve.sessions_to_roll",
    "curve.rolls_within_63d",
    "curve.expected_move_5d",
    "curve.expected_move_63d",
)


@pytest.fixture(scope="module")
def rule(registry):
    return registry.derived.roll_rule


@pytest.fixture(scope="module")
def observations(staged):
    rows = staged.observations
    return rows[(rows["source"] == "pysystemtrade") & (rows["series"] == "SOYOIL")]


def sessions_known(panel: pd.DataFrame, last: pd.Timestamp = LAST) -> pd.DataFrame:
    days = panel[panel["date"] <= last]
    return pd.DataFrame(
        {
            "date": days["date"],
            "as_of_instant": as_of_instants(pd.DatetimeIndex(days["date"])),
            "zl": days["zl_last"],
            "zl__age_days": days["zl_last__age_days"],
        }
    ).reset_index(drop=True)


@pytest.fixture(scope="module")
def curve(observations, rule, panel):
    known = sessions_known(panel)
    return curve_known(observations, rule, known, NAMES).set_index(known["date"])


def test_the_slope_is_the_mean_of_five_days_of_the_two_nearest_contracts(observations, rule, curve):
    prices = contract_prices(observations, rule)
    march_may = prices.pivot_table(index="seen_on", columns="contract", values="price")[[202403, 202405]].dropna()
    # the newest pair known on 2023-12-29 has the stamp of the 27th, two sessions before
    five = march_may.loc[:"2023-12-27"].tail(5)
    assert five.index[-1] == pd.Timestamp("2023-12-27") and five.iloc[-1].tolist() == [48.78, 49.23]
    by_hand = (np.log(five[202405] / five[202403]) / 2).mean()
    assert curve.loc["2023-12-29", "curve.slope_pct_month"] == pytest.approx(100 * by_hand)


def test_expected_moves_are_the_steps_of_the_rolls_that_really_lie_between(curve):
    """29 April 2021: May was squeezed, 4% a month under the limit. May to July is two months, July to August one."""
    day = curve.loc["2021-04-29"]
    assert day["curve.slope_pct_month"] == -4.0
    kept, months = day["curve.slope_kept_a_month"], [18 / 30.4375, 77 / 30.4375]
    assert kept == pytest.approx(0.879, abs=0.001)
    by_hand = -0.04 * (2 * kept ** months[0] + kept ** months[1])
    assert day["curve.expected_move_63d"] == pytest.approx(by_hand)
    assert day["curve.expected_move_5d"] == 0, "no roll within a week"
    assert (day["curve.sessions_to_roll"], day["curve.rolls_within_63d"]) == (12, 2)
    assert (
        curve.loc["2021-05-14", "curve.sessions_to_roll"] == 1 and curve.loc["2021-05-17", "curve.sessions_to_roll"] > 1
    )


def test_a_slope_is_kept_by_about_seven_eighths_a_month(curve):
    """A regression over all days since 1970 known by then: it hardly moves over the archive's years."""
    kept = curve["curve.slope_kept_a_month"].dropna()
    assert kept.between(0.86, 0.89).all()


def test_the_roll_free_close_loses_the_known_steps_and_nothing_else(panel, curve):
    close, age = (panel.set_index("date")[name] for name in ("zl_last", "zl_last__age_days"))
    own_bars = age.eq(0) & age.shift().eq(0)  # a price that is carried over a roll is still the old contract's
    moved = np.log(curve["curve.roll_free_close"]).diff() - np.log(close).diff()
    steps = curve["curve.roll_step_log"]
    known = moved.notna() & steps.notna() & own_bars
    np.testing.assert_allclose(moved[known], -steps[known], atol=1e-12)
    unknown = steps[steps.isna()].index
    assert len(unknown) == 16 and moved[unknown].dropna().abs().max() < 1e-12, "an unknown step stays in it"
    # what was known on the day of the roll: stamps to 12 March, of which that of the 9th was stale
    three = [np.log(later / near) for near, later in ((29.73, 29.98), (28.51, 28.72), (27.83, 27.32))]
    assert steps["2020-03-16"] == pytest.approx(np.median(three))


def test_no_row_changes_when_later_data_exists(observations, rule, panel, curve):
    for last in ("2009-07-15", "2021-05-17"):
        cut = pd.Timestamp(last)
        known = sessions_known(panel, cut)
        early = observations[observations["available_at"] <= known["as_of_instant"].iloc[-1]]
        again = curve_known(early, rule, known, NAMES).set_index(known["date"])
        pd.testing.assert_frame_equal(again, curve[curve.index <= cut])


def test_without_contract_prices_the_curve_is_missing_and_the_quote_stays(observations, rule, panel):
    known = sessions_known(panel)
    none = curve_known(observations.iloc[:0], rule, known, NAMES)
    assert none[["curve.slope_pct_month", "curve.expected_move_63d", "curve.slope_kept_a_month"]].isna().all(axis=None)
    np.testing.assert_array_equal(none["curve.roll_free_close"], known["zl"])
    assert none["curve.rolls_within_63d"].notna().all(), "the calendar is known without any source"
    at_rolls = none["curve.roll_step_log"].isna()
    assert at_rolls.sum() == 192 and (none["curve.roll_step_log"][~at_rolls] == 0).all()


def test_a_source_that_died_leaves_the_curve_missing_two_weeks_later(observations, rule, panel):
    known = sessions_known(panel, pd.Timestamp("2019-12-31"))
    dead = observations[observations["observation_date"] <= "2019-06-28"]
    slope = curve_known(dead, rule, known, NAMES).set_index(known["date"])["curve.slope_pct_month"]
    assert slope.last_valid_index() == pd.Timestamp("2019-07-12")


def test_of_two_sources_of_a_day_the_one_that_was_known_first_counts(rule):
    """Hand-written: a single contract's close is known the same evening, the pair of that day two sessions later."""
    days = sessions("2024-06-03", "2024-06-28")
    rows = []

    def add(source: str, series: str, field: str, day: pd.Timestamp, value: float, after: int) -> None:
        known = as_of_instants(pd.DatetimeIndex([day + pd.offsets.BDay(after)]))[0]
        rows.append((source, series, field, day, value, known, 1))

    for day in days:
        for contract, price in ((202407, 40.0), (202408, 40.4)):
            leg = "carry" if contract == 202407 else "price"
            add("pysystemtrade", "SOYOIL", leg, day, price, 2)
            add("pysystemtrade", "SOYOIL", f"{leg}_contract", day, 100.0 * contract, 2)
        add("yahoo_contracts", "ZLN24.CBT", "close", day, 40.0, 0)
        add("yahoo_contracts", "ZLQ24.CBT", "close", day, 40.8, 0)
    names = ["source", "series", "field", "observation_date", "value", "available_at", "vintage"]
    slopes = daily_slopes(contract_prices(pd.DataFrame(rows, columns=names), rule), rule)
    np.testing.assert_allclose(slopes["slope"].dropna(), np.log(40.8 / 40.0))
    assert (slopes["known_at"].dt.tz_convert("America/Chicago").dt.date == slopes.index.date).all()


def test_what_a_buyer_can_lock_in_is_eighteen_months_of_contracts(rule):
    listed = listed_contracts(rule, LAST)
    assert listed[:3] == [202401, 202403, 202405] and listed[-1] == 202507
