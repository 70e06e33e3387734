"""Features of many alternatives to the last session at once: what they would be if that session had been another.

Most features read a limited number of sessions. So short panels, one per alternative, are put below each other and
built in one pass. Which features that is right for is measured in each pass: the real last session stands at its
beginning and at its end, and a feature that is not found again there is built over the whole panel instead, unless it
can be built without what the alternative changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tasks.features.build import OVER_FEATURES, category_features, one_table
from tasks.registry import FeatureRegistry

TAIL_SESSIONS = 1300
"""Sessions of each short panel: the longest window of a feature, and a lag."""
AT_ONCE = 8  # alternatives in one pass: more take more memory and are not faster
SAME = 1e-9  # relative: sums over windows differ in their last digits


def alternative_features(
    panel: pd.DataFrame,
    features: pd.DataFrame,
    alternatives: pd.DataFrame,
    registry: FeatureRegistry,
    *,
    wanted: Iterable[str],
) -> pd.DataFrame:
    """One row per alternative: the features of the last session if it had been that row of the panel.

    Args:
        panel: to the session. features: built from it. alternatives: rows with the panel's columns. wanted: features
            that somebody reads. Others may have the real session's value.

    Invariants: a value differs from the real session's only if the alternative changes it.
    """
    real = features.iloc[-1]
    whole = _Whole(panel, real, registry)
    changed = _changed(panel, alternatives)
    categories = [
        name
        for name in _categories(registry, set(wanted))
        if name == OVER_FEATURES or whole.reads(name, frozenset().union(*changed))
    ]
    found = {name: np.full(len(alternatives), float(real[name])) for name in registry.features}
    for first in range(0, len(alternatives), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        for name, values in _built(whole, alternatives.iloc[part], changed[part], categories):
            found[name][part] = values
    table = one_table(found, list(found), pd.RangeIndex(len(alternatives)))
    table.insert(0, "date", real["date"])
    return table


def _changed(panel: pd.DataFrame, alternatives: pd.DataFrame) -> list[frozenset[str]]:
    """Per alternative, the columns in which it differs from the last session."""
    last = panel.iloc[-1]
    differs = alternatives.ne(last) & ~(alternatives.isna() & last.isna())
    return [frozenset(alternatives.columns[row]) for row in differs.to_numpy()]


def _categories(registry: FeatureRegistry, wanted: set[str]) -> list[str]:
    """The categories with a wanted feature, in the registry's order; all if one is computed from other features."""
    found = [name for name, entries in registry.categories.items() if wanted & set(entries)]
    return list(registry.categories) if OVER_FEATURES in found else found


@dataclass(frozen=True)
class _Whole:
    """The panel with the features of its last session, and which columns of it categories read or do not read."""

    panel: pd.DataFrame
    real: pd.Series
    registry: FeatureRegistry
    read: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    unread: dict[str, set[str]] = field(default_factory=dict)

    def reads(self, category: str, columns: frozenset[str]) -> bool:
        """Whether a category reads any of the columns: it cannot be built without them, or is another without them."""
        read, unread = self.read.setdefault(category, []), self.unread.setdefault(category, set())
        if columns <= unread:
            return False
        if any(known <= columns for known in read):
            return True
        try:
            built = _arrays(category, self.panel.drop(columns=list(columns)), {}, self.registry)
        except KeyError:
            read.append(columns)
            return True
        if all(_same(values[-1:], float(self.real[name])).all() for name, values in built.items()):
            unread.update(columns)
            return False
        read.append(columns)
        return True


def _built(
    whole: _Whole, part: pd.DataFrame, changed: list[frozenset[str]], categories: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Each feature of the categories with one value per alternative."""
    if not categories:
        return
    panel, real, registry = whole.panel, whole.real, whole.registry
    tail = panel.iloc[-TAIL_SESSIONS:]
    blocks = [tail, *(pd.concat([tail.iloc[:-1], part.iloc[[row]]]) for row in range(len(part))), tail]
    stacked = pd.concat(blocks, ignore_index=True)
    ends = np.arange(1, len(blocks) + 1) * len(tail) - 1
    built: dict[str, np.ndarray] = {}
    long: list[str] = []
    for category in (name for name in categories if name != OVER_FEATURES):
        computed = _arrays(category, stacked, built, registry)
        built |= computed
        if not all(_same(values[ends[[0, -1]]], float(real[name])).all() for name, values in computed.items()):
            long.append(category)
            for name in computed:
                built[name][ends] = real[name]
    for row, end in enumerate(ends[1:-1]):
        if not (needed := [category for category in long if whole.reads(category, changed[row])]):
            continue
        longer = pd.concat([panel.iloc[:-1], part.iloc[[row]]], ignore_index=True)
        for category in needed:
            for name, values in _arrays(category, longer, {}, registry).items():
                built[name][end] = values[-1]
    if OVER_FEATURES in categories:  # products of the same session: they need no history
        others = {name: np.full(len(stacked), real[name]) for name in registry.features if name not in built}
        built |= _arrays(OVER_FEATURES, stacked, others | built, registry)
    for name, values in built.items():
        found = values[ends[1:-1]]
        yield name, np.where(_same(found, float(real[name])), float(real[name]), found)


def _arrays(
    category: str, panel: pd.DataFrame, built: dict[str, np.ndarray], registry: FeatureRegistry
) -> dict[str, np.ndarray]:
    computed = category_features(category, panel, built, registry)
    return {name: np.array(values, dtype="float64") for name, values in computed.items()}


def _same(values: np.ndarray, real: float) -> np.ndarray:
    """Which values are the real one, up to the last digits of sums."""
    if np.isnan(real):
        return np.isnan(values)
    return np.abs(values - real) <= SAME * max(1.0, abs(real))
