"""The volume of CBI_HOME: which one it is, and whether it is mounted.

A folder at its path proves nothing: when a drive is unplugged, the mount point may remain as an empty folder of
the system's disk, and a run that wrote there would start without data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tasks.errors import VolumeMissing

MAC_VOLUMES = Path("/Volumes")


def volume_of(home: Path) -> Path | None:
    """The mount point of the volume of ``home``; None on the system's own disk.

    On macOS by its name under /Volumes, mounted or not. Elsewhere the nearest mount point above it that is mounted now.
    """
    if MAC_VOLUMES in home.parents:
        return MAC_VOLUMES / home.relative_to(MAC_VOLUMES).parts[0]
    return next((at for at in (home, *home.parents) if os.path.ismount(at) and at != Path(at.anchor)), None)


def require_volume(home: Path, volume: Path | None) -> None:
    """Refuse to continue without the volume.

    Raises:
        VolumeMissing: the volume is not mounted; the message says what to do.
    """
    if volume and not os.path.ismount(volume):
        raise VolumeMissing(
            f"CBI_HOME {home} is on the volume {volume.name}, which is not mounted at {volume}. Connect and unlock "
            "the drive: whatever waits for it starts by itself. Nothing was written"
        )


def await_volume(
    home: Path, volume: Path | None, *, within_s: float, tell: Callable[[str], None], every_s: float = 2.0
) -> None:
    """Wait for the volume, and report once that it is missing.

    Raises:
        VolumeMissing: it was not mounted within ``within_s`` seconds.
    """
    deadline, reported = time.monotonic() + within_s, False
    while True:
        try:
            return require_volume(home, volume)
        except VolumeMissing as error:
            if time.monotonic() >= deadline:
                raise
            if not reported:
                tell(f"{error}. Waiting {within_s:.0f} s for it")
                reported = True
            time.sleep(every_s)
