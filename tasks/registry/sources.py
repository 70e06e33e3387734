"""registry/data_sources.yaml: how a source is fetched, when its values become known, which values are allowed."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from tasks.command_line import nearest
from tasks.errors import RegistryError
from tasks.registry.entry import Entry, TimeOfDay, read_entries
from tasks.registry.release_calendar import Delay, ReleaseCalendar, ReleaseDays, load_release_calendar

WHOLE_HISTORY_DAYS = 36500
MONTH_CODES = "FGHJKMNQUVXZ"  # delivery months of futures, January to December
# From best to worst: a result of several series has the worst of each.
PointInTime = Literal["exact", "lagged", "revised"]
Frequency = Literal["daily", "weekly", "monthly", "quarterly", "annual", "event"]
Reliability = Literal["high", "medium", "low"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: `America` is a folder of zones
        raise ValueError(f"{name!r} is not a time zone; write it as America/Chicago") from None
    return name


def _possible_cron(cron: str) -> str:
    try:
        if len(cron.split()) != 5:
            raise CronSimError("five fields are needed")
        next(CronSim(cron, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{cron!r} is not a schedule ({error}); write it as `0 9 * * 1-5`") from None
    return cron


TimeZone = Annotated[str, AfterValidator(_known_zone)]


class Availability(Entry):
    """When an observation becomes known, computed from its date (tasks/staging/availability.py)."""

    rule: Literal["same_day", "next_business_day", "weekday_after", "day_of_month", "recorded", "days_after"]
    time: TimeOfDay
    timezone: TimeZone
    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday"] | None = None
    min_days: int = Field(default=1, ge=0, description="days after the date; for next_business_day business days")
    months_after: int = Field(default=0, ge=0, description="day_of_month: months after the observation's month")
    day: int = Field(default=1, ge=1, le=28)
    release: str = Field(default="", description="its name in release_calendar.yaml, which has the closed days")
    delays: tuple[Delay, ...] = Field(default=(), description="delays in this source's history")
    calendar: ReleaseDays = Field(default=ReleaseDays(), description="filled in from release_calendar.yaml on loading")

    @model_validator(mode="after")
    def _complete(self) -> Availability:
        if (self.rule == "weekday_after") != (self.weekday is not None):
            raise ValueError("`weekday` goes with rule weekday_after, and only with it")
        return self


class Jump(Entry):
    """A move this large is refused until something confirms it (tasks/staging/rules.py)."""

    min_abs_return: float = Field(gt=0)
    sigmas: float = Field(gt=0, description="multiples of the trailing robust scale of daily returns")


MonthDay = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]


class LimitReset(Entry):
    """How an exchange resets a daily limit twice a year (tasks/staging/price_limits.py)."""

    first: date = Field(description="the first day of a limit set by this rule")
    share_pct: float = Field(gt=0, description="of the mean settlement")
    sessions: int = Field(gt=0, description="how many settlements are averaged")
    observed_before: tuple[MonthDay, MonthDay] = Field(
        description="the settlements end before these days of spring and autumn"
    )
    effective: tuple[MonthDay, MonthDay] = Field(description="the limit is in force from these days on")
    round_to: float = Field(gt=0)


class DailyLimit(Entry):
    """How far a price may settle from the previous settlement, by the exchange's rules, in the series' unit."""

    fixed: dict[date, Annotated[float, Field(gt=0)]] = Field(description="first day: initial limit")
    reset: LimitReset | None = None
    source: str = Field(description="where the limits are published")


class SeriesSpec(Entry):
    """One series of a source. None means the source's default of the same name."""

    title: str
    unit: str
    units: dict[str, str] = Field(default={}, description="unit of a field that differs from `unit`")
    range: tuple[float, float] = Field(description="allowed values of the price-like fields, inclusive")
    ranges: dict[str, tuple[float, float]] = Field(default={}, description="allowed values of other fields")
    frequency: Frequency | None = None
    point_in_time: PointInTime | None = None
    availability: Availability | None = None
    stale_limit_days: int | None = Field(default=None, gt=0)
    season: tuple[MonthDay, MonthDay] | None = Field(
        default=None, description="first and last day of the part of each year that has values every year"
    )
    stale_run: int | None = Field(default=None, gt=1, description="identical bars in a row that count as frozen")
    jump: Jump | None = None
    daily_limit: DailyLimit | None = None
    held_against: tuple[str, ...] = Field(
        default=(), description="series of the same source that move with it: a newest close unlike theirs is reported"
    )
    critical: bool = Field(default=False, description="P0: without it the run stops")
    ended: date | None = Field(default=None, description="its last date: discontinued, or the end of a contract")
    table: str = Field(default="", description="the registry table that it is read from")
    select: dict[str, str] = Field(default={}, description="how to find it in the source, if not by name")
    location: tuple[float, float] | None = Field(default=None, description="latitude and longitude in degrees")
    query: str = Field(default="", description="documents: the query in the source's own search language")
    terms: tuple[str, ...] = Field(
        default=(), description="documents: words or phrases; one of them in title or abstract assigns this topic"
    )

    @model_validator(mode="after")
    def _ordered(self) -> SeriesSpec:
        for name, (low, high) in {"range": self.range, **self.ranges}.items():
            if not low < high:  # also refuses .nan
                raise ValueError(f"{name}: {low} is not below {high}")
        return self


