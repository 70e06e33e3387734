"""systemd units of the user: a unit as a file (systemd.service(5)), and the commands that load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.operations.units import LAUNCHERS, Unit, filled

PREFIX = "cbi-"
TEMPLATE = "systemd/cbi.service.in"


def unit_name(name: str) -> str:
    """The unit's name for systemd."""
    return f"{PREFIX}{name}.service"


def unit_path(folder: Path, name: str) -> Path:
    """The path of the unit; ``folder`` is ~/.config/systemd/user."""
    return folder / unit_name(name)


def unit_text(unit: Unit) -> str:
    """The file of a unit, from deploy/systemd/cbi.service.in."""
    started = replace(unit, command=startable(unit.command))
    return filled(TEMPLATE, started, escape=literal, filters=(quoted, argument))


def startable(command: Sequence[str]) -> tuple[str, ...]:
    """The command, through a shell if systemd cannot start the program by its name.

    systemd refuses quotes and backslashes in an executable's name, and reads ``$$`` there as two characters; in
    arguments both work. The shell gets the name as an argument: nothing in it is a command.
    """
    plain = not set(command[0]) & set("\"'\\$")
    return tuple(command) if plain else ("/bin/sh", "-c", 'exec "$0" "$@"', *command)


def literal(text: str) -> str:
    """``text`` without systemd's specifiers, which work everywhere in a unit: ``%h`` would be the home folder."""
    return text.replace("%", "%%")


def quoted(word: str) -> str:
    """A word in quotes, with spaces, quotes and backslashes as they are."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def argument(word: str) -> str:
    """A word of a command, where ``$`` would name a variable."""
    return quoted(word).replace("$", "$$")


def is_ours(path: Path) -> bool:
    """Whether a file is a unit that we wrote."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return any(" ".join(f'"{word}"' for word in one) in text for one in LAUNCHERS)


ANSWERS = ["systemctl", "--user", "show-environment"]
"""Exits with 0 where the service manager of this user runs."""
RELOAD = ["systemctl", "--user", "daemon-reload"]


def load_command(name: str) -> list[str]:
    """The command that starts the unit, now and at every login (at boot with lingering), unless it runs."""
    return ["systemctl", "--user", "enable", "--now", unit_name(name)]


def restart_command(name: str) -> list[str]:
    """The command that restarts a unit whose file changed."""
    return ["systemctl", "--user", "restart", unit_name(name)]


def unload_command(name: str) -> list[str]:
    """The command that ends the unit and disables it."""
    return ["systemctl", "--user", "disable", "--now", unit_name(name)]
