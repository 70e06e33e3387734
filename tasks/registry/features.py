"""registry/feature_registry.yaml and override_thresholds.yaml: every feature, and the provenance of its sources."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.panel import DerivedSeries, load_derived
from tasks.registry.sources import DataSources, Frequency, PointInTime, Reliability, SourceSpec


class Provenance(Entry):
    """The provenance of something computed from series: the slowest frequency and the worst of the other grades."""

    frequency: Frequency
    reliability: Reliability
    point_in_time: PointInTime


CALENDAR = Provenance(frequency="daily", reliability="high", point_in_time="exact")


def worst_of(parts: Iterable[Provenance]) -> Provenance:
    """Per field the worst value of all parts."""
    given = list(parts)
    return Provenance.model_validate(
        {
            name: max((getattr(part, name) for part in given), key=get_args(scale).index)
            for name, scale in (("frequency", Frequency), ("reliability", Reliability), ("point_in_time", PointInTime))
        }
    )


def provenance(names: Iterable[str], sources: DataSources, derived: DerivedSeries) -> Provenance:
    """The provenance of something computed from ``names``.

    Each name is ``source``, ``source series``, ``derived series`` or ``calendar``. A derived series has the provenance
    of its inputs; one without listed inputs uses a whole source, which must be named beside it.

    Raises:
        RegistryError: a name is none of these, or a source must be named with its series.
    """
    inputs = {
        column: f"{join.source} {target.rpartition('.')[0]}"
        for join in derived.inputs
        for column, target in join.columns.items()
    }
    found: list[Provenance] = []
    for name in names:
        source, _, series = name.partition(" ")
        if name == "calendar":
            found.append(CALENDAR)
        elif source == "derived":
            if series not in derived.series:
                raise RegistryError(f"no derived series `{series}`")
            if made_of := derived.series[series].inputs:
                found.append(provenance([inputs[column] for column in made_of], sources, derived))
        else:
            found.append(_provenance_of_source(source, series, sources.source(source)))
    if not found:
        raise RegistryError(f"{', '.join(names)} lists no inputs: also name the source that it is computed from")
    return worst_of(found)


def _provenance_of_source(source: str, series: str, spec: SourceSpec) -> Provenance:
    if series and series not in spec.series:
        raise RegistryError(f"no series `{series}` in source {source}")
    meant = [spec.series[series]] if series else list(spec.series.values())
    kinds = {(entry.frequency, entry.point_in_time) for entry in meant}
    if len(kinds) > 1:
        raise RegistryError(f"series of {source} differ in frequency or point in time: name the series that are used")
    ((frequency, point_in_time),) = kinds
    return Provenance.model_validate(
        {"frequency": frequency, "reliability": spec.reliability, "point_in_time": point_in_time}
    )


class FeatureEntry(Entry):
    """One feature, as readers of a forecast need it. Frequency and reliability are those of its sources."""

    formula: str
    unit: str
    sources: tuple[str, ...] = Field(min_length=1, description="as `provenance` reads them")
    point_in_time: PointInTime
    sign: Literal["+", "-", "?"] = Field(description="expected direction for ZL")
    first_date: date = Field(description="first session with a value, on the recorded archive")


class Override(Entry):
    """One override flag: its signal, its threshold, a month in which it fires and one in which it does not."""

    signal: str
    unit: str
    at_least: float
    range: tuple[float, float]
    why: str
    fires: str = Field(pattern=r"^\d{4}-\d\d$")
    calm: str = Field(pattern=r"^\d{4}-\d\d$")

    @model_validator(mode="after")
    def _in_reach(self) -> Override:
        low, high = self.range
        if not low < self.at_least < high:
            raise ValueError(f"at_least {self.at_least} is out of the signal's reach, {low} to {high}")
        return self


class FeatureRegistry(Entry):
    """registry/feature_registry.yaml: category, then feature, in the order of the feature table."""

    categories: dict[str, dict[str, FeatureEntry]]
    overrides: dict[str, Override] = Field(default={}, description="of registry/override_thresholds.yaml")

    @cached_property
    def features(self) -> dict[str, FeatureEntry]:
        """Every feature in order."""
        return {name: entry for group in self.categories.values() for name, entry in group.items()}

    @cached_property
    def category_of(self) -> dict[str, str]:
        """The category of every feature."""
        return {name: category for category, group in self.categories.items() for name in group}

    def production(self) -> list[str]:
        """The features that a model may use: none with a history that is revised afterwards."""
        return [name for name, entry in self.features.items() if entry.point_in_time != "revised"]


class Overrides(Entry):
    """registry/override_thresholds.yaml."""

    overrides: dict[str, Override]


def load_features(folder: Path, sources: DataSources) -> FeatureRegistry:
    """registry/feature_registry.yaml, checked against the sources and derived series that it names.

    A feature's point_in_time must be the worst of its sources, so `revised` cannot be forgotten.
    """
    path = folder / "feature_registry.yaml"
    registry, derived = read_entries(path, FeatureRegistry), load_derived(folder, sources)
    for name, entry in registry.features.items():
        try:
            due = provenance(entry.sources, sources, derived).point_in_time
        except RegistryError as error:
            raise RegistryError(f"{path}: {name}: sources: {error}") from None
        if entry.point_in_time != due:
            raise RegistryError(f"{path}: {name}: point_in_time: {entry.point_in_time}, but its sources are {due}")
    return registry.model_copy(update={"overrides": load_overrides(folder).overrides})


def load_overrides(folder: Path) -> Overrides:
    """registry/override_thresholds.yaml, checked."""
    return read_entries(folder / "override_thresholds.yaml", Overrides)
