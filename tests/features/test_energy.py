"""EIA weekly: by hand, and only what was known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features.energy import SAME_WEEK_DAYS, features
from tasks.features.rolling import observed_earlier


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    return pd.DataFrame(features(panel)).set_axis(panel["date"])


def test_distillate_in_the_spring_of_2022(built):
    """The week to 2022-04-22, out on Wednesday the 27th: 107,286 thousand bbl; the weeks before 108,735 and 111,399."""
    row = built.loc["2022-04-28"]
    usual = (139049 + 141972 + 127029 + 122729 + 150917) / 5  # the same week of 2021, 2020, 2019, 2018, 2017
    assert row["distillate_stocks_over_5y_pct"] == pytest.approx(100 * (107286 / usual - 1))
    assert row["distillate_stocks_over_5y_pct"] < -20, "the tightest distillate market in decades"
    assert row["distillate_stocks_change_1w_kbbl"] == 107286 - 108735
    before = built.loc["2022-04-26"]
    assert before["distillate_stocks_change_1w_kbbl"] == 108735 - 111399, "a Tuesday: the week before's report"


def test_changes_against_the_weekly_series_itself(built, staged):
    held = staged.by_source["eia"].observations
    weekly = held[held["series"] == "PET.WPULEUS3.W"].set_index("observation_date")["value"]
    change = weekly.diff(4)["2022-01-01":"2022-03-31"].set_axis(
        weekly["2022-01-01":"2022-03-31"].index + pd.Timedelta(days=6)  # Thursday: known, whatever the holiday
    )
    np.testing.assert_allclose(built["refinery_utilisation_change_4w_points"].reindex(change.index), change)


def test_a_delayed_report_does_not_turn_the_week_into_no_change():
    """Wednesday's report comes on Thursday: until then the row holds the week before, and its change is that week's."""
    days = pd.to_datetime(["2022-01-05", "2022-01-12", "2022-01-19", "2022-01-20"])
    panel = pd.DataFrame({"date": days, "x": [10.0, 13.0, 13.0, 18.0], "x__age_days": [5.0, 5.0, 12.0, 6.0]})
    assert (panel["x"] - observed_earlier(panel, "x", days=7)).tolist()[1:] == [3, 3, 5]


def test_a_week_that_is_not_there_is_missing_and_not_the_one_before_it():
    days = pd.to_datetime(["2022-01-05", "2022-01-19", "2022-01-26"])
    panel = pd.DataFrame({"date": days, "x": [10.0, 13.0, 18.0], "x__age_days": [5.0, 5.0, 5.0]})
    np.testing.assert_array_equal(observed_earlier(panel, "x", days=7), [np.nan, np.nan, 13])


def test_the_same_week_is_within_three_days_of_whole_years():
    assert all(days % 7 == 0 and abs(days - 365.25 * (k + 1)) < 4 for k, days in enumerate(SAME_WEEK_DAYS))


def test_missing_inputs_stay_missing(panel):
    less = panel.assign(distillate_stocks_kbbl=np.nan)
    built = features(less)
    assert all(built[name].isna().all() for name in built if name.startswith("distillate_stocks"))
    assert built["distillate_days_of_supply"].isna().all() and built["gasoline_stocks_over_5y_pct"].notna().any()


def test_features_do_not_change_when_later_rows_come(panel):
    whole = pd.DataFrame(features(panel))
    for rows in (2500, 5000):
        pd.testing.assert_frame_equal(pd.DataFrame(features(panel[:rows])), whole[:rows], check_exact=True)
