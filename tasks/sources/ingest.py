"""Land the payloads of a source from its origin: the live endpoint, or a folder of recorded payloads."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from tasks import clock
from tasks.command_line import nearest
from tasks.errors import (
    CbiError,
    NoNetwork,
    NothingNew,
    OriginError,
    RegistryError,
    SourceDown,
    SourceUnavailable,
)
from tasks.http import Http, Limits
from tasks.registry import DataSources, SourceSpec
from tasks.secrets import find_secret, redact
from tasks.sources.origins import land_recorded
from tasks.sources.pauses import pause_of, pauses
from tasks.sources.payloads import (
    LIVE,
    Fetched,
    Payload,
    Window,
    adapter,
    described,
    digest_of,
    is_whole,
    land,
    landed,
    lost,
    newest_value,
    why_unreadable,
)
from tasks.sources.sidecars import write_index
from tasks.storage.files import sweep_temporary, write_json
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

log = logging.getLogger(__name__)
GIVE_UP_AFTER = 2  # requests in a row without any answer
NO_NETWORK = "no network"
LISTED = 30  # series that an error message lists
SHOWN = 3  # series that a message names
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Ingested:
    """The result of ingesting one source.

    ``status`` is ok, partial (some series failed), failed (none arrived), ended (every requested series has ended, so
    nothing new can arrive), disabled (it cannot be requested), paused (a person paused it), or not recorded (the folder
    has nothing of it, and nothing is stored). ``disabled``: why the live source cannot be requested, on any run.
    ``paused``: since when and why. ``not_recorded``: the series of which the folder never had a payload. ``brought``:
    the payloads of this run, new or not; staging finds out whether they can be read (tasks/staging/arrivals.py).
    ``notes``: single refused records. ``beside``: files in the origin's folder that are not payloads; an alert reports
    them.
    """

    source: str
    status: str
    payloads: int
    new_payloads: int
    failures: dict[str, str] = field(default_factory=dict)
    not_recorded: tuple[str, ...] = ()
    disabled: str = ""
    requested: tuple[str, ...] = ()
    brought: tuple[Payload, ...] = ()
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    paused: str = ""

    @property
    def message(self) -> str:
        """What went wrong, or why nothing was requested; empty if all is well. A shared reason is given once."""
        if self.status == "disabled":
            return f"disabled: {self.disabled}"
        if self.status == "paused":
            return self.paused
        together: dict[str, list[str]] = {}
        for series, why in self.failures.items():
            together.setdefault(why, []).append(series)
        reasons = [f"{_several(names)}: {why}" for why, names in together.items()]
        return "; ".join([*reasons, *self.beside, *self.notes])

    @property
    def no_network(self) -> bool:
        """Whether nothing arrived because this machine has no network."""
        return bool(self.failures) and all(why.startswith(NO_NETWORK) for why in self.failures.values())

    def judged(self, failures: dict[str, str], notes: Iterable[str]) -> Ingested:
        """The same result with the failures that staging found, and the status that follows."""
        failures = self.failures | {name: why for name, why in failures.items() if name not in self.failures}
        status = _status(self.status, failures, self.not_recorded, self.requested)
        return replace(self, status=status, failures=failures, notes=(*self.notes, *notes))


def _several(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _status(status: str, failures: dict[str, str], absent: tuple[str, ...], requested: tuple[str, ...]) -> str:
    """``status``, or with failures: partial, or failed if every requested series failed."""
    if not failures:
        return status
    return "partial" if set(requested) - set(failures) - set(absent) else "failed"


def ingest_source(
    zones: Zones,
    source: str,
    spec: SourceSpec,
    *,
    origin: str | Path,
    as_of: date,
    progress: Progress,
    limits: Limits | None = None,
    series: Iterable[str] = (),
    window: Window | None = None,
) -> Ingested:
    """Land a source's series: per series the missing dates, and those that the source may have revised.

    Stored payloads are never removed.

    Args:
        series: only these; empty for all. A feed with several series is always landed whole.
        window: request exactly these dates, whatever is stored. Recorded payloads always land whole.

    Raises:
        OriginError, ManifestMismatch: the folder of recorded payloads is not usable.
        RegistryError: the source has no such series.
    """
    folder = None if origin == LIVE else Path(origin) / (spec.folder or source)
    chosen = which(spec, source, series, recorded=folder)
    disabled = why_disabled(spec)
    if window and origin != LIVE:
        raise OriginError(f"{source}: payloads in {origin} land whole; --start and --end go with `--origin live`")
    with exclusive(zones, f"raw-{source}"):
        sweep_temporary(zones.raw / source)
        known, broken = described(zones, source)
        before = {(payload.path, payload.sha256) for payload in known}
        if pause := pause_of(zones, source):
            return Ingested(source, "paused", len(before), 0, disabled=disabled, paused=pause.line)
        if origin == LIVE and disabled:
            return Ingested(source, "disabled", len(before), 0, disabled=disabled)
        absent: tuple[str, ...] = ()
        beside: tuple[str, ...] = ()
        failures: dict[str, str]
        if spec.tables:
            brought, failures = _land_tables(zones, source, spec, as_of=as_of, progress=progress), {}
        elif origin == LIVE:
            brought, failures = _fetch_live(
                zones, source, spec, chosen, window=window, as_of=as_of, progress=progress, limits=limits
            )
        else:
            brought, absent, failures, beside = _replay(zones, source, spec, chosen, Path(origin), progress)
        stored = landed(zones, source)
        write_index(zones.raw / source)
    new = sum((payload.path, payload.sha256) not in before for payload in stored)
    failures |= broken
    status = "ended" if _all_ended(spec, chosen, as_of) else "ok"
    status = "not recorded" if not stored and len(absent) == len(chosen) else status
    status = _status(status, failures, absent, chosen)
    return Ingested(source, status, len(stored), new, failures, absent, disabled, chosen, tuple(brought), beside=beside)


def _all_ended(spec: SourceSpec, chosen: tuple[str, ...], as_of: date) -> bool:
    """Whether every requested series ended before ``as_of``, as the registry says."""
    series = [name for name in chosen if name in spec.series] or list(spec.series)
    ends = [spec.series[name].ended for name in series]
    return all(end is not None and end < as_of for end in ends)


def which(spec: SourceSpec, source: str, series: Iterable[str], *, recorded: Path | None = None) -> tuple[str, ...]:
    """The payload folders to request, given names of series or folders; all of them if no name is given.

    ``recorded``: the source's folder in a recorded origin; None for the live source.

    Raises:
        RegistryError: the source has no series or folder of that name.
    """
    folders, requested = (spec.fetched if recorded is None else spec.replayed_in(recorded)), tuple(series)
    unknown = [name for name in requested if name not in folders and name not in spec.series]
    if unknown:
        known = tuple(dict.fromkeys((*spec.series, *folders)))
        more = f" and {len(known) - LISTED} more (registry/data_sources.yaml)" if len(known) > LISTED else ""
        raise RegistryError(
            f"{source}: no series {', '.join(unknown)}; known: {', '.join(known[:LISTED])}{more}."
            f"{nearest(unknown[0], known)}"
        )
    if not requested or any(
        name not in folders for name in requested
    ):  # it is part of a feed, and the registry does not say which
        return folders
    return tuple(name for name in folders if name in requested)


def why_disabled(spec: SourceSpec) -> str:
    """Why the live source cannot be requested: it has no endpoint, or keys are not set. Empty if it can."""
    missing = [name for name in spec.secrets if find_secret(name) is None]
    return spec.disabled or (f"needs {', '.join(missing)}" if missing else "")


def _replay(
    zones: Zones, source: str, spec: SourceSpec, chosen: tuple[str, ...], origin: Path, progress: Progress
) -> tuple[list[Payload], tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """Payloads, series that the folder never had, reasons of failed series, and other files in the folder.

    A series fails if one of its payloads cannot be used, if something else is in the place of all its payloads, or if
    the folder has none although some are stored.
    """
    brought: list[Payload] = []
    absent: list[str] = []
    failures: dict[str, str] = {}
    beside: list[str] = []
    for number, series in enumerate(chosen, start=1):
        found = land_recorded(zones, origin, source, series, folder=spec.folder)
        brought += found.payloads
        if found.lost or (found.ignored and not found.payloads):
            failures[series] = "; ".join((*found.lost, *found.ignored))
        elif found.payloads:
            beside += found.ignored
        elif landed(zones, source, series):
            failures[series] = f"no payload in {origin}"
        else:
            absent.append(series)
        progress(number, len(chosen), series)
    for note in beside:
        log.warning("%s: %s", source, note)
    return brought, tuple(absent), failures, tuple(beside)


def _land_tables(zones: Zones, source: str, spec: SourceSpec, *, as_of: date, progress: Progress) -> list[Payload]:
    """Land the registry's own tables; they are the same for every origin.

    The registry says when a table was last edited; its rows count as fetched at the end of that day.

    Raises:
        RegistryError: a table was edited but its date was not.
    """
    brought: list[Payload] = []
    with Http(source, per_minute=spec.rate_limit_per_minute) as http:
        for number, (table, kept) in enumerate(spec.tables.items(), start=1):
            edited = kept.edited
            fetched_at = pd.Timestamp(edited, tz="UTC") + pd.Timedelta(days=1)
            stored = [payload for payload in landed(zones, source, table) if payload.fetched_at == fetched_at]
            for fetched in adapter(spec).fetch(table, Window(spec.first_date, as_of), spec, http):
                if not stored or not is_whole(stored[0]):
                    stored = [land(zones, source, fetched, spec, fetched_at=fetched_at)]
                elif stored[0].sha256 != digest_of(fetched):
                    raise RegistryError(
                        f"{source}: {fetched.url} was edited after {edited}; give its new date under "
                        f"`tables` of {source} in registry/data_sources.yaml"
                    )
                brought += stored[:1]
            progress(number, len(spec.tables), table)
    return brought


def _fetch_live(
    zones: Zones,
    source: str,
    spec: SourceSpec,
    chosen: tuple[str, ...],
    *,
    window: Window | None,
    as_of: date,
    progress: Progress,
    limits: Limits | None,
) -> tuple[list[Payload], dict[str, str]]:
    """Fetch each series. After ``GIVE_UP_AFTER`` requests without an answer the source is down: the rest is skipped."""
    brought: list[Payload] = []
    failures: dict[str, str] = {}
    vain, offline = 0, ""
    with client(zones, source, spec, limits) as http:
        for number, series in enumerate(chosen, start=1):
            if offline or vain >= GIVE_UP_AFTER:
                failures[series] = offline or "not requested: the series before it did not arrive"
                continue
            stored = _continued(landed(zones, source, series), spec, http)
            wanted = window or Window(_window_start(stored, spec), as_of)
            gone = [payload for payload in stored if payload.asked_from and not _is_there(payload)]
            if gone := [] if window else lost(stored, gone):
                again = min(payload.asked_from or spec.first_date for payload in gone)
                log.warning("%s/%s: %s is lost; its dates are requested again", source, series, gone[0].path)
                wanted = Window(min(wanted.start, again), as_of)
            if wanted.start <= wanted.end:  # nothing to fetch if the session is before the stored data
                try:
                    for payload in fetch_window(zones, source, spec, series, wanted, http):
                        brought.append(payload)
                    vain = 0
                except NoNetwork as error:  # logged already
                    failures[series] = offline = str(error)
                except SourceUnavailable as error:
                    vain = vain + 1 if isinstance(error, SourceDown) else 0
                    if not (stored and isinstance(error, NothingNew)):
                        # the message quotes the answer, which may echo a key
                        failures[series] = redact(str(error), http.secrets)
                        log.warning("%s", failures[series])
            progress(number, len(chosen), series)
    return brought, failures


def _is_there(payload: Payload) -> bool:
    """Whether its file has the right length; the content is checked when it is read."""
    try:
        return payload.path.stat().st_size == payload.bytes
    except OSError:
        return False


def client(zones: Zones, source: str, spec: SourceSpec, limits: Limits | None = None) -> Http:
    """The source's HTTP client, with its keys, its rate limit and a folder for unfinished downloads."""
    keys = {name: value for name in (*spec.secrets, *spec.optional_secrets) if (value := find_secret(name))}
    downloads = zones.raw / source / ".downloads"
    return Http(
        source,
        per_minute=spec.rate_limit_per_minute,
        burst=spec.burst,
        keys=keys,
        key_pages=spec.key_pages,
        limits=limits,
        downloads=downloads,
    )


