"""registry/explanations.yaml: the group of each feature, and what a sentence calls it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.features import FeatureRegistry

CONSTANT = "calibration"
"""The group of what no feature explains."""


class ExplanationGroup(Entry):
    """The features of one group: categories of the feature registry, and prefixes of names, which win."""

    categories: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


class Explanations(Entry):
    """registry/explanations.yaml."""

    groups: dict[str, ExplanationGroup]
    topics: dict[str, tuple[str, ...]] = Field(description="words of a sentence, and the prefixes that they stand for")

    @cached_property
    def _group_prefixes(self) -> dict[str, str]:
        return {prefix: name for name, group in self.groups.items() for prefix in group.prefixes}

    @cached_property
    def _group_categories(self) -> dict[str, str]:
        return {category: name for name, group in self.groups.items() for category in group.categories}

    @cached_property
    def _topic_prefixes(self) -> dict[str, str]:
        return {prefix: words for words, prefixes in self.topics.items() for prefix in prefixes}

    def group_of(self, feature: str, category: str | None) -> str:
        """The group of a feature; that of the constants for a name that is no feature."""
        found = _longest(feature, self._group_prefixes)
        return found or self._group_categories.get(category or "", CONSTANT)

    def topic_of(self, feature: str, group: str) -> str:
        """What a sentence calls a feature."""
        return _longest(feature, self._topic_prefixes) or group


def _longest(name: str, prefixes: dict[str, str]) -> str | None:
    fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
    return prefixes[max(fitting, key=len)] if fitting else None


def load_explanations(folder: Path, features: FeatureRegistry) -> Explanations:
    """registry/explanations.yaml, checked: each category is in one group, each prefix begins some feature.

    Raises:
        RegistryError: names the category or the prefix.
    """
    path = folder / "explanations.yaml"
    found = read_entries(path, Explanations)
    listed = [category for group in found.groups.values() for category in group.categories]
    if sorted(listed) != sorted(features.categories):
        wrong = sorted(set(listed) ^ set(features.categories)) or sorted({c for c in listed if listed.count(c) > 1})
        raise RegistryError(f"{path}: groups: {', '.join(wrong)}: each category of feature_registry.yaml in one group")
    prefixes = [p for group in found.groups.values() for p in group.prefixes]
    prefixes += [p for names in found.topics.values() for p in names]
    idle = sorted({p for p in prefixes if p != "base" and not any(name.startswith(p) for name in features.features)})
    if idle:
        raise RegistryError(f"{path}: {', '.join(idle)}: no feature starts so")
    return found
