"""WASDE and crop progress: numbers as printed, worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features.supply_demand import export_pace, features
from tasks.panel.wasde import columns, wasde_known


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    return pd.DataFrame(features(panel)).set_axis(panel["date"])


@pytest.mark.parametrize(
    ("day", "name", "value"),
    [
        # US soybean oil 2022/23: May 1,706 of 27,200 million lb; June 1,681 of 27,200
        ("2022-05-12", "wasde_us_soybean_oil_stocks_to_use_pct", 100 * 1706 / 27200),
        ("2022-06-10", "wasde_us_soybean_oil_stocks_to_use_revision_points", 100 * (1681 - 1706) / 27200),
        ("2022-06-09", "wasde_us_soybean_oil_stocks_to_use_pct", 100 * 1706 / 27200),
        # against 2021/22 as the June report has it: 1,951 of 26,785
        ("2022-06-10", "wasde_us_soybean_oil_stocks_to_use_year_change_points", 100 * (1681 / 27200 - 1951 / 26785)),
        # in May the revision is of the old crop, 2021/22 on both sides: soybeans 260 to 235 million bu, China 91 to 92
        ("2022-05-12", "wasde_us_soybeans_ending_stocks_revision_pct", 100 * (235 / 260 - 1)),
        ("2022-05-12", "wasde_us_soybeans_ending_stocks_year_change_pct", 100 * (310 / 235 - 1)),
        ("2022-05-12", "wasde_china_soybeans_imports_revision_pct", 100 * (92 / 91 - 1)),
        ("2022-07-12", "wasde_china_soybeans_imports_revision_pct", 100 * (98 / 99 - 1)),
        # biofuel takes 12,000 of 27,200 million lb
        ("2022-05-12", "wasde_us_soybean_oil_biofuel_share_pct", 100 * 12000 / 27200),
        ("2022-05-11", "wasde_days_since_report", 33),
        ("2022-05-12", "wasde_days_since_report", 0),
        # no report in October 2013: November against September is the next report all the same
        ("2013-11-07", "wasde_days_since_report", 56),
        # soybeans planted by 2019-05-26: 29%, five-year average 66%; published on the Tuesday after Memorial Day
        ("2019-05-28", "us_soybeans_planted_over_5y_points", 29 - 66),
        ("2019-06-03", "us_soybeans_planted_over_5y_points", 39 - 79),
    ],
)
def test_numbers_as_printed(built, day, name, value):
    assert built.at[pd.Timestamp(day), name] == pytest.approx(value)


def test_what_a_report_leaves_out_is_missing_and_not_unchanged(built):
    """The reports of May to October 2012 have no line of biofuel use."""
    biofuel = built.filter(like="biofuel")
    assert biofuel["2012-05-10":"2012-11-08"].isna().all(axis=None)
    assert biofuel["2012-12-11":"2013-01-10"].notna().all(axis=None)


def test_progress_is_known_from_its_release_and_forgotten_after_the_season(built):
    planted = built["us_soybeans_planted_over_5y_points"]
    assert planted[pd.Timestamp("2019-05-24")] != 29 - 66
    assert planted["2018-09-01":"2019-04-01"].isna().all() and planted["2020-01-01":].isna().all()


def test_two_single_reports_years_apart_are_no_revision_and_grow_old(built):
    """The archive has the reports of 1995-06 and 2005-06 alone before 2010-04."""
    early = built[:"2010-05-10"]
    assert early.filter(like="revision").isna().all(axis=None)
    share = early["wasde_us_soybean_oil_stocks_to_use_pct"]
    assert share["2005-06-10":"2005-08-19"].notna().all() and share["2005-08-20":"2010-04-08"].isna().all()


def small_report(day: str, year: int, **values: float) -> list[dict]:
    series = {"stocks": "soybean_oil.us.ending_stocks", "use": "soybean_oil.us.total_use"}
    moment = pd.Timestamp(f"{day} 16:00", tz="UTC")
    return [
        {"series": series[k], "observation_date": pd.Timestamp(year, 10, 1), "value": v, "available_at": moment}
        for k, v in values.items()
    ]


def small(*reports: list[dict]) -> pd.DataFrame:
    rows = pd.DataFrame([row for report in reports for row in report])
    vintage = rows.groupby(["series", "observation_date"]).cumcount() + 1
    rows = rows.assign(source="usda_wasde", vintage=vintage, observation_date=rows["observation_date"].dt.as_unit("us"))
    return rows.astype({"series": "category", "available_at": "datetime64[us, UTC]"})


def at(observations: pd.DataFrame, *days: str) -> pd.DataFrame:
    sessions = pd.Series(pd.DatetimeIndex(days)).astype("datetime64[us]")
    return wasde_known(observations, sessions, sessions.dt.tz_localize("UTC") + pd.Timedelta(hours=23))


def test_an_unchanged_number_is_a_revision_of_zero_and_a_new_year_is_none_of_its_own():
    held = small(
        small_report("2022-04-08", 2021, stocks=100.0, use=1000.0),
        small_report("2022-05-12", 2022, stocks=50.0, use=1000.0) + small_report("2022-05-12", 2021, use=800.0),
        small_report("2022-06-10", 2022, use=500.0),
    )
    told = at(held, "2022-04-08", "2022-05-12", "2022-06-10", "2022-08-30")
    ratio = "wasde.soybean_oil.us.stocks_to_use"
    np.testing.assert_allclose(told[ratio], [10, 5, 10, np.nan])
    np.testing.assert_allclose(told[f"{ratio}.revision"], [np.nan, 12.5 - 10, 10 - 5, np.nan])
    np.testing.assert_allclose(told[f"{ratio}.year_change"], [np.nan, 5 - 12.5, 10 - 12.5, np.nan])
    np.testing.assert_allclose(told["wasde.soybean_oil.us.ending_stocks.revision"], [np.nan, 0, 0, np.nan])


def test_without_reports_everything_is_missing():
    none = small(small_report("2022-04-08", 2021, stocks=100.0)).iloc[:0]
    told = at(none, "2022-05-12")
    assert list(told) == columns() and told.isna().all(axis=None)


def test_a_missing_report_leaves_the_features_missing(panel):
    alone = panel.assign(**{c: np.nan for c in panel if c.startswith(("wasde_", "us_soybeans_"))})
    assert pd.DataFrame(features(alone)).isna().all(axis=None)


def test_features_do_not_change_when_later_rows_come(panel):
    whole = pd.DataFrame(features(panel))
    for rows in (3000, 5000):
        pd.testing.assert_frame_equal(pd.DataFrame(features(panel[:rows])), whole[:rows], check_exact=True)


def test_export_pace_is_against_the_same_week_of_the_year_before():
    """Made by hand: the archive's only weeks of export sales are of 2026."""
    weeks = pd.date_range("2021-09-02", periods=60, freq="7D")
    panel = pd.DataFrame(
        {
            "date": weeks + pd.Timedelta(days=7),
            "us_soybean_oil_commitment_kt": np.arange(60) + 100.0,
            "us_soybean_oil_china_commitment_kt": 10.0,
            "us_soybean_oil_commitment_kt__age_days": 7.0,
        }
    )
    pace = export_pace(panel, "soybean_oil")
    assert pace["us_soybean_oil_export_pace_pct"][:52].isna().all()
    assert pace["us_soybean_oil_export_pace_pct"][52] == pytest.approx(100 * (152 / 100 - 1))
    assert pace["us_soybean_oil_china_share_of_commitment"][0] == pytest.approx(0.1)
