"""Where data lies under CBI_HOME, and the only ways to write there: whole files, atomically, under a lock.

A reader sees the old file or the new one, never a part. A kill -9 leaves at most a temporary file, which the
next writer of that folder removes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tasks.errors import ManifestMismatch, SettingsError, StorageFailed, ZoneBusy

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TEMPORARY = ".tmp-"
UTF_8 = {"PYTHONUTF8": "1"}
"""What every Python process of ours is told: text and file names are UTF-8, whatever the locale."""


@dataclass(frozen=True)
class Zones:
    """The folders under one CBI_HOME."""

    home: Path

    @property
    def raw(self) -> Path:  # noqa: D102
        return self.home / "raw"

    @property
    def recorded(self) -> Path:
        """The unpacked copy of the recorded archive."""
        return self.home / "recorded"

    @property
    def staging(self) -> Path:  # noqa: D102
        return self.home / "staging"

    @property
    def quarantine(self) -> Path:  # noqa: D102
        return self.home / "quarantine"

    @property
    def panel(self) -> Path:  # noqa: D102
        return self.home / "panel"

    @property
    def features(self) -> Path:  # noqa: D102
        return self.home / "features"

    @property
    def labels(self) -> Path:  # noqa: D102
        return self.home / "labels"

    @property
    def exports(self) -> Path:  # noqa: D102
        return self.home / "exports"

    @property
    def warehouse(self) -> Path:  # noqa: D102
        return self.home / "warehouse"

    @property
    def fits(self) -> Path:
        """What training has fitted so far, a folder a fit."""
        return self.home / "fits"

    @property
    def search(self) -> Path:
        """Studies of options, a database a family, and what each found."""
        return self.home / "search"

    @property
    def models(self) -> Path:  # noqa: D102
        return self.home / "models"

    @property
    def models_cache(self) -> Path:
        """What this machine holds of a model store in the cloud."""
        return self.home / "models-cache"

    @property
    def reports(self) -> Path:  # noqa: D102
        return self.home / "reports"

    @property
    def logs(self) -> Path:
        """What runs said, a JSON line each (tasks/logs.py)."""
        return self.home / "logs"

    @property
    def locks(self) -> Path:  # noqa: D102
        return self.home / "locks"


# signs that no folder on the way to CBI_HOME may have in its name, and why
UNUSABLE = {
    "?": "DuckDB ends a file's name there and writes its log elsewhere",
    "\\": "DuckDB reads it as the border between two folders",
    "\0": "no system allows it",
    "\n": "no message, unit or plist could name it in one line",
    "\r": "no message, unit or plist could name it in one line",
}


def require_usable_home(home: Path) -> None:
    """Refuse a CBI_HOME that cannot work, before anything is written.

    Raises:
        SettingsError: it or a folder above it is a file, or has a sign in its name that the warehouse cannot take.
    """
    name = str(home)
    for sign, why in UNUSABLE.items():
        if sign in name:
            raise SettingsError(
                f"CBI_HOME {name!r} has {sign!r} in its name: {why}. Set CBI_HOME to a folder without it"
            )
    if not name.isascii() and sys.getfilesystemencoding() != "utf-8":
        raise SettingsError(
            f"CBI_HOME {name!r} has letters beyond ASCII, and this process reads names as "
            f"{sys.getfilesystemencoding()}. Set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8"
        )
    there = next(place for place in (home, *home.parents) if os.path.lexists(place))
    if not there.is_dir():
        what = "is a file" if there.is_file() else "is no folder"
        raise SettingsError(f"CBI_HOME {home}: {there} {what}. Set CBI_HOME to a folder, or move the file away")


def private_folder(path: Path) -> Path:
    """``path``, made if it is not there, and closed to everybody but its owner."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, make it durable, then rename it into place."""
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{time.monotonic_ns()}-{path.name}"
    with refusals_told(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):  # a folder that cannot be written to holds none
                temporary.unlink(missing_ok=True)
    return path


# what the system says when a folder takes no more, and what a person does about it
REFUSALS = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the quota is used up: make room or raise it",
    errno.EROFS: "it is mounted read-only: mount it for writing",
    errno.EACCES: "this user may not write there: change its owner or mode",
    errno.EPERM: "this user may not write there: change its owner, mode or attributes",
}


@contextmanager
def refusals_told(folder: Path) -> Iterator[None]:
    """Raises: StorageFailed: the folder takes no more; it and the remedy are named."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise StorageFailed(
            f"{folder} cannot be written: {REFUSALS[error.errno]} (`df -h {in_shell(folder)}` shows how much there "
            "is), then run again. What was there before stays"
        ) from error


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write ``content`` atomically."""
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))


def move_into(file: Path, path: Path) -> Path:
    """Make ``file`` durable and rename it to ``path``, which is on the same file system."""
    with refusals_told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
        file.replace(path)
        _sync_folder(path.parent)
    return path


def make_durable(folder: Path) -> None:
    """Have every file below ``folder``, and what is where, on the disk before this returns."""
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb") as handle:
                os.fsync(handle.fileno())
        _sync_folder(Path(place))


