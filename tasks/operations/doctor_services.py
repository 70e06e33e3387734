"""The doctor's checks of what runs in the background: port, server, worker, and the last daily run."""

from __future__ import annotations

import os
import plistlib
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from tasks.calendar import last_finished_session, sessions
from tasks.operations import launchd, systemd
from tasks.operations.findings import Finding, not_tried, ok, open_choice, wrong
from tasks.operations.health import PUBLISHED_WARNING_SESSIONS
from tasks.operations.install import AGENTS, UNITS
from tasks.operations.machine import Machine
from tasks.operations.services import free_port, log_path, recorded, running
from tasks.operations.units import SERVICES
from tasks.registry import DataSources
from tasks.sources.payloads import has_live_data
from tasks.storage.files import read_json
from tasks.storage.zones import Zones

HOST, PORT = "127.0.0.1", 4200


def port(zones: Zones) -> Finding:
    """Whether the server has its port, or can have it."""
    server = running(zones, "server")
    if server:
        return ok("port", f"the server of this home has {server.address}")
    before = recorded(zones, "server")
    wanted = int(before.address.rsplit(":", 1)[1]) if before else PORT
    if free_port(HOST, wanted) == wanted:
        return ok("port", f"{wanted} is free for the server")
    owner = owner_of(wanted)
    return wrong(
        "port",
        f"{wanted} is taken by {owner or 'another program'}, so the server would take another port",
        f"end {owner or 'that program'}, or choose a port: `make up UI_PORT={free_port(HOST, wanted + 1)}`",
    )


def owner_of(number: int) -> str:
    """The program that listens at a port of this machine; empty if the system does not say."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == number
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""


def services(machine: Machine, zones: Zones) -> Finding:
    """Whether server and worker run, and whether the system keeps them running."""
    command = "make install-mac" if machine.is_mac else "make install-linux"
    files = {name: unit_file(machine, name) for name in SERVICES}
    installed = [name for name, path in files.items() if path.is_file()]
    for name in installed:
        path = files[name]
        if not (launchd.is_ours(path) if machine.is_mac else systemd.is_ours(path)):
            return wrong("services", f"{path} was not written by CBI", f"move it away, then `{command}`")
        if machine.is_mac and (lost := lost_program(path)):
            return wrong("services", f"{path} starts {lost}, which is not there", f"`{command}` writes it again")
    asleep = [name for name in installed if is_loaded(machine, name) is False]
    if asleep:
        return wrong("services", f"{', '.join(asleep)}: installed, but the system does not run it", f"`{command}`")
    ended = [name for name in SERVICES if not running(zones, name)]
    if not ended:
        kept = "kept running by the system" if len(installed) == len(SERVICES) else "until the machine restarts"
        return ok("services", f"server and worker run, {kept}")
    if installed or any(recorded(zones, name) for name in ended):
        logs = " and ".join(str(log_path(zones, name)) for name in ended)
        return wrong("services", f"{' and '.join(ended)} ended", f"`make up` starts it; the reason is in {logs}")
    return open_choice("services", "nothing starts the daily run by itself", f"`{command}`, or `make up` to try it")


def unit_file(machine: Machine, name: str) -> Path:
    """Where the file of an installed service is."""
    if machine.is_mac:
        return launchd.plist_path(machine.user_folder / AGENTS, name)
    return systemd.unit_path(machine.user_folder / UNITS, name)


def lost_program(plist: Path) -> str:
    """The program that an agent starts, if it is not there."""
    content: dict[str, Any] = plistlib.loads(plist.read_bytes())
    program = str(content.get("ProgramArguments", [""])[0])
    return "" if Path(program).exists() else program


def is_loaded(machine: Machine, name: str) -> bool | None:
    """Whether launchd or systemd has the service loaded. None: neither answers here."""
    if machine.is_mac:
        done = machine.run(launchd.loaded_command(name, os.getuid()))
        return None if done is None else done.status == 0
    done = machine.run(["systemctl", "--user", "is-active", systemd.unit_name(name)])
    if done is None or "connect to" in done.output:  # no bus of this user
        return None
    return done.output.strip().startswith(("active", "activating"))


def last_run(machine: Machine, zones: Zones, sources: DataSources) -> Finding:
    """The last daily run that ended well, and whether a later session has passed without one."""
    done_at, outcome = newest_run(zones)
    if done_at is None:
        return open_choice(
            "last run", "no daily run has ended here", "`make demo` (no keys, no network), or `make daily`"
        )
    now = pd.Timestamp(machine.now()).tz_convert("UTC")
    age = now - done_at
    hours = age.total_seconds() / 3600
    text = f"{done_at:%Y-%m-%d %H:%M} UTC, {hours:.0f} hours ago{outcome}"
    if age < pd.Timedelta(0):
        return wrong("last run", f"{text}: in the future", "set the clock; see the line `clock`")
    first, last = last_finished_session(done_at), last_finished_session(now)
    passed = sum(first < session <= last for session in sessions(last=last))
    if has_live_data(zones, sources) and passed > PUBLISHED_WARNING_SESSIONS:
        return wrong(
            "last run", f"{text}; {passed} sessions have ended since", "`make daily`; the line `services` says more"
        )
    return ok("last run", text)


def newest_run(zones: Zones) -> tuple[pd.Timestamp | None, str]:
    """When the newest daily run ended: of the schedule, with its outcome, or of any run by hand."""
    found: list[tuple[pd.Timestamp, str]] = []
    for path in (zones.home / "runs" / "daily").glob("*.json"):
        if record := read_json(path):
            found.append((pd.Timestamp(record["at"]).tz_convert("UTC"), f": {record['outcome']}"))
    by_hand = zones.exports / "manifest.json"
    if by_hand.is_file():
        found.append((pd.Timestamp(by_hand.stat().st_mtime, unit="s", tz="UTC"), ""))
    return max(found, key=lambda one: one[0], default=(None, ""))


def not_usable(check: str) -> Finding:
    """A check of a home that cannot be used."""
    return not_tried(check, "CBI_HOME cannot be used; see the line `home`")
