"""launchd agents of the user: a unit as a property list (launchd.plist(5)), and the commands that load it."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

from tasks.operations.units import LAUNCHERS, RETRY_S, STOP_S, Unit

PREFIX = "cbi."
OPEN_FILES = 8192  # launchd gives 256: a worker with three runs, each with DuckDB and parquet, needs more


def label(name: str) -> str:
    """The agent's name for launchd."""
    return f"{PREFIX}{name}"


def plist_path(folder: Path, name: str) -> Path:
    """Where the agent lies: ~/Library/LaunchAgents is ``folder``."""
    return folder / f"{label(name)}.plist"


def agent(unit: Unit, *, logs: Path) -> dict[str, Any]:
    """The property list of a unit.

    Kept alive unless it ended with 0, which the launcher does only when it was asked to end: a server that ended by
    itself is missed whatever its exit status. ``logs`` lies on the system's disk: the launcher tells there that the
    volume is missing. What the service itself prints goes to CBI_HOME/logs.

    The worker is ``Interactive``: training as ``Background`` would be kept on the efficiency cores and throttled.
    """
    log = str(logs / f"{unit.name}.log")
    return {
        "Label": label(unit.name),
        "ProgramArguments": [*unit.command, "--log", log],
        "WorkingDirectory": str(unit.folder),
        "EnvironmentVariables": dict(sorted(unit.environment.items())),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False, "Crashed": True},
        "ThrottleInterval": RETRY_S,
        "ExitTimeOut": STOP_S,
        "ProcessType": "Interactive" if unit.name == "worker" else "Standard",
        "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "Umask": 0o077,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }


def as_bytes(content: dict[str, Any]) -> bytes:
    """The file's bytes: equal content, equal bytes."""
    return plistlib.dumps(content, fmt=plistlib.FMT_XML, sort_keys=True)


def is_ours(path: Path) -> bool:
    """Whether a file is an agent that we wrote."""
    try:
        content = plistlib.loads(path.read_bytes())
    except (plistlib.InvalidFileException, ValueError, OSError):
        return False
    words = tuple(content.get("ProgramArguments", ())[1:]) if isinstance(content, dict) else ()
    return any(words[: len(one)] == one for one in LAUNCHERS)


def unload_command(name: str, user: int) -> list[str]:
    """Ends the agent and forgets it."""
    return ["launchctl", "bootout", f"gui/{user}/{label(name)}"]


def loaded_command(name: str, user: int) -> list[str]:
    """Ends with 0 where launchd knows the agent."""
    return ["launchctl", "print", f"gui/{user}/{label(name)}"]


def load_command(path: Path, user: int) -> list[str]:
    """Makes the agent known; RunAtLoad starts it."""
    return ["launchctl", "bootstrap", f"gui/{user}", str(path)]


def start_command(name: str, user: int) -> list[str]:
    """Starts an agent that is known and does not run; leaves one that runs alone."""
    return ["launchctl", "kickstart", f"gui/{user}/{label(name)}"]
