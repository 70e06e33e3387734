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


class SurfaceAxis(Entry):
    """The moves of one input at which the served models are asked: in percent, or by an amount in its own unit."""

    by: Literal["percent", "amount"]
    moves: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _both_ways(self) -> SurfaceAxis:
        rising = list(self.moves) == sorted(set(self.moves))
        if not rising or 0 in self.moves or self.moves[0] > 0 or self.moves[-1] < 0:
            raise ValueError(f"moves {list(self.moves)} must rise from below 0 to above 0, without 0")
        if self.by == "percent" and self.moves[0] <= -100:
            raise ValueError(f"a move of {self.moves[0]:g}% leaves no price")
        return self


class Scenarios(Entry):
    """registry/scenarios.yaml."""

    with_zl: tuple[str, ...]
    markets: Markets
    scenarios: dict[str, Scenario]
    names: dict[str, WhatIfName]
    surface: dict[str, SurfaceAxis]

    @model_validator(mode="after")
    def _known_axes(self) -> Scenarios:
        if unknown := sorted(set(self.surface) - set(self.names)):
            raise ValueError(f"surface: {', '.join(unknown)} is not in names")
        return self


def load_scenarios(folder: Path) -> Scenarios:
    """registry/scenarios.yaml, checked."""
    return read_entries(folder / "scenarios.yaml", Scenarios)
