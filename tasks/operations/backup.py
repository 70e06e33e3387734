"""Backup of data that cannot be rebuilt, to a second place (CBI_BACKUP) after each day's publish.

It covers the tables whose declaration says so (tasks/warehouse/schema), the model store's history with the versions of
each training that promoted one, the buyer's purchases, payloads fetched live, and which sources are paused. All else
is rebuilt from these.

``latest.json`` names a manifest, which names every file with its SHA-256: a table's rows by month as parquet, a model
version or the day's new payloads as a tar. Unchanged content is not written again.

Invariants: a backup is never replaced by less. Rows that the warehouse no longer has stay (merged on the key), payloads
and model versions are only added, and a store that has lost its history is refused. Another home's backup is refused.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import secrets
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from tasks import clock
from tasks.decision.ledger import ledger_path
from tasks.errors import BackupFailed, CbiError, ManifestMismatch
from tasks.model_store.champions import AUDIT, HISTORY, SHADOWS, of_lines
from tasks.model_store.folder import FolderStore
from tasks.operations.backup_place import LATEST, BackupPlace, place_of, require_names_inside
from tasks.run import RunContext
from tasks.sources.pauses import pauses, pauses_path
from tasks.sources.payloads import RECORDED
from tasks.storage.bucket import PointerContent
from tasks.storage.files import TEMPORARY, json_bytes, read_json, temporary_folder, write_bytes, write_json, write_table
from tasks.storage.hashes import sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse.checksum import checksum
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import STATED, Table, tables

log = logging.getLogger(__name__)
NONE = "none"
FORMAT = 1
PACK_BYTES = 200 * 10**6  # bytes of payloads per tar
LIST = "raw/listed"


@dataclass
class Manifest:
    """The content of a backup. Every entry is a dictionary with ``file`` and ``sha256``.

    ``tables``: by table and month, with ``rows`` and ``content`` (tasks/warehouse/checksum.py). ``versions``: by
    family/horizon/number. ``store``: the store's own files by name. ``packs``: tars of payloads; ``listed`` names all
    payloads in them. ``purchases``: the buyer's ledger. ``pauses``: the paused sources.
    """

    home: str
    as_of: str = ""
    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    store: dict[str, dict[str, Any]] = field(default_factory=dict)
    packs: list[dict[str, Any]] = field(default_factory=list)
    listed: dict[str, Any] | None = None
    purchases: dict[str, Any] | None = None
    pauses: dict[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """The file of it."""
        return json_bytes({"format": FORMAT, **self.__dict__})

    @staticmethod
    def of(content: bytes, place: str) -> Manifest:
        """A manifest from the content of its file.

        Raises:
            ManifestMismatch: it is not a manifest of this format.
        """
        try:
            content_of = json.loads(content)
            if content_of.pop("format") != FORMAT:
                raise ValueError("another format")
            manifest = Manifest(**content_of)
            require_names_inside((str(entry["file"]) for entry in manifest.entries()), place)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestMismatch(f"the manifest of {place} is not readable: {error}") from error
        return manifest

    def entries(self) -> Iterator[dict[str, Any]]:
        """Every file."""
        for months in self.tables.values():
            yield from months.values()
        yield from self.versions.values()
        yield from self.store.values()
        yield from self.packs
        for entry in (self.listed, self.purchases, self.pauses):
            if entry:
                yield entry

    def names(self) -> set[str]:
        """Every file's name."""
        return {str(entry["file"]) for entry in self.entries()}


def state_path(zones: Zones) -> Path:
    """The state of this home's backup: the home's id, the place, time of the last complete backup, failures since."""
    return zones.home / "backup" / "state.json"


def back_up(run: RunContext) -> str:
    """Write new data to the place of ``CBI_BACKUP``. A failure is returned and logged, never raised.

    Returns:
        why there is no backup of this day; empty if there is one or none is configured.
    """
    uri = run.settings.backup
    if uri is None or uri == NONE:
        return ""
    path = state_path(run.zones)
    state = read_json(path) or {}
    now = f"{clock.now().floor('s'):%Y-%m-%dT%H:%M:%SZ}"
    try:
        with exclusive(run.zones, "backup"):
            state = {**(read_json(path) or {})}
            state.setdefault("home", secrets.token_hex(8))
            failure = _write(run, place_of(uri, run.settings), state, path)
            state = {"home": state["home"], "place": uri, "at": now, "as_of": f"{run.as_of:%Y-%m-%d}"}
            write_json(path, state | ({"failed": failure, "failed_at": now} if failure else {}))
    except Exception as error:  # a lost disk may raise anything; the forecast is published already
        failure = " ".join(f"{error}".split()) if isinstance(error, CbiError) else f"{type(error).__name__}: {error}"
        log.warning("no backup of %s: %s", f"{run.as_of:%Y-%m-%d}", failure)
        try:
            write_json(path, {**state, "failed": failure, "failed_at": now})
        except (CbiError, OSError):
            log.warning("%s cannot be written", path)
    return failure


