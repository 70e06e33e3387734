"""The lived policy on simulated forecasts: a champion is chosen from outcomes that were known, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.lived import lived_policy, naive_of_the_past
from tasks.quantiles import column
from tasks.registry import load_quality_gates
from tasks.settings import PROJECT
from tests.evaluation.test_comparison import LEVELS, simulated

YEARS = range(2010, 2021)
COUNT = 11 * 52


@pytest.fixture(scope="module")
def rule():
    return load_quality_gates(PROJECT / "registry").promotion


def good_until(day: str) -> pd.DataFrame:
    """The true width until a day, and far too wide from then on; without a forecast for March 2018."""
    sharp, wide = simulated(COUNT), simulated(COUNT, width=6.0)
    oof = sharp.where(sharp["date"] < day, wide)
    oof.loc[oof["date"].between("2018-03-01", "2018-03-31"), [column(level) for level in LEVELS]] = np.nan
    return oof.astype({"scored": bool})


def lived(rule, **changed: pd.DataFrame) -> pd.DataFrame:
    oofs = {
        "curve": simulated(COUNT, width=1.9),
        "no_change": simulated(COUNT, width=2.1),
        "har": good_until("2018-06-01"),
    }
    return lived_policy(oofs | changed, LEVELS, rule, YEARS, sessions=21, step=5).set_index("date")


def test_a_family_serves_once_it_is_surely_better_and_until_it_is_refuted(rule):
    champion = lived(rule)["champion"]
    assert set(champion[:"2015"]) == {"curve"}, "five groups of five quarters are not known before 2016"
    assert set(champion["2017":"2018-06"]) == {"har"}
    assert champion["2018-07":].iloc[-1] == "curve"
    assert (champion != champion.shift()).sum() == 3, "it entered once, and left once"


def test_the_bad_days_are_lived_until_they_are_known(rule):
    served = lived(rule)
    wide = served.loc["2018-06", "p95"] - served.loc["2018-06", "p05"]
    assert (wide > 1).all()


def test_the_baseline_serves_where_the_champion_has_no_forecast(rule):
    served = lived(rule)
    march = served.loc["2018-03"]
    assert march["served"].eq("curve").all() and march["champion"].eq("har").all() and march["p50"].notna().all()
    np.testing.assert_allclose(march["p95"], simulated(COUNT, width=1.9).set_index("date").loc["2018-03", "p95"])


def test_a_later_outcome_changes_no_earlier_choice(rule):
    def changed(oof: pd.DataFrame) -> pd.DataFrame:
        reached = oof["target_date"] >= "2018-09-01"
        return oof.assign(target_log_return=oof["target_log_return"].mask(reached, 9.0))

    later = {
        "har": changed(good_until("2018-06-01")),
        "curve": changed(simulated(COUNT, width=1.9)),
        "no_change": changed(simulated(COUNT, width=2.1)),
    }
    one, two = lived(rule), lived(rule, **later)
    names = ["champion", "served", *(column(level) for level in LEVELS)]
    pd.testing.assert_frame_equal(one.loc[:"2018-08", names], two.loc[:"2018-08", names])
    assert one.loc["2018-09":, "champion"].tolist() != two.loc["2018-09":, "champion"].tolist()


def test_without_skill_the_baseline_is_lived_and_the_naive_is_that_of_the_past(rule):
    assert set(lived(rule, har=simulated(COUNT, width=2.0))["champion"]) == {"curve"}
    oofs = {"curve": simulated(COUNT, width=1.9), "no_change": good_until("2014-01-01")}
    naive = naive_of_the_past(oofs, LEVELS, range(2013, 2016))
    assert naive.groupby(naive["date"].dt.year)["naive"].first().to_dict() == {
        2013: "no_change",
        2014: "no_change",
        2015: "curve",
    }
