"""systemd units of the user: a unit as text (systemd.service(5)), and the commands that load it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.operations.units import LAUNCHERS, RETRY_S, STOP_S, Unit

PREFIX = "cbi-"
# a machine without a keychain keeps its keys here, one NAME=value a line; never written by us
SECRETS = "%h/.config/cbi/secrets.env"
OPEN_FILES = 8192


def unit_name(name: str) -> str:
    """The unit's name for systemd."""
    return f"{PREFIX}{name}.service"


def unit_path(folder: Path, name: str) -> Path:
    """Where the unit lies: ~/.config/systemd/user is ``folder``."""
    return folder / unit_name(name)


def unit_text(unit: Unit) -> str:
    """The file of a unit.

    Started again unless it ended with 0, without limit: a volume may be away for a month. The launcher is asked to end
    first and ends what it started; what is left of the control group is killed after that.
    """
    environment = "\n".join(
        f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(unit.environment.items())
    )
    after = f"\nAfter={unit_name('server')}\nWants={unit_name('server')}" if unit.name == "worker" else ""
    return f"""# Written by `make install-linux`; taken away by `make uninstall-linux`.
[Unit]
Description={unit.description.replace("%", "%%")}
StartLimitIntervalSec=0{after}

[Service]
Type=exec
WorkingDirectory={str(unit.folder).replace("%", "%%")}
ExecStart={" ".join(quoted(word).replace("$", "$$") for word in startable(unit.command))}
{environment}
EnvironmentFile=-{SECRETS}
Restart=on-failure
RestartSec={RETRY_S}
KillMode=mixed
TimeoutStopSec={STOP_S}
LimitNOFILE={OPEN_FILES}
UMask=0077
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""


def startable(command: Sequence[str]) -> list[str]:
    """The command, through a shell where systemd would not start the program by its name.

    It refuses quotes and backslashes in an executable's name, and reads ``$$`` there as two signs; in arguments both
    are well. The shell gets the name as an argument: nothing in it is a command.
    """
    plain = not set(command[0]) & set("\"'\\$")
    return list(command) if plain else ["/bin/sh", "-c", 'exec "$0" "$@"', *command]


def quoted(word: str) -> str:
    """A word as systemd reads it: in quotes, its own specifiers and escapes kept as they are."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def is_ours(path: Path) -> bool:
    """Whether a file is a unit that we wrote."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return any(" ".join(f'"{word}"' for word in one) in text for one in LAUNCHERS)


RELOAD = ["systemctl", "--user", "daemon-reload"]


def load_command(name: str) -> list[str]:
    """Starts the unit, now and at every login (at boot with lingering); leaves one that runs alone."""
    return ["systemctl", "--user", "enable", "--now", unit_name(name)]


def restart_command(name: str) -> list[str]:
    """Starts it anew, for a unit whose file changed."""
    return ["systemctl", "--user", "restart", unit_name(name)]


def unload_command(name: str) -> list[str]:
    """Ends the unit, and starts it at no login any more."""
    return ["systemctl", "--user", "disable", "--now", unit_name(name)]