def _write(run: RunContext, place: BackupPlace, state: dict[str, Any], path: Path) -> str:
    place.check()
    latest = place.latest()
    if not latest.content and state.get("place") == place.uri and state.get("at"):
        raise BackupFailed(
            f"{place.uri} had the backup of {state['as_of']} and has none now: plug its disk in or mount it. To "
            f"start again there, delete {path}"
        )
    with temporary_folder(run.zones.home, "backup") as work:
        previous, pointer = read_latest(place, latest, work)
        if previous and previous.home != state["home"]:
            raise BackupFailed(
                f"{place.uri} has the backup of another home (of {previous.as_of}). To go on from that one, restore it "
                "into an empty home (`cbi restore`); else set CBI_BACKUP to an empty folder"
            )
        if not previous:
            write_json(path, {**state, "place": place.uri})  # the home's id is stored here before it is in the place
        previous = previous or Manifest(str(state["home"]))
        lost = place.lacks(previous.names())
        for name in sorted(lost):
            log.warning("%s/%s of the backup is gone; data that is still here is written again", place.uri, name)
        manifest = Manifest(previous.home, max(previous.as_of, f"{run.as_of:%Y-%m-%d}"))
        manifest.tables = _tables(open_warehouse(run.settings), place, previous, lost, work)
        manifest.packs, manifest.listed = _payloads(run.zones.raw, place, previous, lost, work)
        failure = ""
        manifest.purchases = previous.purchases
        try:
            manifest.purchases = _purchases(ledger_path(run.zones), place, previous, lost, work)
        except CbiError as error:
            failure = f"the purchases are not backed up: {error}"
        manifest.pauses = previous.pauses
        try:
            manifest.pauses = _pauses(run.zones, place, previous, lost)
        except CbiError as error:
            failure = "; ".join(filter(None, [failure, f"the paused sources are not backed up: {error}"]))
        manifest.versions, manifest.store = previous.versions, previous.store
        if run.settings.models == "folder":
            try:
                manifest.versions, manifest.store = _models(FolderStore(run.zones.models), place, previous, lost, work)
            except CbiError as error:
                failure = "; ".join(filter(None, [failure, f"the models are not backed up: {error}"]))
        _switch(place, latest, pointer, previous, manifest, work)
    return failure


