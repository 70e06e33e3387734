"""Payloads: files exactly as a source served them, landed once, never changed, with a sidecar that names the origin.

A live payload is stored in raw/. A recorded one stays where it is: its sidecar in raw/ points to it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tasks.errors import CbiError, ManifestMismatch, RegistryError, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import DataSources, SourceSpec
from tasks.secrets import quoted, redact, spelled_in, without_secrets
from tasks.sources.sidecars import count_and_newest, payloads_of
from tasks.storage.files import move_into, read_json, write_bytes, write_json
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones

log = logging.getLogger(__name__)
LIVE, RECORDED = "live", "recorded"
RAW_NAME = "%Y-%m-%dT%H%M%S.%fZ"
RECORD, PART = "record", "part"  # quarantine rules of adapters: one record, or a whole day, zip member or page
MOST_OF_A_REASON = 500


@dataclass(frozen=True)
class Window:
    """Requested dates, both inclusive."""

    start: date
    end: date

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


@dataclass(frozen=True)
class Fetched:
    """A fetched answer before it is landed: the bytes, or a large file that was streamed to disk."""

    series: str
    extension: str
    content: bytes | Path
    url: str


@dataclass(frozen=True)
class Payload:
    """One landed payload. ``fetched_at`` is UTC; with ``day_known_only`` its time of day is unknown.

    ``newest`` is the newest date with a value; None if none could be read, or if it was not read (recorded payloads).
    ``asked_from`` is the first date of the requested window; None for a recorded payload.
    """

    source: str
    series: str
    path: Path
    sha256: str
    bytes: int
    url: str
    fetched_at: pd.Timestamp
    day_known_only: bool
    newest: date | None = None
    asked_from: date | None = None

    @property
    def name(self) -> str:
        """Its name in messages and in quarantine."""
        return f"{self.source}/{self.series}/{self.path.name}"


class Adapter(Protocol):
    """A source is two functions; all its data is in the registry."""

    def fetch(self, series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
        """Fetch one series from the live source."""

    def parse(self, payload: Payload, spec: SourceSpec) -> pd.DataFrame:
        """Tidy rows ``series, observation_date, row`` and one column per field, as served: no cleaning.

        Only registered series. A source that says when each value was released adds ``released_at`` (UTC).

        Raises:
            SchemaDrift: the payload does not have the shape that this adapter knows.
        """


def adapter(spec: SourceSpec) -> Adapter:
    """The module of a source.

    Raises:
        RegistryError: there is no such module in tasks/sources.
    """
    try:
        return import_module(f"tasks.sources.{spec.module}")
    except ModuleNotFoundError as error:
        if error.name != f"tasks.sources.{spec.module}":
            raise
        raise RegistryError(f"module `{spec.module}`: there is no tasks/sources/{spec.module}.py") from None


def read(parse: Callable[[Payload, SourceSpec], pd.DataFrame], payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The rows that an adapter's ``parse`` or ``documents`` reads from a payload.

    Raises:
        SchemaDrift: the adapter refused the payload, or failed on it in any way. OSError: the file cannot be read.
    """
    try:
        return parse(payload, spec)
    except (CbiError, OSError, MemoryError):
        raise
    except Exception as error:
        raise SchemaDrift(
            f"{payload.name}: the adapter of {payload.source} cannot read it ({type(error).__name__}: {error})"
        ) from error


