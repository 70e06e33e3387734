"""The exchange's daily limits, as it published them."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.staging.price_limits import daily_limits


@pytest.fixture(scope="module")
def closes(staged) -> pd.Series:
    held = staged.by_source["yahoo"].observations
    part = held[(held["series"] == "ZL=F") & (held["field"] == "close") & (held["vintage"] == 1)]
    return part.set_index("observation_date")["value"].sort_index()


@pytest.fixture
def limit(registry):
    return registry.sources.source("yahoo").series["ZL=F"].daily_limit


@pytest.mark.parametrize(
    ("day", "published"),
    [
        ("2008-03-27", 2.0),  # the first change since 2000, CFTC 2008-03-19
        ("2008-03-28", 2.5),
        ("2014-04-30", 2.5),
        ("2014-05-01", 3.0),  # CME SER-7071
        ("2015-04-30", 2.5),  # Reuters, 2015-04-23: "will fall to 2 cents from the current 2.5"
        ("2015-05-01", 2.0),
        ("2021-04-30", 2.5),  # AgWeb, 2021-04-26: "3.5 (2.5)"
        ("2021-05-03", 3.5),
    ],
)
def test_limits_are_those_that_the_exchange_published(closes, limit, day, published):
    assert daily_limits(closes, limit)[day] == published


def test_a_limit_is_the_same_whether_or_not_later_closes_are_known_and_goes_on_after_the_archive(closes, limit):
    whole = daily_limits(closes, limit)
    for last in ("2014-05-01", "2019-11-01", "2022-06-01"):
        pd.testing.assert_series_equal(daily_limits(closes[:last], limit), whole[:last])
    days = pd.bdate_range("2024-01-02", "2031-06-30")
    later = daily_limits(pd.concat([closes, pd.Series(90.0, index=days)]), limit)
    assert later["2031-06-30"] == 6.5, "7% of 90, to the half cent"


def test_no_true_close_since_2000_moved_beyond_twice_the_limit(closes, limit):
    moves = closes.diff().abs() / daily_limits(closes, limit)
    assert 1.5 < moves.max() < 2.0 and moves.idxmax() == pd.Timestamp("2008-03-07")
