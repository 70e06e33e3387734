"""The recorded archive: real payloads as their sources served them, one packed file per source.

``recorded/`` in the repository has ``<source>.tar.xz``, the raw zone's folder of each source, with MANIFEST.csv (what
each payload is) and PROVENANCE.csv (where it was found). An unpacked folder with the same content works too.
A run reads a copy that is unpacked once under CBI_HOME and compared with the manifest at every run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.errors import ManifestMismatch, OriginError, StorageFailed
from tasks.registry import DataSources
from tasks.sources.payloads import Payload, landed
from tasks.storage.files import (
    move_folder_into,
    read_json,
    stays_inside,
    storage_errors_explained,
    write_bytes,
    write_json,
)
from tasks.storage.hashes import sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.regular import open_file
from tasks.storage.zones import Zones

MANIFEST, PROVENANCE = "MANIFEST.csv", "PROVENANCE.csv"
PACKED, MARKS = ".tar.xz", ".packed"
DESCRIBED = (
    "source",
    "series",
    "file",
    "fetched_on",
    "shape",
    "endpoint",
    "first_date",
    "last_date",
    "rows",
    "bytes",
    "sha256",
    "note",
    "terms",
)
FOUND = ("file", "origin_repo", "origin_path")
# solid xz, measured on 104 MB of payloads: 24.8 MB and 0.6 s to unpack, against 28.5 MB of zip with LZMA members
PRESET = 6
Progress = Callable[[int, int, str], None]


def silently(done: int, total: int, item: str) -> None:
    """A progress callback that does nothing."""


@dataclass(frozen=True)
class Archive:
    """The unpacked archive. ``missing``: sources in MANIFEST.csv without a packed file."""

    folder: Path
    missing: tuple[str, ...] = ()


def is_packed(archive: Path) -> bool:
    """Whether a folder has packed sources rather than a raw zone's folders."""
    return any(archive.glob(f"*{PACKED}"))


def unpack(archive: Path, zones: Zones, progress: Progress) -> Archive:
    """The archive as a folder of payloads under CBI_HOME/recorded; a source is unpacked only when its file changed.

    A copy that does not match MANIFEST.csv, half-written by a killed run or changed by hand, is unpacked again.
    A folder of unpacked payloads is returned as it is and read in place.

    Raises:
        OriginError: there is no archive at ``archive``.
        ManifestMismatch: MANIFEST.csv is missing, or a packed file does not match it. For a folder of payloads only the
            manifest is read here; each payload is compared with it when it is landed.
        StorageFailed: CBI_HOME cannot be written.
    """
    if not archive.is_dir():
        raise OriginError(f"there is no recorded archive at {archive}; see CBI_ARCHIVE in .env.example")
    if not is_packed(archive):
        if any(path.is_dir() for path in archive.iterdir()):
            read_manifest(archive)
            return Archive(archive)
        raise OriginError(
            f"{archive} has neither packed sources (<source>{PACKED}) nor folders of payloads; restore it with "
            "`git checkout -- recorded`, or set CBI_ARCHIVE to an archive"
        )
    listed = read_manifest(archive)
    by_source: dict[str, dict[str, dict[str, str]]] = {}
    for name, row in listed.items():
        by_source.setdefault(row["source"], {})[name] = row
    packed = {path.name.removesuffix(PACKED): path for path in sorted(archive.glob(f"*{PACKED}"))}
    if unknown := sorted(set(packed) - set(by_source)):
        raise ManifestMismatch(
            f"{packed[unknown[0]]}: {MANIFEST} lists no payload of {unknown[0]}; list them there, or delete the file"
        )
    with exclusive(zones, "recorded"):
        target = zones.recorded
        for number, (source, path) in enumerate(packed.items(), start=1):
            progress(number, len(packed), source)
            digest = _digest_of(path)
            if read_json(_mark(target, source)) != digest or not _is_whole(target, source, by_source[source]):
                _unpack_source(path, target, source, by_source[source])
                write_json(_mark(target, source), digest)
        for left in [path for path in target.iterdir() if path.is_dir() and path.name not in packed]:
            if left.name != MARKS:
                shutil.rmtree(left)
        kept = [row for row in listed.values() if row["source"] in packed]
        content = _as_csv(DESCRIBED, kept)
        if not (target / MANIFEST).is_file() or (target / MANIFEST).read_bytes() != content:
            write_bytes(target / MANIFEST, content)
    return Archive(target, tuple(source for source in by_source if source not in packed))


