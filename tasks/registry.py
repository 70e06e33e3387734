"""Typed loaders of registry/*.yaml: what the product knows about sources, joins, features and horizons.

Every model forbids unknown keys, so a typo is an error that names the file and the entry, not a default.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from tasks.errors import RegistryError
from tasks.zones import fingerprint

if TYPE_CHECKING:
    import pandas as pd

WHOLE_HISTORY_DAYS = 36500
MONTH_CODES = "FGHJKMNQUVXZ"  # delivery months of futures, January to December
# Each from the best to the worst: what is made of several series has the worst of each.
PointInTime = Literal["exact", "lagged", "revised"]
Frequency = Literal["daily", "weekly", "monthly", "quarterly", "annual", "event"]
Reliability = Literal["high", "medium", "low"]


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
    frequency: Frequency | None = None
    point_in_time: PointInTime | None = None
    availability: Availability | None = None
    stale_limit_days: int | None = Field(default=None, gt=0)
    stale_run: int | None = Field(default=None, gt=1, description="identical bars in a row that count as frozen")
    jump: Jump | None = None
    critical: bool = Field(default=False, description="P0: without it the run stops")
    ended: date | None = Field(default=None, description="nothing comes after it: discontinued, or a contract's end")
    select: dict[str, str] = Field(default={}, description="what picks it out of the source, where no name does")
    location: tuple[float, float] | None = Field(default=None, description="latitude and longitude in degrees")
    query: str = Field(default="", description="documents: what is asked for, in the source's own search language")
    terms: tuple[str, ...] = Field(
        default=(), description="documents: words or phrases of which one in title or abstract makes it this topic"
    )

    @model_validator(mode="after")
    def _ordered(self) -> SeriesSpec:
        for name, (low, high) in {"range": self.range, **self.ranges}.items():
            if low >= high:
                raise ValueError(f"{name}: {low} is not below {high}")
        return self


class Contracts(Entry):
    """The contracts of one product, a series each: every delivery month of every year."""

    title: str
    unit: str
    range: tuple[float, float]
    units: dict[str, str] = {}
    ranges: dict[str, tuple[float, float]] = {}
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...]
    years: tuple[int, int] = Field(description="first and last delivery year")

    def series(self, product: str, name: str) -> dict[str, dict[str, Any]]:
        """What each contract's series has of its own; ``name`` is a pattern of product, month, year and code."""
        shared = self.model_dump(exclude={"title", "months", "years"}) | {"jump": None, "stale_run": None}
        return {
            name.format(product=product, month=month, year=year % 100, code=MONTH_CODES[month - 1]): {
                **shared,
                "title": f"{self.title}, {calendar.month_abbr[month]} {year}",
                "ended": date(year, month, calendar.monthrange(year, month)[1]),
            }
            for year in range(self.years[0], self.years[1] + 1)
            for month in self.months
        }


class Schedule(Entry):
    """When the source is asked, in its own time zone."""

    cron: str
    timezone: str
    spread_s: int = Field(default=300, ge=0, description="a scheduled run starts up to so many seconds later")


