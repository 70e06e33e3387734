"""Check that each value in the panel was published by its session, by an independent look-up in the observations.

The look-up uses a value's date and number, so it does not depend on how the join found the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.panel.join import AGE, split_target
from tasks.registry import JoinSpec

EXAMPLES = 3


@dataclass(frozen=True)
class Unpublished:
    """Values of one panel column that had not been published by their session, and values dated after it."""

    values: int
    dated_after: int
    example: str


def unpublished_values(panel: pd.DataFrame, spec: JoinSpec, observations: pd.DataFrame) -> dict[str, Unpublished]:
    """What is wrong with the values of each declared column, by column.

    Args:
        panel: the result of tasks.panel.join.build_panel for ``observations``.

    Invariants: a value passes only if an observation of the column's own series, or of its declared fallback, has the
    same date and number and was available by the session's as_of (prevents look-ahead).
    """
    places = observations.groupby(["source", "series", "field"], observed=True, sort=False).indices
    columns = {
        "observation_date": observations["observation_date"].to_numpy(dtype="datetime64[D]"),
        "value": observations["value"].to_numpy(dtype="float64"),
        "available_at": _instants(observations["available_at"]),
    }
    dates = panel["date"].to_numpy(dtype="datetime64[D]")
    by = _instants(panel["as_of_instant"])
    none = np.array([], dtype=np.intp)
    found = {}
    for join in spec.joins:
        for column, target in join.columns.items():
            rows = places.get((join.source, *split_target(target)), none)
            if (other := join.fallbacks.get(column)) is not None:
                rows = np.concatenate([rows, places.get((other.source, *split_target(other.target)), none)])
            published = {name: values[rows] for name, values in columns.items()}
            shown = panel[column].to_numpy(dtype="float64")
            ages = panel[column + AGE].to_numpy(dtype="float64")
            known = ~np.isnan(shown)
            found[column] = _judge(dates[known], by[known], shown[known], ages[known], published)
    return found


def _judge(
    dates: np.ndarray, by: np.ndarray, values: np.ndarray, ages: np.ndarray, published: dict[str, np.ndarray]
) -> Unpublished:
    early = dates[ages < 0]
    if not len(dates):
        return Unpublished(0, 0, "")
    if not len(published["value"]):
        return Unpublished(len(dates), len(early), f"{dates[0]} shows {values[0]:g}, and no observation has it")
    observed = dates - ages.astype("timedelta64[D]")
    first = _first_published(observed, values, published)
    late = np.flatnonzero(~(first <= by))  # NaT, never observed, is late too
    examples = [_example(dates[at], values[at], observed[at], first[at]) for at in late[:EXAMPLES]]
    examples += [f"{day} shows a value dated after it" for day in early[: EXAMPLES - len(examples)]]
    return Unpublished(len(late), len(early), "; ".join(examples))


def _first_published(observed: np.ndarray, values: np.ndarray, published: dict[str, np.ndarray]) -> np.ndarray:
    """When each value of a date was first published; NaT for one that never was."""
    order = np.lexsort((published["available_at"], published["observation_date"]))
    dates, numbers, at = (published[name][order] for name in ("observation_date", "value", "available_at"))
    place, stop = np.searchsorted(dates, observed, side="left"), np.searchsorted(dates, observed, side="right")
    first = np.full(len(observed), np.datetime64("NaT"), dtype=at.dtype)
    pending = np.flatnonzero(place < stop)
    while len(pending):  # as many rounds as the most revised date has vintages
        here = place[pending]
        equal = numbers[here] == values[pending]
        first[pending[equal]] = at[here[equal]]
        place[pending] += 1
        pending = pending[~equal & (place[pending] < stop[pending])]
    return first


def _instants(values: pd.Series) -> np.ndarray:
    """UTC instants without their zone, which numpy does not have."""
    return values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")


def _example(day: np.datetime64, value: float, observed: np.datetime64, first: np.datetime64) -> str:
    when = "which was never observed" if np.isnat(first) else f"published {pd.Timestamp(first):%Y-%m-%d %H:%M} UTC"
    return f"{day} shows {value:g} of {observed}, {when}"
