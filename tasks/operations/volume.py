"""The volume that CBI_HOME lies on: which one it is, and whether it is there.

A folder in its place proves nothing: where a drive is unplugged, a mount point may stay behind as an empty folder of
the system's disk, and a run that wrote there would begin from nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tasks.errors import VolumeMissing

MAC_VOLUMES = Path("/Volumes")


def volume_of(home: Path) -> Path | None:
    """The mount point of the volume ``home`` lies on; None on the system's own disk.

    On macOS by its name under /Volumes, mounted or not. Elsewhere the nearest mount point above it that is mounted now.
    """
    if MAC_VOLUMES in home.parents:
        return MAC_VOLUMES / home.relative_to(MAC_VOLUMES).parts[0]
    return next((at for at in (home, *home.parents) if os.path.ismount(at) and at != Path(at.anchor)), None)


def require_volume(home: Path, volume: Path | None) -> None:
    """Refuse to go on without the volume.

    Raises:
        VolumeMissing: with its name and what to do.
    """
    if volume and not os.path.ismount(volume):
        raise VolumeMissing(
            f"CBI_HOME {home} lies on the volume {volume.name}, which is not mounted at {volume}. Connect and unlock "
            "the drive: what waits for it starts by itself. Nothing was written"
        )


def await_volume(
    home: Path, volume: Path | None, *, within_s: float, tell: Callable[[str], None], every_s: float = 2.0
) -> None:
    """Wait for the volume, having told once that it is missing.

    Raises:
        VolumeMissing: it did not come within ``within_s`` seconds.
    """
    deadline, told = time.monotonic() + within_s, False
    while True:
        try:
            return require_volume(home, volume)
        except VolumeMissing as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                tell(f"{error}. Waiting {within_s:.0f} s for it")
                told = True
            time.sleep(every_s)
