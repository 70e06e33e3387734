"""``cbi services up|down|status|worker|trigger``: the server, its deployments, and a worker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from flows.registered import automate, deploy, deployed, deployed_already, deployed_from, deployed_path, pool, retire
from tasks.errors import ServiceFailed, SettingsError
from tasks.operations.automations import HEARTBEAT_S
from tasks.operations.services import (
    ALLOCATORS,
    PASSWORD,
    POOL,
    SERVER_SETTINGS,
    Service,
    address_of,
    answering,
    answers,
    free_port,
    is_loopback,
    log_path,
    password_path,
    recorded,
    require_private,
    running,
    server_guard,
    server_password,
    start,
    stop,
    wait_until,
)
from tasks.secrets import find_secret
from tasks.settings import PROJECT, Settings, load_settings
from tasks.storage.files import UTF_8, write_json
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

RUNS_AT_ONCE = 3  # runs per worker; a run takes up to 2 GB and one core
SERVER_WITHIN_S = 180  # 12 s on a fresh database; a busy machine takes longer
WORKER_WITHIN_S = 90
SCHEDULED_WITHIN_S = 90  # 10 s on an idle machine


def up(host: str, port: int) -> None:
    """Start server, pool, deployments, automations and worker; running ones are left alone. Ends when all answer."""
    settings = load_settings()
    require_private(host, find_secret(PASSWORD))
    require_plain_name(PROJECT)
    zones = Zones(settings.home)
    with exclusive(zones, "services", wait_s=SERVER_WITHIN_S):
        server = serve(settings, zones, host, port)
        with client_of(server, zones) as client:
            pool(client)
            if not deployed_already(zones, client):
                deploy(environment_of(settings, server.address))
                write_json(deployed_path(zones), deployed_from())
            retire(client)
            automate(client)
            work(settings, zones, server, client)
            tell(client, server, zones)


def require_plain_name(project: Path) -> None:
    """Refuse a checkout in a folder that the worker could not enter.

    Raises:
        SettingsError: the name has `{{`: Prefect reads the folder of a deployment as a template.
    """
    if "{{" in str(project):
        raise SettingsError(f"the folder {project} has `{{{{` in its name, which Prefect fills in. Move the checkout")


def serve(settings: Settings, zones: Zones, host: str, port: int) -> Service:
    """The running server, or a new one: on its last port, the requested one, or a free one."""
    before = recorded(zones, "server")
    password = server_password(zones)
    if before and before.host == host and before.alive and answers(before.address, password):
        print(f"server: up already, {before.address}")
        return before
    stop(zones, "server")  # one that does not answer, or not to this password, or its leftovers
    last_port = [int(before.address.rsplit(":", 1)[1])] if before else []
    chosen = free_port(host, *last_port, port)
    address = address_of(host, chosen)
    shown = address if is_loopback(host) else f"http://{socket.gethostname()}:{chosen}"
    environment = server_environment(settings, address, shown)
    command = server_command(host, chosen)
    server = start(zones, "server", command, environment=environment, folder=PROJECT, address=address, host=host)
    up_in_time = wait_until(lambda: answers(address, password) or not server.alive, within_s=SERVER_WITHIN_S)
    if not up_in_time or not server.alive:
        stop(zones, "server")
        raise ServiceFailed(f"the server did not start on {address}; its last output is in {log_path(zones, 'server')}")
    print(f"server: started, {address}")
    return server


def server_command(host: str, port: int) -> list[str]:
    """The command of Prefect's server, in the foreground."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]


def server_environment(settings: Settings, address: str, shown: str) -> dict[str, str]:
    """The server's environment. ``shown``: its address for a browser."""
    (settings.home / "prefect").mkdir(parents=True, exist_ok=True, mode=0o700)
    pages = dict.fromkeys((address, shown, address.replace("127.0.0.1", "localhost")))
    return {
        **environment_of(settings, address),
        **server_guard(server_password(Zones(settings.home)), *pages),
        "PREFECT_UI_API_URL": f"{shown}/api",
    }