class Contracts(Entry):
    """The contracts of one product, one series each: every delivery month from ``first_year`` to years ahead."""

    title: str
    unit: str
    range: tuple[float, float]
    units: dict[str, str] = Field(default={})
    ranges: dict[str, tuple[float, float]] = Field(default={})
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...]
    first_year: int = Field(ge=1980, le=2100, description="first delivery year")
    years_ahead: int = Field(ge=1, le=20, description="how many delivery years are listed after the current one")

    def series(self, product: str, name: str) -> dict[str, dict[str, Any]]:
        """The entries of each contract's series; ``name`` is a pattern of product, month, year and code."""
        shared = self.model_dump(exclude={"title", "months", "first_year", "years_ahead"}) | {
            "jump": None,
            "stale_run": None,
        }
        return {
            series: {
                **shared,
                "title": f"{self.title}, {calendar.month_abbr[contract % 100]} {contract // 100}",
                "ended": date(*divmod(contract, 100), calendar.monthrange(*divmod(contract, 100))[1]),
            }
            for series, contract in self.delivery_months(product, name).items()
        }

    def delivery_months(self, product: str, name: str) -> dict[str, int]:
        """Series: its delivery month as YYYYMM; ``name`` as in ``series``."""
        return {
            name.format(product=product, month=month, year=year % 100, code=MONTH_CODES[month - 1]): 100 * year + month
            for year in range(self.first_year, date.today().year + self.years_ahead + 1)
            for month in self.months
        }


class KeptTable(Entry):
    """A registry table that is kept by hand."""

    edited: date
    complete_until: date = Field(description="later events may be missing in the table")

    @model_validator(mode="after")
    def _in_order(self) -> KeptTable:
        if self.complete_until > self.edited:
            raise ValueError(f"complete_until {self.complete_until} is after the day it was edited, {self.edited}")
        return self


class Schedule(Entry):
    """When the source is fetched, in its own time zone."""

    cron: Annotated[str, AfterValidator(_possible_cron)]
    timezone: TimeZone
    spread_s: int = Field(default=300, ge=0, description="a scheduled run starts up to this many seconds later")


