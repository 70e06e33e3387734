"""registry/release_calendar.yaml: when statistical offices are closed, and which releases were late."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.registry.entry import Entry, read_entries

FILE = "release_calendar.yaml"


class Delay(Entry):
    """Observations dated ``first`` to ``last`` were all known only by ``released``."""

    first: date
    last: date
    released: date
    why: str

    @model_validator(mode="after")
    def _ordered(self) -> Delay:
        if not self.first <= self.last <= self.released:
            raise ValueError(
                f"{self.first}, {self.last}, {self.released}: first, last and released must be in this order"
            )
        return self


class Release(Entry):
    """One release of an office, and the closed days that delay it."""

    title: str
    washington: bool = Field(default=False, description="closed with federal offices in Washington")
    eves: bool = Field(default=False, description="24 and 31 December count as closed on a Monday or Tuesday")
    slips: Literal["day", "week"] = Field(
        default="day", description="its delay after a closed day that is not a legal holiday"
    )
    new_year: bool = Field(default=False, description="a release due around New Year may be as late as 7 January")


class Closure(Entry):
    """A day on which federal offices were closed that is not a legal holiday."""

    kind: Literal["mourning", "order", "weather"]
    day: date
    why: str


class Shutdown(Entry):
    """A lapse of appropriations, its first to its last day."""

    first: date
    last: date
    caught_up: dict[str, date] = Field(
        description="release: the day by which everything due since `first` was released"
    )


class Hold(Entry):
    """Everything due from ``first`` on and before ``released`` was released by ``released``."""

    first: date
    released: date


class ReleaseDays(Entry):
    """The calendar of one release. The empty one has only the federal holidays, by rule."""

    mourning: tuple[date, ...] = ()
    ordered: tuple[date, ...] = ()
    weather: tuple[date, ...] = ()
    washington: bool = False
    eves: bool = False
    slips: Literal["day", "week"] = "day"
    new_year: bool = False
    complete_until: date | None = Field(default=None, description="later orders are presumed by a rule")
    holds: tuple[Hold, ...] = ()
    late: tuple[Delay, ...] = ()


class ReleaseCalendar(Entry):
    """registry/release_calendar.yaml."""

    complete_until: date
    releases: dict[str, Release]
    closures: tuple[Closure, ...]
    shutdowns: tuple[Shutdown, ...]
    late: dict[str, tuple[Delay, ...]] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> ReleaseCalendar:
        named = {*self.late, *(name for shutdown in self.shutdowns for name in shutdown.caught_up)}
        if unknown := sorted(named - set(self.releases)):
            raise ValueError(f"no release {', '.join(unknown)}; known: {', '.join(self.releases)}")
        days = [closure.day for closure in self.closures]
        if double := sorted({f"{day}" for day in days if days.count(day) > 1}):
            raise ValueError(f"closures: {', '.join(double)} is listed twice")
        return self

    def days_of(self, release: str) -> ReleaseDays:
        """The calendar of one release; without a name, the mourning days, on which banks and exchanges close.

        Raises:
            KeyError: no such release.
        """
        of_kind = {
            kind: tuple(closure.day for closure in self.closures if closure.kind == kind)
            for kind in ("mourning", "order", "weather")
        }
        if not release:
            return ReleaseDays(mourning=of_kind["mourning"])
        entry = self.releases[release]
        holds = [
            Hold(first=shutdown.first, released=shutdown.caught_up[release])
            for shutdown in self.shutdowns
            if release in shutdown.caught_up
        ]
        washington = entry.washington
        return ReleaseDays(
            mourning=of_kind["mourning"],
            ordered=of_kind["order"] if washington else (),
            weather=of_kind["weather"] if washington else (),
            washington=washington,
            eves=entry.eves,
            slips=entry.slips,
            new_year=entry.new_year,
            complete_until=self.complete_until if washington else None,
            holds=tuple(holds),
            late=self.late.get(release, ()),
        )


def load_release_calendar(folder: Path) -> ReleaseCalendar:
    """registry/release_calendar.yaml, checked.

    Raises:
        RegistryError: names the file and the entry.
    """
    return read_entries(folder / FILE, ReleaseCalendar)
