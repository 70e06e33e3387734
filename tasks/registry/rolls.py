"""registry/roll_calendar.yaml: contract months, last trading days, and the source of the prices of both contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.sources import DataSources


class Quote(Entry):
    """The front-month series that rolls."""

    source: str
    series: str


class Pairs(Entry):
    """The source of prices of two neighboring contracts at one moment."""

    source: str
    series: str
    max_age_days: int = Field(gt=0, description="calendar days: an older pair is not used at a roll")


class Single(Entry):
    """A source of prices of single contracts."""

    source: str
    product: str
    contracts: dict[str, int] = Field(default={}, description="series: YYYYMM; filled in on loading")


class RollRule(Entry):
    """When the front-month quote of one future moves to the next contract."""

    quote: Quote
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(min_length=1)
    last_trading_before_day: int = Field(
        ge=2, le=28, description="the last trading day is the business day before this day of the contract month"
    )
    pairs: Pairs
    single: tuple[Single, ...] = Field(default=(), description="the best first")
    slope_max_age_days: int = Field(gt=0, description="calendar days: an older slope of the curve is missing")
    listed_ahead_months: int = Field(ge=12, le=24, description="how far ahead contracts are listed and forecast")

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of contract prices."""
        return self.pairs.source, *(part.source for part in self.single)

    @model_validator(mode="after")
    def _in_order(self) -> RollRule:
        if list(self.months) != sorted(set(self.months)):
            raise ValueError(f"months: {list(self.months)} must be in order, without duplicates")
        return self


class RollCalendar(Entry):
    """registry/roll_calendar.yaml."""

    rolls: dict[str, RollRule]


def load_roll_calendar(folder: Path, sources: DataSources) -> RollCalendar:
    """registry/roll_calendar.yaml, checked against the sources that it names.

    Raises:
        RegistryError: it is missing, an entry is invalid, or a source or series is unknown.
    """
    path = folder / "roll_calendar.yaml"
    spec = read_entries(path, RollCalendar)
    for name, rule in spec.rolls.items():
        for part, named in (("quote", rule.quote), ("pairs", rule.pairs)):
            if named.source not in sources.sources or named.series not in sources.sources[named.source].series:
                raise RegistryError(f"{path}: rolls: {name}: {part}: no series {named.series} of {named.source}")
    return RollCalendar(
        rolls={name: _with_contracts(rule, sources, f"{path}: {name}") for name, rule in spec.rolls.items()}
    )


def _with_contracts(rule: RollRule, sources: DataSources, where: str) -> RollRule:
    """The rule with the series of each contract filled in."""
    single = []
    for part in rule.single:
        spec = sources.sources.get(part.source)
        if spec is None or part.product not in spec.contracts:
            raise RegistryError(f"{where}: single: {part.source} has no contracts of {part.product}")
        named = spec.contracts[part.product].delivery_months(part.product, spec.contract_name)
        single.append(part.model_copy(update={"contracts": named}))
    return rule.model_copy(update={"single": tuple(single)})
