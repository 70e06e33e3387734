"""One row per panel column: what is known of it, how much of the last quarter is missing, what is wrong with it.

A fact that takes arithmetic is measured here; expectations/assembly/panel_summary.json says what is expected of it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.panel.join import AGE, panel_at, split_target
from tasks.panel.published import unpublished_values
from tasks.registry import DataSources, Join, JoinSpec

RECENT_SESSIONS = 63  # a quarter: what went wrong before has healed or is told by its age
YEAR_SESSIONS = 252


def summarise_panel(
    panel: pd.DataFrame, spec: JoinSpec, observations: pd.DataFrame, sources: DataSources
) -> pd.DataFrame:
    """One row per panel column, for the gate and for what a run says of its inputs.

    Returns:
        ``column, source, series, critical, max_age_days, stale_limit_days, known, first_known, last_known,
        last_age_days, latest_available_at, as_of_instant``;
        ``recorded``: the home has observations of the series;
        ``recent_due``: of the last 63 sessions those on which a value was due: the column had one a year before (a
        critical column always), and no declared delay of its releases covers them; ``recent_missing``: of those, the
        ones without a value, ``recent_missing_share``: their share, 0 where nothing was due;
        ``shown_from``: the source and series of the newest value shown; ``fallback_sessions``: of the last 63
        sessions, those at which the declared fallback was shown;
        ``unpublished``, ``dated_after``, ``example``: as tasks.panel.published finds them; ``infinite``: values that
        are no numbers; ``look_ahead, not_finite, empty``: whether there are any such, or no value at all.
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
    """The columns whose newest value is that of their fallback: column, and the source and series it is from."""
    shown = panel_summary[panel_summary["fallback"]]
    return dict(zip(shown["column"], shown["shown_from"], strict=True))


def _recent_due(known: np.ndarray, days: pd.DatetimeIndex, critical: bool, delayed: np.ndarray) -> np.ndarray:
    """Of the last sessions, those at which the column should have a value.

    Due is what was there at the same time of the year before: what rests out of season, has ended or has not begun is
    not due, however long or short its history is.
    """
    recent = min(RECENT_SESSIONS, len(days))
    if critical:
        return np.ones(recent, dtype=bool)
    before = np.zeros(recent, dtype=bool)
    at = np.arange(len(days) - recent, len(days)) - YEAR_SESSIONS
    before[at >= 0] = known[at[at >= 0]]
    return before & ~delayed


def _delayed(days: pd.DatetimeIndex, join: Join, series: str, sources: DataSources) -> np.ndarray:
    """The sessions on which a declared delay of the series' releases keeps its newest value back."""
    covered = np.zeros(len(days), dtype=bool)
    if join.source not in sources.sources:
        return covered
    spec = sources.source(join.source)
    rule = spec.series[series].availability or spec.availability
    calendar = getattr(rule, "calendar", None)  # what closed days and late releases add to the source's own delays
    waits = [*rule.delays, *getattr(calendar, "late", ()), *getattr(calendar, "holds", ())]
    for delay in waits:
        covered |= np.asarray((days >= pd.Timestamp(delay.first)) & (days <= pd.Timestamp(delay.released)))
    return covered


def _without_fallbacks(panel: pd.DataFrame, spec: JoinSpec, observations: pd.DataFrame) -> pd.DataFrame:
    """The columns that have a fallback, as they would be without it."""
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