def _continued(stored: list[Payload], spec: SourceSpec, http: Http) -> list[Payload]:
    """The stored payloads that a fetch continues: all, except those that the adapter says must be fetched again."""
    continues = getattr(adapter(spec), "continues", None)
    return stored if continues is None else [payload for payload in stored if continues(payload, spec, http)]


def fetch_window(
    zones: Zones, source: str, spec: SourceSpec, series: str, window: Window, http: Http
) -> Iterator[Payload]:
    """Request one series' dates, land each payload as it arrives, and yield it.

    Raises:
        SourceUnavailable: the series did not arrive completely; the payloads before the failure are landed.
        NothingNew: the source has nothing in the window.
    """
    for fetched in _fetched(source, spec, series, window, http):
        now = clock.now()
        yield land(zones, source, fetched, spec, fetched_at=now, asked_from=window.start, secrets=http.secrets)


def _window_start(stored: list[Payload], spec: SourceSpec) -> date:
    """The first date to request: ``refetch_days`` (at least 7) before the newest stored value, so there is no gap.

    The whole history if only chosen dates were requested so far; recorded payloads count as a beginning.
    """
    if not any(payload.day_known_only or payload.asked_from == spec.first_date for payload in stored):
        return spec.first_date
    newest = max([spec.first_date, *(payload.newest for payload in stored if payload.newest)])
    # a recorded payload has nothing newer than its fetch: read it only if that can matter
    recorded = [payload for payload in stored if payload.day_known_only and payload.fetched_at.date() > newest]
    newest = max([newest, *(day for payload in recorded if (day := newest_value(payload, spec)))])
    return max(spec.first_date, newest - timedelta(days=max(spec.refetch_days, 7)))


