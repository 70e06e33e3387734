"""registry/join_spec.yaml, derived_series.yaml and policy_lexicon.yaml: what enters the panel, and its tests."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.sources import DataSources


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
    complete_until: dict[str, date] = Field(
        default={}, description="column: session after which it is missing; filled in from the source's `tables`"
    )
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
    missing: dict[str, str] = Field(default={})
    complete_until: dict[str, date] = Field(
        default={}, description="policy_events series: session after which it is missing; filled in when loaded"
    )
    lexicon: Lexicon | None = Field(default=None, description="registry/policy_lexicon.yaml, for the series of texts")

    @model_validator(mode="after")
    def _inputs_known(self) -> DerivedSeries:
        given = {column for join in self.inputs for column in join.columns}
        for name, entry in self.series.items():
            if unknown := set(entry.inputs) - given:
                raise ValueError(f"series {name}: unknown input {sorted(unknown)}; inputs: {sorted(given)}")
        return self


def load_join_spec(folder: Path, sources: DataSources) -> JoinSpec:
    """registry/join_spec.yaml, checked against the sources and derived series it names."""
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
    """registry/derived_series.yaml, checked against the sources its inputs name."""
    spec = read_entries(folder / "derived_series.yaml", DerivedSeries)
    inputs = tuple(_checked(join, sources, folder / "derived_series.yaml") for join in spec.inputs)
    lexicon = read_entries(folder / "policy_lexicon.yaml", Lexicon).model_copy(update={"finbert": finbert})
    until = {
        name: end
        for source in sources.sources.values()
        for name in source.series
        if (end := source.complete_until(name)) is not None
    }
    return spec.model_copy(update={"inputs": inputs, "lexicon": lexicon, "complete_until": until})


def _checked(join: Join, sources: DataSources, path: Path) -> Join:
    """The join, its series known, with the sessions up to which its columns are complete."""
    if join.source not in sources.sources:
        raise RegistryError(f"{path}: no source {join.source}; known: {', '.join(sources.sources)}")
    source = sources.source(join.source)
    until: dict[str, date] = {}
    for column, target in join.columns.items():
        series, _, field = target.rpartition(".")
        if series not in source.series or field not in source.fields:
            raise RegistryError(f"{path}: {column}: no `{target}` in source {join.source}")
        if (end := source.complete_until(series)) is not None:
            until[column] = end
    return join.model_copy(update={"complete_until": until})