def digest_of(fetched: Fetched) -> str:
    """The sha256 of a fetched answer."""
    content = fetched.content
    return sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def land(
    zones: Zones,
    source: str,
    fetched: Fetched,
    spec: SourceSpec,
    *,
    fetched_at: pd.Timestamp,
    asked_from: date | None = None,
    secrets: tuple[str, ...] = (),
) -> Payload:
    """Store a live payload and then its sidecar.

    The same bytes as the newest payload of the folder, or of the same address, are not stored again, unless that file
    is lost or was altered.

    Raises:
        SourceUnavailable: it echoes a key of ours and is not text, so the key cannot be removed. Nothing is stored.
    """
    fetched = without_keys(fetched, source, secrets)
    folder = zones.raw / source / fetched.series
    content, digest = fetched.content, digest_of(fetched)
    url = redact(fetched.url, secrets)
    stored = landed(zones, source, fetched.series)
    for newest in (stored[-1:], [payload for payload in stored if payload.url == url][-1:]):
        if newest and newest[0].sha256 == digest:
            if not is_whole(newest[0]) and newest[0].path.is_relative_to(folder):
                log.warning("%s was lost or altered; the same bytes arrived again and replace it", newest[0].path)
                move_into(content, newest[0].path) if isinstance(content, Path) else write_bytes(
                    newest[0].path, content
                )
            elif isinstance(content, Path):
                content.unlink()
            return newest[0]
    # microseconds in the name: two fetches within a second never overwrite each other
    path = folder / f"{fetched_at.tz_convert('UTC').strftime(RAW_NAME)}.{fetched.extension}"
    if isinstance(content, Path):
        move_into(content, path)
    else:
        write_bytes(path, content)
    payload = Payload(source, fetched.series, path, digest, path.stat().st_size, url, fetched_at, False)
    sidecar = {
        "source": source,
        "series": fetched.series,
        "file": path.name,
        "url": url,
        "fetched_at": fetched_at.isoformat(),
        "day_known_only": False,
        "sha256": digest,
        "bytes": payload.bytes,
        "newest": newest_value(payload, spec),
        "asked_from": asked_from,
    }
    write_json(path.with_name(path.name + ".sidecar.json"), sidecar)
    return read_sidecar(path.with_name(path.name + ".sidecar.json"))


def without_keys(fetched: Fetched, source: str, secrets: tuple[str, ...]) -> Fetched:
    """The answer with ``***`` for every key of ours that it echoes: landed payloads are kept forever and shared.

    Raises:
        SourceUnavailable: a binary answer, or a file streamed to disk, echoes a key; the file is deleted.
    """
    if isinstance(fetched.content, Path):
        if not _echoed_in(fetched.content, secrets):
            return fetched
        fetched.content.unlink()
    else:
        try:
            text = fetched.content.decode()
        except UnicodeDecodeError:  # changing bytes would break a zip or a workbook
            if not spelled_in(fetched.content, secrets):
                return fetched
        else:
            if (kept := without_secrets(text, secrets)) == text:
                return fetched
            log.warning("%s/%s: the answer echoed a key; it is stored without it", source, fetched.series)
            return replace(fetched, content=kept.encode())
    raise SourceUnavailable(
        f"{source}/{fetched.series}: the answer contains our key and cannot be stored without it. Nothing was stored; "
        f"replace the key, then run `cbi ingest {source}`"
    )


def _echoed_in(file: Path, secrets: tuple[str, ...]) -> bool:
    """Whether a file contains a secret. It is read in pieces that overlap by more than a key's length."""
    before = b""
    with file.open("rb") as handle:
        while piece := handle.read(2**24):
            if spelled_in(before + piece, secrets):
                return True
            before = piece[-4096:]
    return False


def why_unreadable(payload: Payload, spec: SourceSpec) -> str:
    """Why the adapter cannot read a payload; empty if it can."""
    try:
        read(adapter(spec).parse, payload, spec)
    except (SchemaDrift, OSError) as error:
        return str(error)
    return ""


def refusal(
    series: str, why: str, *, row: int = 0, observation_date: str | None = None, whole: bool = False
) -> dict[str, object]:
    """A row for a part that an adapter cannot read, while the rest of the payload is sound; staging quarantines it.

    Args:
        whole: more than one record is lost, such as a day or a whole station: the source's status reports it.
    """
    place: dict[str, object] = {"series": series, "observation_date": observation_date, "row": row}
    return place | {"refused": quoted(why, most=MOST_OF_A_REASON), "refused_as": PART if whole else RECORD}


def with_refusals(rows: pd.DataFrame, refused: list[dict[str, object]]) -> pd.DataFrame:
    """``rows`` of an adapter, followed by its refusals if there are any."""
    if not refused:
        return rows
    return pd.concat([rows, pd.DataFrame(refused).astype({"observation_date": "str"})], ignore_index=True)


