"""When a value became known. Late is a loss, early is a leak."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.panel.join import as_known_at
from tasks.registry import Availability
from tasks.registry.release_calendar import ReleaseDays
from tasks.staging.availability import known_at


def known(registry, source: str, series: str, day: str, zone: str = "America/New_York") -> str:
    spec = registry.sources.source(source)
    rule = spec.series[series].availability or spec.availability
    return f"{known_at(pd.DatetimeIndex([day]), rule)[0].tz_convert(zone):%Y-%m-%d %H:%M}"


COT = "6dca-aqww.007601"


@pytest.mark.parametrize(
    ("source", "series", "day", "expected"),
    [
        ("cftc", COT, "2022-04-26", "2022-04-29 15:30"),  # Tuesday, Friday
        ("cftc", COT, "2022-11-22", "2022-11-28 15:30"),  # Thanksgiving on Thursday: Monday
        ("cftc", COT, "2022-11-08", "2022-11-14 15:30"),  # Veterans Day on Friday: Monday
        ("cftc", COT, "2018-12-24", "2019-03-08 15:30"),  # shutdown
        ("cftc", COT, "2019-01-29", "2019-03-08 15:30"),
        ("cftc", COT, "2018-12-18", "2018-12-21 15:30"),  # the last report before it
        ("cftc", COT, "2019-03-05", "2019-03-08 15:30"),
        ("cftc", COT, "2023-02-07", "2023-03-24 15:30"),
        ("fred", "DGS10", "2022-04-27", "2022-04-28 09:00"),
        ("fred", "DGS10", "2022-04-29", "2022-05-02 09:00"),  # Friday, Monday
        ("fred", "DFF", "2022-04-30", "2022-05-02 09:00"),  # Saturday
        ("fred", "DGS10", "2022-07-01", "2022-07-05 09:00"),  # over Independence Day
        ("fred", "DGS10", "2022-03-11", "2022-03-14 09:00"),  # over the clock change
        ("fred", "CPIAUCSL", "2022-03-01", "2022-04-26 08:30"),
        ("fred", "CPIAUCSL", "2015-01-01", "2015-02-26 08:30"),
        ("fred", "PAYEMS", "2013-09-01", "2013-10-22 08:30"),
        ("fred", "CPIAUCSL", "2022-12-01", "2023-01-26 08:30"),
        ("fred", "PCEPI", "2022-03-01", "2022-05-01 08:30"),
        ("fred", "NFCI", "2022-04-22", "2022-04-27 08:30"),
        ("fred", "ICSA", "2022-04-23", "2022-04-28 08:30"),
        ("cftc", COT, "2025-01-07", "2025-01-13 15:30"),  # the Thursday was a day of mourning
        ("cftc", COT, "2017-03-28", "2017-04-04 15:30"),  # corrected, and held as corrected
        ("cftc_disagg", "72hh-3qpy.005602", "2017-01-17", "2017-01-23 15:30"),  # inauguration on the Friday
        ("eia", "PET.WDISTUS1.W", "2010-01-29", "2010-02-03 10:30"),
        ("eia", "PET.WDISTUS1.W", "2010-02-05", "2010-02-12 10:30"),  # snow
        ("eia", "PET.WDISTUS1.W", "2012-10-26", "2012-11-01 10:30"),  # Sandy
        ("eia", "PET.WDISTUS1.W", "2013-10-11", "2013-10-21 10:30"),  # shutdown
        ("eia", "PET.WDISTUS1.W", "2018-11-30", "2018-12-06 10:30"),  # day of mourning
        ("eia", "PET.WDISTUS1.W", "2021-01-15", "2021-01-22 10:30"),  # two holidays in one week
        ("eia", "PET.WDISTUS1.W", "2021-01-22", "2021-01-27 10:30"),
        ("fred", "DHHNGSP", "2013-10-14", "2013-10-23 17:00"),  # EIA was closed: a late date
        ("fred", "DHHNGSP", "2013-10-15", "2013-10-23 17:00"),
        ("fred", "RSAFS", "2018-12-01", "2019-02-14 08:30"),  # shutdown
        ("fred", "HOUST", "2019-01-01", "2019-03-08 08:30"),
        ("fred", "PCEPI", "2019-02-01", "2019-04-29 08:30"),
        ("fred", "INDPRO", "2013-09-01", "2013-10-28 08:30"),
        ("noaa", "oni.ascii", "2022-01-01", "2022-03-10 09:00"),  # DJF ends in February
        ("eia", "PET.WDISTUS1.W", "2023-11-03", "2023-11-15 10:30"),  # EIA renewed its systems
        ("eia", "PET.WDISTUS1.W", "2023-10-27", "2023-11-01 10:30"),
        ("eia", "PET.WDISTUS1.W", "2025-11-28", "2025-12-05 10:30"),  # a technical failure
        ("eia", "PET.WDISTUS1.W", "2006-12-29", "2007-01-05 10:30"),  # New Year, then a day of mourning
        ("fred", "DCOILWTICO", "2023-10-31", "2023-11-16 17:00"),  # the same renewal; a late date
        ("fred", "GASREGW", "2023-11-06", "2023-11-16 17:00"),
        ("cftc", COT, "2004-06-08", "2004-06-14 15:30"),  # days of mourning
        ("cftc", COT, "2007-01-02", "2007-01-08 15:30"),
        ("cftc", COT, "2018-12-04", "2018-12-10 15:30"),
        ("cftc_disagg", "72hh-3qpy.007601", "2018-12-04", "2018-12-10 15:30"),
        ("usda_fas", "902.all", "2018-11-29", "2018-12-07 08:30"),
        ("usda_fas", "902.all", "2025-01-02", "2025-01-10 08:30"),
        ("fred", "DGS10", "2018-12-04", "2018-12-06 09:00"),
        ("cftc", COT, "2021-01-19", "2021-01-25 15:30"),  # inauguration on the Wednesday
        ("cftc", COT, "2021-06-15", "2021-06-21 15:30"),  # the first Juneteenth
        ("cftc", COT, "2013-03-05", "2013-03-11 15:30"),  # snow
        ("cftc", COT, "2012-10-30", "2012-11-05 15:30"),  # Sandy
        ("fred", "UMCSENT", "2023-10-01", "2023-12-01 10:00"),  # FRED holds a month back
        ("fred", "ICSA", "2025-09-27", "2025-11-28 08:30"),  # shutdown
        ("fred", "GDP", "2025-07-01", "2026-04-30 08:30"),
        ("fred", "PPIACO", "2025-12-01", "2026-02-28 08:30"),
        ("fred", "RSAFS", "2025-12-01", "2026-03-31 08:30"),
        ("fred", "UNRATE", "2026-01-01", "2026-02-13 08:30"),
        ("bls", "LNS14000000", "2013-09-01", "2013-10-22 08:30"),
        ("usda_nass", "soybeans.crush", "2018-11-01", "2019-03-15 15:00"),
        ("usda_nass", "soybeans.progress.planted", "2013-10-06", "2013-10-22 16:00"),
        ("ghcnd", "ghcnd.USW00014933", "2018-12-24", "2019-01-29 07:00"),
        ("ghcnd", "ghcnd.USW00014933", "2018-12-19", "2018-12-21 07:00"),
    ],
)
def test_a_value_is_known_when_its_release_was(registry, source, series, day, expected):
    assert known(registry, source, series, day) == expected


@pytest.mark.parametrize(
    ("day", "utc"),
    [("2022-03-11", "2022-03-12 00:00"), ("2022-03-14", "2022-03-14 23:00"), ("2022-11-07", "2022-11-08 00:00")],
)
def test_a_bar_is_known_at_18_00_chicago_in_winter_and_in_summer(registry, day, utc):
    assert known(registry, "yahoo", "ZL=F", day, "UTC") == utc


def test_a_tuesday_report_is_unknown_until_friday_15_30_new_york(staged):
    cot = staged.observations[(staged.observations["series"] == COT)]
    before = as_known_at(cot, pd.Timestamp("2022-04-29 15:29:59", tz="America/New_York"))
    after = as_known_at(cot, pd.Timestamp("2022-04-29 15:30", tz="America/New_York"))
    assert before["observation_date"].max() == pd.Timestamp("2022-04-19")
    assert after["observation_date"].max() == pd.Timestamp("2022-04-26")


def test_cpi_of_a_month_is_unknown_in_that_month(staged):
    held = staged.observations
    cpi = held[(held["series"] == "CPIAUCSL") & (held["vintage"] == 1)]
    month_end = (cpi["observation_date"] + pd.offsets.MonthEnd()).dt.tz_localize("UTC")
    assert (cpi["available_at"] > month_end + pd.Timedelta(days=10)).all()


@pytest.mark.parametrize(
    ("source", "series", "day", "expected"),
    [
        ("cftc", COT, "2030-06-18", "2030-06-24 15:30"),  # Juneteenth on a Wednesday
        ("cftc", COT, "2033-01-18", "2033-01-24 15:30"),  # inauguration on a Thursday
        ("cftc", COT, "2031-12-23", "2031-12-30 15:30"),  # Christmas on a Thursday: presidents like to add the 26th
        ("eia", "PET.WDISTUS1.W", "2029-12-21", "2029-12-28 10:30"),  # Christmas on a Tuesday
        ("eia", "PET.WDISTUS1.W", "2029-12-28", "2030-01-04 10:30"),
        ("fred", "DCOILWTICO", "2029-12-24", "2030-01-07 17:00"),
        ("fred", "DGS10", "2032-01-16", "2032-01-20 09:00"),  # Martin Luther King
        ("fred", "DGS10", "2049-06-17", "2049-06-21 09:00"),  # Juneteenth on a Saturday, kept on the Friday
    ],
)
def test_holidays_to_come_need_no_row_in_any_table(registry, source, series, day, expected):
    assert known(registry, source, series, day) == expected


def test_a_release_that_came_late_is_unseen_until_then(staged):
    """EIA's week ended 2023-11-03, the commitments of 2018-12-04 and Michigan's October 2023, at the sessions about."""
    held = staged.observations
    for series, session, newest in [
        ("PET.WDISTUS1.W", "2023-11-08", "2023-10-27"),
        ("PET.WDISTUS1.W", "2023-11-14", "2023-10-27"),
        ("PET.WDISTUS1.W", "2023-11-15", "2023-11-03"),
        ("PET.WDISTUS1.W", "2023-11-16", "2023-11-10"),
        (COT, "2018-12-07", "2018-11-27"),
        (COT, "2018-12-10", "2018-12-04"),
        ("UMCSENT", "2023-11-30", "2023-09-01"),
        ("UMCSENT", "2023-12-01", "2023-10-01"),
        ("DHHNGSP", "2023-11-15", "2023-10-30"),
    ]:
        of = held[held["series"] == series]
        seen = as_known_at(of, pd.Timestamp(f"{session} 18:00", tz="America/Chicago"))
        assert f"{seen['observation_date'].max():%Y-%m-%d}" == newest, (series, session)


def test_the_panel_shows_a_late_release_from_its_release_on(panel):
    age = panel.set_index("date")
    assert age.loc["2018-12-07", "cot_zl_open_interest__age_days"] == 10, "of 27 November"
    assert age.loc["2018-12-10", "cot_zl_open_interest__age_days"] == 6, "of 4 December"
    assert age.loc["2023-11-30", "umcsent__age_days"] == 90
    assert age.loc["2023-12-01", "umcsent__age_days"] == 61


WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday"]
RULES = st.one_of(
    st.builds(lambda time: {"rule": "next_business_day", "time": time}, st.sampled_from(["00:00", "09:00"])),
    st.builds(
        lambda day, least, time: {"rule": "weekday_after", "weekday": day, "min_days": least, "time": time},
        st.sampled_from(WEEKDAYS),
        st.integers(1, 9),
        st.sampled_from(["02:30", "15:30"]),
    ),
    st.builds(
        lambda months, day: {"rule": "day_of_month", "months_after": months, "day": day, "time": "08:30"},
        st.integers(1, 3),
        st.integers(1, 28),
    ),
)


@given(RULES, st.dates(pd.Timestamp("1990-01-01").date(), pd.Timestamp("2030-12-31").date()))
def test_no_rule_makes_a_value_known_on_its_own_date_or_on_a_weekend(rule, day):
    rule = Availability(timezone="America/New_York", **rule)
    days = pd.date_range(day, periods=10, unit="us")
    at = known_at(days, rule)
    assert (at >= (days + pd.Timedelta(days=1)).tz_localize("America/New_York")).all()
    if rule.rule != "day_of_month":
        local = at.tz_convert("America/New_York")
        assert (local.dayofweek < 5).all()


def test_every_registered_rule_is_later_than_the_value_it_dates(registry):
    days = pd.date_range("2000-01-01", "2023-12-31", unit="us")
    for source in registry.sources.sources.values():
        for name, spec in source.series.items():
            rule = spec.availability or source.availability
            if rule.rule == "recorded":  # the payload says when
                continue
            at = known_at(days, rule)
            # a market's day ends at six in the evening; a gazette is out, whole, in the morning it is dated
            same_day = pd.Timedelta(hours=8, minutes=45) if source.kind == "documents" else pd.Timedelta(hours=18)
            floor = days + (same_day if rule.rule == "same_day" else pd.Timedelta(days=1))
            begins = floor.tz_localize(rule.timezone, nonexistent="shift_forward")  # midnight is skipped in Sao Paulo
            assert (at >= begins).all(), name


@pytest.mark.parametrize(
    ("day", "weekday", "calendar", "known_on"),
    [
        # due on Friday the 3rd; New Year delays it by a day, a Monday or Tuesday eve by one more where eves count
        ("2013-12-30", "friday", {}, "2014-01-06"),
        ("2013-12-30", "friday", {"eves": True}, "2014-01-07"),
        # due on the 26th; Christmas delays it by a day, the Monday before too where nobody has written down orders yet
        ("2029-12-21", "wednesday", {"complete_until": "2027-06-30"}, "2029-12-28"),
        ("2029-12-21", "wednesday", {"complete_until": "2035-06-30"}, "2029-12-27"),
        ("2029-12-21", "wednesday", {}, "2029-12-27"),
    ],
)
def test_eves_and_usual_orders_delay_a_release_only_where_they_count(day, weekday, calendar, known_on):
    rule = Availability(
        rule="weekday_after",
        weekday=weekday,
        min_days=1,
        time="12:00",
        timezone="UTC",
        calendar=ReleaseDays(**calendar),
    )
    (at,) = known_at(pd.DatetimeIndex([pd.Timestamp(day)]).as_unit("us"), rule)
    assert f"{at:%Y-%m-%d}" == known_on
