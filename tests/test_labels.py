"""Targets: the close h sessions ahead or nothing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.labels import build_labels, with_rolls, with_settled_closes
from tasks.panel.curve import contract_prices


@pytest.mark.parametrize("name", ["1w", "1m", "3m", "6m", "12m"])
def test_every_target_is_the_close_of_the_session_so_many_sessions_later(panel, labels, registry, name):
    ahead = {"1w": 5, "1m": 21, "3m": 63, "6m": 126, "12m": 252}[name]
    assert registry.horizons.horizons[name].sessions == ahead
    part = labels[labels["horizon"] == name].reset_index(drop=True)
    days, later = list(panel["date"]), list(sessions())
    close = dict(zip(days, panel["zl_close"], strict=True))
    place = {day: n for n, day in enumerate(later)}
    assert list(part["date"]) == days
    for row in part.itertuples():
        target = later[place[row.date] + ahead]
        now, then = close[row.date], close.get(target, math.nan)
        assert row.target_date == target
        if math.isnan(now) or math.isnan(then):
            assert math.isnan(row.target_log_return) and math.isnan(row.target_price) and not row.reachable
        else:
            assert row.target_price == then and row.target_log_return == np.log(then / now) and row.reachable
    assert part["reachable"].iloc[-ahead:].any() is np.False_, "the last h sessions are not known yet"
    assert part["reachable"].iloc[-ahead - 1], "and the one before is"
    assert part["reachable"].mean() > 0.9


def test_labels_are_made_of_bars_never_of_prices_carried_on(panel, labels):
    """Where a session has no bar, neither its own targets nor those that end there exist."""
    empty = set(panel.loc[panel["zl_close"].isna() & panel["zl_last"].notna(), "date"])
    assert len(empty) > 50
    touched = labels[labels["date"].isin(empty) | labels["target_date"].isin(empty)]
    assert len(touched) > 500 and touched["target_log_return"].isna().all() and touched["target_price"].isna().all()


def test_a_later_bar_changes_no_label_that_did_not_reach_it(panel, labels, registry):
    cut = panel[panel["date"] <= "2015-12-31"]
    early = build_labels(cut, registry.horizons)
    both = early.merge(labels, on=["horizon", "date"], suffixes=("", "_full"), validate="one_to_one")
    known = both[both["reachable"]]
    assert (known["target_log_return"] == known["target_log_return_full"]).all()
    assert (known["target_date"] <= pd.Timestamp("2015-12-31")).all()
    pd.testing.assert_series_equal(both["target_date"], both["target_date_full"], check_names=False)


@pytest.mark.parametrize("rows", [1, 6, 200, 260])
def test_a_panel_shorter_than_a_horizon_has_no_targets_there(panel, registry, rows):
    short = build_labels(panel.tail(rows).reset_index(drop=True), registry.horizons)
    known = short.groupby("horizon")["reachable"].sum()
    assert known["12m"] == max(0, rows - 252) and known["1w"] == max(0, rows - 5)


def test_a_close_mended_the_next_day_does_not_stay_wrong_in_the_targets(panel):
    """Served at 18:30 as 61.99, settled as 67.73: that evening's panel keeps what was known, the target the truth."""
    days = list(sessions("2022-09-06", "2022-09-08"))
    known = ["2022-09-06 23:00", "2022-09-07 23:00", "2022-09-08 15:00", "2022-09-08 23:00"]
    observations = pd.DataFrame(
        {
            "source": "yahoo",
            "series": "ZL=F",
            "field": "close",
            "observation_date": [days[0], days[1], days[1], days[2]],
            "value": [68.96, 61.99, 67.73, 67.0],
            "available_at": pd.DatetimeIndex(known, tz="UTC"),
            "vintage": [1, 1, 2, 1],
        }
    )
    evening = pd.DataFrame({"date": days, "zl_close": [68.96, 61.99, 67.0]})
    assert list(with_settled_closes(evening, observations, as_of=days[2])["zl_close"]) == [68.96, 67.73, 67.0]
    assert list(with_settled_closes(evening[:2], observations, as_of=days[1])["zl_close"]) == [68.96, 61.99]


def test_labels_know_their_contracts_and_both_returns(panel, labels, staged, registry):
    """From 2014-05-09 a week crosses the roll of the 15th: July cost 41.14 where May cost 40.92 (2014-05-02)."""
    rule = registry.derived.roll_rule
    prices = contract_prices(staged.by_source["pysystemtrade"].observations, rule)
    both = with_rolls(labels, panel, prices, rule)
    pd.testing.assert_frame_equal(both[list(labels)], labels)
    week = both[(both["horizon"] == "1w") & (both["date"] == "2014-05-09")].iloc[0]
    assert (week["contract"], week["target_contract"], week["rolls"]) == (201405, 201407, 1)
    step = math.log(41.14 / 40.92)
    assert week["target_log_return"] - week["roll_free_log_return"] == pytest.approx(step)
    across = both[(both["horizon"] == "1m") & both["date"].between("2021-06-21", "2021-07-14")]
    assert across["target_log_return"].notna().all() and across["roll_free_log_return"].isna().all()
    same = both[both["reachable"] & both["rolls"].eq(0)]
    np.testing.assert_allclose(same["roll_free_log_return"], same["target_log_return"], atol=1e-12)
