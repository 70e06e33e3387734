"""When an observation became known, from its date and the registry's rule for its series."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import at_clock, us_federal_holidays
from tasks.errors import RegistryError
from tasks.registry import Availability

WEEKDAYS = {"monday": 0, "tuesday": 1, "wednesday": 2, "thursday": 3, "friday": 4}


def known_at(dates: pd.DatetimeIndex, rule: Availability) -> pd.DatetimeIndex:
    """UTC instants at which observations of ``dates`` (naive, any order) were known.

    Invariants: never before the true release. Where the exact date is unknown the rule gives the latest date of its
    window, and holidays push a release to the next business day; being late is a loss, being early is a leak.
    """
    released = _release_dates(dates, rule)
    for delay in rule.delays:
        held_back = (dates >= pd.Timestamp(delay.first)) & (dates <= pd.Timestamp(delay.last))
        released = released.where(~held_back, pd.Timestamp(delay.released))
    return at_clock(released, rule.time, rule.timezone)


def _release_dates(dates: pd.DatetimeIndex, rule: Availability) -> pd.DatetimeIndex:
    days = dates.to_numpy().astype("datetime64[D]")
    holidays = us_federal_holidays()
    if rule.rule == "recorded":
        raise RegistryError("availability `recorded`: the payload itself must say when each value was released")
    if rule.rule == "same_day":
        return dates
    if rule.rule == "days_after":
        return dates + pd.Timedelta(days=rule.min_days)
    if rule.rule == "next_business_day":
        return pd.DatetimeIndex(np.busday_offset(days, 1, roll="backward", holidays=holidays)).as_unit("us")
    if rule.rule == "day_of_month":
        months = days.astype("datetime64[M]") + rule.months_after
        return pd.DatetimeIndex(months.astype("datetime64[D]") + (rule.day - 1)).as_unit("us")
    earliest = days + rule.min_days
    weekday = (earliest.astype("int64") + 3) % 7  # 1970-01-01 was a Thursday
    release = earliest + (WEEKDAYS[rule.weekday or "friday"] - weekday) % 7
    # a holiday between the observation and its release moves the release by a business day
    holidays_between = np.searchsorted(holidays, release, side="right") > np.searchsorted(holidays, days, side="left")
    shifted = np.busday_offset(release, 1, roll="backward", holidays=holidays)
    return pd.DatetimeIndex(np.where(holidays_between, shifted, release)).as_unit("us")
