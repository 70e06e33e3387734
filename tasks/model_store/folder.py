"""Models in a folder: ``<family>/<horizon>/v0001/``, with ``champions.json`` and ``history.jsonl``.

A version is written under a temporary name and renamed. So it is complete or absent, also after a power cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.errors import ModelStoreError
from tasks.model_store.champions import (
    AUDIT,
    CHAMPIONS,
    HISTORY,
    SHADOWS,
    Decide,
    Entry,
    champion_by,
    current_champions,
    entry_of,
    of_lines,
    to_lines,
    verified,
    with_promotions,
)
from tasks.model_store.protocol import Version, altered_file, altered_files
from tasks.model_store.shadows import of_json
from tasks.storage.files import (
    TEMPORARY,
    move_folder_into,
    read_json,
    storage_errors_explained,
    write_bytes,
    write_json,
)
from tasks.storage.hashes import sha256_of


class FolderStore:
    """A folder of versions. One writer at a time: callers hold the lock ``models``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def require_writable(self) -> None:
        """No check: a folder that cannot be written raises at the write."""

    def versions(self, family: str, horizon: str) -> list[Version]:
        """All complete versions, oldest first."""
        paths = sorted((self.folder / family / horizon).glob("v[0-9]*"))
        return [version for version in map(self._version, paths) if version is not None]

    @staticmethod
    def _version(path: Path) -> Version | None:
        metadata, metrics = read_json(path / "metadata.json"), read_json(path / "metrics.json")
        if not isinstance(metadata, dict) or not isinstance(metrics, dict):
            return None
        if (metadata.get("family"), metadata.get("horizon")) != (path.parent.parent.name, path.parent.name):
            return None  # a folder in the wrong place is not a version
        return Version(path.name, metadata, metrics, lambda: path)

    def of_horizon(self, horizon: str) -> list[Version]:
        """All complete versions of every family at a horizon."""
        families = sorted(path.parent.name for path in self.folder.glob(f"*/{horizon}") if path.is_dir())
        return [version for family in families for version in self.versions(family, horizon)]

    def find(self, family: str, horizon: str, identity: str) -> Version | None:
        """The version of exactly these inputs, if there is one."""
        return next((v for v in self.versions(family, horizon) if v.metadata["identity"] == identity), None)

    def add(self, files: Path, metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> Version:
        """Store the model files in ``files`` as the next version; for a known identity, return the stored version."""
        family, horizon = str(metadata["family"]), str(metadata["horizon"])
        stored = self.find(family, horizon, str(metadata["identity"]))
        same = stored is not None and stored.trained_as_of == pd.Timestamp(str(metadata["trained_as_of"]))
        if stored and same and altered_file(stored.folder, stored.metadata["files"]) is None:
            return stored
        parent = self.folder / family / horizon
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left)
        numbers = [int(path.name[1:]) for path in parent.glob("v[0-9]*")]
        target = parent / f"v{max(numbers, default=0) + 1:04d}"
        temporary = parent / f"{TEMPORARY}{target.name}"
        shutil.copytree(files, temporary)
        describe(temporary, metadata, metrics)
        move_folder_into(temporary, target)
        version = self._version(target)
        assert version is not None
        return version

    def promote(self, *versions: Version, run: str) -> None:
        """Add each version to the history as a training's champion. A repetition changes nothing."""
        self.append(lambda history: [entry_of(version, run=run) for version in versions])

    def append(self, decide: Decide) -> list[Entry]:
        """Add what ``decide`` returns to the history, and return the history before.

        The history is switched first: a writer that is killed in between leaves champions.json for the next one.
        """
        history = self.history()
        after = with_promotions(history, decide(history))
        if after != history:
            write_bytes(self.folder / HISTORY, to_lines(after))
        if current_champions(after) != read_json(self.folder / CHAMPIONS):
            write_json(self.folder / CHAMPIONS, current_champions(after))
        return history

    def history(self) -> list[Entry]:
        """Every promotion, oldest first."""
        path = self.folder / HISTORY
        return of_lines(path.read_bytes(), str(path)) if path.exists() else []

    def champion(self, horizon: str, as_of: pd.Timestamp) -> Version | None:
        """The newest champion trained by ``as_of``: a model trained on later data must not forecast that day."""
        entry = champion_by(self.history(), horizon, as_of)
        if entry is None:
            return None
        path = self.folder / entry["family"] / horizon / entry["version"]
        version = self._version(path)
        if version is None:
            raise ModelStoreError(
                f"{path} was promoted but is gone, or another version's folder is there; run `cbi train`"
            )
        return verified(version, entry, str(path))

    def audit(self) -> Mapping[str, Any] | None:
        """The last leakage audit, or None if there is none or it is unreadable."""
        stored = read_json(self.folder / AUDIT)
        return stored if isinstance(stored, dict) else None

    def keep_audit(self, audit: Mapping[str, Any]) -> str:
        """Store an audit in place of the one before; returns its location."""
        return str(write_json(self.folder / AUDIT, dict(audit)))

    def shadows(self) -> list[dict[str, Any]]:
        """The challengers that forecast unserved, in the order in which they were put."""
        path = self.folder / SHADOWS
        return of_json(path.read_bytes() if path.exists() else b"", str(path))

    def change_shadows(self, decide: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Replace the shadows by what ``decide`` returns for them."""
        before = self.shadows()
        if (after := decide(before)) != before:
            write_json(self.folder / SHADOWS, after)

    def sizes(self, version: Version) -> dict[str, int]:
        """Bytes of each file of a version."""
        folder = self.folder / version.name
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}

    def altered(self, version: Version) -> list[str]:
        """The files of a version that are missing, or not those that were stored."""
        return altered_files(self.folder / version.name, version.metadata["files"])

    def delete(self, version: Version) -> None:
        """Delete a version: it is renamed first, so that it is complete or absent."""
        folder = self.folder / version.name
        left = folder.with_name(f"{TEMPORARY}pruned-{version.number}")
        with storage_errors_explained(folder.parent):
            if folder.exists():
                shutil.rmtree(left, ignore_errors=True)
                folder.rename(left)
            if left.exists():
                shutil.rmtree(left)

    def notices(self) -> tuple[str, ...]:
        """None: a folder has no cached copy."""
        return ()


def describe(folder: Path, metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Write a version's ``metrics.json`` beside its files, then ``metadata.json`` with every hash."""
    write_json(folder / "metrics.json", dict(metrics))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    write_json(folder / "metadata.json", {**metadata, "files": hashes})