class SourceSpec(Entry):
    """One source: how it is asked, when its values become known, what is allowed in them."""

    module: str
    title: str
    endpoint: str
    keyed_endpoint: str = Field(default="", description="asked instead where an optional secret is set")
    kind: Literal["bars", "values", "documents"]
    fields: dict[str, str] = Field(description="field as staged: its name in the payload")
    field_units: dict[str, str] = Field(default={}, description="unit of a field that is not its series' unit")
    schedule: Schedule
    first_date: date
    refetch_days: int = Field(ge=0, description="how far back a source rewrites itself; 36500: it is served whole")
    rate_limit_per_minute: int = Field(gt=0)
    burst: int = Field(default=5, ge=1, description="requests that may be made at once before the rate limit bites")
    days_at_once: int = Field(default=36525, gt=7, description="days asked for in one run; the next run goes on")
    secrets: tuple[str, ...] = Field(default=(), description="environment names without which it cannot be asked")
    optional_secrets: tuple[str, ...] = Field(default=(), description="names of keys that only widen what it answers")
    disabled: str = Field(default="", description="why there is nothing to ask live; recorded payloads still serve it")
    licence: str
    frequency: Frequency = Field(description="how often new values come out; `event`: when something happens")
    reliability: Reliability
    caveat: str = Field(description="what goes wrong with it")
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
    samples: dict[str, str] = Field(
        default={}, description="payload folders of an archive that are not landed: what each is a sample of"
    )
    folder: str = Field(default="", description="the source's folder in an archive, where it is not its name")
    tables: dict[str, date] = Field(
        default={}, description="registry/<name>.csv that are the source, with the day each was last edited"
    )
    roll: Literal["calendar", "volume"] | None = Field(
        default=None, description="when a continuous contract moves on: `{roll}` in names is its letter, c or v"
    )
    contracts: dict[str, Contracts] = Field(default={}, description="product: its contracts, each becomes a series")
    contract_name: str = Field(default="", description="pattern of product, month, year (two digits) and code")
    series: dict[str, SeriesSpec]

    @property
    def served_whole(self) -> bool:
        """Whether every answer holds the whole history, whatever dates are asked for."""
        return self.refetch_days >= WHOLE_HISTORY_DAYS

    @property
    def fetched(self) -> tuple[str, ...]:
        """What is asked for and landed, one at a time: the feeds, the tables, or each series by itself."""
        return self.feeds or tuple(self.tables) or tuple(self.series)

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
                for k in ("frequency", "point_in_time", "availability", "stale_limit_days", "stale_run", "jump")
                if k in raw
            }
            named = [name for name in (*raw["series"], *raw.get("feeds", ())) if "{roll}" in name]
            if named and not raw.get("roll"):
                raise ValueError(f"{named[0]}: needs `roll`, calendar or volume")
            if raw.get("contracts") and not raw.get("contract_name"):
                raise ValueError("`contracts` needs `contract_name`, such as {product}{code}{year:02d}")
            letter = str(raw.get("roll") or "")[:1]
            own = {name.replace("{roll}", letter): spec for name, spec in raw["series"].items()}
            for product, listed in (raw.get("contracts") or {}).items():
                own |= Contracts.model_validate(listed).series(product, raw["contract_name"])
            raw = {**raw, "series": {name: {**shared, **(spec or {})} for name, spec in own.items()}}
            if "feeds" in raw:
                raw["feeds"] = [name.replace("{roll}", letter) for name in raw["feeds"]]
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


class ExpectRowsPreserved(Entry):
    """The panel has exactly the rows of the left side: every session, none twice, none besides."""


class ExpectColumnsAdded(Entry):
    """The join's columns and their ages are there, each a float."""


class ExpectNoDuplicateDates(Entry):
    """No session stands in the panel twice."""


class ExpectDateRange(Entry):
    """The panel begins at ``first`` and goes on for at least ``min_years``."""

    first: date
    min_years: float = Field(default=0, ge=0)


class ExpectAvailableAfter(Entry):
    """Every value shown had been published by its session's instant, and none is dated after its session."""


class ExpectNullRateBelow(Entry):
    """Share of sessions without a value, from the column's first known session on.

    To the last known session, so that what ended or went stale is told as that (freshness, `expect_last_age_below`);
    ``to: last_session`` counts it as missing.
    """

    share: float = Field(gt=0, le=1)
    columns: dict[str, float] = Field(default={}, description="limits of single columns, where they differ")
    to: Literal["last_known", "last_session"] = "last_known"
    min_sessions: int = Field(default=1260, gt=0, description="fewer sessions than this are not judged")


class ExpectLastAgeBelow(Entry):
    """At the last session each column's newest value is younger than ``days`` calendar days."""

    days: int = Field(gt=0)


class ExpectRegimeCardinalityGte(Entry):
    """The regime calendar, joined to the sessions, gives at least so many regimes, and weights in range."""

    regimes: int = Field(gt=0)
    weights: tuple[float, float]
    since: date = Field(description="a panel that ends earlier has not lived through so many")