def read_latest(place: BackupPlace, latest: PointerContent, work: Path) -> tuple[Manifest | None, dict[str, str]]:
    """The newest manifest and the pointer to it; None if there is none yet.

    Raises:
        ManifestMismatch: pointer or manifest are damaged; the message names the file.
    """
    if not latest.content:
        return None, {}
    try:
        pointer = json.loads(latest.content)
        name, digest = str(pointer["manifest"]), str(pointer["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestMismatch(f"{place.uri}/{LATEST} of the backup is damaged: {error}") from error
    require_names_inside([name, str(pointer.get("previous") or "x")], place.uri)
    content = place.fetch(name, digest, work / "manifest.json").read_bytes()
    return Manifest.of(content, f"{place.uri}/{name}"), pointer


def _switch(
    place: BackupPlace,
    latest: PointerContent,
    pointer: Mapping[str, str],
    previous: Manifest,
    manifest: Manifest,
    work: Path,
) -> None:
    """Point to the new manifest if it differs, then remove files that only the manifest before the last one names."""
    content = manifest.to_bytes()
    file = write_bytes(work / "new.json", content)
    digest = sha256_of(file)
    if digest == pointer.get("sha256"):
        return
    name = f"manifests/{manifest.as_of}.{digest[:16]}.json"
    place.put(name, file)
    before = pointer.get("manifest")
    place.point(
        json_bytes({"manifest": name, "sha256": digest, "previous": before, "previous_sha256": pointer.get("sha256")}),
        replacing=latest,
    )
    if pointer.get("previous"):
        old = pointer["previous"]
        try:
            content = place.fetch(old, str(pointer["previous_sha256"]), work / "old.json").read_bytes()
            gone = Manifest.of(content, f"{place.uri}/{old}").names() - manifest.names() - previous.names()
            place.drop([*sorted(gone), old])
        except CbiError as error:  # files that cannot be removed stay
            log.warning("%s: %s", place.uri, error)


# -- tables -------------------------------------------------------------------------------------------------------


def _tables(
    warehouse: Warehouse, place: BackupPlace, previous: Manifest, lost: set[str], work: Path
) -> dict[str, dict[str, dict[str, Any]]]:
    backed_up = {}
    for table in tables().values():
        if not table.rebuilt:
            before = {m: entry for m, entry in previous.tables.get(table.name, {}).items() if entry["file"] not in lost}
            backed_up[table.name] = {**before, **_months(table, warehouse.read(table.name), before, place, work)}
    return backed_up


def _months(
    table: Table, rows: pa.Table, before: Mapping[str, dict[str, Any]], place: BackupPlace, work: Path
) -> dict[str, dict[str, Any]]:
    """The table's months. Changed months are written again."""
    months = pc.fill_null(pc.strftime(rows[table.ordered_by], format="%Y-%m"), "none")
    entries = {}
    for month in sorted(pc.unique(months).to_pylist()):
        part = rows.filter(pc.equal(months, month)).sort_by([(name, "ascending") for name in table.key])
        content, old = checksum(part, table.key), before.get(month)
        if old and old["content"] == content:
            entries[month] = old
            continue
        if old:
            part = merged(table, read_rows(place, old, work), part)
            content = checksum(part, table.key)
        if old and old["content"] == content:  # the warehouse has less than the backup, and nothing new
            entries[month] = old
            continue
        file = write_table(work / "part.parquet", part)
        digest = sha256_of(file)
        name = f"tables/{table.name}/{month}.{digest[:16]}.parquet"
        place.put(name, file)
        entries[month] = {"file": name, "sha256": digest, "rows": part.num_rows, "content": content}
    return entries


def read_rows(place: BackupPlace, entry: Mapping[str, Any], work: Path) -> pa.Table:
    """One month of a table from the backup.

    Raises:
        ManifestMismatch: the file is gone or damaged; the message names it.
    """
    file = place.fetch(str(entry["file"]), str(entry["sha256"]), work / "held.parquet")
    rows = parquet.read_table(file)
    if rows.num_rows != entry["rows"]:
        raise ManifestMismatch(f"{entry['file']} of the backup has {rows.num_rows} rows, its manifest {entry['rows']}")
    return rows


def merged(table: Table, old: pa.Table, new: pa.Table) -> pa.Table:
    """``new`` plus the rows of ``old`` whose key it lacks; in tables of ``STATED``, whose session it lacks."""
    keys = ["as_of"] if table.name in STATED else list(table.key)
    kept = old.join(new.select(keys).group_by(keys).aggregate([]), keys, join_type="left anti")
    together = pa.concat_tables([new, kept.select(old.column_names)], promote_options="default")
    return together.sort_by([(name, "ascending") for name in table.key]).combine_chunks()


# -- payloads -----------------------------------------------------------------------------------------------------


def _payloads(
    raw: Path, place: BackupPlace, previous: Manifest, lost: set[str], work: Path
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Payloads fetched live, with their sidecars, that are not in the backup yet: in one or more tars."""
    packs = [pack for pack in previous.packs if pack["file"] not in lost]
    listed: set[str] = set()
    if previous.listed and not lost & {previous.listed["file"], *(pack["file"] for pack in previous.packs)}:
        file = place.fetch(str(previous.listed["file"]), str(previous.listed["sha256"]), work / "listed.parquet")
        listed = set(parquet.read_table(file)["file"].to_pylist())
    new = sorted(set(live_files(raw)) - listed)
    if not new:
        return packs, previous.listed
    for part in _parts(raw, new):
        file = tar_of(raw, part, work / "pack.tar.gz")
        digest = sha256_of(file)
        name = f"raw/{digest[:16]}.tar.gz"
        place.put(name, file)
        if name not in {pack["file"] for pack in packs}:
            packs.append({"file": name, "sha256": digest, "files": len(part)})
    file = write_table(work / "list.parquet", pa.table({"file": sorted(listed | set(new))}))
    digest = sha256_of(file)
    name = f"{LIST}.{digest[:16]}.parquet"
    place.put(name, file)
    return packs, {"file": name, "sha256": digest, "rows": len(listed | set(new))}


def live_files(raw: Path) -> Iterator[str]:
    """Names of fetched files under raw/. (A recorded payload is elsewhere, and its sidecar is rebuilt.)"""
    for folder, folders, names in os.walk(raw):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = Path(folder).relative_to(raw).as_posix()
        for name in names:
            if not name.startswith((f"{RECORDED}-", TEMPORARY)):
                yield f"{place}/{name}"


def _parts(raw: Path, names: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    total = 0
    for name in names:
        part.append(name)
        total += (raw / name).stat().st_size
        if total > PACK_BYTES:
            yield part
            part, total = [], 0
    if part:
        yield part


def tar_of(folder: Path, names: Iterable[str], target: Path) -> Path:
    """Pack files of a folder in one tar. The same files give the same bytes."""
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=3, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            content = (folder / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return target


# -- purchases ----------------------------------------------------------------------------------------------------


def _purchases(
    ledger: Path, place: BackupPlace, previous: Manifest, lost: set[str], work: Path
) -> dict[str, Any] | None:
    """The buyer's ledger. Lines are only ever added to it.

    Raises:
        BackupFailed: it has lost lines that are in the backup.
    """
    before = previous.purchases
    if before and before["file"] not in lost:
        old = place.fetch(str(before["file"]), str(before["sha256"]), work / "ledger").read_bytes()
        if not ledger.exists() or not ledger.read_bytes().startswith(old):
            raise BackupFailed(
                f"{ledger} has lost lines that {place.uri} has; what is there stays. Copy {before['file']} from there "
                f"to {ledger}, or set CBI_BACKUP to an empty folder"
            )
    if not ledger.exists():
        return None
    digest = sha256_of(ledger)
    name = f"purchases/{digest[:16]}.{ledger.name}"
    if not before or before["file"] != name or name in lost:
        place.put(name, ledger)
    return {"file": name, "sha256": digest}


# -- pauses -------------------------------------------------------------------------------------------------------


def _pauses(zones: Zones, place: BackupPlace, previous: Manifest, lost: set[str]) -> dict[str, Any] | None:
    """The list of paused sources as it is now: a state, not a history, so a resumed source leaves it here too.

    Raises:
        ManifestMismatch: the list is damaged; what the backup has of it stays.
    """
    pauses(zones)  # a damaged list is not copied over a sound one
    path = pauses_path(zones)
    if not path.exists():
        return None
    digest = sha256_of(path)
    name, before = f"pauses/{digest[:16]}.{path.name}", previous.pauses
    if not before or before["file"] != name or name in lost:
        place.put(name, path)
    return {"file": name, "sha256": digest}


# -- models -------------------------------------------------------------------------------------------------------


def _models(
    store: FolderStore, place: BackupPlace, previous: Manifest, lost: set[str], work: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The store's history, and every version of each training that promoted one: rivals, baseline and explainer too.

    Raises:
        BackupFailed: the store has lost promotions that are in the backup.
    """
    versions = {name: entry for name, entry in previous.versions.items() if entry["file"] not in lost}
    history = store.history()
    noted = previous.store.get(HISTORY)
    if noted and noted["file"] not in lost:
        before = of_lines(place.fetch(noted["file"], noted["sha256"], work / "history").read_bytes(), noted["file"])
        if gone := [line for line in before if line not in history]:
            raise BackupFailed(
                f"{store.place} has lost {len(gone)} of {len(before)} promotions that {place.uri} has; what is "
                "there stays. Restore them (`cbi restore` into an empty home), or set CBI_BACKUP to an "
                "empty folder"
            )
    runs, in_shadow = {line["run"] for line in history}, {str(one["version"]) for one in store.shadows()}
    horizons = sorted({line["horizon"] for line in history})
    for version in (one for horizon in horizons for one in store.of_horizon(horizon)):
        if version.name in versions:
            continue
        if str(version.metadata["run"]) not in runs and version.name not in in_shadow:
            continue
        names = sorted(
            path.relative_to(version.folder).as_posix() for path in version.folder.rglob("*") if path.is_file()
        )
        file = tar_of(version.folder, names, work / "version.tar.gz")
        digest = sha256_of(file)
        name = f"models/{version.name}.{digest[:16]}.tar.gz"
        place.put(name, file)
        versions[version.name] = {"file": name, "sha256": digest}
    own = {}
    for name in (HISTORY, AUDIT, SHADOWS):
        path = store.folder / name
        if not path.exists():
            continue
        digest = sha256_of(path)
        there = f"models/{digest[:16]}.{name}"
        old = previous.store.get(name)
        if not old or old["file"] != there or there in lost:
            place.put(there, path)
        own[name] = {"file": there, "sha256": digest}
    return versions, own


def age_days(state: Mapping[str, Any]) -> float:
    """Days since the last complete backup."""
    return float((clock.now() - pd.Timestamp(state["at"])) / pd.Timedelta(days=1))
