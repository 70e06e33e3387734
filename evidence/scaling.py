"""``python -m evidence.scaling``: Prefect's server on SQLite and PostgreSQL, with one worker and two on one pool.

Run it by hand; it is not part of ``python -m evidence``. It needs ``initdb`` and ``postgres`` (``PG_BIN`` or the path),
and a machine without other load. Servers listen on loopback, their data is in a temporary folder, and all of
it ends with the command.

Two figures for each: runs per minute through workers, one process per run like ours, and runs per minute of
the server alone, without processes, with four clients at once.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pandas as pd
from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.flow_runs import wait_for_flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running

from evidence.command_line import command, exit_status
from evidence.machine import stamp
from evidence.measurement import BenchError
from evidence.page import frame_table
from tasks.operations.services import answers, free_port, wait_until
from tasks.settings import PROJECT

DATABASES = ("SQLite", "PostgreSQL")
POOL = "scaling"
WORKER = "SCALING_WORKER"
CLIENTS = 4
RUNS_AT_ONCE = 2  # runs per worker


@flow(name="scaling", persist_result=False)
def one_run() -> State[str]:
    """A run that does nothing and returns the name of its worker."""
    return Completed(message=os.environ[WORKER])


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the context."""
    with log.open("ab") as out:
        started = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=out, stderr=out)
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(timeout=20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def tool(name: str) -> str:
    """The path of a PostgreSQL program."""
    found = shutil.which(name, path=os.environ.get("PG_BIN")) or shutil.which(name)
    if not found:
        raise BenchError(f"no `{name}` here: install PostgreSQL, or set PG_BIN to the folder that has it")
    return found


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Our own PostgreSQL on loopback, with a password. Yields the URL for Prefect."""
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    port, password = free_port("127.0.0.1"), secrets.token_hex(16)
    data, password_file = folder / "postgres", folder / "password"
    password_file.write_text(password, encoding="utf-8")
    if as_owner:
        folder.chmod(0o711)
        data.mkdir()
        owner = pwd.getpwnam("postgres").pw_uid
        for path in (data, password_file):
            os.chown(path, owner, -1)
    initdb = [
        *as_owner,
        tool("initdb"),
        "-D",
        str(data),
        "-U",
        "prefect",
        "-A",
        "scram-sha-256",
        "--pwfile",
        str(password_file),
    ]
    subprocess.run(initdb, cwd="/", check=True, capture_output=True)
    password_file.unlink()
    listen = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    with process([*as_owner, tool("postgres"), *listen], dict(os.environ), folder / "postgres.log"):
        url = f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/postgres"
        if not wait_until(lambda: port_open(url), within_s=60):
            raise BenchError(
                f"PostgreSQL did not come up: {(folder / 'postgres.log').read_text(encoding='utf-8')[-800:]}"
            )
        yield url


def port_open(url: str) -> bool:
    """Whether the database answers."""
    import asyncpg

    async def ask() -> None:
        await (await asyncpg.connect(url.replace("+asyncpg", ""), timeout=5)).close()

    try:
        asyncio.run(ask())
    except (OSError, asyncpg.PostgresError):
        return False
    return True


@contextmanager
def server(folder: Path, url: str | None) -> Iterator[dict[str, str]]:
    """A server on a database. Yields the environment of its clients."""
    port = free_port("127.0.0.1")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **kept,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(PROJECT),
    }
    database = {"PREFECT_API_DATABASE_CONNECTION_URL": url} if url else {}
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with process(words, environment | database, folder / "server.log"):
        if not wait_until(lambda: answers(f"http://127.0.0.1:{port}", ""), within_s=180):
            raise BenchError(
                f"the server did not come up: {(folder / 'server.log').read_text(encoding='utf-8')[-800:]}"
            )
        yield environment


async def through_workers(environment: dict[str, str], folder: Path, workers: int, runs: int) -> tuple[float, str]:
    """Seconds for ``runs`` runs, from the request to the last end, and the number per worker."""
    with ExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}))
        for number in range(1, workers + 1):
            given = ["--pool", POOL, "--type", "process", "--name", f"w{number}", "--limit", str(RUNS_AT_ONCE)]
            words = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", *given]
            environ = environment | {WORKER: f"w{number}"}
            stack.enter_context(process(words, environ, folder / f"worker-{workers}-{number}.log"))
        async with get_client() as client:
            await online(environment["PREFECT_API_URL"], workers)
            declared = await client.create_deployment(
                await client.create_flow(one_run), "scaling", work_pool_name=POOL,
                path=str(PROJECT), entrypoint="evidence/scaling.py:one_run",
            )  # fmt: skip
            start = time.perf_counter()
            requested = [await client.create_flow_run_from_deployment(declared) for _ in range(runs)]
            done: list[FlowRun] = await asyncio.gather(
                *(wait_for_flow_run(run.id, timeout=900, client=client) for run in requested)
            )
            took = time.perf_counter() - start
            # read again: no run was taken twice, none was lost
            ids = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in requested]))
            finished = await client.read_flow_runs(flow_run_filter=ids, limit=200)
    if {run.run_count for run in finished} != {1}:
        raise BenchError(f"not every run ran once: {[run.run_count for run in finished]}")
    # a failed run is shown by its state in place of its worker
    taken = Counter(
        str(s.message if s.is_completed() else f"{s.name}: {s.message}") for run in done if (s := run.state)
    )
    return took, ", ".join(f"{name} {count}" for name, count in sorted(taken.items()))


async def online(api: str, workers: int) -> None:
    """Wait until every worker is online. The first one creates the pool."""
    deadline = time.monotonic() + 120
    async with httpx.AsyncClient(timeout=20) as client:
        while True:
            answer = await client.post(f"{api}/work_pools/{POOL}/workers/filter", json={})
            if answer.status_code == 200 and sum(one["status"] == "ONLINE" for one in answer.json()) >= workers:
                return
            if time.monotonic() > deadline:
                raise BenchError(f"not {workers} workers online within 120 s")
            await asyncio.sleep(0.5)


async def server_alone(environment: dict[str, str], runs: int) -> float:
    """Seconds for ``runs`` runs created, started and ended over the API, by ``CLIENTS`` clients at once."""
    with temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}):
        async with get_client() as client:
            await client.create_flow(one_run)

            async def some(count: int) -> list[UUID]:
                ids = []
                for _ in range(count):
                    run = await client.create_flow_run(one_run)
                    states: tuple[State[Any], ...] = (Running(), Completed())
                    for state in states:
                        await client.set_flow_run_state(run.id, state)
                    ids.append(run.id)
                return ids

            await some(5)  # warm-up
            start = time.perf_counter()
            await asyncio.gather(*(some(runs // CLIENTS) for _ in range(CLIENTS)))
            return time.perf_counter() - start


def measure(databases: list[str], runs: int, alone_runs: int, repeats: int) -> pd.DataFrame:
    """One row per database and repeat. The databases take turns, so that the machine's load affects both."""
    rows = []
    for repeat in range(1, repeats + 1):
        for database in databases:
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scaling-")))
                url = stack.enter_context(postgres(folder)) if database == "PostgreSQL" else None
                environment = stack.enter_context(server(folder, url))
                alone = asyncio.run(server_alone(environment, alone_runs))
                row: dict[str, object] = {"database": database, "repeat": repeat}
                row["server alone, runs/min"] = 60 * alone_runs / alone
                for workers in (1, 2):
                    took, taken = asyncio.run(through_workers(environment, folder, workers, runs))
                    row |= {f"{workers} worker(s), runs/min": 60 * runs / took, f"taken by {workers}": taken}
                log = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
                row["'database is locked' in the log"] = log.count("database is locked")
                row["load after"] = os.getloadavg()[0]
                rows.append(row)
                print(row, flush=True)
    return pd.DataFrame(rows)


def main() -> int:
    """Command line."""
    parser = command("evidence.scaling", __doc__, "", "--repeats 4")
    parser.add_argument("--runs", type=int, default=12, help="runs through the workers")
    parser.add_argument("--asked", type=int, default=200, help="runs of the server alone")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--database", choices=DATABASES, nargs="+", default=list(DATABASES))
    given, before = parser.parse_args(), stamp("python -m evidence.scaling", "runs that do nothing")

    def work() -> int:
        print(frame_table(measure(given.database, given.runs, given.asked, given.repeats).round(1)), before, sep="\n\n")
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
