"""The services of the user's session: server and worker, each through the launcher, on any system."""

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
"""The current name, and that of an earlier version."""
STOP_S = 60  # time for a service to end
TEMPLATES = PROJECT / "deploy"


@dataclass(frozen=True)
class Unit:
    """A command that is kept running. It has no secrets: the launcher reads the keychain."""

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
    """Server and worker of a home, as units.

    ``given`` is the environment of the install: only our own settings are taken from it, by name, so that no secret
    that is in it reaches a file. Settings of ``.env`` stay there; it is read from ``folder`` at every start.
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
    descriptions = {"server": "CBI: Prefect's server", "worker": "CBI: the worker of this machine"}
    return [
        Unit(name, descriptions[name], (str(python), *LAUNCHER, name, *listens[name], *where), folder, environment)
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
    """A template of deploy/, filled with a unit's values.

    Args:
        escape: applied to every value, after the template's filters.
        filters: functions that the template may call by name.
        values: further values beside the unit.

    Raises:
        SettingsError: a value has a character that such a file cannot contain.
    """

    def written(value: object) -> str:
        text = str(value)
        if any(ord(sign) < ord(" ") for sign in text):
            raise SettingsError(f"{text!r} has a control character, which {template} cannot contain")
        return escape(text)

    files = Environment(  # noqa: S701 each kind of file has its own escape
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
