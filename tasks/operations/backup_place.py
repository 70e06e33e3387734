"""The second place of a backup: a folder, or gs://BUCKET/PREFIX. Files are made once under names that hold their hash.

``latest.json`` is the only file that changes: it names the newest manifest, and is switched last. A backup that was
killed leaves files that nothing names; the next one finds them in their place.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from tasks.errors import BackupFailed, ManifestMismatch, ModelStoreError
from tasks.settings import Settings
from tasks.storage.bucket import Bucket, PointerContent
from tasks.storage.files import in_shell, stays_inside, write_atomically, write_bytes
from tasks.storage.hashes import sha256_of

LATEST = "latest.json"


class Place(Protocol):
    """Where a backup lies. Names are relative, with slashes."""

    @property
    def uri(self) -> str:
        """How messages and the home's state name it."""

    def check(self) -> None:
        """Raises: BackupFailed, CloudError: it cannot be used now."""

    def latest(self) -> PointerContent:
        """What ``latest.json`` says; no content where there is none yet."""

    def point(self, content: bytes, *, replacing: PointerContent) -> None:
        """Switch ``latest.json``. Raises: BackupFailed: somebody else has since it was read."""

    def lacks(self, names: Iterable[str]) -> set[str]:
        """Those that are not there."""

    def put(self, name: str, file: Path) -> None:
        """Store a file under a name that holds its hash."""

    def fetch(self, name: str, sha256: str, target: Path) -> Path:
        """Copy a file here. Raises: ManifestMismatch: it is gone or damaged; it is named."""

    def drop(self, names: Iterable[str]) -> None:
        """Remove files that no manifest in use names."""


class FolderPlace:
    """A folder that is there: on another disk, a mounted share, or one that is synchronised elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self.folder)

    def check(self) -> None:
        """Raises: BackupFailed: it is no folder. It is never made: where a disk is gone, it would be made elsewhere."""
        if not self.folder.is_dir():
            raise BackupFailed(
                f"{self.folder} is no folder now: plug its disk in or mount it, or make it once with "
                f"`mkdir -p {in_shell(self.folder)}`"
            )

    def latest(self) -> PointerContent:
        """The bytes of ``latest.json``."""
        path = self.folder / LATEST
        return PointerContent(path.read_bytes(), 1) if path.exists() else PointerContent(b"", 0)

    def point(self, content: bytes, *, replacing: PointerContent) -> None:
        """One machine at a time writes to a folder: the home's lock keeps its runs apart."""
        write_bytes(self.folder / LATEST, content)

    def lacks(self, names: Iterable[str]) -> set[str]:
        """Those that are no files there."""
        return {name for name in names if not (self.folder / name).is_file()}

    def put(self, name: str, file: Path) -> None:
        """Copy it, whole or not at all."""
        path = self.folder / name
        if not path.is_file() or path.stat().st_size != file.stat().st_size:
            write_atomically(path, lambda temporary: shutil.copyfile(file, temporary))

    def fetch(self, name: str, sha256: str, target: Path) -> Path:
        """Copy it here and compare."""
        path = self.folder / name
        try:
            write_atomically(target, lambda temporary: shutil.copyfile(path, temporary))
        except OSError as error:
            raise ManifestMismatch(f"{path} of the backup cannot be read: {error}") from error
        if sha256_of(target) != sha256:
            target.unlink()
            raise ManifestMismatch(
                f"{path} of the backup is not the file that was written (SHA-256). A home that still has what was in "
                "it writes it again once that file is deleted"
            )
        return target

    def drop(self, names: Iterable[str]) -> None:
        """Remove them."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)


class BucketPlace:
    """Objects under gs://BUCKET/PREFIX."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.uri = bucket.uri

    def check(self) -> None:
        """Whether the bucket answers."""
        self._bucket.check()

    def latest(self) -> PointerContent:
        """The pointer and its generation."""
        return self._bucket.read(LATEST)

    def point(self, content: bytes, *, replacing: PointerContent) -> None:
        """Only if nobody else did."""
        if not self._bucket.switch(LATEST, content, replacing=replacing):
            raise BackupFailed(
                f"{self.uri}/{LATEST} was switched by another run meanwhile; the next run backs up again"
            )

    def lacks(self, names: Iterable[str]) -> set[str]:
        """One list of all objects."""
        return set(names) - set(self._bucket.names("**"))

    def put(self, name: str, file: Path) -> None:
        """Make the object, or find that it is there."""
        if not self._bucket.create(name, file):
            raise BackupFailed(f"{self.uri}/{name} is another object than its name says; delete it, and run again")

    def fetch(self, name: str, sha256: str, target: Path) -> Path:
        """Download and compare."""
        try:
            return self._bucket.download(name, sha256, target)
        except ModelStoreError as error:
            raise ManifestMismatch(str(error)) from error

    def drop(self, names: Iterable[str]) -> None:
        """Delete them."""
        self._bucket.delete(names)


def place_of(uri: str, settings: Settings) -> Place:
    """The place that ``CBI_BACKUP`` or ``--from`` names.

    Raises:
        SettingsError: it is no address of a bucket. BackupFailed: it lies inside of the home that it is to outlive.
    """
    if uri.startswith("gs://"):
        return BucketPlace(Bucket(uri, settings, setting="CBI_BACKUP"))
    folder = Path(uri).expanduser().resolve()
    if folder.is_relative_to(settings.home):
        raise BackupFailed(f"{folder} lies in CBI_HOME, which a backup is to outlive; choose a folder on another disk")
    return FolderPlace(folder)


def require_names_inside(names: Iterable[str], place: str) -> None:
    """Who may write to the place chooses names: none may lead out of a folder.

    Raises:
        ManifestMismatch: one does.
    """
    for name in names:
        if not stays_inside(name):
            raise ManifestMismatch(
                f"the manifest of {place} names {name!r}, which would lie elsewhere; nothing was read"
            )