JOIN_TESTS: dict[str, type[Entry]] = {
    "expect_rows_preserved": ExpectRowsPreserved,
    "expect_columns_added": ExpectColumnsAdded,
    "expect_no_duplicate_dates": ExpectNoDuplicateDates,
    "expect_date_range": ExpectDateRange,
    "expect_available_after": ExpectAvailableAfter,
    "expect_null_rate_below": ExpectNullRateBelow,
    "expect_last_age_below": ExpectLastAgeBelow,
    "expect_regime_cardinality_gte": ExpectRegimeCardinalityGte,
}
PANEL_TESTS = (
    "expect_rows_preserved",
    "expect_no_duplicate_dates",
    "expect_date_range",
    "expect_regime_cardinality_gte",
)


class JoinTest(Entry):
    """One entry of `tests:`, written ``{name: arguments}`` (tasks/panel/join_tests.py runs it)."""

    name: str
    arguments: SerializeAsAny[Entry]

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            raw = {raw: {}}
        if not isinstance(raw, dict) or len(raw) != 1:
            raise ValueError("a test is written {name: arguments}, or its bare name where it has none")
        ((name, arguments),) = raw.items()
        if name not in JOIN_TESTS:
            raise ValueError(f"unknown test `{name}`; known: {', '.join(sorted(JOIN_TESTS))}")
        try:
            return {"name": name, "arguments": JOIN_TESTS[name].model_validate(arguments or {})}
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"{name}: {'; '.join(problems)}") from None


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
    tests: tuple[JoinTest, ...] = ()

    @model_validator(mode="after")
    def _tests_fit(self) -> Join:
        for test in self.tests:
            if test.name in PANEL_TESTS:
                raise ValueError(f"`{test.name}` is a test of the whole panel: write it under the top-level `tests:`")
            unknown = set(getattr(test.arguments, "columns", {})) - set(self.columns)
            if unknown:
                raise ValueError(f"`{test.name}`: no column {sorted(unknown)} in this join")
        return self


class JoinSpec(Entry):
    """registry/join_spec.yaml."""

    tests: tuple[JoinTest, ...] = Field(default=(), description="tests of the whole panel")
    joins: tuple[Join, ...]

    @model_validator(mode="after")
    def _no_doubles(self) -> JoinSpec:
        names = [column for join in self.joins for column in join.columns]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"columns declared twice: {double}")
        return self


class DerivedEntry(Entry):
    """One series that is computed from others."""

    title: str
    unit: str
    range: tuple[float, float]
    inputs: tuple[str, ...]
    formula: str


class Theme(Entry):
    """Phrases by which a document speaks of one policy, and to which side."""

    title: str
    up: tuple[str, ...]
    down: tuple[str, ...]

    @model_validator(mode="after")
    def _one_side(self) -> Theme:
        if both := set(self.up) & set(self.down):
            raise ValueError(f"on both sides: {sorted(both)}")
        return self


class FinBertWeights(Entry):
    """Where FinBERT is installed on this machine, and where its scores are kept."""

    folder: Path
    remembered: Path


class Lexicon(Entry):
    """registry/policy_lexicon.yaml: how texts are scored, under the name that is recorded with every score."""

    name: str = Field(pattern=r"^lexicon-v\d+$")
    themes: dict[str, Theme]
    finbert: FinBertWeights | None = Field(default=None, description="scores in place of the phrases, where installed")


class DerivedSeries(Entry):
    """registry/derived_series.yaml: inputs, the series made of them, and what cannot be had with the reason."""

    inputs: tuple[Join, ...]
    series: dict[str, DerivedEntry]
    missing: dict[str, str] = {}
    lexicon: Lexicon | None = Field(default=None, description="registry/policy_lexicon.yaml, for the series of texts")

    @model_validator(mode="after")
    def _inputs_known(self) -> DerivedSeries:
        given = {column for join in self.inputs for column in join.columns}
        for name, entry in self.series.items():
            if unknown := set(entry.inputs) - given:
                raise ValueError(f"series {name}: unknown input {sorted(unknown)}; inputs: {sorted(given)}")
        return self


class Provenance(Entry):
    """What something is worth that is made of series: the slowest frequency and the worst of the rest."""

    frequency: Frequency
    reliability: Reliability
    point_in_time: PointInTime