def _fetched(source: str, spec: SourceSpec, series: str, window: Window, http: Http) -> Iterator[Fetched]:
    """What the adapter fetches; any error of the adapter counts as a missing answer."""
    try:
        yield from adapter(spec).fetch(series, window, spec, http)
    except (CbiError, OSError, MemoryError):
        raise
    except Exception as error:
        raise SourceUnavailable(
            f"{source}: {series}: the adapter cannot read the answer ({type(error).__name__}: {error})"
        ) from error


@dataclass(frozen=True)
class Backfilled:
    """Chunks of a backfill: how many there are, how many were done before, and which failed."""

    source: str
    chunks: int
    done_before: int
    failures: dict[str, str] = field(default_factory=dict)

    def require_complete(self) -> None:
        """Raise if any chunk is missing.

        Raises:
            SourceUnavailable: names the first missing chunk and the reason.
        """
        if self.failures:
            first, why = next(iter(self.failures.items()))
            raise SourceUnavailable(f"{len(self.failures)} chunks did not arrive; run it again. First: {first}: {why}")


def backfill_source(
    zones: Zones,
    source: str,
    spec: SourceSpec,
    *,
    window: Window,
    chunk_days: int,
    series: Iterable[str] = (),
    progress: Progress,
    limits: Limits | None = None,
) -> Backfilled:
    """Fetch a range of dates in chunks. A finished chunk leaves a mark, so the same command continues after a kill.

    Raises:
        SourceUnavailable: the source is disabled or paused. RegistryError: it has no such series.
    """
    chosen = which(spec, source, series)
    if pause := pauses(zones).get(source):
        raise SourceUnavailable(f"{source} is {pause.line}")
    if why := why_disabled(spec):
        raise SourceUnavailable(f"{source} is disabled: {why}")
    pieces = [window] if spec.served_whole else chunks(window, min(chunk_days, spec.days_at_once))
    todo = [(name, chunk) for name in chosen for chunk in pieces]
    failures: dict[str, str] = {}
    done_before, vain, offline = 0, 0, ""
    endless = replace(limits or Limits(), run_s=math.inf)  # a backfill may take a day
    with client(zones, source, spec, endless) as http:
        for number, (name, chunk) in enumerate(todo, start=1):
            mark = zones.raw / source / name / f"backfilled-{chunk.start}-{chunk.end}.json"
            if mark.exists():
                done_before += 1
            elif offline or vain >= GIVE_UP_AFTER:
                failures[f"{name} {chunk}"] = offline or "not requested: the chunks before it did not arrive"
            else:
                try:
                    with exclusive(zones, f"raw-{source}"):
                        payloads = _fetch_chunk(zones, source, spec, name, chunk, http)
                        if chunk.end < clock.now().date():  # today is not finished
                            write_json(mark, {"payloads": payloads})
                    vain = 0
                except NoNetwork as error:
                    failures[f"{name} {chunk}"] = offline = str(error)
                except SourceUnavailable as error:
                    vain = vain + 1 if isinstance(error, SourceDown) else 0
                    failures[f"{name} {chunk}"] = redact(str(error), http.secrets)
                    log.warning("%s", failures[f"{name} {chunk}"])
            progress(number, len(todo), f"{name} {chunk}")
    return Backfilled(source, len(todo), done_before, failures)


