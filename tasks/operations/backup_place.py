"""The second place of a backup: a folder, or gs://BUCKET/PREFIX. Files are written once and named by their hash.

``latest.json`` is the only file that changes: it names the newest manifest, and is replaced last. A backup that was
killed leaves unreferenced files; the next one finds and uses them.
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


class BackupPlace(Protocol):
    """The location of a backup. Names are relative, with slashes."""

    @property
    def uri(self) -> str:
        """Its name in messages and in the home's state."""

    def check(self) -> None:
        """Raises: BackupFailed, CloudError: it cannot be used now."""

    def latest(self) -> PointerContent:
        """The content of ``latest.json``; empty if there is none yet."""

    def point(self, content: bytes, *, replacing: PointerContent) -> None:
        """Replace ``latest.json``. Raises: BackupFailed: another run replaced it since it was read."""

    def lacks(self, names: Iterable[str]) -> set[str]:
        """The names without a file there."""

    def put(self, name: str, file: Path) -> None:
        """Store a file under a name that contains its hash."""

    def fetch(self, name: str, sha256: str, target: Path) -> Path:
        """Copy a file here. Raises: ManifestMismatch: it is gone or damaged; the message names it."""

    def drop(self, names: Iterable[str]) -> None:
        """Remove files that no manifest in use names."""


class FolderPlace:
    """An existing folder: on another disk, a mounted share, or one that is synchronized elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self.folder)

    def check(self) -> None:
        """Raises: BackupFailed: it is not a folder. It is never created: without its disk that is elsewhere."""
        if not self.folder.is_dir():
            raise BackupFailed(
                f"{self.folder} is not a folder now: plug its disk in or mount it, or create it once with "
                f"`mkdir -p {in_shell(self.folder)}`"
            )

    def latest(self) -> PointerContent:
        """The bytes of ``latest.json``."""
        path = self.folder / LATEST
        return PointerContent(path.read_bytes(), 1) if path.exists() else PointerContent(b"", 0)

    def point(self, content: bytes, *, replacing: PointerContent) -> None:
        """Replace the file. One machine writes to a folder, and the home's lock separates its runs."""
        write_bytes(self.folder / LATEST, content)

    def lacks(self, names: Iterable[str]) -> set[str]:
        """The names without a file there."""
        return {name for name in names if not (self.folder / name).is_file()}

    def put(self, name: str, file: Path) -> None:
        """Copy the file, complete or not at all."""
        path = self.folder / name
        if not path.is_file() or path.stat().st_size != file.stat().st_size:
            write_atomically(path, lambda temporary: shutil.copyfile(file, temporary))

    def fetch(self, name: str, sha256: str, target: Path) -> Path:
        """Copy the file here and compare its hash."""
        path = self.folder / name
        try:
            write_atomically(target, lambda temporary: shutil.copyfile(path, temporary))
        except OSError as error:
            raise ManifestMismatch(f"{path} of the backup cannot be read: {error}") from error
        if sha256_of(target) != sha256:
            target.unlink()
            raise ManifestMismatch(
                f"{path} of the backup is not the file that was written (SHA-256). A home that still has its "
                "content writes it again after that file is deleted"
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
        """Check that the bucket answers."""
        self._bucket.check()

    def latest(self) -> PointerContent:
        """The pointer and its generation."""
        return self._bucket.read(LATEST)

    def point(self, content: bytes, *, replacing: PointerContent) -> None:
        """Replace the pointer only if it is unchanged."""
        if not self._bucket.switch(LATEST, content, replacing=replacing):
            raise BackupFailed(
                f"{self.uri}/{LATEST} was replaced by another run meanwhile; the next run backs up again"
            )

    def lacks(self, names: Iterable[str]) -> set[str]:
        """The missing names, from one listing of all objects."""
        return set(names) - set(self._bucket.names("**"))

    def put(self, name: str, file: Path) -> None:
        """Create the object, unless it exists."""
        if not self._bucket.create(name, file):
            raise BackupFailed(f"{self.uri}/{name} does not match the hash in its name; delete it, and run again")

    def fetch(self, name: str, sha256: str, target: Path) -> Path:
        """Download the object and compare its hash."""
        try:
            return self._bucket.download(name, sha256, target)
        except ModelStoreError as error:
            raise ManifestMismatch(str(error)) from error

    def drop(self, names: Iterable[str]) -> None:
        """Delete them."""
        self._bucket.delete(names)


def place_of(uri: str, settings: Settings) -> BackupPlace:
    """The place that ``CBI_BACKUP`` or ``--from`` names.

    Raises:
        SettingsError: it is not an address of a bucket. BackupFailed: it is inside the home.
    """
    if uri.startswith("gs://"):
        return BucketPlace(Bucket(uri, settings, setting="CBI_BACKUP"))
    folder = Path(uri).expanduser().resolve()
    if folder.is_relative_to(settings.home):
        raise BackupFailed(f"{folder} is inside CBI_HOME, and would be lost with it; choose a folder on another disk")
    return FolderPlace(folder)


def require_names_inside(names: Iterable[str], place: str) -> None:
    """Check that no name leads out of a folder: anyone with write access to the place chooses names.

    Raises:
        ManifestMismatch: a name does.
    """
    for name in names:
        if not stays_inside(name):
            raise ManifestMismatch(
                f"the manifest of {place} names {name!r}, which would be outside the folder; nothing was read"
            )