def move_folder_into(folder: Path, path: Path) -> Path:
    """Make ``folder`` durable and rename it to ``path``, which is on the same file system and not there yet.

    Raises:
        StorageFailed: the disk takes no more; ``path`` is absent.
    """
    with refusals_told(path.parent):
        make_durable(folder)
        folder.rename(path)
        _sync_folder(path.parent)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write ``value`` as readable JSON with sorted keys, so that equal values are equal files."""
    return write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """A value as the JSON file of it."""
    return (json.dumps(value, indent=1, sort_keys=True, default=str) + "\n").encode()


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None when there is none or a killed run left it unreadable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def write_parquet(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame as parquet; the same frame gives the same bytes."""
    import pyarrow as pa

    return write_table(path, pa.Table.from_pandas(frame, preserve_index=False))


def write_table(path: Path, table: pa.Table) -> Path:
    """Write an Arrow table as parquet; the same table gives the same bytes.

    Floats seldom repeat: a dictionary of them takes twice the time to write, thrice to read, and is larger.
    """
    import pyarrow as pa
    from pyarrow import parquet

    repeating = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    return write_atomically(
        path,
        lambda temporary: parquet.write_table(table, temporary, compression="zstd", use_dictionary=repeating or False),
    )


def read_parquet(path: Path, columns: list[str] | None = None, *, sha256: str | None = None) -> pd.DataFrame:
    """Read a parquet file of a zone; ``sha256`` is that of the file as it was written, where that is known.

    Raises:
        ManifestMismatch: the file is not readable parquet, or another than was written.
    """
    import pandas as pd
    from pyarrow.lib import ArrowException

    try:
        if sha256 is not None and sha256_of(path) != sha256:
            raise ManifestMismatch(
                f"{path} is not the file that was written, some of it changed; run `python -m flows.daily`, which "
                "makes it again from raw/"
            )
        return pd.read_parquet(path, columns=columns)
    except (ArrowException, OSError) as error:
        raise ManifestMismatch(
            f"{path} is not readable ({error}); delete it and run `python -m flows.daily`"
        ) from error


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """A short stable hash of JSON-able values: the identity of a run's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_fingerprint(*places: Path) -> str:
    """Hash of source files and folders that decide a result: a change of code or rules is a change of inputs."""
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*")))]
    kept = [file for file in files if file.is_file() and "__pycache__" not in file.parts]
    return fingerprint([(file.name, sha256_of(file)) for file in kept])


def stays_inside(name: str) -> bool:
    """Whether a file name that somebody else chose stays in the folder that it is joined to, on any system."""
    return not set(name) & {"\\", "\0"} and not {"", ".", ".."} & set(name.split("/"))


def in_shell(path: str | Path) -> str:
    """A path as a word of a command that a person may copy."""
    return shlex.quote(str(path))


def without_glob_signs(name: str | Path) -> str:
    """A name as a pattern that it alone matches, for pathlib and for DuckDB."""
    return re.sub(r"([*?\[])", r"[\1]", str(name))


def sweep_temporary(folder: Path) -> None:
    """Remove what a killed writer left in ``folder``. Call it under the folder's lock."""
    if folder.is_dir():
        for left in folder.rglob(f"{TEMPORARY}*"):
            left.unlink(missing_ok=True)


@contextmanager
def exclusive(zones: Zones, name: str, *, wait_s: float = 120.0) -> Iterator[None]:
    """Hold the lock ``name`` (a zone or a source); the operating system frees it when the process dies.

    Raises:
        ZoneBusy: another process held it for longer than ``wait_s``. StorageFailed: the lock cannot be written.
    """
    path = zones.locks / f"{name.replace('/', '-')}.lock"
    lock = FileLock(path, timeout=wait_s)
    try:
        with refusals_told(zones.locks):
            zones.locks.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise ZoneBusy(
            f"{name}: another run has held {path} for {wait_s:.0f} s. Wait for it, or find it with "
            f"`fuser {in_shell(path)}`"
        ) from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Identity:
    """What a stored file was made from. Equal identity means that it need not be made again."""

    inputs: str
    rows: int

    @staticmethod
    def of(path: Path) -> Identity | None:
        """The identity recorded beside ``path``, if the file is there and is the recorded one."""
        held = read_json(path.with_name(path.name + ".manifest.json"))
        if not held or not path.exists() or path.stat().st_size != held.get("bytes"):
            return None
        if sha256_of(path) != held.get("sha256"):  # as long as it was, and not what it was
            return None
        return Identity(inputs=held["inputs"], rows=held["rows"])


def write_identified(path: Path, frame: pd.DataFrame, *, inputs: str) -> Identity:
    """Write ``frame`` and, last, the manifest that says what it was made from."""
    write_parquet(path, frame)
    manifest = {"inputs": inputs, "rows": len(frame), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    write_json(path.with_name(path.name + ".manifest.json"), manifest)
    return Identity(inputs=inputs, rows=len(frame))
