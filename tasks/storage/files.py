"""The only functions that write under CBI_HOME: whole files, atomically.

A reader sees the old file or the new one, never a part. A kill -9 leaves at most a temporary file, which the
next writer of that folder removes.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ManifestMismatch, StorageFailed
from tasks.storage.hashes import sha256_of
from tasks.storage.regular import NotAFile, open_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TEMPORARY = ".tmp-"
UTF_8 = {"PYTHONUTF8": "1"}
"""Environment of all our Python processes: text and file names are UTF-8, whatever the locale."""


def private_folder(path: Path) -> Path:
    """Create ``path`` if necessary, readable by its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, make it durable, then rename it into place."""
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{time.monotonic_ns()}-{path.name}"
    with storage_errors_explained(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):  # a folder that cannot be written has no temporary file
                temporary.unlink(missing_ok=True)
    return path


# system errors of a folder that cannot be written, with the remedy
REFUSALS = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the quota is used up: make room or raise it",
    errno.EROFS: "it is mounted read-only: mount it for writing",
    errno.EACCES: "this user may not write there: change its owner or mode",
    errno.EPERM: "this user may not write there: change its owner, mode or attributes",
}


@contextmanager
def storage_errors_explained(folder: Path) -> Iterator[None]:
    """Raises: StorageFailed: the folder cannot be written; the message names it and the remedy."""
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


def write_private(path: Path, content: bytes) -> Path:
    """Write ``content`` atomically, readable by its owner only from the first byte on."""

    def write(temporary: Path) -> None:
        handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)

    return write_atomically(path, write)


def move_into(file: Path, path: Path) -> Path:
    """Make ``file`` durable and rename it to ``path``, which is on the same file system."""
    with storage_errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
        file.replace(path)
        _sync_folder(path.parent)
    return path


def make_durable(folder: Path) -> None:
    """Sync every file and folder below ``folder`` to the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            with (Path(place) / name).open("rb") as handle:
                os.fsync(handle.fileno())
        _sync_folder(Path(place))


def move_folder_into(folder: Path, path: Path) -> Path:
    """Make ``folder`` durable and rename it to ``path``, which is on the same file system and not there yet.

    Raises:
        StorageFailed: the folder cannot be written; ``path`` is absent.
    """
    with storage_errors_explained(path.parent):
        make_durable(folder)
        folder.rename(path)
        _sync_folder(path.parent)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write ``value`` as readable JSON with sorted keys, so that equal values are equal files."""
    return write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """A value as the content of its JSON file."""
    return (json.dumps(value, indent=1, sort_keys=True, default=str) + "\n").encode()


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None if there is none or a killed run left it unreadable."""
    try:
        with open_file(path) as handle:
            return json.loads(handle.read().decode("utf-8"))
    except (
        FileNotFoundError,
        IsADirectoryError,
        NotADirectoryError,
        NotAFile,
        json.JSONDecodeError,
        UnicodeDecodeError,
    ):
        return None


def write_parquet(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame as parquet; the same frame gives the same bytes."""
    import pyarrow as pa

    return write_table(path, pa.Table.from_pandas(frame, preserve_index=False))


def write_table(path: Path, table: pa.Table) -> Path:
    """Write an Arrow table as parquet; the same table gives the same bytes.

    Floats rarely repeat: with a dictionary they take twice as long to write, three times to read, and are larger.
    """
    import pyarrow as pa
    from pyarrow import parquet

    repeating = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    return write_atomically(
        path,
        lambda temporary: parquet.write_table(table, temporary, compression="zstd", use_dictionary=repeating or False),
    )


def read_parquet(path: Path, columns: list[str] | None = None, *, sha256: str | None = None) -> pd.DataFrame:
    """Read a parquet file of a zone; ``sha256``: the hash when it was written, if known.

    Raises:
        ManifestMismatch: the file is not readable parquet, or is not the one written.
    """
    import pandas as pd
    from pyarrow.lib import ArrowException

    try:
        if sha256 is not None and sha256_of(path) != sha256:
            raise ManifestMismatch(
                f"{path} is not the file that was written; run `cbi daily`, which builds it again from raw/"
            )
        return pd.read_parquet(path, columns=columns)
    except (ArrowException, OSError) as error:
        raise ManifestMismatch(f"{path} is not readable ({error}); delete it and run `cbi daily`") from error


def stays_inside(name: str) -> bool:
    """Whether a file name from outside stays in the folder that it is joined to, on any system."""
    return not set(name) & {"\\", "\0"} and not {"", ".", ".."} & set(name.split("/"))


def in_shell(path: str | Path) -> str:
    """A path quoted for a shell command that a person may copy."""
    return shlex.quote(str(path))


def without_glob_signs(name: str | Path) -> str:
    """A name as a pattern that matches only itself, for pathlib and for DuckDB."""
    return re.sub(r"([*?\[])", r"[\1]", str(name))


def sweep_temporary(folder: Path) -> None:
    """Remove temporary files of killed writers in ``folder``. Call it under the folder's lock."""
    if folder.is_dir():
        for left in folder.rglob(f"{TEMPORARY}*"):
            left.unlink(missing_ok=True)


@contextmanager
def temporary_folder(home: Path, purpose: str) -> Iterator[Path]:
    """A folder in ``home`` that is gone afterwards. Call it under a lock: the one of a killed process is removed."""
    prefix = f"{TEMPORARY}{purpose}-"
    for left in home.glob(f"{prefix}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=home) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Identity:
    """The inputs of a stored file. With an equal identity it need not be built again."""

    inputs: str
    rows: int

    @staticmethod
    def of(path: Path) -> Identity | None:
        """The identity recorded beside ``path``, if the file is there and is the recorded one."""
        manifest = read_json(path.with_name(path.name + ".manifest.json"))
        if not manifest or not path.exists() or path.stat().st_size != manifest.get("bytes"):
            return None
        if sha256_of(path) != manifest.get("sha256"):  # same length, other content
            return None
        return Identity(inputs=manifest["inputs"], rows=manifest["rows"])


def write_identified(path: Path, frame: pd.DataFrame, *, inputs: str) -> Identity:
    """Write ``frame`` and then the manifest with its inputs."""
    write_parquet(path, frame)
    manifest = {"inputs": inputs, "rows": len(frame), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    write_json(path.with_name(path.name + ".manifest.json"), manifest)
    return Identity(inputs=inputs, rows=len(frame))
