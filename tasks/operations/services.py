"""Background processes of this home: started independent of the terminal, found again, ended completely.

A service and all its children have a mark in their environment. So children of a killed service are found
too, whatever their parent is by then. A pid alone proves nothing: the start time is compared too.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tasks.errors import SettingsError
from tasks.secrets import find_secret, remember_secret
from tasks.storage.files import private_folder, read_json, write_json, write_private
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105 a name  # pragma: allowlist secret
DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"
WEBHOOK = "NOTIFY_URL"
NO_PAGE = "null.invalid"
GENERATED = re.compile(r"cbi:[A-Za-z0-9_-]{32}")
"""The generated password of this home."""
MARK = "SERVICE_OF_HOME"
POOL = "mac"
"""The work pool of every deployment."""
LOG_BYTES = 10_000_000
LOGS_KEPT = 5
LOCAL_NAMES = ("localhost",)
SERVER_SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # a daily run leaves 0.6 MB of states, logs and artifacts, which Prefect keeps for ever by default: 90 days
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
}
"""Environment of every server of ours."""
# Arrow's own pool and glibc's eight arenas a core keep freed pages for each past thread: 0.4 to 1.2 MB for
# each of 250 daily runs in one process, while Python's own objects did not grow
ALLOCATORS = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
"""Environment of every long-lived process, so that it returns freed memory to the system."""


@dataclass(frozen=True)
class Service:
    """A process that was started. ``started``: in the system's seconds.

    ``host``: the address that a server listens on. ``address``: its URL from this machine.
    """

    name: str
    pid: int
    started: float
    address: str
    host: str = ""

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < 1.0
                and process.is_running()
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


def record_path(zones: Zones, name: str) -> Path:
    """The pid file of a service."""
    return zones.home / "services" / f"{name}.json"


def log_path(zones: Zones, name: str) -> Path:
    """The file of a service's output."""
    return zones.home / "logs" / f"{name}.log"


def recorded(zones: Zones, name: str) -> Service | None:
    """The service as last started here, alive or not."""
    record = read_json(record_path(zones, name))
    return Service(**record) if record else None


def running(zones: Zones, name: str) -> Service | None:
    """The service, if it runs."""
    service = recorded(zones, name)
    return service if service and service.alive else None


def start(
    zones: Zones,
    name: str,
    command: list[str],
    *,
    environment: dict[str, str],
    folder: Path,
    address: str,
    host: str = "",
) -> Service:
    """Start ``command`` in ``folder``, independent of this process, and record the process.

    Processes left by an earlier start of the same service are ended first. Call it under the lock of the services.
    """
    end_marked(zones, name)
    log = log_path(zones, name)
    for private in (log.parent, record_path(zones, name).parent):
        private.mkdir(parents=True, exist_ok=True, mode=0o700)
    rotate(log)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, MARK: _mark(zones, name)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    service = Service(name, process.pid, psutil.Process(process.pid).create_time(), address, host)
    write_json(record_path(zones, name), asdict(service))
    return service


def stop(zones: Zones, name: str, *, grace_s: float = 20.0) -> bool:
    """End a service and everything it started. Returns whether there was anything to end."""
    service, found = running(zones, name), bool(marked(zones, name))
    if service:
        with suppress(psutil.Error):
            leader = psutil.Process(service.pid)
            leader.terminate()
            leader.wait(timeout=grace_s)
    end_marked(zones, name)
    record_path(zones, name).unlink(missing_ok=True)
    return found or service is not None