def ui(port: int) -> int:
    """Prefect's server and UI in this terminal, until Ctrl-C."""
    host = "127.0.0.1"
    settings, chosen = load_settings(), free_port(host, port)
    address = address_of(host, chosen)
    print(f"UI: {address}  (a run against it: PREFECT_API_URL={address}/api make demo)", flush=True)
    environment = server_environment(settings, address, address)
    print(password_hint(Zones(settings.home)), flush=True)
    try:
        return subprocess.run(server_command(host, chosen), cwd=PROJECT, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 0


def environment_of(settings: Settings, address: str) -> dict[str, str]:
    """The environment of server, worker and runs: one home, one server, no temporary server if it is missing."""
    return {
        **ALLOCATORS,
        **os.environ,
        **UTF_8,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": f"{address}/api",
        **SERVER_SETTINGS,
        "PREFECT_LOGGING_LEVEL": settings.log_level,
        "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "CBI_HOME": str(settings.home),
        "CHECKOUT": str(PROJECT),
        "PYTHONPATH": str(PROJECT),
        "PREFECT_API_AUTH_STRING": os.environ.get("PREFECT_API_AUTH_STRING") or server_password(Zones(settings.home)),
    }


@contextmanager
def client_of(server: Service, zones: Zones) -> Iterator[SyncPrefectClient]:
    """A client of the home's server.

    Raises:
        ServiceFailed: the server stopped meanwhile.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    updates: dict[Any, Any] = {
        PREFECT_API_URL: f"{server.address}/api",
        PREFECT_API_AUTH_STRING: server_password(zones),
    }
    try:
        with temporary_settings(updates), get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        gone = f"the server is gone ({type(error).__name__}); run `make up`, and see the runs there"
        raise ServiceFailed(gone) from None


def work(settings: Settings, zones: Zones, server: Service, client: SyncPrefectClient) -> Service:
    """The online worker of the pool: the running one, or a new one."""
    worker = running(zones, "worker")
    if worker and worker.address == server.address and online(client):
        print("worker: up already")
        return worker
    stop(zones, "worker")
    worker = start(
        zones,
        "worker",
        worker_command(),
        environment=environment_of(settings, server.address),
        address=server.address,
        folder=PROJECT,
    )
    if not wait_until(lambda: online(client) or not worker.alive, within_s=WORKER_WITHIN_S) or not worker.alive:
        raise ServiceFailed(f"the worker did not start; its last output is in {log_path(zones, 'worker')}")
    print(f"worker: started, on the pool {POOL}")
    return worker


def worker_command() -> list[str]:
    """The command of a process worker, named after its machine."""
    given = ["--pool", POOL, "--type", "process", "--name", worker_name(), "--limit", str(RUNS_AT_ONCE)]
    return [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", *given]


def worker_name() -> str:
    """The name of this machine's worker."""
    return f"{socket.gethostname()}-worker"


def online(client: SyncPrefectClient) -> bool:
    """Whether the server knows this machine's worker as online."""
    workers = client.read_workers_for_work_pool(POOL, offset=0)
    return any(one.name == worker_name() and one.status == "ONLINE" for one in workers)


def password_hint(zones: Zones) -> str:
    """A hint on the password that the UI asks for."""
    if find_secret(PASSWORD):
        return f"The UI asks for the password in {PASSWORD}."
    return f"The UI asks for a password once: the content of {password_path(zones)}"


def tell(client: SyncPrefectClient, server: Service, zones: Zones) -> None:
    """Print the address, and every deployment with its next run."""
    from rich.console import Console
    from rich.table import Table

    found = deployed(client)
    # the scheduler looks at new deployments every few seconds
    wait_until(lambda: len(next_runs(client, found)) == len(found), within_s=SCHEDULED_WITHIN_S, every_s=1)
    table = Table("deployment", "cron", "time zone", "next run")
    due = next_runs(client, found)
    for name in [*sorted(due, key=lambda name: due[name]), *sorted(set(found) - set(due))]:
        schedule: Any = found[name].schedules[0].schedule
        next_run = f"{due[name]:%a %Y-%m-%d %H:%M %Z}" if name in due else "none yet"
        table.add_row(name, schedule.cron, schedule.timezone, next_run)
    Console(width=max(110, Console().width)).print(table)
    print(f"{len(found)} deployments. UI: {server.address}   (make trigger NAME=daily/daily ORIGIN=…; make down)")
    print(password_hint(zones))


def next_runs(client: SyncPrefectClient, found: dict[str, Any]) -> dict[str, datetime]:
    """The next run of each deployment, in its own time zone; those without a scheduled run are left out."""
    starts: dict[UUID, list[datetime]] = {}
    for run in client.get_scheduled_flow_runs_for_deployments([one.id for one in found.values()]):
        if run.deployment_id and run.next_scheduled_start_time:
            starts.setdefault(run.deployment_id, []).append(run.next_scheduled_start_time)
    return {
        name: min(starts[one.id]).astimezone(ZoneInfo(one.schedules[0].schedule.timezone))
        for name, one in found.items()
        if one.id in starts
    }


def down() -> None:
    """End worker and server, and all that they started. Runs are ended too; the next run repairs them."""
    zones = Zones(load_settings().home)
    with exclusive(zones, "services", wait_s=SERVER_WITHIN_S):
        for name in ("worker", "server"):
            print(f"{name}: {'ended' if stop(zones, name) else 'was not up'}")


def status() -> int:
    """Print what is running. Returns 1 if something is not."""
    zones = Zones(load_settings().home)
    server = server_up(zones)
    with client_of(server, zones) as client:
        is_online = online(client)
        print(f"server: {server.address}\nworker: {'online' if is_online else 'offline: make up'}")
        tell(client, server, zones)
    return int(not is_online)


def server_up(zones: Zones) -> Service:
    """The server of this home.

    Raises:
        ServiceFailed: it is not running.
    """
    if server := answering(zones):
        return server
    raise ServiceFailed("the server of this home is not up: `make up`")


def worker() -> int:
    """Run a worker in this terminal, until Ctrl-C, on the server of `make up` or the one in PREFECT_API_URL."""
    settings = load_settings()
    given = os.environ.get("PREFECT_API_URL", "").removesuffix("/api").removesuffix("/api/")
    environment = environment_of(settings, given or server_up(Zones(settings.home)).address)
    return subprocess.run(worker_command(), cwd=PROJECT, env=environment, check=False).returncode


def trigger(name: str, parameters: dict[str, Any], timeout_s: float) -> int:
    """Run a deployment on the worker now, and wait for it. Returns 0 if it completed."""
    from prefect.exceptions import ObjectNotFound

    zones = Zones(load_settings().home)
    with client_of(server_up(zones), zones) as client:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise SettingsError(f"no deployment {name}; there are {', '.join(sorted(deployed(client)))}") from None
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        print(f"{name}: run {run.name} requested", flush=True)
        begun, shown = time.monotonic(), ""
        while not (state := client.read_flow_run(run.id).state) or not state.is_final():
            if state and state.name and state.name != shown:
                shown = state.name
                print(f"{time.monotonic() - begun:6.1f} s  {shown}", flush=True)
            if time.monotonic() - begun > timeout_s:
                raise ServiceFailed(f"{name} has not ended in {timeout_s:.0f} s; it continues, see the UI")
            time.sleep(0.5)
        print(f"{time.monotonic() - begun:6.1f} s  {state.name}: {state.message}")
        return int(not state.is_completed())


def resolved_origin(origin: str) -> str:
    """A folder as an absolute path, for the worker."""
    from tasks.sources.payloads import LIVE, RECORDED

    return origin if origin in (LIVE, RECORDED) else str(Path(origin).expanduser().resolve())
