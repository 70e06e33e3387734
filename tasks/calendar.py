"""CBOT sessions, and the product's clock: horizons count sessions, the as_of of a session is 18:00 Chicago."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from tasks import clock

CHICAGO = "America/Chicago"
NEW_YORK = "America/New_York"
AS_OF_HOUR = 18
FIRST_SESSION = "2000-01-03"


@lru_cache(maxsize=1)
def _cbot() -> pd.DatetimeIndex:
    import pandas_market_calendars as market_calendars

    calendar = market_calendars.get_calendar("CBOT_Agriculture")
    last = clock.now().tz_convert(CHICAGO).tz_localize(None).normalize() + pd.DateOffset(years=2)
    return calendar.valid_days(FIRST_SESSION, last, tz=None).as_unit("us")


def sessions(first: str | pd.Timestamp = FIRST_SESSION, last: str | pd.Timestamp | None = None) -> pd.DatetimeIndex:
    """CBOT sessions from ``first`` to ``last`` inclusive, as naive midnights (unit us), known two years ahead."""
    days = _cbot()
    start = days.searchsorted(pd.Timestamp(first), side="left")
    stop = len(days) if last is None else days.searchsorted(pd.Timestamp(last), side="right")
    return days[start:stop]


def at_clock(dates: pd.DatetimeIndex, time: str, timezone: str) -> pd.DatetimeIndex:
    """``time`` ("HH:MM") of each naive date in ``timezone``, as UTC instants (unit us)."""
    hour, minute = (int(part) for part in time.split(":"))
    local = dates.as_unit("us") + pd.Timedelta(hours=hour, minutes=minute)
    return local.tz_localize(timezone, ambiguous=False, nonexistent="shift_forward").tz_convert("UTC")


def as_of_instants(days: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The as_of of each session, 18:00 America/Chicago, in UTC."""
    return at_clock(days, f"{AS_OF_HOUR:02d}:00", CHICAGO)


def as_of_instant(day: str | pd.Timestamp) -> pd.Timestamp:
    """The as_of of one date, 18:00 America/Chicago, in UTC."""
    return as_of_instants(pd.DatetimeIndex([pd.Timestamp(day)]))[0]


def session_on_or_before(day: str | pd.Timestamp) -> pd.Timestamp:
    """The last CBOT session not after ``day``."""
    return sessions(last=day)[-1]


def last_finished_session(now: pd.Timestamp | None = None) -> pd.Timestamp:
    """The last session whose 18:00 Chicago has passed (``now`` is UTC-aware, default the clock)."""
    instant = clock.now() if now is None else now
    days = sessions(last=instant.tz_convert(CHICAGO).tz_localize(None).normalize())
    return days[-1] if as_of_instants(days[-1:])[0] <= instant else days[-2]


@lru_cache(maxsize=1)
def us_federal_holidays() -> np.ndarray:
    """US federal holidays 1970 to 2100 as ``datetime64[D]`` (observed dates), by federal law."""
    from pandas.tseries.holiday import USFederalHolidayCalendar

    days = USFederalHolidayCalendar().holidays("1970-01-01", "2100-12-31")
    return days.to_numpy().astype("datetime64[D]")


@lru_cache(maxsize=1)
def inauguration_days() -> np.ndarray:
    """Inauguration days that are working days: 20 January, or the Monday after a Sunday. Washington is closed then."""
    days = [pd.Timestamp(year, 1, 20) for year in range(1973, 2101, 4)]
    days = [day + pd.Timedelta(days=1) if day.dayofweek == 6 else day for day in days]
    return np.array([day for day in days if day.dayofweek < 5], dtype="datetime64[D]")


@lru_cache(maxsize=1)
def year_end_eves() -> np.ndarray:
    """24 and 31 December where they are a Monday or Tuesday: few people work, and reports are released later."""
    days = [pd.Timestamp(year, 12, day) for year in range(1970, 2101) for day in (24, 31)]
    return np.array([day for day in days if day.dayofweek < 2], dtype="datetime64[D]")


@lru_cache(maxsize=1)
def usual_christmas_orders() -> np.ndarray:
    """Days around Christmas on which presidents often close offices: Monday or Tuesday the 24th, Friday the 26th."""
    days = [pd.Timestamp(year, 12, day) for year in range(1970, 2101) for day in (24, 26)]
    return np.array([day for day in days if day.dayofweek < 2 or (day.day, day.dayofweek) == (26, 4)], "datetime64[D]")


def days_outside(season: tuple[str, str], after: pd.Timestamp, until: pd.Timestamp) -> int:
    """How many days after ``after``, up to ``until``, are not in the ``season`` of their year.

    Args:
        season: its first and last day as MM-DD; one whose first is the later runs over the new year.
    """
    days = pd.date_range(after + pd.Timedelta(days=1), until).strftime("%m-%d")
    first, last = season
    inside = (days >= first) & (days <= last) if first <= last else (days >= first) | (days <= last)
    return int((~inside).sum())
