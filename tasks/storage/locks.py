"""A lock that holds although its file is deleted: the file has two names, and whoever holds it keeps both.

A lock of the operating system is on a file, not on a name. Where the name goes, the next process makes another file and
locks that: both would be inside. So whoever comes finds the file by either name.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.errors import StorageFailed, ZoneBusy
from tasks.storage.files import in_shell, refusals_told
from tasks.storage.zones import Zones

log = logging.getLogger(__name__)
LOCK_POLL_S = 0.05
NO_FILE_THERE = {errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
NO_LINKS_HERE = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.ENOENT}


@contextmanager
def exclusive(zones: Zones, name: str, *, wait_s: float = 120.0) -> Iterator[None]:
    """Hold the lock ``name`` (a zone or a source); the operating system frees it when the process dies.

    Invariants: while one process or thread is inside, no other of this machine is, though somebody deletes the lock's
    file in ``locks``, or that in ``.locks``, or one of the two folders: it is one file with two names, and who comes
    next puts the other back. Both deleted while it is held is what no system can undo: it is logged at the end. On a
    file system without hard links there is one name.

    Raises:
        ZoneBusy: another process held it for longer than ``wait_s``.
        StorageFailed: the lock cannot be written, or what lies in its place is no file.
    """
    file = f"{name.replace('/', '-')}.lock"
    names = (zones.locks / file, zones.home / ".locks" / file)
    until = time.monotonic() + wait_s
    with refusals_told(zones.locks):
        while (held := take_lock(names)) is None:
            if time.monotonic() >= until:
                raise ZoneBusy(
                    f"{name}: another run has held {names[0]} for {wait_s:.0f} s. Wait for it, or find it with "
                    f"`fuser {in_shell(names[1])}`"
                )
            time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        if not is_named(names, held):
            log.warning(
                "%s and %s were deleted while a run held them: another may have worked beside it. Run it again", *names
            )
        os.close(held)


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
    named = in_shell(path)
    return f"{path} is not {wanted}, as a lock needs. See what it is with `ls -ld {named}`, move it away, and run again"
