"""registry/join_spec.yaml, derived_series.yaml and policy_lexicon.yaml: the contents of the panel."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.rolls import RollRule, load_roll_calendar
from tasks.registry.sources import DataSources


class Fallback(Entry):
    """The replacement of a panel column without a value: the same quantity from another source."""

    source: str
    target: str = Field(description="`series.field` of that source")
    max_age_days: int = Field(ge=0, description="calendar days after which its last known value is missing too")


class Join(Entry):
    """Columns of the panel that come from one source, as of 18:00 Chicago of each session."""

    source: str = Field(description="the right side: staged observations of this source")
    left: Literal["sessions"] = Field(default="sessions", description="rows: the CBOT sessions from 2000")
    on: Literal["as_of_instant"] = Field(default="as_of_instant", description="key: 18:00 Chicago of the session")
    rule: Literal["newest_known"] = Field(
        default="newest_known", description="newest observation published by the key, in its newest vintage by then"
    )
    columns: dict[str, str] = Field(description="panel column: `series.field`")
    max_age_days: int = Field(ge=0, description="calendar days after which the last known value is missing")
    in_force: bool = Field(default=False, description="a value announced for a later date waits for that date")
    complete_until: dict[str, date] = Field(
        default={}, description="column: session after which it is missing; filled in from the source's `tables`"
    )
    fallbacks: dict[str, Fallback] = Field(default={}, description="panel column: its replacement")

    @model_validator(mode="after")
    def _columns_known(self) -> Join:
        if unknown := set(self.fallbacks) - set(self.columns):
            raise ValueError(f"fallbacks: no column {sorted(unknown)} in this join")
        return self


class JoinSpec(Entry):
    """registry/join_spec.yaml."""

    joins: tuple[Join, ...]

    @model_validator(mode="after")
    def _no_doubles(self) -> JoinSpec:
        names = [column for join in self.joins for column in join.columns]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"columns declared twice: {double}")
        return self


class DerivedEntry(Entry):
    """One series computed from others."""

    title: str
    unit: str
    range: tuple[float, float]
    inputs: tuple[str, ...]
    formula: str


class WeatherRegion(Entry):
    """Stations of one source whose mean is a region's weather."""

    source: str
    stations: tuple[str, ...] = Field(min_length=1, description="series of that source")
    least: int = Field(ge=1, description="stations that must have a figure; with fewer the region has none")
    planting: str = Field(pattern=r"^[01]\d-[0-3]\d$", description="MM-DD: the first day of the season")
    harvest: str = Field(pattern=r"^[01]\d-[0-3]\d$", description="MM-DD: its last day")

    @property
    def season(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Planting and harvest as (month, day)."""
        (first, begin), (last, end) = (map(int, one.split("-")) for one in (self.planting, self.harvest))
        return (first, begin), (last, end)


class Theme(Entry):
    """The phrases of one policy theme, by direction."""

    title: str
    up: tuple[str, ...]
    down: tuple[str, ...]

    @model_validator(mode="after")
    def _one_side(self) -> Theme:
        if both := set(self.up) & set(self.down):
            raise ValueError(f"on both sides: {sorted(both)}")
        return self


class FinBertWeights(Entry):
    """The folders of the installed FinBERT and of its cached scores."""

    folder: Path
    remembered: Path


class Lexicon(Entry):
    """registry/policy_lexicon.yaml: how texts are scored; its name is recorded with every score."""

    name: str = Field(pattern=r"^lexicon-v\d+$")
    themes: dict[str, Theme]
    finbert: FinBertWeights | None = Field(default=None, description="replaces the phrase scores if installed")


class DerivedSeries(Entry):
    """registry/derived_series.yaml: inputs, the derived series, and missing series with the reason."""

    inputs: tuple[Join, ...]
    series: dict[str, DerivedEntry]
    weather_regions: dict[str, WeatherRegion] = Field(default={})
    missing: dict[str, str] = Field(default={})
    complete_until: dict[str, date] = Field(
        default={}, description="policy_events series: session after which it is missing; filled in when loaded"
    )
    lexicon: Lexicon | None = Field(default=None, description="registry/policy_lexicon.yaml, for the series of texts")
    roll_rule: RollRule | None = Field(default=None, description="of ZL in registry/roll_calendar.yaml, for the curve")

    @model_validator(mode="after")
    def _inputs_known(self) -> DerivedSeries:
        given = {column for join in self.inputs for column in join.columns}
        for name, entry in self.series.items():
            if unknown := set(entry.inputs) - given:
                raise ValueError(f"series {name}: unknown input {sorted(unknown)}; inputs: {sorted(given)}")
        return self


def load_join_spec(folder: Path, sources: DataSources) -> JoinSpec:
    """registry/join_spec.yaml, checked against the sources and derived series that it names."""
    spec = read_entries(folder / "join_spec.yaml", JoinSpec)
    derived = load_derived(folder, sources)
    joins = []
    for join in spec.joins:
        if join.source == "derived":
            unknown = [t for t in join.columns.values() if t.removesuffix(".value") not in derived.series]
            if unknown:
                raise RegistryError(f"{folder / 'join_spec.yaml'}: no derived series {', '.join(unknown)}")
        else:
            join = _checked(join, sources, folder / "join_spec.yaml")
        joins.append(join)
    return spec.model_copy(update={"joins": tuple(joins)})


def load_derived(folder: Path, sources: DataSources, *, finbert: FinBertWeights | None = None) -> DerivedSeries:
    """registry/derived_series.yaml, checked against the sources of its inputs."""
    spec = read_entries(folder / "derived_series.yaml", DerivedSeries)
    inputs = tuple(_checked(join, sources, folder / "derived_series.yaml") for join in spec.inputs)
    for name, region in spec.weather_regions.items():
        known = sources.sources[region.source].series if region.source in sources.sources else {}
        if unknown := sorted(set(region.stations) - set(known)):
            raise RegistryError(
                f"{folder / 'derived_series.yaml'}: weather_regions: {name}: no series {', '.join(unknown)} of "
                f"{region.source}"
            )
    lexicon = read_entries(folder / "policy_lexicon.yaml", Lexicon).model_copy(update={"finbert": finbert})
    until = {
        name: end
        for source in sources.sources.values()
        for name in source.series
        if (end := source.complete_until(name)) is not None
    }
    rule = load_roll_calendar(folder, sources).rolls["ZL"]
    return spec.model_copy(update={"inputs": inputs, "lexicon": lexicon, "complete_until": until, "roll_rule": rule})


def _checked(join: Join, sources: DataSources, path: Path) -> Join:
    """The join with ``complete_until`` per column, after checking its series and fallbacks."""
    named = [(column, join.source, target) for column, target in join.columns.items()]
    named += [(f"fallbacks.{column}", other.source, other.target) for column, other in join.fallbacks.items()]
    for column, name, target in named:
        if name not in sources.sources:
            raise RegistryError(f"{path}: {column}: no source {name}; known: {', '.join(sources.sources)}")
        series, _, field = target.rpartition(".")
        if series not in sources.source(name).series or field not in sources.source(name).fields:
            raise RegistryError(f"{path}: {column}: no `{target}` in source {name}")
    source = sources.source(join.source)
    until = {
        column: end
        for column, target in join.columns.items()
        if (end := source.complete_until(target.rpartition(".")[0])) is not None
    }
    return join.model_copy(update={"complete_until": until})
