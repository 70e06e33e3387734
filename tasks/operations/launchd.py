"""launchd agents of the user: a unit as a file (launchd.plist(5)), and the commands that load it."""

from __future__ import annotations

import plistlib
from pathlib import Path
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from tasks.operations.units import LAUNCHERS, Unit, filled

PREFIX = "cbi."
TEMPLATE = "launchd/cbi.plist.in"


def label(name: str) -> str:
    """The agent's name for launchd."""
    return f"{PREFIX}{name}"


def plist_path(folder: Path, name: str) -> Path:
    """The path of the agent; ``folder`` is ~/Library/LaunchAgents."""
    return folder / f"{label(name)}.plist"


def agent_text(unit: Unit, *, logs: Path) -> str:
    """The file of a unit, from deploy/launchd/cbi.plist.in. ``logs`` is on the system's disk."""
    return filled(TEMPLATE, unit, escape=escape, label=label(unit.name), log=str(logs / f"{unit.name}.log"))


def is_ours(path: Path) -> bool:
    """Whether a file is an agent that we wrote."""
    try:
        content = plistlib.loads(path.read_bytes())
    except (plistlib.InvalidFileException, ExpatError, ValueError, OSError):
        return False
    words = tuple(content.get("ProgramArguments", ())[1:]) if isinstance(content, dict) else ()
    return any(words[: len(one)] == one for one in LAUNCHERS)


def unload_command(name: str, user: int) -> list[str]:
    """The command that ends and unloads the agent."""
    return ["launchctl", "bootout", f"gui/{user}/{label(name)}"]


def loaded_command(name: str, user: int) -> list[str]:
    """The command that exits with 0 if launchd knows the agent."""
    return ["launchctl", "print", f"gui/{user}/{label(name)}"]


def load_command(path: Path, user: int) -> list[str]:
    """The command that loads the agent; RunAtLoad starts it."""
    return ["launchctl", "bootstrap", f"gui/{user}", str(path)]


def start_command(name: str, user: int) -> list[str]:
    """The command that starts a loaded agent, unless it runs."""
    return ["launchctl", "kickstart", f"gui/{user}/{label(name)}"]
