"""The panel: one row a CBOT session, every series as it was known at 18:00 Chicago of that session.

This is the only place where a value is carried forward, and only as "the last value known", up to an age.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.errors import RegistryError
from tasks.registry import JoinSpec

AGE = "__age_days"
DAY_US = 86_400_000_000
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
        values: float64; all of one length, ordered by (available, observed, vintage).
        instants: sorted.

    Returns:
        values and observation dates, one an instant; NaN and the smallest int64 where nothing was known yet.

    Invariants: only rows with ``available <= instant`` are looked at. A late revision of an older observation never
    replaces a newer observation.
    """
    newest = np.maximum.accumulate(observed) if len(observed) else observed
    moves = observed >= newest
    available, observed, values = available[moves], observed[moves], values[moves]
    at = np.searchsorted(available, instants, side="right") - 1
    known = at >= 0
    out = np.full(len(instants), np.nan)
    dates = np.full(len(instants), np.iinfo(np.int64).min)
    out[known], dates[known] = values[at[known]], observed[at[known]]
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
        days from the value's own date to the session, growing also where the value is too old to be shown.

    Invariants: row t depends on observations with ``available_at <= as_of_instant(t)`` only.
    """
    instants = as_of_instants(days)
    stamps, midnights = instants.as_unit("us").asi8, days.as_unit("us").asi8
    by_series = _arrays(observations, spec, until=int(stamps[-1]))
    names = [column for join in spec.joins for column in join.columns]
    table = np.full((2 * len(names), len(days)), np.nan)  # values, then ages: the panel itself, it is never copied
    place = 0
    for join in spec.joins:
        for target in join.columns.values():
            series, _, field = target.rpartition(".")
            held = by_series.get((join.source, series, field, join.in_force))
            if held is not None:
                values, dates = last_known(*held, stamps)
                age = np.where(np.isnan(values), np.nan, (midnights - dates) / DAY_US)
                table[place] = np.where(age <= join.max_age_days, values, np.nan)
                table[len(names) + place] = age
            place += 1
    panel = pd.DataFrame(table.T, columns=[*names, *(name + AGE for name in names)], copy=False)
    panel.insert(0, "date", days)
    panel.insert(1, "as_of_instant", instants)
    return panel


def _arrays(
    observations: pd.DataFrame, spec: JoinSpec, *, until: int
) -> dict[tuple[str, str, str, bool], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each wanted series' (observed, available, values), ordered by publication, or by its date if that is later."""
    if observations["available_at"].dt.unit != "us" or observations["observation_date"].dt.unit != "us":
        raise RegistryError("observations must hold microsecond timestamps; stage them with tasks.staging")
    keys = [observations[name].astype("category").cat for name in ("source", "series", "field")]
    sizes = [len(key.categories) for key in keys]
    numbers = [{name: number for number, name in enumerate(key.categories)} for key in keys]
    codes = np.zeros(len(observations), dtype="int64")
    for key, size in zip(keys, sizes, strict=True):
        codes = codes * size + key.codes.to_numpy()
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    stamps, dates = (observations[name].astype("int64").to_numpy() for name in ("available_at", "observation_date"))
    values, vintages = observations["value"].to_numpy(), observations["vintage"].to_numpy()
    wanted = {(join.source, *_split(target), join.in_force) for join in spec.joins for target in join.columns.values()}
    held = {}
    for source, series, field, in_force in wanted:
        places = [known.get(name, -1) for known, name in zip(numbers, (source, series, field), strict=True)]
        if min(places) < 0:
            continue
        code = (places[0] * sizes[1] + places[1]) * sizes[2] + places[2]
        rows = order[np.searchsorted(codes, code) : np.searchsorted(codes, code, side="right")]
        available, observed = stamps[rows], dates[rows]
        available = np.maximum(available, observed + MORNING_US) if in_force else available
        by_publication = np.lexsort((vintages[rows], observed, available))
        by_publication = by_publication[available[by_publication] <= until]
        if len(by_publication):
            held[(source, series, field, in_force)] = (
                observed[by_publication],
                available[by_publication],
                values[rows][by_publication],
            )
    return held


def _split(target: str) -> tuple[str, str]:
    series, _, field = target.rpartition(".")
    return series, field


def value_columns(panel: pd.DataFrame) -> list[str]:
    """The panel's value columns, without keys and ages."""
    return [c for c in panel.columns if c not in ("date", "as_of_instant") and not c.endswith(AGE)]


def summarise_panel(panel: pd.DataFrame, spec: JoinSpec, observations: pd.DataFrame) -> pd.DataFrame:
    """One row a panel column, for the gate and the freshness table."""
    newest = observations.groupby(["source", "series"], observed=True)["available_at"].max()
    instant = panel["as_of_instant"].iloc[-1]
    rows = []
    for join in spec.joins:
        for column, target in join.columns.items():
            series, _ = _split(target)
            known = panel[column].notna()
            rows.append(
                {
                    "column": column,
                    "source": join.source,
                    "series": series,
                    "max_age_days": join.max_age_days,
                    "known": int(known.sum()),
                    "first_known": panel.loc[known, "date"].min(),
                    "last_known": panel.loc[known, "date"].max(),
                    "last_age_days": panel[column + AGE].iloc[-1],
                    "latest_available_at": newest.get((join.source, series), pd.NaT),
                    "as_of_instant": instant,
                }
            )
    return pd.DataFrame(rows)
