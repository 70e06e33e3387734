"""The sidecars of a source, read once: finding the landed payloads only needs each file's state, not its content.

``raw-index/<source>.parquet`` caches every sidecar with its size and modification time. It is built from the sidecars
and may be deleted: a new or altered sidecar is read again, and a missing one is left out.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from tasks.errors import ManifestMismatch
from tasks.storage.files import write_atomically

if TYPE_CHECKING:
    from tasks.sources.payloads import Payload

SUFFIX = ".sidecar.json"
INDEXES = "raw-index"
SETTLED_NS = 2 * 10**9  # a younger folder may change again without a new modification time
FOLDERS_REMEMBERED = 100
UNINDEXED = 0.02  # the share of sidecars that may be new before the index is written again
COLUMNS = {
    "folder": pa.string(),
    "name": pa.string(),
    "size": pa.int64(),
    "modified_ns": pa.int64(),
    "source": pa.string(),
    "series": pa.string(),
    "file": pa.string(),
    "sha256": pa.string(),
    "bytes": pa.int64(),
    "url": pa.string(),
    "fetched_at": pa.timestamp("us", "UTC"),
    "day_known_only": pa.bool_(),
    "newest": pa.date32(),
    "asked_from": pa.date32(),
}
Sidecars = dict[str, tuple[tuple[int, int], "Payload"]]
"""Per sidecar of a folder: its size and modification time, and its payload."""


@dataclass
class _Source:
    """The cache of one source's folder: per series when its folder was last scanned, and its sidecars."""

    looked: dict[str, tuple[int, int]] = field(default_factory=dict)
    sidecars: dict[str, Sidecars] = field(default_factory=dict)
    indexed: int = -1
    lock: threading.Lock = field(default_factory=threading.Lock)


_remembered: OrderedDict[str, _Source] = OrderedDict()
_remembering = threading.Lock()


def payloads_of(
    folder: Path, series: str | None, read: Callable[[Path], Payload], make: type[Payload]
) -> tuple[list[Payload], dict[str, str]]:
    """The payloads of a source's ``folder`` in any order, and by path why other sidecars cannot be read."""
    source = _of(folder)
    broken: dict[str, str] = {}
    with source.lock:
        if source.indexed < 0:
            _load(folder, source, make)
        try:
            there = [series] if series else [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            there = []
        if not series:
            for gone in source.sidecars.keys() - set(there):
                del source.sidecars[gone]
        found = [payload for name in there for _, payload in _look(folder / name, name, source, read, broken).values()]
        return found, broken


def count_and_newest(folder: Path) -> tuple[int, list[Path]]:
    """How many sidecars a source's folder has, and the newest of each series (names begin with the instant)."""
    count, newest = 0, []
    try:
        series = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return 0, []
    for place in series:
        names = [entry.name for entry in os.scandir(place) if entry.name.endswith(SUFFIX)]
        count += len(names)
        recorded = [name for name in names if name.startswith("recorded-")]
        live = [name for name in names if not name.startswith("recorded-")]
        newest += [place / max(part) for part in (recorded, live) if part]
    return count, newest


def index_path(folder: Path) -> Path:
    """The path of a source's index: beside raw/, which contains only payloads and sidecars."""
    return folder.parent.with_name(INDEXES) / f"{folder.name}.parquet"


def write_index(folder: Path) -> None:
    """Write the index of a source's sidecars. Call it under the source's lock."""
    source = _of(folder)
    with source.lock:
        rows = [(name, *entry) for name, of_series in source.sidecars.items() for entry in of_series.items()]
        if abs(len(rows) - source.indexed) <= len(rows) * UNINDEXED:  # reading a few is faster than writing all
            return
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for name, sidecar, (state, payload) in rows:
            if payload.fetched_at.nanosecond:
                continue
            for column, value in {
                "folder": name,
                "name": sidecar,
                "size": state[0],
                "modified_ns": state[1],
                "source": payload.source,
                "series": payload.series,
                "file": os.path.relpath(payload.path, folder / name)
                if folder in payload.path.parents
                else str(payload.path),
                "sha256": payload.sha256,
                "bytes": payload.bytes,
                "url": payload.url,
                "fetched_at": payload.fetched_at,
                "day_known_only": payload.day_known_only,
                "newest": payload.newest,
                "asked_from": payload.asked_from,
            }.items():
                columns[column].append(value)
        table = pa.table(
            {
                name: pa.array(values, kind)
                for (name, values), kind in zip(columns.items(), COLUMNS.values(), strict=True)
            }
        )
        write_atomically(
            index_path(folder),
            lambda new: parquet.write_table(table, new, compression="zstd", write_page_checksum=True),
        )
        source.indexed = len(rows)


def _of(folder: Path) -> _Source:
    with _remembering:
        source = _remembered.setdefault(str(folder.absolute()), _Source())
        _remembered.move_to_end(str(folder.absolute()))
        while len(_remembered) > FOLDERS_REMEMBERED:
            _remembered.popitem(last=False)
        return source


def _load(folder: Path, source: _Source, make: type[Payload]) -> None:
    """Read the index; a missing or damaged one is ignored."""
    source.indexed = 0
    try:
        schema = pa.schema(COLUMNS.items())
        table = parquet.read_table(index_path(folder), page_checksum_verification=True, schema=schema)
    except (OSError, pa.ArrowException):
        return
    fetched = list(pd.DatetimeIndex(table.column("fetched_at").to_pandas()))
    columns = [table.column(name).to_pylist() for name in COLUMNS if name != "fetched_at"]
    for at, (place, name, size, modified, of, series, file, sha256, length, url, day_only, newest, asked_from) in zip(
        fetched, zip(*columns, strict=True), strict=True
    ):
        payload = make(of, series, folder / place / file, sha256, length, url, at, day_only, newest, asked_from)
        source.sidecars.setdefault(place, {})[name] = (size, modified), payload
    source.indexed = table.num_rows


def _look(
    folder: Path, series: str, source: _Source, read: Callable[[Path], Payload], broken: dict[str, str]
) -> Sidecars:
    """The sidecars of one folder; unchanged ones are not read again."""
    now = time.time_ns()
    try:
        changed = folder.stat().st_mtime_ns
        if source.looked.get(series, (0, 0))[0] == changed and source.looked[series][1] - changed > SETTLED_NS:
            return source.sidecars.get(series, {})
        entries = {entry.name: entry.stat() for entry in os.scandir(folder) if entry.name.endswith(SUFFIX)}
    except (FileNotFoundError, NotADirectoryError):
        source.sidecars.pop(series, None)
        return {}
    known, current = source.sidecars.get(series, {}), {}
    for name, stat in entries.items():
        state = (stat.st_size, stat.st_mtime_ns)
        found = known.get(name)
        try:
            current[name] = found if found and found[0] == state else (state, read(folder / name))
        except ManifestMismatch as error:
            broken[f"{series}/{name}"] = str(error)
    # a folder with a broken sidecar is scanned every time, so that every caller gets the error
    source.sidecars[series], source.looked[series] = current, (changed, changed if broken else now)
    return current
