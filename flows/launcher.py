"""``cbi services keep server|worker``: the command that launchd and systemd keep running.

It waits for the volume of CBI_HOME, reads secrets from the keychain, starts the service as ``make up`` does or adopts
the one that ``make up`` started, and runs until that ends. It exits with 0 if a person ended the service (``make
down``, uninstall), otherwise with 1, so that it is started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from flows import services
from flows.registered import pool
from tasks.errors import CbiError, VolumeMissing
from tasks.operations.services import (
    DATABASE,
    PASSWORD,
    answering,
    log_path,
    recorded,
    require_private,
    rotate,
    stop,
    wait_until,
)
from tasks.operations.units import STOP_S
from tasks.operations.volume import await_volume, require_volume
from tasks.secrets import find_secret
from tasks.settings import load_settings
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

if TYPE_CHECKING:
    from tasks.operations.services import Service
    from tasks.settings import Settings

LOOK_EVERY_S = 5.0
OWN_LOG_BYTES = 1_000_000
RUN_ID = "PREFECT__FLOW_RUN_ID"  # Prefect's mark in the environment of a run's process


class EndRequested(BaseException):
    """SIGTERM or Ctrl-C: not an error, and no handler of exceptions may catch it."""


def launch(name: str, host: str, port: int, volume: Path | None, wait_s: float, log: Path | None) -> int:
    """Keep a service running. Returns the exit status."""
    settings = load_settings()
    zones = Zones(settings.home)
    if log:
        rotate(log, limit=OWN_LOG_BYTES)
    await_volume(settings.home, volume, within_s=wait_s, tell=tell)
    try:
        service = begin_server(settings, zones, host, port) if name == "server" else begin_worker(settings, zones)
        return watch(settings, zones, service, volume)
    except EndRequested:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop(zones, name, grace_s=STOP_S / 3)
        tell(f"{name}: ended, as requested")
        return 0


def begin_server(settings: Settings, zones: Zones, host: str, port: int) -> Service:
    """Start the server, and wait until it answers."""
    require_private(host, find_secret(PASSWORD))
    database = find_secret(DATABASE)  # contains a password: also from the keychain; default: SQLite in PREFECT_HOME
    if database:
        os.environ[DATABASE] = database
    with exclusive(zones, "services", wait_s=services.SERVER_WITHIN_S):
        return services.serve(settings, zones, host, port)


def begin_worker(settings: Settings, zones: Zones) -> Service:
    """Start the worker, and wait until it is online on this home's server.

    Raises:
        ServiceFailed: there is no server, or the worker did not start.
    """
    wait_until(lambda: answering(zones) is not None, within_s=services.SERVER_WITHIN_S, every_s=1)
    with exclusive(zones, "services", wait_s=services.SERVER_WITHIN_S):
        server = services.server_up(zones)
        with services.client_of(server, zones) as client:
            pool(client)
            return services.work(settings, zones, server, client)


def watch(settings: Settings, zones: Zones, service: Service, volume: Path | None) -> int:
    """Wait until the service ends. Meanwhile rotate its logs, and keep the machine awake during runs.

    Raises:
        VolumeMissing: the volume was removed; the service is ended, because its open files are gone.
    """
    tell(f"{service.name}: watching process {service.pid}, {service.address}")
    awake: dict[int, subprocess.Popen[bytes]] = {}
    while not ended_within(service, LOOK_EVERY_S):
        try:
            require_volume(settings.home, volume)
        except VolumeMissing:
            stop(zones, service.name)
            raise
        rotate(log_path(zones, service.name))
        if service.name == "worker":
            awake = stay_awake(runs_of(service), awake, stay_awake_command)
    with exclusive(zones, "services", wait_s=services.SERVER_WITHIN_S):  # `make down` holds it until all have ended
        left = recorded(zones, service.name)
    if left is None:
        tell(f"{service.name}: ended by `make down`, and not started again until `make up` or the next login")
        return 0
    tell(
        f"{service.name}: process {service.pid} ended by itself; its last output is in {log_path(zones, service.name)}"
    )
    return 1


def ended_within(service: Service, seconds: float) -> bool:
    """Whether it ends in that time. A child of this process is reaped."""
    try:
        psutil.Process(service.pid).wait(timeout=seconds)
    except psutil.TimeoutExpired:
        return not service.alive
    except psutil.Error:
        return True
    return True


def runs_of(service: Service) -> list[int]:
    """The run processes of a worker."""
    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(service.pid).children():
            with suppress(psutil.Error):
                if RUN_ID in child.environ():
                    found.append(child.pid)
    return found


def stay_awake(
    runs: list[int], awake: dict[int, subprocess.Popen[bytes]], command: Callable[[int], list[str] | None]
) -> dict[int, subprocess.Popen[bytes]]:
    """Prevent idle sleep for each new run. The preventing process ends by itself, with its run."""
    kept = {run: process for run, process in awake.items() if run in runs or process.poll() is None}
    for run in runs:
        if run not in kept and (holds := command(run)):
            kept[run] = subprocess.Popen(
                holds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    return kept


def stay_awake_command(run: int) -> list[str] | None:
    """The command that prevents idle sleep until a process ends; None without such a program."""
    if shutil.which("caffeinate"):
        return ["caffeinate", "-i", "-w", str(run)]
    if shutil.which("systemd-inhibit"):
        words = ["--what=idle", "--who=cbi", "--why=a run", "tail", f"--pid={run}", "-f", "/dev/null"]
        return ["systemd-inhibit", *words]
    return None


def tell(line: str) -> None:
    """Print one line, to launchd's file or the journal."""
    print(line, flush=True)


def keep(name: str, host: str, port: int, volume: Path | None, wait_s: float, log: Path | None) -> int:
    """The same as a command: a signal ends it with 0; an error is one line in its log, and 1."""

    def ask_to_end(*_: object) -> None:
        raise EndRequested

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_end)
    try:
        return launch(name, host, port, volume, wait_s, log)
    except EndRequested:
        return 0
    except CbiError as error:
        tell(f"{type(error).__name__}: {error}")
    except PermissionError as error:
        tell(
            f"{error.filename} may not be read or written ({error.strerror}). On macOS an agent needs access to an "
            "external volume: System Settings, Privacy & Security, Full Disk Access, add the Python that runs this "
            f"({Path(sys.executable).resolve()})"
        )
    return 1


if __name__ == "__main__":  # used by agents and units of an earlier version
    from cli.app import main

    sys.exit(main(["services", "keep", *sys.argv[1:]]))
