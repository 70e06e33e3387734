"""registry/scenarios.yaml: scenarios with their dated episodes, and the names of what-ifs."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.registry.entry import Entry, read_entries


class Episode(Entry):
    """The past sessions that a scenario repeats. ``first`` is the starting point; its own move is not counted."""

    first: date
    last: date

    @model_validator(mode="after")
    def _forward(self) -> Episode:
        if self.last <= self.first:
            raise ValueError(f"last {self.last} is not after first {self.first}")
        return self


class Alike(Entry):
    """Which past sessions are alike: by the move of a column over the episode's number of sessions."""

    column: str
    kind: Literal["log", "points"] = "log"
    share: float = Field(gt=0, le=1, description="of the episode's move")


class Expected(Entry):
    """What the recorded archive must show of a scenario."""

    centre: Literal["up", "down"]
    width: Literal["up"] | None = None
    fires: tuple[str, ...] = ()


class Scenario(Entry):
    """One scenario."""

    title: str
    story: str
    episode: Episode
    also: tuple[str, ...] = ()
    alike: Alike
    expected: Expected


class Markets(Entry):
    """Columns of the panel that move in every scenario, in proportion or by the difference."""

    log: tuple[str, ...]
    points: tuple[str, ...]


class WhatIfName(Entry):
    """A name of `cbi what-if`: the columns of the panel that move together, and those of which one is printed."""

    title: str
    columns: tuple[str, ...] = Field(min_length=1)
    shows: tuple[str, ...] = Field(min_length=1)
    unit: str


class Scenarios(Entry):
    """registry/scenarios.yaml."""

    with_zl: tuple[str, ...]
    markets: Markets
    scenarios: dict[str, Scenario]
    names: dict[str, WhatIfName]


def load_scenarios(folder: Path) -> Scenarios:
    """registry/scenarios.yaml, checked."""
    return read_entries(folder / "scenarios.yaml", Scenarios)
