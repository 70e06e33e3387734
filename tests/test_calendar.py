"""Sessions, instants and horizons, against the exchange's real days."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.calendar import (
    as_of_instant,
    as_of_instants,
    inauguration_days,
    last_finished_session,
    session_on_or_before,
    sessions,
    us_federal_holidays,
    usual_christmas_orders,
    year_end_eves,
)
from tasks.labels import target_date

DAYS = sessions("2000-03-15", "2023-12-29")


def test_5993_sessions_from_the_first_bar_of_zl_to_the_end_of_the_archive():
    assert len(DAYS) == 5993
    assert DAYS.is_monotonic_increasing and DAYS.is_unique
    assert (DAYS.dayofweek < 5).all()


@pytest.mark.parametrize(
    ("day", "held"),
    [
        ("2023-11-23", False),  # Thanksgiving
        ("2023-12-25", False),
        ("2023-12-26", True),
        ("2020-04-10", False),  # Good Friday
        ("2023-06-19", False),  # Juneteenth
        ("2019-06-19", True),
        ("2004-06-11", False),  # a day of mourning: Yahoo has a bar all the same
        ("2021-03-15", True),
    ],
)
def test_known_holidays_are_no_sessions(day, held):
    assert (pd.Timestamp(day) in sessions(day, day)) is held


def test_nearly_every_zl_bar_falls_on_a_session(staged):
    held = staged.observations
    bars = held[(held["series"] == "ZL=F") & (held["field"] == "close")]["observation_date"].drop_duplicates()
    off = sorted(f"{day:%Y-%m-%d}" for day in bars[~bars.isin(DAYS)])
    assert off == ["2004-06-11", "2005-11-24", "2006-11-23"], "the Sunday of 2002-02-24 is in quarantine"
    assert 5993 - bars.isin(DAYS).sum() == 113, "sessions without a bar stay sessions"


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        ("2023-03-10", "2023-03-11 00:00"),  # CST, the Friday before summer time
        ("2023-03-13", "2023-03-13 23:00"),  # CDT
        ("2023-11-03", "2023-11-03 23:00"),
        ("2023-11-06", "2023-11-07 00:00"),
    ],
)
def test_as_of_is_18_00_in_chicago_on_both_sides_of_the_clock_change(day, utc):
    assert as_of_instant(day) == pd.Timestamp(utc, tz="UTC")


def test_every_as_of_instant_is_18_00_in_chicago_and_later_than_the_one_before():
    instants = as_of_instants(DAYS)
    assert instants.is_monotonic_increasing and str(instants.dtype) == "datetime64[us, UTC]"
    local = instants.tz_convert("America/Chicago")
    assert (local.hour == 18).all() and (local.minute == 0).all()
    assert (local.tz_localize(None).normalize() == DAYS).all()


@pytest.mark.parametrize(
    ("day", "ahead", "target"),
    [
        ("2023-12-22", 5, "2024-01-02"),  # over Christmas and New Year: eleven calendar days
        ("2023-11-22", 1, "2023-11-24"),
        ("2022-12-28", 252, "2023-12-29"),
        ("2023-01-03", 21, "2023-02-02"),
    ],
)
def test_a_horizon_counts_sessions_never_calendar_days(day, ahead, target):
    assert target_date(pd.Timestamp(day), ahead) == pd.Timestamp(target)


@given(st.dates(pd.Timestamp("2000-01-10").date(), pd.Timestamp("2023-12-29").date()))
def test_the_session_on_or_before_a_day_is_the_nearest_one_not_after_it(day):
    found = session_on_or_before(pd.Timestamp(day))
    assert found <= pd.Timestamp(day)
    assert found in sessions(found, found)
    assert len(sessions(found + pd.Timedelta(days=1), day)) == 0


@pytest.mark.faults
@given(st.datetimes(pd.Timestamp("2001-01-10"), pd.Timestamp("2023-12-29")))
def test_the_last_finished_session_has_ended_and_the_next_one_has_not(moment):
    now = pd.Timestamp(moment, tz="UTC")
    found = last_finished_session(now)
    following = sessions(found)[1]
    assert as_of_instant(found) <= now < as_of_instant(following)


@given(
    st.dates(pd.Timestamp("2000-01-03").date(), pd.Timestamp("2023-12-29").date()),
    st.dates(pd.Timestamp("2000-01-03").date(), pd.Timestamp("2023-12-29").date()),
)
def test_both_ends_of_a_range_of_sessions_are_inclusive(one, other):
    first, last = sorted([pd.Timestamp(one), pd.Timestamp(other)])
    everything = sessions()
    assert list(sessions(first, last)) == [day for day in everything if first <= day <= last]


def test_a_year_ahead_is_always_known():
    assert len(sessions(pd.Timestamp.now().normalize())) > 300


def test_federal_holidays_are_observed_dates():
    days = set(us_federal_holidays().astype(str))
    assert {"2022-12-26", "2021-07-05", "2023-11-10"} <= days
    assert "2021-07-04" not in days


def days_in(year: int, days) -> list[str]:
    return [str(day) for day in days if str(day).startswith(str(year))]


def test_federal_holidays_come_from_the_rules_of_the_law_in_any_year():
    assert "2020-06-19" not in days_in(2020, us_federal_holidays()), "Juneteenth is a holiday since 2021"
    assert {"2021-06-18", "2021-12-24", "2021-12-31"} < set(days_in(2021, us_federal_holidays()))
    assert len(days_in(2099, us_federal_holidays())) == 11


def test_presidents_take_office_on_20_january_or_the_monday_after():
    assert days_in(2013, inauguration_days()) == ["2013-01-21"], "the 20th was a Sunday"
    assert days_in(2021, inauguration_days()) == ["2021-01-20"]
    assert days_in(2029, inauguration_days()) == [], "a Saturday"
    assert days_in(2033, inauguration_days()) == ["2033-01-20"]


def test_what_offices_do_about_christmas_depends_on_its_weekday():
    assert days_in(2029, year_end_eves()) == ["2029-12-24", "2029-12-31"]
    assert days_in(2029, usual_christmas_orders()) == ["2029-12-24"]
    assert days_in(2031, usual_christmas_orders()) == ["2031-12-26"]
    assert days_in(2032, usual_christmas_orders()) == []
