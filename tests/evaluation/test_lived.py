"""The lived policy on simulated forecasts: a champion is chosen from outcomes that were known, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.lived import lived_policy, naive_of_the_past
from tasks.quantiles import column
from tasks.registry import load_quality_gates
from tasks.settings import PROJECT
from tests.evaluation.test_comparison import LEVELS, MONTH, simulated

YEARS = range(2013, 2016)
COUNT = 6 * 52


@pytest.fixture(scope="module")
def rule():
    return load_quality_gates(PROJECT / "registry").promotion


def good_until(day: str) -> pd.DataFrame:
    """The true width until a day, and far too wide from then on; without a forecast for a month of 2014."""
    sharp, wide = simulated(COUNT), simulated(COUNT, width=6.0)
    oof = sharp.where(sharp["date"] < day, wide)
    oof.loc[oof["date"].between("2014-03-01", "2014-03-31"), [column(level) for level in LEVELS]] = np.nan
    return oof.astype({"scored": bool})


def lived(rule, **changed: pd.DataFrame) -> pd.DataFrame:
    oofs = {
        "curve": simulated(COUNT, width=1.9),
        "no_change": simulated(COUNT, width=2.1),
        "har": good_until("2014-01-01"),
    }
    return lived_policy(oofs | changed, LEVELS, rule, YEARS, **MONTH).set_index("date")


def test_each_year_is_served_by_what_was_best_before_it(rule):
    served = lived(rule)
    champions = served.groupby(served.index.year)["champion"].unique().map(list)
    # good through 2013; the outcomes of 2014 are known in January 2015 only
    assert champions.to_dict() == {2013: ["har"], 2014: ["har"], 2015: ["curve"]}
    wide = served.loc["2014-02", "p95"] - served.loc["2014-02", "p05"]
    assert (wide > 1).all(), "the bad year is lived, not avoided"


def test_the_baseline_serves_where_the_champion_has_no_forecast(rule):
    served = lived(rule)
    march = served.loc["2014-03"]
    assert march["served"].eq("curve").all() and march["champion"].eq("har").all() and march["p50"].notna().all()
    np.testing.assert_allclose(march["p95"], simulated(COUNT, width=1.9).set_index("date").loc["2014-03", "p95"])


def test_a_later_outcome_changes_no_earlier_choice(rule):
    later = good_until("2014-01-01")
    reached = later["target_date"] >= "2015-01-01"
    other = later.assign(target_log_return=later["target_log_return"].mask(reached, 9.0))
    plain = simulated(COUNT, width=1.9)
    base = plain.assign(target_log_return=plain["target_log_return"].mask(reached, 9.0))
    still = simulated(COUNT, width=2.1)
    naive = still.assign(target_log_return=still["target_log_return"].mask(reached, 9.0))
    one, two = lived(rule), lived(rule, har=other, curve=base, no_change=naive)
    names = ["champion", "served", *(column(level) for level in LEVELS)]
    pd.testing.assert_frame_equal(one.loc[:"2015", names], two.loc[:"2015", names])


def test_without_skill_the_baseline_is_lived_and_the_naive_is_that_of_the_past(rule):
    assert set(lived(rule, har=simulated(COUNT, width=2.0))["champion"]) == {"curve"}
    oofs = {"curve": simulated(COUNT, width=1.9), "no_change": good_until("2014-01-01")}
    naive = naive_of_the_past(oofs, LEVELS, YEARS)
    assert naive.groupby(naive["date"].dt.year)["naive"].first().to_dict() == {
        2013: "no_change",
        2014: "no_change",
        2015: "curve",
    }