def _digest_of(packed: Path) -> str:
    try:
        return sha256_of(packed)
    except OSError as error:
        raise ManifestMismatch(
            f"{packed}: not a readable file ({error.strerror}). Restore it with `git checkout -- recorded`, or "
            "remove it: its series are then missing"
        ) from None


def _mark(target: Path, source: str) -> Path:
    """The file that names the packed file of a source's folder; written after the folder is complete."""
    return target / MARKS / f"{source}.json"


def _is_whole(target: Path, source: str, listed: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether the source's folder has exactly the listed payloads, byte for byte."""
    folder = target / source
    there = {path.relative_to(target).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return there == set(listed) and all(
        (target / name).is_file() and sha256_of(target / name) == row["sha256"] for name, row in listed.items()
    )


def _unpack_source(packed: Path, target: Path, source: str, listed: Mapping[str, Mapping[str, str]]) -> None:
    """Unpack into a temporary folder, compare with the manifest, then move it into place."""
    beside = target / f".tmp-{source}"
    with storage_errors_explained(target):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            for name, content in _members(packed, listed):
                path = beside / PurePosixPath(name).relative_to(source)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if lacking := sorted(set(listed) - {f"{source}/{path}" for path in _names(beside)}):
                raise ManifestMismatch(
                    f"{packed}: {MANIFEST} lists {lacking[0]} and {len(lacking) - 1} more that are not in it. "
                    f"Restore the file (`git checkout -- recorded`), or pack it again"
                )
            shutil.rmtree(target / source, ignore_errors=True)
            move_folder_into(beside, target / source)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _members(packed: Path, listed: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each payload in a packed file, checked against MANIFEST.csv."""
    try:
        with tarfile.open(packed, "r:xz") as tar:
            for member in tar:
                row = listed.get(member.name)
                if row is None or not member.isfile() or not stays_inside(member.name):
                    raise ManifestMismatch(f"{packed}: {MANIFEST} does not list its member {member.name!r}")
                handle = tar.extractfile(member) if member.size == int(row["bytes"]) else None
                content = handle.read() if handle else b""
                if hashlib.sha256(content).hexdigest() != row["sha256"]:
                    raise ManifestMismatch(
                        f"{packed}: its member {member.name} is not the one that {MANIFEST} describes. Restore the "
                        "file (`git checkout -- recorded`), or pack it again"
                    )
                yield member.name, content
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ManifestMismatch(
            f"{packed} is damaged ({error}). Restore it with `git checkout -- recorded`, or delete it: its series are "
            "then missing"
        ) from error


def read_manifest(archive: Path) -> dict[str, dict[str, str]]:
    """The rows of MANIFEST.csv by file name.

    Raises:
        ManifestMismatch: it is missing, lacks a column, or lists a file outside its source's folder.
    """
    path = archive / MANIFEST
    try:
        with open_file(path) as handle:
            rows = list(csv.DictReader(io.StringIO(handle.read().decode("utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestMismatch(f"{path}: without a readable manifest no payload is trusted ({error})") from None
    needed = ("source", "series", "file", "bytes", "sha256")
    for number, row in enumerate(rows, start=2):
        name = row.get("file") or ""
        if any(not row.get(column) for column in needed) or not stays_inside(name):
            raise ManifestMismatch(f"{path}: row {number} needs {', '.join(needed)}, and a file name inside the folder")
        if not name.startswith(f"{row['source']}/{row['series']}/"):
            raise ManifestMismatch(f"{path}: row {number}: {name} is not in {row['source']}/{row['series']}/")
    return {row["file"]: row for row in rows}


def pack(folder: Path, archive: Path, terms: Mapping[str, str], progress: Progress) -> dict[str, int]:
    """Pack a folder laid out as a raw zone into ``archive``, one file per source; returns bytes by source.

    Sources of ``folder`` replace those of the same name in the archive; the others stay. The same folder packed again
    gives the same bytes, and an unchanged file is not written.

    Args:
        folder: ``<source>/<series>/<payload>`` with a MANIFEST.csv that lists each payload (and may name in
            ``origin_repo`` and ``origin_path`` where it was found).
        terms: the licence terms by source.

    Raises:
        ManifestMismatch: a file is not the one listed, or not listed at all.
    """
    rows, found = _described(folder, terms)
    sources = sorted({row["source"] for row in rows})
    kept_rows, kept_provenance = (
        (list(read_manifest(archive).values()), _read_csv(archive / PROVENANCE))
        if (archive / MANIFEST).is_file()
        else ([], [])
    )
    sizes = {}
    for number, source in enumerate(sources, start=1):
        progress(number, len(sources), source)
        path = archive / f"{source}{PACKED}"
        content = _packed(folder, [row["file"] for row in rows if row["source"] == source])
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)
        sizes[source] = len(content)
    rows += [row for row in kept_rows if row["source"] not in sources]
    found += [row for row in kept_provenance if row["file"].split("/")[0] not in sources]
    for path, columns, table in (
        (archive / MANIFEST, DESCRIBED, rows),
        (archive / PROVENANCE, FOUND, found),
    ):
        write_bytes(path, _as_csv(columns, sorted(table, key=lambda row: [row[column] for column in columns])))
    return sizes


def _described(folder: Path, terms: Mapping[str, str]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of the manifest, one per file, and of the provenance."""
    path = folder / MANIFEST
    listed: dict[str, dict[str, str]] = {}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    read_manifest(folder)
    for row in _read_csv(path):
        file = folder / row["file"]
        if not file.is_file():
            raise ManifestMismatch(f"{path} lists {row['file']}, which is not there")
        if sha256_of(file) != row["sha256"]:  # an earlier payload of that name, overwritten later
            continue
        # a payload found twice is listed twice: the last line counts
        row["bytes"] = str(file.stat().st_size)
        listed[row["file"]] = {name: row.get(name) or "" for name in DESCRIBED} | {
            "terms": row.get("terms") or terms.get(row["source"], "")
        }
        if row.get("origin_repo"):
            place = {name: row[name] for name in FOUND}
            found[tuple(place.values())] = place
    if (folder / PROVENANCE).is_file():
        found |= {tuple(row.values()): row for row in _read_csv(folder / PROVENANCE)}
    there = {
        path.relative_to(folder).as_posix()
        for source in folder.iterdir()
        if source.is_dir() and not source.name.startswith(".")
        for path in source.rglob("*")
        if path.is_file()
    }
    if wrong := sorted(there ^ set(listed)):
        raise ManifestMismatch(f"{path}: {wrong[0]} is not listed there with its sha256 ({len(wrong)} such files)")
    return list(listed.values()), list(found.values())


def _packed(folder: Path, names: Iterable[str]) -> bytes:
    """A solid archive whose bytes depend only on names and contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(names):
            member = tarfile.TarInfo(name)
            member.size, member.mode = (folder / name).stat().st_size, 0o644
            with (folder / name).open("rb") as handle:
                tar.addfile(member, handle)
    return lzma.compress(buffer.getvalue(), preset=PRESET)


def record(zones: Zones, sources: DataSources, folder: Path) -> int:
    """Copy every live payload of raw/ into ``folder``, in the layout of an archive; returns how many were new.

    A payload keeps its name, the instant of its fetch to the microsecond. Its address is in the manifest, without keys.
    ``folder`` can be used as ``--origin`` and can be packed.

    Raises:
        StorageFailed: the folder cannot be written.
    """
    listed = {row["file"]: row for row in _read_csv(folder / MANIFEST)} if (folder / MANIFEST).is_file() else {}
    new = 0
    for source, spec in sources.sources.items():
        if spec.tables:  # the registry's own tables are the same everywhere
            continue
        for payload in landed(zones, source):
            if payload.day_known_only:  # recorded already
                continue
            name = f"{spec.folder or source}/{payload.series}/{payload.path.name}"
            if name not in listed:
                _copy(payload, folder / name)
                listed[name] = _recorded_row(name, payload, spec.licence)
                new += 1
    if new:
        write_bytes(folder / MANIFEST, _as_csv(DESCRIBED, sorted(listed.values(), key=lambda row: row["file"])))
    return new


def _recorded_row(name: str, payload: Payload, terms: str) -> dict[str, str]:
    source, series, _ = name.split("/")
    return {
        "source": source,
        "series": series,
        "file": name,
        "fetched_on": f"{payload.fetched_at:%Y-%m-%d}",
        "shape": "native",
        "endpoint": payload.url,
        "first_date": "",
        "last_date": f"{payload.newest}" if payload.newest else "",
        "rows": "",
        "bytes": str(payload.bytes),
        "sha256": payload.sha256,
        "note": "recorded live",
        "terms": terms,
    }


def _copy(payload: Payload, path: Path) -> None:
    try:
        content = payload.path.read_bytes()
    except OSError as error:
        raise StorageFailed(f"{payload.path} cannot be read ({error}); fetch it again") from error
    write_bytes(path, content)


def _read_csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _as_csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
