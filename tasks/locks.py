"""A lock that holds although its file is deleted: the file has two names, and whoever holds it keeps both.

A lock of the operating system is on a file, not on a name. Where the name goes, the next process makes another file and
locks that: both would be inside. So whoever comes finds the file by either name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import stat
import time
from contextlib import suppress
from pathlib import Path

from tasks.errors import StorageFailed

NO_FILE_THERE = {errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
NO_LINKS_HERE = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.ENOENT}


def take_lock(names: tuple[Path, Path]) -> int | None:
    """The descriptor of the locked file; None where somebody holds it, or its names changed meanwhile: ask again.

    Raises:
        StorageFailed: something that is no file has one of the names. OSError: a folder cannot be written.
    """
    lock = _open(names)
    if lock is None:
        return None
    with suppress(BlockingIOError):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in names:
                _name_again(names, path, lock)
            if all(is_at(path, lock) or not os.path.lexists(path) for path in names) and is_named(names, lock):
                taken, lock = lock, None
                return taken
        finally:
            if lock is not None:
                os.close(lock)
    return None


def is_named(names: tuple[Path, Path], lock: int) -> bool:
    """Whether others find the locked file by any of its names."""
    return any(is_at(path, lock) for path in names)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one of this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _open(names: tuple[Path, Path]) -> int | None:
    """The file by the first of its names that is there, made where none is; None where that changed meanwhile."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    for path in names:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            if path.parent.is_dir() or not os.path.lexists(path.parent):  # deleted or made meanwhile
                return None
            raise StorageFailed(_told(path.parent, "a folder")) from error
    there = next((path for path in names if os.path.lexists(path)), None)
    try:
        lock = os.open(there, flags) if there else os.open(names[0], flags | os.O_CREAT | os.O_EXCL, 0o666)
    except (FileExistsError, FileNotFoundError):
        return None
    except OSError as error:
        if error.errno in NO_FILE_THERE:
            raise StorageFailed(_told(there or names[0], "a file")) from error
        raise
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        os.close(lock)
        raise StorageFailed(_told(there or names[0], "a file"))
    return lock


def _name_again(names: tuple[Path, Path], path: Path, lock: int) -> None:
    """Give the locked file the name ``path`` too; in a home that was copied another file has it."""
    other = next((name for name in names if name != path and is_at(name, lock)), None)
    if other is None or is_at(path, lock):
        return
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise StorageFailed(_told(path, "a file"))
    if path.exists():  # a run may hold it, if somebody put a copy at the other name meanwhile
        with path.open("rb") as beside:
            fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
    temporary = path.with_name(f".tmp-{os.getpid()}-{time.monotonic_ns()}-{path.name}")
    try:
        os.link(other, temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in NO_LINKS_HERE:
            raise
    finally:
        temporary.unlink(missing_ok=True)


def _told(path: Path, wanted: str) -> str:
    named = shlex.quote(str(path))
    return f"{path} is not {wanted}, as a lock needs. See what it is with `ls -ld {named}`, move it away, and run again"