CALENDAR = Provenance(frequency="daily", reliability="high", point_in_time="exact")


def worst_of(parts: Iterable[Provenance]) -> Provenance:
    """Of every field the worst that any part has."""
    given = list(parts)
    return Provenance.model_validate(
        {
            name: max((getattr(part, name) for part in given), key=get_args(scale).index)
            for name, scale in (("frequency", Frequency), ("reliability", Reliability), ("point_in_time", PointInTime))
        }
    )


def provenance(names: Iterable[str], sources: DataSources, derived: DerivedSeries) -> Provenance:
    """What is known of that which is made of ``names``.

    Each is ``source``, ``source series``, ``derived series`` or ``calendar``. A derived series is worth what its inputs
    are; one that lists none is made of a whole source, which is then named beside it.

    Raises:
        RegistryError: a name that is none of these, or a source that must be named with its series.
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
        raise RegistryError(f"{', '.join(names)} lists no inputs: name the source it is made of beside it")
    return worst_of(found)


def _provenance_of_source(source: str, series: str, spec: SourceSpec) -> Provenance:
    if series and series not in spec.series:
        raise RegistryError(f"no series `{series}` in source {source}")
    meant = [spec.series[series]] if series else list(spec.series.values())
    kinds = {(entry.frequency, entry.point_in_time) for entry in meant}
    if len(kinds) > 1:
        raise RegistryError(f"series of {source} differ in frequency or point in time: name those that are used")
    ((frequency, point_in_time),) = kinds
    return Provenance.model_validate(
        {"frequency": frequency, "reliability": spec.reliability, "point_in_time": point_in_time}
    )


class FeatureEntry(Entry):
    """One feature: what a reader of a forecast needs to know of it. Frequency and reliability are its sources'."""

    formula: str
    unit: str
    sources: tuple[str, ...] = Field(min_length=1, description="as `provenance` reads them")
    point_in_time: PointInTime
    sign: Literal["+", "-", "?"] = Field(description="expected direction for ZL")
    max_missing_share: float = Field(ge=0, le=1, description="after the feature's first value")
    first_date: date = Field(description="first session with a value, on the recorded archive")


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


class SurfaceFeature(Entry):
    """One feature of the production surface, and what chose it."""

    category: str
    dtype: Literal["float64"]
    stands_for: tuple[str, ...] = Field(description="features it ranks sessions like, left out for it")
    shap_share_pct: float = Field(ge=0, le=100, description="its group's share of |SHAP|, mean of all fits")
    stability: float = Field(ge=0, le=1, description="share of fits in which its group outranks noise")


class SurfaceCategory(Entry):
    """How many of a category there were at each step of the choice."""

    features: int = Field(description="production features")
    candidates: int = Field(description="with enough history")
    groups: int = Field(description="of candidates that rank sessions alike, by the category of what each stands as")
    chosen: int


SURFACE_SIZE = (30, 60)


class ProductionSurface(Entry):
    """registry/production_surface.yaml: the curated features of nets and linear models, locked with order and dtype."""

    version: str = Field(description="hash of names, order and dtypes: what a model is given")
    final_test_year: int = Field(description="not read, and nothing after it")
    folds: tuple[int, ...] = Field(description="test years that were read")
    horizons: tuple[str, ...]
    last_date_read: date
    data_snapshot: str = Field(description="hash of everything that was read")
    code: str = Field(description="hash of the code that chose")
    categories: dict[str, SurfaceCategory]
    features: dict[str, SurfaceFeature]

    @model_validator(mode="after")
    def _locked(self) -> ProductionSurface:
        least, most = SURFACE_SIZE
        if not least <= len(self.features) <= most:
            raise ValueError(f"{len(self.features)} features; a surface has {least} to {most}")
        if self.version != surface_version(self.features):
            raise ValueError("the features are not those of `version`; the file is written by `make surface` only")
        if max(self.folds) >= self.final_test_year or self.last_date_read.year >= self.final_test_year:
            raise ValueError(f"it was chosen on the final test year, {self.final_test_year}")
        return self


