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


class RollRule(Entry):
    """When the front-month quote of one future moves to the next contract."""

    quote: Quote
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(min_length=1)
    last_trading_before_day: int = Field(
        ge=2, le=28, description="the last trading day is the business day before this day of the contract month"
    )
    pairs: Pairs

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
    return spec
