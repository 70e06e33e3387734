"""The tests that registry/join_spec.yaml declares, run on the assembled panel before anything is made of it.

Every test is run, every failure told at once with its figure and its limit. A test is a function of the panel, the
columns it is about and its arguments; it says nothing when it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.errors import JoinTestsFailed
from tasks.panel.join import AGE
from tasks.registry import (
    JOIN_TESTS,
    ExpectDateRange,
    ExpectLastAgeBelow,
    ExpectNullRateBelow,
    ExpectRegimeCardinalityGte,
    Join,
    JoinSpec,
)


@dataclass(frozen=True)
class Joined:
    """What the tests look at: the panel, its inputs, and the joins that a test is about."""

    panel: pd.DataFrame
    observations: pd.DataFrame
    regimes: pd.DataFrame
    joins: tuple[Join, ...]

    @property
    def columns(self) -> list[str]:
        """The declared columns that the panel has."""
        return [column for join in self.joins for column in join.columns if column in self.panel]


def check_joins(panel: pd.DataFrame, spec: JoinSpec, *, observations: pd.DataFrame, regimes: pd.DataFrame) -> None:
    """Run every declared test of every join and of the whole panel.

    Args:
        panel: as tasks.panel.join.build_panel made it of ``observations``. regimes: registry/regime_calendar.csv.

    Raises:
        JoinTestsFailed: every failure at once, with its join, figure and limit.
    """
    failures = find_failures(panel, spec, observations=observations, regimes=regimes)
    if failures:
        raise JoinTestsFailed(
            f"panel to {panel['date'].max():%Y-%m-%d}: {len(failures)} failures of the tests in "
            f"registry/join_spec.yaml:\n  " + "\n  ".join(failures) + "\nMend the source or the join; a limit only "
            "where the data truly is so. Earlier outputs stay in place"
        )


def find_failures(
    panel: pd.DataFrame, spec: JoinSpec, *, observations: pd.DataFrame, regimes: pd.DataFrame
) -> list[str]:
    """One line a failure: where, which test, what was found. Empty when all pass."""
    scopes = [("panel", spec.tests, spec.joins)]
    scopes += [(f"joins.{i} ({join.source})", join.tests, (join,)) for i, join in enumerate(spec.joins)]
    return [
        f"{where}: {test.name}: {found}"
        for where, tests, joins in scopes
        for test in tests
        for found in RUN[test.name](Joined(panel, observations, regimes, joins), test.arguments)
    ]


def _rows_preserved(joined: Joined, _: Any) -> Iterator[str]:
    held = pd.DatetimeIndex(joined.panel["date"])
    expected = sessions(last=held.max())
    lost, added = expected.difference(held), held.difference(expected)
    if len(lost) or len(added) or len(held) != len(expected):
        yield (
            f"{len(held)} rows of {len(expected)} sessions; {len(lost)} lost{_days(lost)}, {len(added)} not a "
            f"session{_days(added)}"
        )
    elif not held.equals(expected) or (joined.panel["as_of_instant"] != as_of_instants(held)).any():
        yield "rows are out of order, or `as_of_instant` is not 18:00 Chicago of the row's date"


def _no_duplicate_dates(joined: Joined, _: Any) -> Iterator[str]:
    double = joined.panel["date"][joined.panel["date"].duplicated()]
    if len(double):
        yield f"{len(double)} rows repeat a date{_days(pd.DatetimeIndex(double))}"


def _date_range(joined: Joined, limit: ExpectDateRange) -> Iterator[str]:
    first, last = joined.panel["date"].min(), joined.panel["date"].max()
    years = (last - first).days / 365.25
    if first != pd.Timestamp(limit.first) or years < limit.min_years:
        yield (
            f"{first:%Y-%m-%d} to {last:%Y-%m-%d}, {years:.1f} years; limit: from {limit.first}, at least "
            f"{limit.min_years:g} years"
        )


def _columns_added(joined: Joined, _: Any) -> Iterator[str]:
    declared = [name for join in joined.joins for column in join.columns for name in (column, column + AGE)]
    lost = [name for name in declared if name not in joined.panel]
    other = [name for name in declared if name in joined.panel and joined.panel[name].dtype != np.float64]
    if lost or other:
        yield f"{len(lost)} of {len(declared)} columns missing {lost[:3]}, {len(other)} not float64 {other[:3]}"


def _null_rate_below(joined: Joined, limit: ExpectNullRateBelow) -> Iterator[str]:
    for column in joined.columns:
        missing = joined.panel[column].isna().to_numpy()
        known = np.flatnonzero(~missing)
        if not len(known):
            continue  # never known: the source is not held here, which POST_STAGING and the freshness table say
        stop = len(missing) if limit.to == "last_session" else known[-1] + 1
        judged = missing[known[0] : stop]
        most = limit.columns.get(column, limit.share)
        if len(judged) >= limit.min_sessions and judged.mean() >= most:
            yield f"{column}: {judged.sum()} of {len(judged)} sessions missing, {judged.mean():.2%} (limit {most:.2%})"


def _last_age_below(joined: Joined, limit: ExpectLastAgeBelow) -> Iterator[str]:
    for column in joined.columns:
        age = joined.panel[column + AGE].iloc[-1]
        if not age < limit.days:
            told = "never known" if np.isnan(age) else f"{age:.0f} days old"
            yield f"{column}: {told} at {joined.panel['date'].iloc[-1]:%Y-%m-%d} (limit {limit.days} days)"


def _available_after(joined: Joined, _: Any) -> Iterator[str]:
    """Looks every cell up in the observations, by its date and value: independent of how the join found it."""
    observations = joined.observations
    places = observations.groupby(["source", "series", "field"], observed=True, sort=False).indices
    columns = {
        "observation_date": observations["observation_date"].to_numpy(dtype="datetime64[D]"),
        "value": observations["value"].to_numpy(dtype="float64"),
        "available_at": _instants(observations["available_at"]),
    }
    dates = joined.panel["date"].to_numpy(dtype="datetime64[D]")
    by = _instants(joined.panel["as_of_instant"])
    for join in joined.joins:
        for column, target in join.columns.items():
            if column not in joined.panel or column + AGE not in joined.panel:
                continue
            series, _, field = target.rpartition(".")
            rows = places.get((join.source, series, field), np.array([], dtype=np.intp))
            published = {name: values[rows] for name, values in columns.items()}
            shown = joined.panel[column].to_numpy(dtype="float64")
            ages = joined.panel[column + AGE].to_numpy(dtype="float64")
            known = ~np.isnan(shown)
            cells = Cells(column, dates[known], by[known], shown[known], ages[known])
            yield from _published_by_then(cells, published)


@dataclass(frozen=True)
class Cells:
    """The values a panel column shows: at which session, by when they had to be published, how old in days."""

    column: str
    dates: np.ndarray
    by: np.ndarray
    values: np.ndarray
    ages: np.ndarray


def _published_by_then(cells: Cells, published: dict[str, np.ndarray]) -> Iterator[str]:
    early = cells.dates[cells.ages < 0]
    if len(early):
        yield f"{cells.column}: {len(early)} values dated after their session{_days(pd.DatetimeIndex(early))}"
    if not len(cells.dates):
        return
    if not len(published["value"]):
        yield f"{cells.column}: {len(cells.dates)} values, and no observation they could come from"
        return
    observed = cells.dates - cells.ages.astype("timedelta64[D]")
    first = _first_published(observed, cells.values, published)
    late = np.flatnonzero(~(first <= cells.by))  # NaT, never observed, is late too
    if len(late):
        examples = "; ".join(_told(cells, place, observed[place], first[place]) for place in late[:3])
        share = f"{len(late)} of {len(cells.dates)}"
        yield f"{cells.column}: {share} values were not published by their session ({examples})"


def _first_published(observed: np.ndarray, values: np.ndarray, published: dict[str, np.ndarray]) -> np.ndarray:
    """When each value of a date was first published; NaT for one that never was."""
    order = np.lexsort((published["available_at"], published["observation_date"]))
    dates, held, at = (published[name][order] for name in ("observation_date", "value", "available_at"))
    place, stop = np.searchsorted(dates, observed, side="left"), np.searchsorted(dates, observed, side="right")
    first = np.full(len(observed), np.datetime64("NaT"), dtype=at.dtype)
    asked = np.flatnonzero(place < stop)
    while len(asked):  # once for each revision of the date that was revised most
        here = place[asked]
        equal = held[here] == values[asked]
        first[asked[equal]] = at[here[equal]]
        place[asked] += 1
        asked = asked[~equal & (place[asked] < stop[asked])]
    return first


def _instants(values: pd.Series) -> np.ndarray:
    """UTC instants without their zone, which numpy does not have."""
    return values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")


def _told(cells: Cells, place: int, observed: np.datetime64, first: np.datetime64) -> str:
    when = "which was never observed" if np.isnat(first) else f"published {pd.Timestamp(first):%Y-%m-%d %H:%M} UTC"
    return f"{cells.dates[place]} shows {cells.values[place]:g} of {observed}, {when}"


def _regime_cardinality_gte(joined: Joined, limit: ExpectRegimeCardinalityGte) -> Iterator[str]:
    dates = pd.DatetimeIndex(joined.panel["date"])
    if dates.max() < pd.Timestamp(limit.since):
        return
    calendar = joined.regimes.sort_values("start")
    at = np.searchsorted(calendar["start"].to_numpy(), dates.to_numpy(), side="right") - 1
    inside = (at >= 0) & (dates.to_numpy() <= calendar["end"].to_numpy()[at])
    lived = calendar.iloc[np.unique(at[inside])]
    low, high = limit.weights
    if len(lived) < limit.regimes or not lived["training_weight"].between(low, high).all() or not inside.all():
        weights = lived["training_weight"]
        yield (
            f"{len(lived)} regimes (at least {limit.regimes}), weights {weights.min()} to {weights.max()} (limit "
            f"{low:g} to {high:g}), {int((~inside).sum())} sessions in none{_days(dates[~inside])}"
        )


def _days(days: pd.DatetimeIndex) -> str:
    return f" ({', '.join(f'{day:%Y-%m-%d}' for day in days[:3])})" if len(days) else ""


RUN: dict[str, Callable[[Joined, Any], Iterator[str]]] = {
    "expect_rows_preserved": _rows_preserved,
    "expect_columns_added": _columns_added,
    "expect_no_duplicate_dates": _no_duplicate_dates,
    "expect_date_range": _date_range,
    "expect_available_after": _available_after,
    "expect_null_rate_below": _null_rate_below,
    "expect_last_age_below": _last_age_below,
    "expect_regime_cardinality_gte": _regime_cardinality_gte,
}
assert set(RUN) == set(JOIN_TESTS), "a test that loads must run"
