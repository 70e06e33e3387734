"""What runs as a service of the user's session: server and worker, each through the launcher, on any system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.operations.services import ALLOCATORS, SERVER_SETTINGS
from tasks.settings import Settings
from tasks.storage.files import UTF_8

SERVICES = ("server", "worker")
LAUNCHER = ("-m", "cli", "services", "keep")
LAUNCHERS = (LAUNCHER, ("-m", "flows.launcher"))
"""Today's, and that of what an earlier version installed."""
RETRY_S = 30  # between two starts
STOP_S = 60  # what a service is given to end


@dataclass(frozen=True)
class Unit:
    """A command that is kept running. Nothing in it is secret: the launcher asks the keychain."""

    name: str
    description: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]


def units(
    settings: Settings,
    *,
    python: Path,
    folder: Path,
    host: str,
    port: int,
    volume: Path | None,
    given: Mapping[str, str],
) -> list[Unit]:
    """Server and worker of a home, as they are to be kept running.

    ``given`` is the environment of the install: of it only our own settings are kept, by name, so that no secret that
    happens to be in it reaches a file. What ``.env`` says stays in ``.env``, read from ``folder`` at every start.
    """
    ours = {f"CBI_{name.upper()}" for name in Settings.model_fields}
    environment = {
        **{name: value for name, value in given.items() if name in ours and value},
        "CBI_HOME": str(settings.home),
        "PREFECT_HOME": str(settings.home / "prefect"),
        **ALLOCATORS,
        **SERVER_SETTINGS,
        **UTF_8,
        "PYTHONPATH": str(folder),
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{python.parent}:/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    }
    where = ("--volume", str(volume)) if volume else ()
    listens = {"server": ("--host", host, "--port", str(port)), "worker": ()}
    said = {"server": "CBI: Prefect's server", "worker": "CBI: the worker of this machine"}
    return [
        Unit(name, said[name], (str(python), *LAUNCHER, name, *listens[name], *where), folder, environment)
        for name in SERVICES
    ]
