"""When an observation became known: from its date, its series' rule and the release calendar.

Closed days are in registry/release_calendar.yaml or follow a rule of tasks/calendar.py; there are no dates here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import pandas as pd

from tasks.calendar import at_clock, inauguration_days, us_federal_holidays, usual_christmas_orders, year_end_eves
from tasks.errors import RegistryError
from tasks.registry import Availability
from tasks.registry.release_calendar import ReleaseDays

WEEKDAYS = {"monday": 0, "tuesday": 1, "wednesday": 2, "thursday": 3, "friday": 4}
NEW_YEAR_FROM, NEW_YEAR_BY = 18, 7
"""A release that is due from 18 December on may be as late as 7 January (releases with ``new_year``)."""


def known_at(dates: pd.DatetimeIndex, rule: Availability) -> pd.DatetimeIndex:
    """UTC instants at which observations of ``dates`` (naive, any order) were known.

    Invariants: never before the true release. If the exact date is unknown, the rule gives the latest date of its
    window, and closed days delay a release. Too late is a loss; too early is a leak.
    """
    due = _due_dates(dates, rule)
    released = due
    for hold in rule.calendar.holds:
        waits = (due >= pd.Timestamp(hold.first)) & (due < pd.Timestamp(hold.released))
        released = released.where(~waits, pd.Timestamp(hold.released))
    for delay in (*rule.calendar.late, *rule.delays):
        concerned = (dates >= pd.Timestamp(delay.first)) & (dates <= pd.Timestamp(delay.last))
        given = pd.Timestamp(delay.released)
        released = released.where(~concerned, due.where(due > given, given))
    return at_clock(released, rule.time, rule.timezone)


def _due_dates(dates: pd.DatetimeIndex, rule: Availability) -> pd.DatetimeIndex:
    """The day on which each release is due, after all closed days."""
    days = dates.to_numpy().astype("datetime64[D]")
    if rule.rule == "recorded":
        raise RegistryError("availability `recorded`: the payload itself must say when each value was released")
    if rule.rule == "same_day":
        return dates
    if rule.rule == "days_after":
        return dates + pd.Timedelta(days=rule.min_days)
    if rule.rule == "day_of_month":
        months = days.astype("datetime64[M]") + rule.months_after
        return pd.DatetimeIndex(months.astype("datetime64[D]") + (rule.day - 1)).as_unit("us")
    closed = _closed_days(rule.calendar)
    if rule.rule == "next_business_day":
        due = np.busday_offset(days, rule.min_days, roll="backward", holidays=closed.every)
    else:
        earliest = days + rule.min_days
        weekday = (earliest.astype("int64") + 3) % 7  # 1970-01-01 was a Thursday
        due = _put_off(days, earliest + (WEEKDAYS[rule.weekday or "friday"] - weekday) % 7, closed, rule.calendar)
    return pd.DatetimeIndex(_cleared_by_new_year(due, closed) if rule.calendar.new_year else due).as_unit("us")


@dataclass(frozen=True)
class _ClosedDays:
    """Closed working days, each sorted: legal holidays, those known in advance, all of them."""

    lawful: np.ndarray
    planned: np.ndarray
    every: np.ndarray

    @property
    def exceptional(self) -> np.ndarray:
        """Those that are not legal holidays."""
        return np.setdiff1d(self.every, self.lawful)


@lru_cache(maxsize=64)
def _closed_days(calendar: ReleaseDays) -> _ClosedDays:
    lawful = us_federal_holidays()
    planned = [lawful, _days(calendar.mourning), _days(calendar.ordered)]
    if calendar.washington:
        planned.append(inauguration_days())
    if calendar.eves:
        planned.append(year_end_eves())
    if calendar.complete_until is not None:  # later orders are not recorded: presume the usual ones
        usual = usual_christmas_orders()
        planned.append(usual[usual > np.datetime64(calendar.complete_until)])
    known = np.unique(np.concatenate(planned))
    return _ClosedDays(lawful, known, np.unique(np.concatenate([known, _days(calendar.weather)])))


def _days(days: tuple[date, ...]) -> np.ndarray:
    return np.array(days, dtype="datetime64[D]")


def _put_off(days: np.ndarray, due: np.ndarray, closed: _ClosedDays, calendar: ReleaseDays) -> np.ndarray:
    """Delay a release by one working day per planned closed day since the observation, at least one for weather.

    A closed observation day counts too: its reports are collected later.
    """
    if calendar.slips == "week":
        moved = _later(due, _between(closed.lawful, days, due), closed.lawful)
        due = np.where(_between(closed.exceptional, days, moved) > 0, due + 7, due)
    lost = _between(closed.planned, days + 1, due)
    lost = np.maximum(lost, _between(closed.every, days, due) > 0)
    return np.where(lost > 0, _later(due, lost, closed.every), due)


def _between(closed: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """How many closed days lie from ``first`` to ``last``, both included."""
    return np.searchsorted(closed, last, side="right") - np.searchsorted(closed, first, side="left")


def _later(due: np.ndarray, working_days: np.ndarray, closed: np.ndarray) -> np.ndarray:
    return np.busday_offset(due, working_days, roll="backward", holidays=closed)


def _cleared_by_new_year(due: np.ndarray, closed: _ClosedDays) -> np.ndarray:
    """If Christmas is a Tuesday, Wednesday or Thursday, releases due around New Year are due by 7 January."""
    december = (due + 32 - NEW_YEAR_FROM).astype("datetime64[Y]").astype(
        "datetime64[M]"
    ) - 1  # of the winter that a date lies in
    christmas = december.astype("datetime64[D]") + 24
    in_midweek = np.isin((christmas.astype("int64") + 3) % 7, (1, 2, 3))
    first, by = december.astype("datetime64[D]") + (NEW_YEAR_FROM - 1), christmas + (7 + NEW_YEAR_BY - 1)
    by = np.busday_offset(by, 0, roll="forward", holidays=closed.every)
    return np.where(in_midweek & (due >= first) & (due < by), by, due)