def surface_version(features: Mapping[str, SurfaceFeature]) -> str:
    """Names in order and their dtypes, hashed."""
    return fingerprint([(name, entry.dtype) for name, entry in features.items()])


class Override(Entry):
    """One override flag: its signal, the threshold, and months in which it is shown to fire and to rest."""

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


class Overrides(Entry):
    """registry/override_thresholds.yaml."""

    overrides: dict[str, Override]


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


class SearchRange(Entry):
    """Values between two ends, whole numbers where both ends are."""

    low: int | float
    high: int | float
    log: bool = Field(default=False, description="drawn evenly in the logarithm")

    @model_validator(mode="after")
    def _ordered(self) -> SearchRange:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low}, high {self.high}: low is below high, and above 0 where log is true")
        return self


class SearchChoices(Entry):
    """One of some values."""

    choices: tuple[bool | int | float | str, ...] = Field(min_length=2)


class SampleWeights(Entry):
    """How much each row counts in a fit (tasks/models/joint.py)."""

    regimes: bool = Field(default=False, description="the training_weight of regime_calendar.csv")
    half_life_sessions: float | None = Field(default=None, ge=21, description="a row this much older counts half")

    @property
    def on(self) -> bool:
        """Whether any row counts more than another."""
        return self.regimes or self.half_life_sessions is not None


class ModelFamily(Entry):
    """One family of the bake-off: what it reads, and what differs from its own defaults."""

    title: str
    surface: Literal["full", "production", "volatility"]
    groups: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    weights: SampleWeights = SampleWeights()
    search: dict[str, SearchRange | SearchChoices] = Field(
        default={}, description="by option: the values that a search may try (tasks/evaluation/search.py)"
    )


class Budget(Entry):
    """How much of the bake-off a run does."""

    title: str
    families: tuple[str, ...]
    last_test_years: int = Field(ge=0, description="0: all; else so many, back from the last year that is over")
    joint_last_test_years: int | None = Field(default=None, ge=1, description="the same for families of all horizons")
    options: dict[str, dict[str, Any]] = Field(default={}, description="by family, over the family's own")


class Models(Entry):
    """registry/models.yaml."""

    volatility: tuple[str, ...]
    context: tuple[str, ...] = Field(description="categories that nets read apart from the market's own")
    families: dict[str, ModelFamily]
    ensemble: tuple[str, ...] = Field(min_length=2)
    budgets: dict[str, Budget]

    def columns(self, family: str, features: FeatureRegistry, surface: ProductionSurface) -> list[str]:
        """The production features that a family reads, in the registry's order."""
        chosen = self.families[family]
        read = {
            "volatility": set(self.volatility),
            "production": set(surface.features),
            "full": set(features.production()),
        }[chosen.surface]
        category = features.category_of
        return [name for name in features.production() if name in read or category[name] in chosen.groups]

    @model_validator(mode="after")
    def _families_known(self) -> Models:
        if unknown := sorted(set(self.ensemble) - set(self.families)):
            raise ValueError(f"ensemble: unknown family {unknown}; known: {sorted(self.families)}")
        for name, budget in self.budgets.items():
            if unknown := sorted({*budget.families, *budget.options} - set(self.families)):
                raise ValueError(f"budget {name}: unknown family {unknown}; known: {sorted(self.families)}")
        return self


class PromotionRule(Entry):
    """What a model must show to become champion (tasks/evaluation/promotion.py)."""

    max_direction_hit_rate_pct: float = Field(gt=50, le=100, description="above it, only with a leakage audit")
    horizons: tuple[str, ...] = Field(min_length=1, description="where that limit holds: a month and longer")
    min_skill_lower_bound_pct: float = Field(
        ge=0, description="the lower 90% bound of skill over the better naive is above this"
    )
    coverage_80_within: float = Field(gt=0, lt=0.2, description="observed coverage of the 80% band is this near to 0.8")


class Aspirations(Entry):
    """What is hoped for, told per horizon as met or not; it promotes and refuses nothing."""

    mape_pct_below: float = Field(gt=0)
    sharpe_above: float
    direction_hit_rate_above: float = Field(gt=0, lt=1)
    calibration_error_below: float = Field(gt=0, lt=1)


