"""The feature table: every category in one pass over the panel, checked against registry/feature_registry.yaml."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd

from tasks.errors import RegistryError
from tasks.registry import FeatureRegistry


def build_features(panel: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """``date`` and one float64 column a feature, in the registry's order.

    Invariants: row t depends on panel rows up to t only (proved by truncation in tests/leakage).

    Raises:
        RegistryError: a feature without an entry or an entry without a feature, named.
    """
    names: list[str] = []
    values = np.empty((sum(map(len, registry.categories.values())), len(panel)))  # the table itself: it is never copied
    for category, entries in registry.categories.items():
        try:
            module = import_module(f"tasks.features.{category}")
        except ModuleNotFoundError as error:
            if error.name != f"tasks.features.{category}":
                raise
            raise RegistryError(
                f"registry/feature_registry.yaml: {category}: there is no tasks/features/{category}.py"
            ) from None
        made = module.features(panel)
        if list(made) != list(entries):
            unregistered, unbuilt = sorted(set(made) - set(entries)), sorted(set(entries) - set(made))
            problem = (
                f"not registered: {unregistered}; not built: {unbuilt}" if unregistered or unbuilt else "order differs"
            )
            raise RegistryError(f"registry/feature_registry.yaml and tasks/features/{category}.py disagree: {problem}")
        for name, column in made.items():
            values[len(names)] = column
            names.append(name)
    table = pd.DataFrame(values.T, index=panel.index, columns=names, copy=False)
    table.insert(0, "date", panel["date"])
    return table
