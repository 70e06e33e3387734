"""Rolls: five dated ones by hand from the recorded contracts, the rule against the quote's own volume, no filling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.errors import RegistryError
from tasks.panel.curve import contract_prices
from tasks.panel.rolls import (
    contracts,
    front_contracts,
    roll_free_returns,
    roll_free_targets,
    roll_ratios,
    rolls,
)
from tasks.registry import load_roll_calendar

FIRST, LAST = pd.Timestamp("2000-01-03"), pd.Timestamp("2023-12-29")


@pytest.fixture(scope="module")
def rule(registry):
    return load_roll_calendar(registry.folder, registry.sources).rolls["ZL"]


@pytest.fixture(scope="module")
def quote(staged, rule):
    held = staged.by_source[rule.quote.source].observations
    held = held[held["series"] == rule.quote.series].sort_values("vintage")
    return held.groupby(["observation_date", "field"])["value"].last().unstack()


@pytest.fixture(scope="module")
def pairs(staged, rule):
    return contract_prices(staged.by_source[rule.pairs.source].observations, rule)


@pytest.fixture(scope="module")
def known(rule, pairs):
    return roll_ratios(rolls(rule, FIRST, LAST), pairs, rule).set_index("date")


def test_the_last_trading_day_is_the_business_day_before_the_15th(rule):
    listed = contracts(rule, pd.Timestamp("2021-01-01"), pd.Timestamp("2021-12-31")).set_index("contract")
    days = listed["last_trading_day"].dt.strftime("%Y-%m-%d")
    assert days[202107] == "2021-07-14" and days[202108] == "2021-08-13"
    assert days[202103] == "2021-03-12" and days.index[-1] == 202201
    assert list(days.index[:3]) == [202101, 202103, 202105]


def test_the_volume_changes_contract_a_session_before_the_price(rule, quote):
    """A contract that goes off trades a few lots: the bar of its last day has the next contract's volume."""
    volume = quote["volume"].dropna()
    table = rolls(rule, pd.Timestamp("2005-01-03"), LAST)
    before, last_day = (
        np.array([volume.iloc[volume.index.get_loc(day) - back] for day in table["date"]]) for back in (2, 1)
    )
    assert len(table) == 152
    assert (last_day > 3.5 * before).all() and np.median(last_day / np.maximum(before, 1)) > 100
    # and its price is still the old contract's: July 2021 on its last day closed where it stood, at 66.63
    assert quote["close"]["2021-07-13"] == quote["close"]["2021-07-14"] == pytest.approx(66.63)


def test_five_rolls_by_hand_from_the_recorded_contracts(quote, known):
    """Contracts; the newest three days with both prices, old and new; the quote before and on the roll."""
    by_hand = {
        "2005-05-16": (200505, 200507, "2005-05-03", ((22.59, 22.66), (22.45, 22.54), (22.5, 22.62)), 21.98, 22.16),
        "2014-05-15": (201405, 201407, "2014-05-02", ((42.57, 42.76), (41.76, 42.0), (40.92, 41.14)), 41.19, 41.04),
        "2018-12-17": (201812, 201901, "2018-11-30", ((27.37, 27.59), (27.61, 27.89), (27.82, 28.07)), 28.39, 28.17),
        # March's price of the 9th was stale: 27.83, where the quote closed at 27.31
        "2020-03-16": (202003, 202005, "2020-03-13", ((28.51, 28.72), (27.83, 27.32), (26.05, 26.33)), 26.11, 24.99),
        "2021-01-15": (202101, 202103, "2021-01-13", ((43.5, 43.07), (43.02, 42.16), (42.93, 42.35)), 43.27, 41.85),
    }
    front = np.log(quote["close"]).diff()
    roll_free = roll_free_returns(quote["close"], known.reset_index())
    for date, (old, new, seen_on, pairs, before, after) in by_hand.items():
        row, step = known.loc[date], np.median([np.log(later / near) for near, later in pairs])
        assert (row["from_contract"], row["to_contract"], f"{row['seen_on']:%Y-%m-%d}") == (old, new, seen_on)
        assert row["log_ratio"] == pytest.approx(step)
        assert front[date] == pytest.approx(np.log(after / before), abs=1e-6)
        assert roll_free[date] == pytest.approx(np.log(after / before) - step, abs=1e-6)


