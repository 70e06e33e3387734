"""Typed loaders of registry/*.yaml: what the product knows about sources, joins, features and horizons.

Every model forbids unknown keys, so a typo is an error that names the file and the entry, not a default.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.errors import RegistryError

if TYPE_CHECKING:
    import pandas as pd

PointInTime = Literal["exact", "lagged", "revised"]


class Entry(BaseModel):
    """Base of every registry entry: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Delay(Entry):
    """Observations dated ``first`` to ``last`` were all known by ``released`` only (shutdowns, outages)."""

    first: date
    last: date
    released: date
    why: str


class Availability(Entry):
    """When an observation became known, computed from its date (tasks/staging/availability.py)."""

    rule: Literal["same_day", "next_business_day", "weekday_after", "day_of_month", "recorded", "days_after"]
    time: str = Field(pattern=r"^\d\d:\d\d$")
    timezone: str
    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday"] | None = None
    min_days: int = Field(default=1, ge=0, description="weekday_after, days_after: so many days after the date")
    months_after: int = Field(default=0, ge=0, description="day_of_month: months after the observation's month")
    day: int = Field(default=1, ge=1, le=28)
    delays: tuple[Delay, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Availability:
        if (self.rule == "weekday_after") != (self.weekday is not None):
            raise ValueError("`weekday` goes with rule weekday_after, and only with it")
        return self


class Jump(Entry):
    """A move this large is refused until something confirms it (tasks/staging/rules.py)."""

    min_abs_return: float = Field(gt=0)
    sigmas: float = Field(gt=0, description="multiples of the trailing robust scale of daily returns")


class SeriesSpec(Entry):
    """One series of a source. What is None falls back to the source's default of the same name."""

    title: str
    unit: str
    units: dict[str, str] = Field(default={}, description="unit of a field that differs from `unit`")
    range: tuple[float, float] = Field(description="allowed values of the price-like fields, inclusive")
    ranges: dict[str, tuple[float, float]] = Field(default={}, description="allowed values of other fields")
    point_in_time: PointInTime | None = None
    availability: Availability | None = None
    stale_limit_days: int | None = Field(default=None, gt=0)
    stale_run: int | None = Field(default=None, gt=1, description="identical bars in a row that count as frozen")
    jump: Jump | None = None
    critical: bool = Field(default=False, description="P0: without it the run stops")
    ended: date | None = Field(
        default=None, description="its last observation: the source stopped it; never stale after"
    )
    query: dict[str, str] = Field(default={}, description="what to ask for, where that is more than the series' name")
    location: tuple[float, float] | None = Field(default=None, description="latitude and longitude in degrees")

    @model_validator(mode="after")
    def _ordered(self) -> SeriesSpec:
        for name, (low, high) in {"range": self.range, **self.ranges}.items():
            if low >= high:
                raise ValueError(f"{name}: {low} is not below {high}")
        return self


class Schedule(Entry):
    """When the source is asked, in its own time zone."""

    cron: str
    timezone: str


class SourceSpec(Entry):
    """One source: how it is asked, when its values become known, what is allowed in them."""

    module: str
    title: str
    endpoint: str
    keyed_endpoint: str = Field(default="", description="asked instead where an optional secret is set")
    kind: Literal["bars", "values"]
    fields: dict[str, str] = Field(description="field as staged: its name in the payload")
    field_units: dict[str, str] = Field(default={}, description="unit of a field that is not its series' unit")
    schedule: Schedule
    first_date: date
    refetch_days: int = Field(ge=0, description="how far back a source rewrites itself")
    rate_limit_per_minute: int = Field(gt=0)
    secrets: tuple[str, ...] = Field(default=(), description="environment names without which it cannot be asked")
    optional_secrets: tuple[str, ...] = Field(default=(), description="names of keys that only widen what it answers")
    disabled: str = Field(default="", description="why there is nothing to ask live; recorded payloads still serve it")
    licence: str
    reliability: str
    priority: Literal["P0", "P1"]
    point_in_time: PointInTime
    availability: Availability
    stale_limit_days: int = Field(gt=0)
    stale_run: int | None = None
    jump: Jump | None = None
    max_quarantine_share: float = Field(gt=0, le=1)
    missing_marker: bool = Field(default=False, description="an empty value is how the source says 'none that day'")
    weekends: bool = Field(default=False, description="the source has true values on Saturdays and Sundays")
    projected_days: int = Field(default=0, ge=0, description="how far ahead of its payload a projection may be dated")
    feeds: tuple[str, ...] = Field(default=(), description="payload folders, where one payload holds many series")
    recorded: tuple[str, ...] = Field(
        default=(), description="payload folders of an archive, where not those asked live"
    )
    folder: str = Field(default="", description="the source's folder in an archive, where it is not its name")
    series: dict[str, SeriesSpec]

    @property
    def fetched(self) -> tuple[str, ...]:
        """What is asked for and landed, one at a time: the feeds, or each series by itself."""
        return self.feeds or tuple(self.series)

    @property
    def replayed(self) -> tuple[str, ...]:
        """The payload folders that a recorded origin has of this source."""
        return self.recorded or self.fetched

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:
        """Give each series its source's defaults, so that readers look in one place."""
        if isinstance(raw, dict) and isinstance(raw.get("series"), dict):
            shared = {
                k: raw[k]
                for k in ("point_in_time", "availability", "stale_limit_days", "stale_run", "jump")
                if k in raw
            }
            raw = {**raw, "series": {name: {**shared, **(spec or {})} for name, spec in raw["series"].items()}}
        return raw

    @model_validator(mode="after")
    def _fields_known(self) -> SourceSpec:
        for name, spec in self.series.items():
            unknown = (set(spec.ranges) | set(spec.units)) - set(self.fields)
            if unknown:
                raise ValueError(f"series {name}: unknown field {sorted(unknown)}; fields: {sorted(self.fields)}")
        return self

    def unit_of(self, series: str, field: str) -> str:
        """The unit of one field of one series."""
        spec = self.series[series]
        return spec.units.get(field, self.field_units.get(field, spec.unit))


class DataSources(Entry):
    """registry/data_sources.yaml."""

    sources: dict[str, SourceSpec]

    def source(self, name: str) -> SourceSpec:
        """One source by name.

        Raises:
            RegistryError: no such source; the message lists those there are.
        """
        if name not in self.sources:
            raise RegistryError(
                f"unknown source `{name}`; known: {', '.join(sorted(self.sources))} (registry/data_sources.yaml)"
            )
        return self.sources[name]


class Join(Entry):
    """Columns of the panel that come from one source, as of 18:00 Chicago of each session."""

    source: str
    columns: dict[str, str] = Field(description="panel column: `series.field`")
    max_age_days: int = Field(ge=0, description="calendar days after which the last known value is missing")


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


class FeatureEntry(Entry):
    """One feature: what a reader of a forecast needs to know of it."""

    formula: str
    unit: str
    sources: tuple[str, ...]
    point_in_time: PointInTime
    sign: Literal["+", "-", "?"] = Field(description="expected direction for ZL")
    max_missing_share: float = Field(ge=0, le=1, description="after the feature's first value")


class FeatureRegistry(Entry):
    """registry/feature_registry.yaml: category, then feature, in the order of the feature table."""

    categories: dict[str, dict[str, FeatureEntry]]

    @cached_property
    def features(self) -> dict[str, FeatureEntry]:
        """Every feature in order."""
        return {name: entry for group in self.categories.values() for name, entry in group.items()}

    @cached_property
    def category_of(self) -> dict[str, str]:
        """The category of every feature."""
        return {name: category for category, group in self.categories.items() for name in group}

    def production(self) -> list[str]:
        """Features a model may use: none whose history is rewritten after the fact."""
        return [name for name, entry in self.features.items() if entry.point_in_time != "revised"]


class Horizon(Entry):
    """One forecast horizon, counted in CBOT sessions."""

    sessions: int = Field(gt=0)
    title: str


class WalkForwardPlan(Entry):
    """How models are compared (tasks/evaluation/walk_forward.py)."""

    first_test_year: int
    warm_up_years: int = Field(ge=0, description="folds before the first test year that feed the calibrator only")
    origin_step_sessions: int = Field(gt=0, description="sessions between two scored origins")


class Horizons(Entry):
    """registry/horizons.yaml."""

    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    horizons: dict[str, Horizon]
    walk_forward: WalkForwardPlan
    champion_max_age_sessions: int = Field(gt=0)


Model = TypeVar("Model", bound=Entry)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML that refuses a key written twice; YAML itself lets the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        double = sorted({str(key) for key in keys if keys.count(key) > 1})
        if double:
            raise yaml.MarkedYAMLError(problem=f"written twice: {', '.join(double)}", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _load(path: Path, model: type[Model]) -> Model:
    try:
        raw = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506 it is a safe one
    except FileNotFoundError:
        raise RegistryError(f"{path} is missing; restore it with `git checkout {path.name}`") from None
    except yaml.YAMLError as error:
        raise RegistryError(f"{path} is not YAML: {error}") from None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise RegistryError(f"{path}: {problems}") from None


def load_sources(folder: Path) -> DataSources:
    """registry/data_sources.yaml, checked.

    Raises:
        RegistryError: naming the file and the entry.
    """
    return _load(folder / "data_sources.yaml", DataSources)


def load_join_spec(folder: Path, sources: DataSources) -> JoinSpec:
    """registry/join_spec.yaml, checked against the sources it names."""
    spec = _load(folder / "join_spec.yaml", JoinSpec)
    for join in spec.joins:
        if join.source not in sources.sources:
            raise RegistryError(
                f"{folder / 'join_spec.yaml'}: no source {join.source}; known: {', '.join(sources.sources)}"
            )
        source = sources.source(join.source)
        for column, target in join.columns.items():
            series, _, field = target.rpartition(".")
            if series not in source.series or field not in source.fields:
                raise RegistryError(f"{folder / 'join_spec.yaml'}: {column}: no `{target}` in source {join.source}")
    return spec


def load_features(folder: Path) -> FeatureRegistry:
    """registry/feature_registry.yaml, checked."""
    return _load(folder / "feature_registry.yaml", FeatureRegistry)


def load_horizons(folder: Path) -> Horizons:
    """registry/horizons.yaml, checked."""
    return _load(folder / "horizons.yaml", Horizons)


def load_regime_calendar(folder: Path) -> pd.DataFrame:
    """registry/regime_calendar.csv: regime, start, end, training_weight. For weights and slices, never a feature."""
    import pandas as pd

    return pd.read_csv(folder / "regime_calendar.csv", parse_dates=["start", "end"])
