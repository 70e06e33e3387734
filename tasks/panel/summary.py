"""One row per panel column: what is known, how much of the last quarter is missing, what is wrong.

The figures are computed here; expectations/assembly/panel_summary.json has the limits.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.panel.join import AGE, panel_at, split_target
from tasks.panel.published import unpublished_values
from tasks.registry import DataSources, Join, JoinSpec

RECENT_SESSIONS = 63  # a quarter: older problems are solved or visible in the age
YEAR_SESSIONS = 252


def summarise_panel(
    panel: pd.DataFrame, spec: JoinSpec, observations: pd.DataFrame, sources: DataSources
) -> pd.DataFrame:
    """One row per panel column, for the gate and for the input report of a run.

    Returns:
        ``column, source, series, critical, max_age_days, stale_limit_days, known, first_known, last_known,
        last_age_days, latest_available_at, as_of_instant``;
        ``recorded``: the home has observations of the series;
        ``recent_due``: how many of the last 63 sessions were due a value: the column had one a year before (a critical
        column always), and no declared delay of its releases covers the session; ``recent_missing``: how many of those
        have no value; ``recent_missing_share``: their share, 0 if none was due;
        ``shown_from``: source and series of the newest value shown; ``fallback_sessions``: how many of the last 63
        sessions show the declared fallback;
        ``unpublished``, ``dated_after``, ``example``: from tasks.panel.published; ``infinite``: the number of infinite
        values; ``look_ahead, not_finite, empty``: whether there are any such, or no value at all.
    """
    newest = observations.groupby(["source", "series"], observed=True)["available_at"].max()
    instant = panel["as_of_instant"].iloc[-1]
    days = pd.DatetimeIndex(panel["date"])
    wrong = unpublished_values(panel, spec, observations)
    primary = _without_fallbacks(panel, spec, observations)
    rows = []
    for join in spec.joins:
        for column, target in join.columns.items():
            series, _ = split_target(target)
            entry = sources.source(join.source).series[series] if join.source in sources.sources else None
            critical = bool(entry and entry.critical)
            values = panel[column].to_numpy(dtype="float64")
            known = ~np.isnan(values)
            due = _recent_due(known, days, critical, _delayed(days[-RECENT_SESSIONS:], join, series, sources))
            missing = due & ~known[-RECENT_SESSIONS:]
            stands_in = np.zeros(len(days), dtype=bool)
            if column in primary:
                stands_in = known & np.isnan(primary[column].to_numpy(dtype="float64"))
            other = join.fallbacks.get(column)
            from_other = other is not None and bool(stands_in[-1])
            shown = (
                f"{other.source} {split_target(other.target)[0]}" if other and from_other else f"{join.source} {series}"
            )
            rows.append(
                {
                    "column": column,
                    "source": join.source,
                    "series": series,
                    "critical": critical,
                    "max_age_days": join.max_age_days,
                    "stale_limit_days": float(entry.stale_limit_days or np.nan) if entry else np.nan,
                    "recorded": (join.source, series) in newest.index,
                    "known": int(known.sum()),
                    "first_known": days[known].min(),
                    "last_known": days[known].max(),
                    "last_age_days": panel[column + AGE].iloc[-1],
                    "latest_available_at": newest.get((join.source, series), pd.NaT),
                    "as_of_instant": instant,
                    "recent_due": int(due.sum()),
                    "recent_missing": int(missing.sum()),
                    "recent_missing_share": float(missing.sum() / due.sum()) if due.any() else 0.0,
                    "shown_from": shown,
                    "fallback": from_other,
                    "fallback_sessions": int(stands_in[-RECENT_SESSIONS:].sum()),
                    "unpublished": wrong[column].values,
                    "dated_after": wrong[column].dated_after,
                    "infinite": int(np.isinf(values).sum()),
                    "look_ahead": bool(wrong[column].values or wrong[column].dated_after),
                    "not_finite": bool(np.isinf(values).any()),
                    "empty": not known.any(),
                    "example": wrong[column].example,
                }
            )
    return pd.DataFrame(rows)


def fallbacks_shown(panel_summary: pd.DataFrame) -> dict[str, str]:
    """The columns whose newest value is from their fallback, with the fallback's source and series."""
    shown = panel_summary[panel_summary["fallback"]]
    return dict(zip(shown["column"], shown["shown_from"], strict=True))


def _recent_due(known: np.ndarray, days: pd.DatetimeIndex, critical: bool, delayed: np.ndarray) -> np.ndarray:
    """Which of the last sessions should have a value of the column.

    A value is due if there was one a year before. So a series that pauses out of season, has ended or has not begun is
    not due.
    """
    recent = min(RECENT_SESSIONS, len(days))
    if critical:
        return np.ones(recent, dtype=bool)
    before = np.zeros(recent, dtype=bool)
    at = np.arange(len(days) - recent, len(days)) - YEAR_SESSIONS
    before[at >= 0] = known[at[at >= 0]]
    return before & ~delayed


def _delayed(days: pd.DatetimeIndex, join: Join, series: str, sources: DataSources) -> np.ndarray:
    """The sessions on which a declared delay of the series' releases holds its newest value back."""
    covered = np.zeros(len(days), dtype=bool)
    if join.source not in sources.sources:
        return covered
    spec = sources.source(join.source)
    rule = spec.series[series].availability or spec.availability
    waits = [(delay.first, delay.released) for delay in (*rule.delays, *rule.calendar.late)]
    for first, released in (*waits, *((hold.first, hold.released) for hold in rule.calendar.holds)):
        covered |= np.asarray((days >= pd.Timestamp(first)) & (days <= pd.Timestamp(released)))
    return covered


def _without_fallbacks(panel: pd.DataFrame, spec: JoinSpec, observations: pd.DataFrame) -> pd.DataFrame:
    """The columns with a fallback, as they would be without it."""
    joins = [
        join.model_copy(update={"columns": {name: join.columns[name] for name in join.fallbacks}, "fallbacks": {}})
        for join in spec.joins
        if join.fallbacks
    ]
    if not joins:
        return pd.DataFrame()
    series = {split_target(target)[0] for join in joins for target in join.columns.values()}
    rows = observations[observations["source"].isin([j.source for j in joins]) & observations["series"].isin(series)]
    return panel_at(rows, JoinSpec(joins=tuple(joins)), pd.DatetimeIndex(panel["date"]))
