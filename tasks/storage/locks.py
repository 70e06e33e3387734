"""A lock that survives the deletion of its file: the file has two names, and the holder restores both.

A lock of the operating system is on a file, not on a name. If the name is deleted, the next process creates another
file and locks that, and both are inside. So a process finds the file by either name.
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
from tasks.storage.files import in_shell, storage_errors_explained
from tasks.storage.zones import Zones

log = logging.getLogger(__name__)
LOCK_POLL_S = 0.05
NO_FILE_THERE = {errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
NO_LINKS_HERE = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.ENOENT}


@contextmanager
def exclusive(zones: Zones, name: str, *, wait_s: float = 120.0) -> Iterator[None]:
    """Hold the lock ``name`` (a zone or a source). The operating system frees it when the process dies.

    Invariants: while one process or thread is inside, no other of this machine is. This holds if somebody deletes the
    lock's file in ``locks`` or ``.locks``, or one of the two folders: it is one file with two names, and the next
    process restores the other. If both are deleted, no system can prevent a second holder: it is logged at the end. A
    file system without hard links has one name only.

    Raises:
        ZoneBusy: another process held it for longer than ``wait_s``.
        StorageFailed: the lock cannot be written, or something else has its name.
    """
    file = f"{name.replace('/', '-')}.lock"
    names = (zones.locks / file, zones.home / ".locks" / file)
    until = time.monotonic() + wait_s
    with storage_errors_explained(zones.locks):
        while (lock := take_lock(names)) is None:
            if time.monotonic() >= until:
                raise ZoneBusy(
                    f"{name}: another run has held {names[0]} for {wait_s:.0f} s. Wait for it, or find it with "
                    f"`fuser {in_shell(names[1])}`"
                )
            time.sleep(LOCK_POLL_S)
    try:
        yield
    finally:
        if not is_named(names, lock):
            log.warning(
                "%s and %s were deleted while a run held them: another may have worked beside it. Run it again", *names
            )
        os.close(lock)


def take_lock(names: tuple[Path, Path]) -> int | None:
    """The descriptor of the locked file; None if another holds it, or its names changed meanwhile: try again.

    Raises:
        StorageFailed: something other than a file has one of the names. OSError: a folder cannot be written.
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
    """Whether other processes can find the locked file by any of its names."""
    return any(is_at(path, lock) for path in names)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _open(names: tuple[Path, Path]) -> int | None:
    """Open the file by the first name that exists, or create it; None if that changed meanwhile."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    for path in names:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            if path.parent.is_dir() or not os.path.lexists(path.parent):  # deleted or created meanwhile
                return None
            raise StorageFailed(_wrong_kind(path.parent, "a folder")) from error
    there = next((path for path in names if os.path.lexists(path)), None)
    try:
        lock = os.open(there, flags) if there else os.open(names[0], flags | os.O_CREAT | os.O_EXCL, 0o666)
    except (FileExistsError, FileNotFoundError):
        return None
    except OSError as error:
        if error.errno in NO_FILE_THERE:
            raise StorageFailed(_wrong_kind(there or names[0], "a file")) from error
        raise
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        os.close(lock)
        raise StorageFailed(_wrong_kind(there or names[0], "a file"))
    return lock


def _name_again(names: tuple[Path, Path], path: Path, lock: int) -> None:
    """Give the locked file the name ``path`` too. (In a copied home another file has that name.)"""
    other = next((name for name in names if name != path and is_at(name, lock)), None)
    if other is None or is_at(path, lock):
        return
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise StorageFailed(_wrong_kind(path, "a file"))
    if path.exists():  # a run may hold it, if a copy was put at the other name meanwhile
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


def _wrong_kind(path: Path, wanted: str) -> str:
    named = in_shell(path)
    return f"{path} is not {wanted}, as a lock needs. See what it is with `ls -ld {named}`, move it away, and run again"
