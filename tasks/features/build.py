"""The feature table: every category in one pass over the panel, checked against registry/feature_registry.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

import numpy as np
import pandas as pd

from tasks.errors import RegistryError
from tasks.features import in_sql
from tasks.registry import FeatureRegistry


def build_features(panel: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """``date`` and one float64 column a feature, in the registry's order.

    A category's features are those of its Python module and those that tasks/features/sql makes under its entries.

    Invariants: row t depends on panel rows up to t only (proved by truncation in tests/leakage).

    Raises:
        RegistryError: a feature without an entry or an entry without a feature, named.
    """
    built = in_sql.over_panel(panel)
    if unregistered := sorted(set(in_sql.made()) - set(registry.features)):
        raise RegistryError(f"registry/feature_registry.yaml lacks what tasks/features/sql makes: {unregistered}")
    for category, entries in registry.categories.items():
        module = _module(category, needed=not set(entries) <= set(in_sql.made()))
        computed = module.features(panel) if module else {}
        _check(category, list(entries), list(computed))
        built |= computed
    built |= in_sql.over_features(pd.DataFrame({"date": panel["date"]} | built))
    table = one_table(built, list(registry.features), panel.index)
    table.insert(0, "date", panel["date"])
    return table


def one_table(built: Mapping[str, pd.Series], names: list[str], index: pd.Index) -> pd.DataFrame:
    """The columns of ``names`` side by side as float64, put where they stay: a frame of Series copies them twice."""
    values = np.empty((len(names), len(index)))
    for row, name in enumerate(names):
        values[row] = built[name]
    return pd.DataFrame(values.T, index=index, columns=names, copy=False)


def _module(category: str, *, needed: bool) -> ModuleType | None:
    """The category's Python module; None where SQL makes all of it and there is none."""
    try:
        return import_module(f"tasks.features.{category}")
    except ModuleNotFoundError as error:
        if error.name != f"tasks.features.{category}":
            raise
        if not needed:
            return None
        raise RegistryError(
            f"registry/feature_registry.yaml: {category}: there is no tasks/features/{category}.py"
        ) from None


def _check(category: str, entries: list[str], computed: list[str]) -> None:
    """Raise where the registry and what was made differ, or the same feature is made in Python and in SQL."""
    of_sql = [name for name in in_sql.made() if name in entries]
    made = set(computed) | set(of_sql)
    problems = {
        "made twice": sorted(set(computed) & set(in_sql.made())),
        "not registered": sorted(set(computed) - set(entries)),
        "not built": sorted(set(entries) - made),
        "order differs": [
            name
            for names in ([name for name in computed if name in entries], of_sql)
            for name, place in zip(names, (entry for entry in entries if entry in names), strict=True)
            if name != place
        ],
    }
    if told := "; ".join(f"{problem}: {names}" for problem, names in problems.items() if names):
        raise RegistryError(f"registry/feature_registry.yaml and tasks/features/{category}.py disagree: {told}")