def _fetch_chunk(zones: Zones, source: str, spec: SourceSpec, series: str, chunk: Window, http: Http) -> int:
    """Land one chunk; returns the number of payloads, 0 if the source says that it has nothing for those dates.

    Raises:
        SourceUnavailable: it did not arrive completely, or the adapter cannot read it.
    """
    try:
        payloads = list(fetch_window(zones, source, spec, series, chunk, http))
    except NothingNew:
        return 0
    for payload in payloads:
        if payload.newest is None and (why := why_unreadable(payload, spec)):
            raise SourceUnavailable(why)
    return len(payloads)


def chunks(window: Window, days: int) -> list[Window]:
    """``window`` in pieces of ``days`` days, in order, without overlaps and gaps."""
    starts = [window.start + timedelta(days=n) for n in range(0, (window.end - window.start).days + 1, days)]
    return [Window(start, min(start + timedelta(days=days - 1), window.end)) for start in starts]


def require_critical(sources: DataSources, ingested_sources: list[Ingested]) -> None:
    """Stop a run without a critical series: no honest forecast is possible without it.

    Raises:
        SourceDown: nothing of the source arrived. SourceUnavailable: only the series did not.
    """
    for ingested in ingested_sources:
        spec = sources.source(ingested.source)
        critical = [name for name, entry in spec.series.items() if entry.critical]
        lost = {*ingested.failures, *ingested.not_recorded}
        missing = [name for name in critical if name in lost or ingested.source in ingested.failures]
        if missing:
            why = (
                ingested.failures.get(missing[0]) or ingested.message or "no payload in the origin, and none is stored"
            )
            failure = SourceDown if ingested.status == "failed" else SourceUnavailable
            if ingested.no_network:
                raise NoNetwork(why)
            raise failure(f"{ingested.source}: {', '.join(missing)} did not arrive, and it is critical: {why}")
