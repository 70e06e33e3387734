"""The panel: one row per CBOT session, every series as it was known at that session's as_of, 18:00 Chicago.

Only here is a value carried forward, and only as "the last known value", up to a maximum age.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.errors import RegistryError
from tasks.registry import JoinSpec

AGE = "__age_days"
DAY_US = 86_400_000_000
BLOCK = 8_192  # sessions joined at a time: temporary arrays fit the CPU cache
MORNING_US = DAY_US // 2  # noon UTC: within the date in Chicago, after the as-of of the evening before (00:00 UTC)


def as_known_at(observations: pd.DataFrame, cutoff: pd.Timestamp) -> pd.DataFrame:
    """The newest vintage of each observation published by ``cutoff``.

    Invariants: no row of the result has ``available_at`` after ``cutoff`` (prevents look-ahead).
    """
    published = observations[observations["available_at"] <= cutoff].sort_values(["available_at", "vintage"])
    return published.drop_duplicates(["source", "series", "observation_date", "field"], keep="last")


def last_known(
    observed: np.ndarray, available: np.ndarray, values: np.ndarray, instants: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each instant, the newest observation published by then, in its newest vintage published by then.

    Args:
        observed: observation dates (int64), available: publication instants (int64, same unit as ``instants``),
        values: float64; all of one length, ordered by (available, observed, vintage), ``observed`` never falling.
        instants: sorted.

    Returns:
        values and observation dates, one per instant; NaN and the smallest int64 if nothing was known yet.

    Invariants: only rows with ``available <= instant`` are used.
    """
    first, end = np.searchsorted(available, instants[[0, -1]], side="right")
    near = slice(max(first - 1, 0), end)  # the rows that some instant may show
    out, dates = np.empty(len(instants)), np.empty(len(instants), dtype="int64")
    if 2 * (near.stop - near.start) < len(instants):  # search the shorter array in the longer one
        published = np.bincount(np.searchsorted(instants, available[near]), minlength=len(instants)).cumsum()
    else:
        published = np.searchsorted(available[near], instants, side="right")
    at = published - 1
    since = int(np.searchsorted(at, 0))  # the first instant with a known value
    out[:since], dates[:since] = np.nan, np.iinfo(np.int64).min
    np.take(
        values[near], at[since:], out=out[since:], mode="clip"
    )  # all indices are valid; clip avoids a buffer in numpy
    np.take(observed[near], at[since:], out=dates[since:], mode="clip")
    return out, dates


