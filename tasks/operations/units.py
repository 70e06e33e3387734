"""What runs as a service of the user's session: server and worker, each through the launcher, on any system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.errors import SettingsError
from tasks.operations.services import ALLOCATORS, SERVER_SETTINGS
from tasks.settings import PROJECT, Settings
from tasks.storage.files import UTF_8

SERVICES = ("server", "worker")
LAUNCHER = ("-m", "cli", "services", "keep")
LAUNCHERS = (LAUNCHER, ("-m", "flows.launcher"))
"""Today's, and that of what an earlier version installed."""
STOP_S = 60  # what a service is given to end
TEMPLATES = PROJECT / "deploy"


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


def filled(
    template: str,
    unit: Unit,
    *,
    escape: Callable[[str], str],
    filters: Sequence[Callable[[str], str]] = (),
    **values: str,
) -> str:
    """A file of deploy/ with a unit's words in it.

    Args:
        escape: what every value goes through on its way into the file, after the template's filters.
        filters: what the template may call by name.
        values: what it knows beside the unit.

    Raises:
        SettingsError: a value has a sign that no line of such a file can hold.
    """

    def written(value: object) -> str:
        text = str(value)
        if any(ord(sign) < ord(" ") for sign in text):
            raise SettingsError(f"{text!r} has a control character, which {template} cannot hold")
        return escape(text)

    files = Environment(  # noqa: S701 each kind of file has an escape of its own
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=written,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    files.filters |= {one.__name__: one for one in filters}
    return files.get_template(template).render(
        service=unit.name,
        description=unit.description,
        command=unit.command,
        folder=unit.folder,
        environment=sorted(unit.environment.items()),
        stop_s=STOP_S,
        **values,
    )