class TradingCost(Entry):
    """What the sign strategy pays (tasks/evaluation/metrics.py)."""

    round_trip_cents_lb: float = Field(ge=0, description="commission and slippage of one trade and back")


class QualityGates(Entry):
    """registry/quality_gates.yaml."""

    promotion: PromotionRule
    aspirations: Aspirations
    trading_cost: TradingCost


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
    """registry/join_spec.yaml, checked against the sources and derived series it names."""
    spec = _load(folder / "join_spec.yaml", JoinSpec)
    derived = load_derived(folder, sources)
    for join in spec.joins:
        if join.source == "derived":
            unknown = [t for t in join.columns.values() if t.removesuffix(".value") not in derived.series]
            if unknown:
                raise RegistryError(f"{folder / 'join_spec.yaml'}: no derived series {', '.join(unknown)}")
        else:
            _check_join(join, sources, folder / "join_spec.yaml")
    return spec


def load_derived(folder: Path, sources: DataSources, *, finbert: FinBertWeights | None = None) -> DerivedSeries:
    """registry/derived_series.yaml, checked against the sources its inputs name."""
    spec = _load(folder / "derived_series.yaml", DerivedSeries)
    for join in spec.inputs:
        _check_join(join, sources, folder / "derived_series.yaml")
    lexicon = _load(folder / "policy_lexicon.yaml", Lexicon).model_copy(update={"finbert": finbert})
    return spec.model_copy(update={"lexicon": lexicon})


def _check_join(join: Join, sources: DataSources, path: Path) -> None:
    if join.source not in sources.sources:
        raise RegistryError(f"{path}: no source {join.source}; known: {', '.join(sources.sources)}")
    source = sources.source(join.source)
    for column, target in join.columns.items():
        series, _, field = target.rpartition(".")
        if series not in source.series or field not in source.fields:
            raise RegistryError(f"{path}: {column}: no `{target}` in source {join.source}")


def load_features(folder: Path, sources: DataSources) -> FeatureRegistry:
    """registry/feature_registry.yaml, checked against the sources and derived series it names.

    A feature is exact, lagged or revised as the worst of its sources is: `revised` cannot be forgotten.
    """
    path = folder / "feature_registry.yaml"
    registry, derived = _load(path, FeatureRegistry), load_derived(folder, sources)
    for name, entry in registry.features.items():
        try:
            due = provenance(entry.sources, sources, derived).point_in_time
        except RegistryError as error:
            raise RegistryError(f"{path}: {name}: sources: {error}") from None
        if entry.point_in_time != due:
            raise RegistryError(f"{path}: {name}: point_in_time: {entry.point_in_time}, but its sources are {due}")
    return registry


def load_surface(folder: Path, registry: FeatureRegistry) -> ProductionSurface:
    """registry/production_surface.yaml, checked against the feature registry.

    Raises:
        RegistryError: a feature that is unknown, whose history is rewritten, or that stands in another place.
    """
    path = folder / "production_surface.yaml"
    surface = _load(path, ProductionSurface)
    names, advice = list(surface.features), "run `make surface`"
    if unknown := [name for name in names if name not in registry.features]:
        raise RegistryError(f"{path}: no feature {', '.join(unknown)} in feature_registry.yaml; {advice}")
    if revised := sorted(set(names) - set(registry.production())):
        raise RegistryError(f"{path}: the history of {', '.join(revised)} is rewritten after the fact; {advice}")
    ordered = [name for name in registry.features if name in surface.features]
    if names != ordered:
        first = next(i for i, (name, due) in enumerate(zip(names, ordered, strict=True)) if name != due)
        raise RegistryError(f"{path}: {names[first]} stands where the registry has {ordered[first]}; {advice}")
    if moved := [name for name, entry in surface.features.items() if entry.category != registry.category_of[name]]:
        raise RegistryError(f"{path}: {', '.join(moved)}: not the category of feature_registry.yaml; {advice}")
    return surface