def test_july_to_august_2021_has_no_pair_so_its_return_is_missing(quote, known):
    """The author of the pairs held September by then: what August cost against July is in nobody's record."""
    row = known.loc["2021-07-15"]
    assert (row["from_contract"], row["to_contract"]) == (202107, 202108) and np.isnan(row["log_ratio"])
    assert np.isnan(roll_free_returns(quote["close"], known.reset_index())["2021-07-15"])
    assert np.log(quote["close"]).diff()["2021-07-15"] == pytest.approx(np.log(67.31 / 66.63), abs=1e-6)


def test_every_roll_to_2020_is_known_and_they_add_six_tenths_of_a_percent_each(known):
    by_year = known["log_ratio"].groupby(known.index.year)
    assert (by_year.count().loc[:2020] == 8).all()
    assert by_year.count().loc[2021:].tolist() == [4, 2, 2]
    assert 100 * known["log_ratio"][:"2020-12-31"].mean() == pytest.approx(0.58, abs=0.005)


def test_targets_cross_rolls_and_lose_their_steps(quote, known):
    days = sessions(last=LAST)
    targets = roll_free_targets(quote["close"].reindex(days), known.reset_index(), sessions_ahead=252)
    both = targets.dropna()
    assert (targets["rolls"].dropna() > 0).all()
    assert 100 * (both["log_return"] > 0).mean() == pytest.approx(54.5, abs=0.5)
    assert 100 * (both["roll_free_log_return"] > 0).mean() == pytest.approx(44.6, abs=0.5)
    # by hand: five sessions from 2014-05-09 cross the roll of the 15th, whose step is known
    week = roll_free_targets(quote["close"].reindex(days), known.reset_index(), sessions_ahead=5).loc["2014-05-09"]
    assert week["rolls"] == 1
    assert week["log_return"] - week["roll_free_log_return"] == pytest.approx(np.log(41.14 / 40.92))


def test_a_target_over_an_unknown_roll_is_missing(quote, known):
    days = sessions(last=LAST)
    month = roll_free_targets(quote["close"].reindex(days), known.reset_index(), sessions_ahead=21)
    across = month.loc["2021-06-21":"2021-07-14"]
    assert across["log_return"].notna().all() and across["roll_free_log_return"].isna().all()


def test_a_pair_that_is_unknown_leaves_the_return_missing(rule, quote, known):
    returns = roll_free_returns(quote["close"], known.reset_index())
    unknown = known.index[known["log_ratio"].isna()]
    assert returns.reindex(unknown).isna().all() and len(unknown)
    plain = returns.drop(known.index, errors="ignore")
    pd.testing.assert_series_equal(plain, np.log(quote["close"]).diff().reindex(plain.index), check_names=False)


def test_a_roll_knows_nothing_of_its_own_day_or_later(rule, pairs, known):
    day = pd.Timestamp("2015-07-14")
    cut = roll_ratios(rolls(rule, FIRST, day), pairs[pairs["seen_on"] < day], rule).set_index("date")
    pd.testing.assert_frame_equal(cut, known[known.index <= day])


def test_fronts_reach_as_far_as_sessions_are_known(rule):
    ahead = sessions(first=LAST)
    front = front_contracts(ahead[ahead < ahead[-1] - pd.DateOffset(months=2)], rule)
    assert front.is_monotonic_increasing and front.iloc[0] == 202401


def test_a_mistake_in_the_roll_calendar_names_the_file_and_the_entry(registry, tmp_path):
    text = (registry.folder / "roll_calendar.yaml").read_text()
    for old, new, named in (
        ("series: SOYOIL", "series: SOYOLI", "pairs: no series SOYOLI of pysystemtrade"),
        ("[1, 3, 5", "[3, 1, 5", "months"),
        ("source: yahoo", "source: yaho", "quote: no series ZL=F of yaho"),
    ):
        (tmp_path / "roll_calendar.yaml").write_text(text.replace(old, new))
        with pytest.raises(RegistryError, match=r"roll_calendar\.yaml") as raised:
            load_roll_calendar(tmp_path, registry.sources)
        assert named in str(raised.value)