def build_panel(observations: pd.DataFrame, spec: JoinSpec, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Join every declared column to the sessions from 2000 to ``as_of``: see ``panel_at``."""
    return panel_at(observations, spec, sessions(last=as_of))


def panel_at(observations: pd.DataFrame, spec: JoinSpec, days: pd.DatetimeIndex) -> pd.DataFrame:
    """Join every declared column to sessions.

    Args:
        observations: staged observations of every source (tasks/staging); rows known later are ignored.
        spec: registry/join_spec.yaml.
        days: the sessions, ascending.

    Returns:
        ``date``, ``as_of_instant`` (UTC), the columns in the order of the spec, then ``<column>__age_days``: calendar
        days from the value's own date to the session, also where the value is too old to be shown. Both are missing
        after the ``complete_until`` of a hand-kept table. Where a column has no value, its declared fallback is used,
        value and age (tasks/panel/summary.py reports where).

    Invariants: row t depends on observations with ``available_at <= as_of_instant(t)`` only.
    """
    instants = as_of_instants(days)
    stamps = instants.as_unit("us").asi8
    by_series = _arrays(observations, spec, until=int(stamps[-1]))
    names = [column for join in spec.joins for column in join.columns]
    table = np.empty((2 * len(names), len(days)))  # values, then ages: the panel itself, never copied
    place = 0
    for join in spec.joins:
        for column, target in join.columns.items():
            value, age = table[place], table[len(names) + place]
            _join(
                by_series.get((join.source, *split_target(target), join.in_force)),
                join.max_age_days,
                days,
                stamps,
                value,
                age,
            )
            if (other := join.fallbacks.get(column)) is not None:
                spare_arrays = by_series.get((other.source, *split_target(other.target), join.in_force))
                spare, spare_age = np.empty(len(days)), np.empty(len(days))
                _join(spare_arrays, other.max_age_days, days, stamps, spare, spare_age)
                stands_in = np.isnan(value) & ~np.isnan(spare)
                value[stands_in], age[stands_in] = spare[stands_in], spare_age[stands_in]
            if column in join.complete_until:
                after = days.searchsorted(pd.Timestamp(join.complete_until[column]), side="right")
                value[after:] = age[after:] = np.nan
            place += 1
    panel = pd.DataFrame(table.T, columns=[*names, *(name + AGE for name in names)], copy=False)
    panel.insert(0, "date", days)
    panel.insert(1, "as_of_instant", instants)
    return panel


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def _join(
    arrays: Arrays | None,
    max_age_days: int,
    days: pd.DatetimeIndex,
    stamps: np.ndarray,
    value: np.ndarray,
    age: np.ndarray,
) -> None:
    """Write one series as known at each session into ``value`` and ``age``; missing if it is too old."""
    if arrays is None:
        value[:] = age[:] = np.nan
        return
    midnights = days.as_unit("us").asi8
    for first in range(0, len(days), BLOCK):
        block = slice(first, first + BLOCK)
        known, dates = last_known(*arrays, stamps[block])
        np.divide(midnights[block] - dates, DAY_US, out=age[block])
        np.copyto(age[block], np.nan, where=np.isnan(known))
        value[block] = np.where(age[block] <= max_age_days, known, np.nan)


def _arrays(observations: pd.DataFrame, spec: JoinSpec, *, until: int) -> dict[tuple[str, str, str, bool], Arrays]:
    """Each wanted series' (observed, available, values), ordered by publication, or by its date if that is later.

    Staged observations are ordered by series and date. So a series is read in place, and sorted only if a late revision
    or an announcement makes it necessary: the cost is one pass over the rows.
    """
    if observations["available_at"].dt.unit != "us" or observations["observation_date"].dt.unit != "us":
        raise RegistryError("observations must hold microsecond timestamps; stage them with tasks.staging")
    stamps, dates = (pd.DatetimeIndex(observations[name]).asi8 for name in ("available_at", "observation_date"))
    values, vintages = observations["value"].to_numpy(), observations["vintage"].to_numpy()
    wanted = {
        (join.source, *split_target(target), join.in_force) for join in spec.joins for target in join.columns.values()
    }
    wanted |= {
        (other.source, *split_target(other.target), join.in_force)
        for join in spec.joins
        for other in join.fallbacks.values()
    }
    rows_of = _rows_by_series(observations, {key[:3] for key in wanted})
    arrays = {}
    for key in wanted:
        rows, in_force = rows_of.get(key[:3]), key[3]
        if rows is None:
            continue
        available, observed, vintage, value = stamps[rows], dates[rows], vintages[rows], values[rows]
        available = np.maximum(available, observed + MORNING_US) if in_force else available
        if not _in_order(available, observed, vintage):
            order = np.lexsort((vintage, observed, available))
            available, observed, value = available[order], observed[order], value[order]
        published = np.searchsorted(available, until, side="right")
        observed, available, value = observed[:published], available[:published], value[:published]
        if (observed[1:] < observed[:-1]).any():  # a late revision of an older observation does not replace a newer one
            newest = observed >= np.maximum.accumulate(observed)
            observed, available, value = observed[newest], available[newest], value[newest]
        if published:
            arrays[key] = (observed, available, value)
    return arrays


def _rows_by_series(
    observations: pd.DataFrame, wanted: set[tuple[str, str, str]]
) -> dict[tuple[str, str, str], slice | np.ndarray]:
    """The rows of each wanted (source, series, field): a slice if they are contiguous, else their positions."""
    keys = [observations[name].astype("category").cat for name in ("source", "series", "field")]
    codes = [key.codes.to_numpy() for key in keys]
    begins = np.zeros(len(observations), dtype=bool)
    begins[:1] = True
    for code in codes:
        begins[1:] |= code[1:] != code[:-1]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(observations))
    numbers = [{name: number for number, name in enumerate(key.categories, start=1)} for key in keys]
    sizes = [len(known) + 1 for known in numbers]  # one more for rows without a name
    of_runs = [code[starts].astype("int64") + 1 for code in codes]
    run_codes = np.ravel_multi_index(of_runs, sizes) if len(starts) else starts
    order = np.argsort(run_codes, kind="stable")
    run_codes, starts, ends = run_codes[order], starts[order], ends[order]
    found: dict[tuple[str, str, str], slice | np.ndarray] = {}
    for key in wanted:
        places = [known.get(name, 0) for known, name in zip(numbers, key, strict=True)]
        if min(places) == 0:
            continue
        number = int(np.ravel_multi_index(places, sizes))
        first, last = np.searchsorted(run_codes, number), np.searchsorted(run_codes, number, side="right")
        if last - first == 1:
            found[key] = slice(starts[first], ends[first])
        elif last > first:
            lengths = ends[first:last] - starts[first:last]
            before = np.cumsum(lengths) - lengths
            found[key] = np.arange(lengths.sum()) + np.repeat(starts[first:last] - before, lengths)
    return found


def _in_order(available: np.ndarray, observed: np.ndarray, vintage: np.ndarray) -> bool:
    """Whether rows are ordered by (available, observed, vintage)."""
    earlier, later = slice(None, -1), slice(1, None)
    tied = np.arange(0)
    for place, values in enumerate((available, observed, vintage)):
        before, after = (values[earlier], values[later]) if place == 0 else (values[tied], values[tied + 1])
        if (after < before).any():
            return False
        same = np.flatnonzero(after == before)
        tied = same if place == 0 else tied[same]
        if not len(tied):
            break
    return True


def split_target(target: str) -> tuple[str, str]:
    """Series and field of a join's `series.field`."""
    series, _, field = target.rpartition(".")
    return series, field


def value_columns(panel: pd.DataFrame) -> list[str]:
    """The panel's value columns, without keys and ages."""
    return [c for c in panel.columns if c not in ("date", "as_of_instant") and not c.endswith(AGE)]
