"""``cbi services install mac|linux``: server and worker as services of the user's session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tasks.errors import ServiceFailed, SettingsError
from tasks.operations import launchd, systemd
from tasks.operations.services import PASSWORD, answering, require_private, wait_until
from tasks.operations.units import SERVICES, Unit, units
from tasks.operations.volume import require_volume, volume_of
from tasks.secrets import end_of, find_secret
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import write_bytes
from tasks.storage.zones import Zones

AGENTS = Path("Library/LaunchAgents")  # relative to the user's home folder, like the next two
MAC_LOGS = Path("Library/Logs/cbi")
UNITS = Path(".config/systemd/user")
ANSWERS_WITHIN_S = 240
FORGOTTEN_WITHIN_S = 20  # launchd needs some time to forget an agent


def install(system: str, folder: Path | None, host: str, port: int, volume: Path | None) -> None:
    """Write the files and load them. With ``folder``, only write them there.

    A repetition writes the same bytes and leaves running services alone. A service with a changed file is restarted.
    """
    if folder is None:
        require_manager(system)
        if system == "linux":
            require_session()
    settings = load_settings()
    require_private(host, find_secret(PASSWORD))
    where = volume or volume_of(settings.home)
    require_volume(settings.home, where)
    wanted = units(
        settings,
        python=Path(sys.executable),
        folder=PROJECT,
        host=host,
        port=port,
        volume=where,
        given=os.environ,
    )
    target = folder or Path.home() / {"mac": AGENTS, "linux": UNITS}[system]
    changed = [unit.name for unit in wanted if written(system, target, unit)]
    print(f"CBI_HOME {settings.home}" + (f", on the volume {where}" if where else ", on the system's disk"))
    if folder is not None:
        print("written, not loaded")
        return
    {"mac": load_mac, "linux": load_linux}[system](target, changed)
    await_server(Zones(settings.home))


def require_manager(system: str) -> None:
    """Refuse to install for another system.

    Raises:
        SettingsError: that system's service manager is not here.
    """
    program = {"mac": "launchctl", "linux": "systemctl"}[system]
    if not shutil.which(program):
        other = {"mac": "linux", "linux": "mac"}[system]
        raise SettingsError(f"no `{program}` here: `make install-{other}`, or `make up` without either")


def require_session() -> None:
    """Refuse to install where systemd keeps no services for this user, before anything is written.

    Raises:
        SettingsError: it does not answer; the message says how to make it.
    """
    if not succeeds(systemd.ANSWERS):
        raise SettingsError(
            "systemd keeps no services for this user here, as in a container or after `su`. Nothing was written. "
            "Log in as this user, or run `sudo loginctl enable-linger $USER` and log in again; or use `make up`"
        )


def written(system: str, target: Path, unit: Unit) -> bool:
    """Write a unit's file if it is missing or differs. Returns whether it was written.

    Raises:
        SettingsError: a file of that name is not ours.
    """
    path, ours, _ = of_service(system, target, unit.name)
    if system == "mac":
        logs = Path.home() / MAC_LOGS
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)  # launchd creates the file, not its folder
        content = launchd.agent_text(unit, logs=logs).encode()
    else:
        content = systemd.unit_text(unit).encode()
    if path.exists() and not ours(path):
        raise SettingsError(f"{path} was not written by CBI; move it away and install again")
    if path.exists() and path.read_bytes() == content:
        print(f"{path}: as it was")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    print(f"{path}: written")
    return True


def load_mac(target: Path, changed: list[str]) -> None:
    """Load each agent's current file into launchd, and start it."""
    user = os.getuid()
    for name in SERVICES:
        known = succeeds(launchd.loaded_command(name, user))
        if known and name in changed:
            forget(name, user)
            known = False
        if not known:
            must(launchd.load_command(launchd.plist_path(target, name), user))
        must(launchd.start_command(name, user))


def forget(name: str, user: int) -> None:
    """End an agent, and wait until launchd has forgotten it: before that, launchd refuses to load it."""
    succeeds(launchd.unload_command(name, user))
    deadline = time.monotonic() + FORGOTTEN_WITHIN_S
    while succeeds(launchd.loaded_command(name, user)):
        if time.monotonic() > deadline:
            raise ServiceFailed(f"launchd has not unloaded {launchd.label(name)}; log out and in, and install again")
        time.sleep(0.5)


def load_linux(target: Path, changed: list[str]) -> None:
    """Load each unit's current file into systemd, and start it."""
    must(systemd.RELOAD)
    for name in SERVICES:
        must(systemd.load_command(name))
        if name in changed:
            must(systemd.restart_command(name))


def await_server(zones: Zones) -> None:
    """Wait until the service answers.

    Raises:
        ServiceFailed: it does not answer.
    """
    if not wait_until(lambda: answering(zones) is not None, within_s=ANSWERS_WITHIN_S, every_s=1):
        raise ServiceFailed(
            f"the server does not answer after {ANSWERS_WITHIN_S} s; see {Path.home() / MAC_LOGS} or "
            f"`journalctl --user -u {systemd.unit_name('server')}`, and {zones.home / 'logs'}"
        )


def advise(system: str) -> None:
    """Print the steps that the user must do."""
    if find_spec("keyring") is None:
        store = "the keychain" if system == "mac" else "a keychain (or ~/.config/cbi/secrets.env, mode 600)"
        print(f"keys are read from {store}: `cbi setup` stores them. For a keychain: pip install keyring")
    if system == "linux" and not Path("/var/lib/systemd/linger", os.environ.get("USER", "")).is_file():
        print("services of a user end with the last session: `loginctl enable-linger` keeps them")


def remove(system: str, folder: Path | None) -> None:
    """End the services and delete their files. Files of others and CBI_HOME stay."""
    target = folder or Path.home() / {"mac": AGENTS, "linux": UNITS}[system]
    for name in reversed(SERVICES):
        path, ours, unload = of_service(system, target, name)
        if path.exists() and not ours(path):
            print(f"{path}: not written by CBI, left alone")
            continue
        if folder is None and shutil.which(unload[0]):
            succeeds(unload)
        print(f"{path}: {'taken away' if path.exists() else 'was not there'}")
        path.unlink(missing_ok=True)
    if system == "linux" and folder is None and shutil.which("systemctl"):
        succeeds(systemd.RELOAD)


def of_service(system: str, target: Path, name: str) -> tuple[Path, Callable[[Path], bool], list[str]]:
    """A service's file, a check that it is ours, and the command that ends it."""
    if system == "mac":
        return launchd.plist_path(target, name), launchd.is_ours, launchd.unload_command(name, os.getuid())
    return systemd.unit_path(target, name), systemd.is_ours, systemd.unload_command(name)


def succeeds(command: list[str]) -> bool:
    """Run a command. Returns whether it exited with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def must(command: list[str]) -> None:
    """Run a command.

    Raises:
        ServiceFailed: it failed; the message has its output.
    """
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        output = end_of(done.stdout + done.stderr, most=500)
        raise ServiceFailed(f"`{' '.join(command)}` ended with {done.returncode}: {output}")
