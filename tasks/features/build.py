"""The feature table: every category in one pass over the panel, checked against registry/feature_registry.yaml."""

from __future__ import annotations

from importlib import import_module

import pandas as pd

from tasks.errors import RegistryError
from tasks.registry import FeatureRegistry


def build_features(panel: pd.DataFrame, registry: FeatureRegistry) -> pd.DataFrame:
    """``date`` and one float64 column a feature, in the registry's order.

    Invariants: row t depends on panel rows up to t only (proved by truncation in tests/leakage).

    Raises:
        RegistryError: a feature without an entry or an entry without a feature, named.
    """
    built: dict[str, pd.Series] = {}
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
        built |= made
    return pd.DataFrame({"date": panel["date"]} | {name: column.astype("float64") for name, column in built.items()})