class SourceSpec(Entry):
    """One source: how it is fetched, when its values become known, which values are allowed."""

    module: str
    title: str
    endpoint: str
    keyed_endpoint: str = Field(default="", description="used instead if an optional secret is set")
    kind: Literal["bars", "values", "documents"]
    fields: dict[str, str] = Field(description="field as staged: its name in the payload")
    field_units: dict[str, str] = Field(default={}, description="unit of a field that is not its series' unit")
    schedule: Schedule
    first_date: date
    refetch_days: int = Field(ge=0, description="how far back the source revises; 36500: it serves the whole history")
    rate_limit_per_minute: int = Field(gt=0)
    burst: int = Field(default=5, ge=1, description="requests at once before the rate limit applies")
    days_at_once: int = Field(default=36525, gt=7, description="days requested in one run; the next run continues")
    secrets: tuple[str, ...] = Field(default=(), description="environment names of required keys")
    optional_secrets: tuple[str, ...] = Field(
        default=(), description="environment names of optional keys, which extend the data"
    )
    key_pages: dict[str, str] = Field(default={}, description="where to get each of its keys")
    disabled: str = Field(default="", description="why there is no live source; recorded payloads still serve it")
    licence: str
    frequency: Frequency = Field(description="how often new values come out; `event`: when something happens")
    reliability: Reliability
    caveat: str = Field(description="its known problems")
    priority: Literal["P0", "P1"]
    point_in_time: PointInTime
    availability: Availability
    stale_limit_days: int = Field(gt=0)
    stale_run: int | None = None
    jump: Jump | None = None
    max_quarantine_share: float = Field(gt=0, le=1)
    missing_marker: bool = Field(default=False, description="an empty value means 'none that day'")
    weekends: bool = Field(default=False, description="the source has true values on Saturdays and Sundays")
    projected_days: int = Field(default=0, ge=0, description="how far ahead of its payload a projection may be dated")
    feeds: tuple[str, ...] = Field(default=(), description="payload folders, if one payload has many series")
    recorded: tuple[str, ...] = Field(
        default=(), description="payload folders of an archive, by name or pattern (`*`), if not the live ones"
    )
    samples: dict[str, str] = Field(
        default={}, description="payload folders of an archive that are not landed: what each one is a sample of"
    )
    folder: str = Field(default="", description="the source's folder in an archive, if not its name")
    tables: dict[str, KeptTable] = Field(default={}, description="registry/<name>.csv that are the source")
    roll: Literal["calendar", "volume"] | None = Field(
        default=None, description="when a continuous contract rolls: `{roll}` in names is its letter, c or v"
    )
    contracts: dict[str, Contracts] = Field(default={}, description="product: its contracts; each becomes a series")
    contract_name: str = Field(default="", description="pattern of product, month, year (two digits) and code")
    series: dict[str, SeriesSpec]

    @property
    def served_whole(self) -> bool:
        """Whether every answer has the whole history, whatever dates are requested."""
        return self.refetch_days >= WHOLE_HISTORY_DAYS

    @property
    def fetched(self) -> tuple[str, ...]:
        """The payload folders that are fetched and landed: the feeds, the tables, or one per series."""
        return self.feeds or tuple(self.tables) or tuple(self.series)

    @property
    def replayed(self) -> tuple[str, ...]:
        """The payload folders that a recorded origin has of this source, by name or pattern."""
        return self.recorded or self.fetched

    def replayed_in(self, folder: Path) -> tuple[str, ...]:
        """The payload folders to replay from the source's folder of an origin; patterns match existing folders.

        A name without a pattern is always included: if it is missing, that is reported.
        """
        there = sorted(path.name for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else []
        named = [
            [name] if "*" not in name else [one for one in there if fnmatchcase(one, name)] for name in self.replayed
        ]
        return tuple(dict.fromkeys(one for names in named for one in names))

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:
        """Give each series its source's defaults, so that they are all in one place."""
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
    def _keys_found(self) -> SourceSpec:
        named = {*self.secrets, *self.optional_secrets}
        if named != set(self.key_pages):
            raise ValueError(
                f"`key_pages` names {sorted(self.key_pages)}, the source's keys are {sorted(named)}: name for each key "
                "the page where a person gets it"
            )
        return self

    @model_validator(mode="after")
    def _fields_known(self) -> SourceSpec:
        for name, spec in self.series.items():
            if (self.tables or spec.table) and spec.table not in self.tables:
                raise ValueError(f"series {name}: table {spec.table!r} is not one of {sorted(self.tables)}")
            unknown = (set(spec.ranges) | set(spec.units)) - set(self.fields)
            if unknown:
                raise ValueError(f"series {name}: unknown field {sorted(unknown)}; fields: {sorted(self.fields)}")
        return self

    def complete_until(self, series: str) -> date | None:
        """The last day for which a series of a registry table is complete; None for other series."""
        spec = self.series[series]
        if not spec.table:
            return None
        until = self.tables[spec.table].complete_until
        return min(until, spec.ended) if spec.ended else until

    def unit_of(self, series: str, field: str) -> str:
        """The unit of one field of one series."""
        spec = self.series[series]
        return spec.units.get(field, self.field_units.get(field, spec.unit))


class DataSources(Entry):
    """registry/data_sources.yaml."""

    sources: dict[str, SourceSpec]

    def hosts(self) -> list[tuple[str, int]]:
        """The host and port of every endpoint; the registry's own tables have none."""
        parts = [urlsplit(spec.endpoint) for spec in self.sources.values() if not spec.tables]
        ports = {"http": 80, "https": 443}
        return sorted({(part.hostname, part.port or ports.get(part.scheme, 443)) for part in parts if part.hostname})

    def source(self, name: str) -> SourceSpec:
        """One source by name.

        Raises:
            RegistryError: no such source; the message lists the sources.
        """
        if name not in self.sources:
            raise RegistryError(
                f"unknown source `{name}`; known: {', '.join(sorted(self.sources))} (registry/data_sources.yaml)."
                f"{nearest(name, self.sources)}"
            )
        return self.sources[name]


def load_sources(folder: Path) -> DataSources:
    """registry/data_sources.yaml, checked.

    Raises:
        RegistryError: names the file and the entry.
    """
    path = folder / "data_sources.yaml"
    sources, calendar = read_entries(path, DataSources), load_release_calendar(folder)
    named = {
        name: _with_release_days(spec, calendar, f"{path}: sources.{name}") for name, spec in sources.sources.items()
    }
    return sources.model_copy(update={"sources": named})


def _with_release_days(spec: SourceSpec, calendar: ReleaseCalendar, where: str) -> SourceSpec:
    """The source with the release calendar filled in for each of its releases."""
    with_days: dict[Availability, Availability] = {}  # contracts share one

    def of(rule: Availability) -> Availability:
        if rule not in with_days:
            if rule.calendar != ReleaseDays():
                raise RegistryError(f"{where}: `calendar` is filled in from release_calendar.yaml; name a `release`")
            if rule.release and rule.release not in calendar.releases:
                known = ", ".join(calendar.releases)
                raise RegistryError(f"{where}: no release `{rule.release}` in release_calendar.yaml; known: {known}")
            with_days[rule] = rule.model_copy(update={"calendar": calendar.days_of(rule.release)})
        return with_days[rule]

    series = {
        name: entry.model_copy(update={"availability": of(entry.availability)}) if entry.availability else entry
        for name, entry in spec.series.items()
    }
    return spec.model_copy(update={"availability": of(spec.availability), "series": series})