def load_overrides(folder: Path) -> Overrides:
    """registry/override_thresholds.yaml, checked."""
    return _load(folder / "override_thresholds.yaml", Overrides)


def load_horizons(folder: Path) -> Horizons:
    """registry/horizons.yaml, checked."""
    return _load(folder / "horizons.yaml", Horizons)


def load_models(folder: Path, registry: FeatureRegistry) -> Models:
    """registry/models.yaml, checked against the feature registry and the families that there are."""
    from tasks.models.forecaster import FAMILIES, JOINT_FAMILIES, SCALE, WEIGHTED

    path = folder / "models.yaml"
    models = _load(path, Models)
    if unknown := sorted(set(models.volatility) - set(registry.production())):
        raise RegistryError(f"{path}: volatility: no production feature {', '.join(unknown)}")
    weighted = {name for name, family in models.families.items() if family.weights.on}
    if unknown := sorted(weighted - set(WEIGHTED)):
        raise RegistryError(
            f"{path}: weights: {', '.join(unknown)} counts all rows alike; set it for one of {WEIGHTED}"
        )
    groups = {group for family in models.families.values() for group in family.groups}
    if unknown := sorted({*groups, *models.context} - set(registry.categories)):
        raise RegistryError(f"{path}: no category {', '.join(unknown)} in feature_registry.yaml")
    if SCALE not in models.volatility:
        raise RegistryError(f"{path}: volatility: {SCALE} is missing, which every family scales by")
    if unknown := sorted(set(models.families) - {*FAMILIES, *JOINT_FAMILIES}):
        raise RegistryError(f"{path}: families: no code for {', '.join(unknown)} (tasks/models/forecaster.py)")
    given = {name for name, family in models.families.items() if family.options}
    given |= {name for budget in models.budgets.values() for name in budget.options}
    if unused := sorted(given - set(JOINT_FAMILIES)):
        raise RegistryError(f"{path}: options: {', '.join(unused)} takes no options; its module has its constants")
    return models


def load_quality_gates(folder: Path) -> QualityGates:
    """registry/quality_gates.yaml, checked against the horizons it names."""
    gates = _load(folder / "quality_gates.yaml", QualityGates)
    unknown = sorted(set(gates.promotion.horizons) - set(load_horizons(folder).horizons))
    if unknown:
        raise RegistryError(f"{folder / 'quality_gates.yaml'}: promotion.horizons: no horizon {', '.join(unknown)}")
    return gates


def load_regime_calendar(folder: Path) -> pd.DataFrame:
    """registry/regime_calendar.csv: regime, start, end, training_weight. For weights and slices, never a feature."""
    import pandas as pd

    return pd.read_csv(folder / "regime_calendar.csv", parse_dates=["start", "end"])


class GateWaiver(Entry):
    """A blocking expectation that may fail for a while: by whose reason, from when, until when."""

    gate: str
    suite: str
    expectation: str = Field(description="as ops.gate_results names it")
    column: str = Field(default="", description="its column_name there; empty for the table")
    reason: str = Field(min_length=10, description="why the run may go on with it")
    granted: date
    expires: date = Field(description="the last day on which it holds")

    @model_validator(mode="after")
    def _ends(self) -> GateWaiver:
        if self.expires < self.granted:
            raise ValueError(f"expires {self.expires}, before it was granted ({self.granted})")
        return self

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it waives: gate, suite, expectation, column."""
        return self.gate, self.suite, self.expectation, self.column


class GateWaivers(Entry):
    """registry/gate_waivers.yaml."""

    waivers: tuple[GateWaiver, ...]

    @model_validator(mode="after")
    def _once(self) -> GateWaivers:
        keys = [waiver.key for waiver in self.waivers]
        if double := sorted({" ".join(key).strip() for key in keys if keys.count(key) > 1}):
            raise ValueError(f"waived twice: {', '.join(double)}; keep one entry")
        return self


def load_waivers(folder: Path) -> tuple[GateWaiver, ...]:
    """registry/gate_waivers.yaml, checked. That each names a check that exists is checked where its gate runs."""
    return _load(folder / "gate_waivers.yaml", GateWaivers).waivers
