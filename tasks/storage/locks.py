"""Locks between processes: one writer per zone and source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from tasks.errors import ZoneBusy
from tasks.storage.files import in_shell, refusals_told
from tasks.storage.zones import Zones


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