def marked(zones: Zones, name: str) -> list[psutil.Process]:
    """Every living process with the service's mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == _mark(zones, name) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_marked(zones: Zones, name: str, *, grace_s: float = 5.0) -> None:
    """End processes with the mark: terminated first, then killed."""
    left = marked(zones, name)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.Error):
                end(process)
        _, left = psutil.wait_procs(left, timeout=grace_s)
        if not left:
            return


def _mark(zones: Zones, name: str) -> str:
    return f"{zones.home}:{name}"


def rotate(log: Path, *, limit: int = LOG_BYTES, keep: int = LOGS_KEPT) -> bool:
    """Rotate a log that is larger than ``limit`` bytes. Its writer continues in the same file, now empty.

    It is copied and truncated, not renamed: the service has it open for appending. If there is no room for the copy,
    the log and its older pieces stay as they are until the next try. The same holds while another process rotates this
    log.
    """
    with suppress(OSError), log.open("rb") as file:  # a log problem must not end a service
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_size > limit:
            return _set_aside(log, keep)
    return False


def _set_aside(log: Path, keep: int) -> bool:
    copied = log.with_name(f"{log.name}.0")
    try:
        shutil.copyfile(log, copied)
        for number in range(keep - 1, -1, -1):
            with suppress(FileNotFoundError):
                log.with_name(f"{log.name}.{number}").replace(log.with_name(f"{log.name}.{number + 1}"))
        os.truncate(log, 0)
    except OSError:
        with suppress(OSError):
            copied.unlink(missing_ok=True)
        return False
    return True


def rotate_all(zones: Zones) -> list[str]:
    """Rotate every log that has grown too large; returns their names."""
    return [log.name for log in sorted((zones.home / "logs").glob("*.log")) if rotate(log)]


def server_password(zones: Zones) -> str:
    """The ``user:password`` of this home's server: the one set, else one that is generated once and kept in a file.

    Without a password any page in a browser of this machine could ask the server to run code: it answers on the
    loopback address. Only the owner can read the file. The worker and the command line read it, so that it is typed
    only in the UI. A file with anything but such a password is damaged, and a new one is generated.
    """
    return find_secret(PASSWORD) or generated_secret(
        zones, password_path(zones), GENERATED, lambda: f"cbi:{secrets.token_urlsafe(24)}"
    )


def generated_secret(zones: Zones, path: Path, pattern: re.Pattern[str], make: Callable[[], str]) -> str:
    """A secret of this home: the one in the file, else a new one. Only the owner can read the file.

    A file whose content does not match the pattern is damaged, and a new secret replaces it.
    """
    with exclusive(zones, f"server-{path.name}"):
        stored = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if not pattern.fullmatch(stored):
            private_folder(path.parent)
            stored = make()
            write_private(path, stored.encode())
    remember_secret(stored)
    return stored


def password_path(zones: Zones) -> Path:
    """Where the generated password of the server is kept."""
    return zones.home / "services" / "password"


def server_guard(password: str, *addresses: str) -> dict[str, str]:
    """The settings of a server that answers only its own pages and clients with the password.

    Args:
        addresses: the addresses of its pages; none for a server without a UI.
    """
    return {
        PASSWORD: password,
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(addresses) or NO_PAGE,
    }


def answers(address: str, password: str) -> bool:
    """Whether a Prefect server answers there with this password."""
    import httpx

    user, _, secret = password.partition(":")
    try:
        answer = httpx.get(f"{address}/api/version", timeout=20, auth=(user, secret))
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def answering(zones: Zones) -> Service | None:
    """The server of this home, if it runs and answers."""
    server = running(zones, "server")
    return server if server and answers(server.address, server_password(zones)) else None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


def address_of(host: str, port: int) -> str:
    """The address at which this machine reaches a server that listens on ``host``."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 to reach it, not to listen
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def require_private(host: str, password: str | None) -> None:
    """Refuse to serve beyond this machine without a password.

    Raises:
        SettingsError: the password is missing; the message names the setting.
    """
    if not is_loopback(host) and not password:
        raise SettingsError(
            f"UI_HOST {host} can be reached from other machines, and whoever reaches it can run anything here. "
            "Set PREFECT_SERVER_API_AUTH_STRING=user:password (environment or keychain), or leave UI_HOST out"
        )
    if password is not None and not all(password.partition(":")):
        raise SettingsError("PREFECT_SERVER_API_AUTH_STRING is written user:password, and neither part may be empty")


def free_port(host: str, *wanted: int) -> int:
    """The first of the wanted ports that is free, else any that is."""
    for port in (*wanted, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SettingsError(f"UI_HOST {host} is not an address of this machine")


def wait_until(ready: Callable[[], bool], *, within_s: float, every_s: float = 0.3) -> bool:
    """Call ``ready()`` until it returns True; False if it does not in time."""
    deadline = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
