"""The feature table: every category in one pass over the panel, checked against registry/feature_registry.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

import numpy as np
import pandas as pd

from tasks.errors import RegistryError
from tasks.registry import FeatureRegistry

OVER_FEATURES = "interactions"  # the category computed from other features, not from the panel
BY_THRESHOLD = "overrides"  # the category whose thresholds are in the registry
Column = pd.Series | np.ndarray  # one value per row of the panel


def build_features(panel: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """``date`` and one float64 column per feature, in the registry's order.

    Invariants: row t depends on panel rows up to t only (proved by truncation in tests/leakage).

    Raises:
        RegistryError: names a feature without an entry, or an entry without a feature.
    """
    built: dict[str, Column] = {}
    for category, entries in registry.categories.items():
        computed = category_features(category, panel, built, registry)
        _check(category, list(entries), list(computed))
        built.update(computed)
    table = one_table(built, list(registry.features), panel.index)
    table.insert(0, "date", panel["date"])
    return table


def category_features(
    category: str, panel: pd.DataFrame, built: Mapping[str, Column], registry: FeatureRegistry
) -> Mapping[str, Column]:
    """The features of one category.

    Args:
        built: the features of the categories before, from which interactions are computed.
    """
    module = _module(category)
    if category == OVER_FEATURES:
        found: Mapping[str, Column] = module.features(built)
    elif category == BY_THRESHOLD:
        found = module.features(panel, registry.overrides)
    else:
        found = module.features(panel)
    return found


def one_table(built: Mapping[str, Column], names: list[str], index: pd.Index) -> pd.DataFrame:
    """The columns of ``names`` as one float64 table, written once: a frame built from Series copies them twice."""
    values = np.empty((len(names), len(index)))
    for row, name in enumerate(names):
        values[row] = built[name]
    return pd.DataFrame(values.T, index=index, columns=names, copy=False)


def _module(category: str) -> ModuleType:
    try:
        return import_module(f"tasks.features.{category}")
    except ModuleNotFoundError as error:
        if error.name != f"tasks.features.{category}":
            raise
        raise RegistryError(
            f"registry/feature_registry.yaml: {category}: there is no tasks/features/{category}.py"
        ) from None


def _check(category: str, entries: list[str], computed: list[str]) -> None:
    """Raise where the registry and the module's features differ, in names or in order."""
    problems = {
        "not registered": sorted(set(computed) - set(entries)),
        "not built": sorted(set(entries) - set(computed)),
    }
    if set(computed) == set(entries):
        problems["order differs"] = [name for name, place in zip(computed, entries, strict=True) if name != place]
    if differences := "; ".join(f"{problem}: {names}" for problem, names in problems.items() if names):
        raise RegistryError(f"registry/feature_registry.yaml and tasks/features/{category}.py disagree: {differences}")