def newest_value(payload: Payload, spec: SourceSpec) -> date | None:
    """The newest date, not after its fetch, that has a value in the payload; None if no value can be read.

    The payload must be read: it may be unreadable, or end long before the requested window.
    """
    try:
        rows = read(adapter(spec).parse, payload, spec)
    except (SchemaDrift, OSError):
        return None
    has_value = rows[[field for field in spec.fields if field in rows]].notna().any(axis=1)
    if not has_value.any():
        return None
    if spec.projected_days:  # the date of a marketing year is far from that of its report
        dates = pd.DatetimeIndex(rows.loc[has_value, "released_at"].dropna()).tz_localize(None).to_series()
    else:
        dates = pd.to_datetime(rows.loc[has_value, "observation_date"], format="%Y-%m-%d", errors="coerce").dropna()
    newest = dates[dates <= payload.fetched_at.tz_localize(None)].max()
    return None if pd.isna(newest) else newest.date()


def landed(zones: Zones, source: str, series: str | None = None) -> list[Payload]:
    """Every stored payload of a source (or of one series), oldest fetch first, without duplicates."""
    return described(zones, source, series)[0]


def described(zones: Zones, source: str, series: str | None = None) -> tuple[list[Payload], dict[str, str]]:
    """The payloads as ``landed`` returns them, and by path why other sidecars cannot be read."""
    payloads, broken = payloads_of(zones.raw / source, series, read_sidecar, Payload)  # only their payloads are lost
    distinct = {(payload.series, payload.fetched_at, payload.sha256): payload for payload in payloads}
    order = sorted(distinct.values(), key=lambda payload: (payload.series, payload.fetched_at, payload.path.name))
    return order, broken


def last_fetched(zones: Zones, source: str) -> pd.Timestamp | None:
    """When the newest payload of a source was fetched. Only the newest sidecars are read.

    Raises:
        ManifestMismatch: the newest sidecar of a series is not a sidecar.
    """
    _, newest = count_and_newest(zones.raw / source)
    return max((read_sidecar(path).fetched_at for path in newest), default=None)


def has_live_data(zones: Zones, sources: DataSources) -> bool:
    """Whether anything was ever fetched into this home. Recorded payloads and the registry's tables do not count."""
    return any(
        not path.name.startswith("recorded-")
        for source, spec in sources.sources.items()
        if not spec.tables
        for path in (zones.raw / source).glob("*/*.sidecar.json")
    )


def verify(payload: Payload) -> None:
    """Raise if a file is not the one that was landed.

    Raises:
        ManifestMismatch: its hash differs from the sidecar's. FileNotFoundError: it is missing.
    """
    digest = sha256_of(payload.path)
    if digest != payload.sha256:
        again = "" if payload.day_known_only else f", or delete it: `cbi ingest {payload.source}` fetches it again"
        raise ManifestMismatch(
            f"{payload.path}: sha256 {digest[:12]}, landed as {payload.sha256[:12]}; the file was altered, restore it"
            f"{again}"
        )


def is_whole(payload: Payload) -> bool:
    """Whether its file exists and is the one that was landed."""
    return payload.path.is_file() and sha256_of(payload.path) == payload.sha256


def lost(stored: Iterable[Payload], gone: Collection[Payload]) -> list[Payload]:
    """The ``gone`` payloads whose dates no sound payload that was fetched later covers."""
    sound = [payload for payload in stored if payload not in gone and payload.asked_from]
    return [
        payload
        for payload in gone
        if not any(
            later.series == payload.series
            and later.fetched_at > payload.fetched_at
            and payload.asked_from
            and later.asked_from
            and later.asked_from <= payload.asked_from
            for later in sound
        )
    ]


def read_sidecar(path: Path) -> Payload:
    """The payload that a sidecar describes.

    Raises:
        ManifestMismatch: it is not a sidecar.
    """
    try:
        return _described(path, read_json(path))
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        raise ManifestMismatch(f"{path} is not a sidecar; delete it and run the ingest again") from None


def _described(path: Path, sidecar: dict[str, Any]) -> Payload:
    fetched_at = pd.Timestamp(sidecar["fetched_at"])
    if fetched_at.tzinfo is None:
        raise ValueError("no time zone")
    return Payload(
        source=sidecar["source"],
        series=sidecar["series"],
        path=path.parent / sidecar["file"],
        sha256=sidecar["sha256"],
        bytes=sidecar["bytes"],
        url=sidecar["url"],
        fetched_at=fetched_at,
        day_known_only=sidecar["day_known_only"],
        newest=_date(sidecar.get("newest")),
        asked_from=_date(sidecar.get("asked_from")),
    )


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
