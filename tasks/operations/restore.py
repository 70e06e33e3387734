"""Fills an empty home from a backup (tasks/operations/backup.py): payloads, purchases, pauses, models, and tables.

Everything is fetched and compared with the manifest before anything is written. The tables come last. A restore that
was killed can be repeated, and ends like an undisturbed one.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from tasks.decision.ledger import ledger_path
from tasks.errors import ManifestMismatch, NothingStored, SettingsError
from tasks.model_store.champions import CHAMPIONS, HISTORY, current_champions, of_lines
from tasks.model_store.open import open_store
from tasks.operations.backup import Manifest, read_latest, read_rows, state_path
from tasks.operations.backup_place import BackupPlace, place_of
from tasks.settings import Settings
from tasks.sources.pauses import pauses_path
from tasks.storage.files import (
    in_shell,
    make_durable,
    move_folder_into,
    move_into,
    read_json,
    stays_inside,
    sweep_temporary,
    temporary_folder,
    write_bytes,
    write_json,
)
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tasks.warehouse.frames import to_frame
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import table_named


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    place: str
    as_of: str
    rows: dict[str, int]
    versions: int
    payloads: int
    snapshot: str


def restore(settings: Settings, uri: str) -> Restored:
    """Fill the home of ``settings`` from the backup at ``uri``.

    Invariants: a home with history is not changed; a damaged file of the backup stops it before anything is written;
        the warehouse is published under a new name, unknown to readers.

    Raises:
        SettingsError: the home has history. NothingStored: the place has no backup.
        ManifestMismatch: a file of the backup is gone or damaged; the message names it. BackupFailed, CloudError: no
        such place.
    """
    zones, place = Zones(settings.home), place_of(uri, settings)
    place.check()
    with exclusive(zones, "backup"):
        latest = place.latest()
        if not latest.content:
            raise NothingStored(f"{place.uri} has no backup; name the place of CBI_BACKUP")
        _require_no_history(zones, settings, latest.content)
        zones.home.mkdir(parents=True, exist_ok=True)
        for folder in (zones.raw, zones.models):
            sweep_temporary(folder)
        with temporary_folder(zones.home, "restore") as work:
            manifest, _ = read_latest(place, latest, work)
            assert manifest is not None
            rows = {
                name: _rows(place, manifest, name, work) for name, months in sorted(manifest.tables.items()) if months
            }
            payloads = _unpacked(place, manifest.packs, work / "raw", work)
            _require_all(place, manifest, work)
            versions = {
                name: _unpacked(place, [entry], work / "models" / name, work)
                for name, entry in sorted(manifest.versions.items())
            }
            own = {
                name: place.fetch(entry["file"], entry["sha256"], work / "store" / name)
                for name, entry in manifest.store.items()
            }
            ledger = manifest.purchases and place.fetch(
                str(manifest.purchases["file"]), str(manifest.purchases["sha256"]), work / "ledger.jsonl"
            )
            paused = manifest.pauses and place.fetch(
                str(manifest.pauses["file"]), str(manifest.pauses["sha256"]), work / "pauses.json"
            )
            write_bytes(_begun(zones), latest.content)
            if paused:
                write_bytes(pauses_path(zones), paused.read_bytes())
            if ledger:
                write_bytes(ledger_path(zones), ledger.read_bytes())
            _place_payloads(work / "raw", zones.raw)
            if settings.models == "folder":
                _place_models(work / "models", list(versions), own, zones.models)
            published = open_warehouse(settings).publish(
                {name: to_frame(table) for name, table in rows.items()},
                as_of=pd.Timestamp(manifest.as_of),
                staging=zones.staging,
            )
            write_json(state_path(zones), {"home": manifest.home, "as_of": manifest.as_of})
            _begun(zones).unlink()
    counts = {name: table.num_rows for name, table in rows.items()}
    return Restored(place.uri, manifest.as_of, counts, len(versions), payloads, published.snapshot)


def _begun(zones: Zones) -> Path:
    """The file that names the backup while a restore is in progress."""
    return zones.home / "backup" / "restoring.json"


def _require_no_history(zones: Zones, settings: Settings, latest: bytes) -> None:
    begun = _begun(zones)
    if begun.exists() and begun.read_bytes() == latest:
        return  # a restore of this backup was killed
    has = "a published warehouse" if open_warehouse(settings).is_published() else ""
    if settings.warehouse == "duckdb" and (zones.warehouse / "cbi.duckdb").exists():
        has = "a warehouse"
    if settings.models == "folder" and open_store(settings).history():
        has = has or "promoted models"
    if ledger_path(zones).exists():
        has = has or "a ledger of purchases"
    if has:
        raise SettingsError(
            f"{zones.home} has {has} already, and a restore would mix two histories. Set CBI_HOME to an empty folder: "
            f"`CBI_HOME={in_shell(zones.home.with_name(f'{zones.home.name}-restored'))} cbi restore …`"
        )


def _rows(place: BackupPlace, manifest: Manifest, name: str, work: Path) -> pa.Table:
    """All months of a table, in the types of its declaration."""
    table_named(name)
    months = [read_rows(place, entry, work) for _, entry in sorted(manifest.tables[name].items())]
    return pa.concat_tables(months, promote_options="default")


def _unpacked(place: BackupPlace, packs: list[dict[str, str]], folder: Path, work: Path) -> int:
    """Unpack the files of tars. Returns their number."""
    count = 0
    for pack in packs:
        file = place.fetch(str(pack["file"]), str(pack["sha256"]), work / "pack.tar.gz")
        with tarfile.open(file, "r:gz") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() and stays_inside(entry.name) else None
                if content is None:
                    raise ManifestMismatch(
                        f"{pack['file']} of the backup has {entry.name!r}, which is not a plain file"
                    )
                path = folder / entry.name  # not `extract`: its filter came with Python 3.11.4
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as target:
                    shutil.copyfileobj(content, target)
                count += 1
    return count


def _require_all(place: BackupPlace, manifest: Manifest, work: Path) -> None:
    """Raises: ManifestMismatch: a payload that the backup lists is in none of its tars."""
    if manifest.listed is None:
        return
    file = place.fetch(str(manifest.listed["file"]), str(manifest.listed["sha256"]), work / "listed.parquet")
    for name in parquet.read_table(file)["file"].to_pylist():
        if not stays_inside(name) or not (work / "raw" / name).is_file():
            raise ManifestMismatch(f"{place.uri} lists the payload {name!r}, which is in none of its tars")


def _place_payloads(unpacked: Path, raw: Path) -> None:
    """Move payloads first, then their sidecars: a payload with a sidecar is complete."""
    for path in sorted(_files(unpacked), key=lambda path: path.name.endswith(".json")):
        target = raw / path.relative_to(unpacked)
        if not target.exists():
            move_into(path, target)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _place_models(unpacked: Path, names: list[str], own: dict[str, Path], models: Path) -> None:
    for name in names:
        target = models / name
        if target.exists():  # left by a restore that was killed
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        make_durable(unpacked / name)
        move_folder_into(unpacked / name, target)
    for name, path in sorted(own.items(), key=lambda item: item[0] == HISTORY):
        write_bytes(models / name, path.read_bytes())
    if HISTORY in own:
        history = of_lines((models / HISTORY).read_bytes(), str(models / HISTORY))
        if current_champions(history) != read_json(models / CHAMPIONS):
            write_json(models / CHAMPIONS, current_champions(history))
