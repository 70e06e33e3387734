"""Turns plain functions into Prefect tasks: name, log bridge, progress. Only this module does so."""

from __future__ import annotations

import gc
import logging
import os
import queue
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

import httpx
import psutil
from prefect import Task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import MissingContextError, ObjectNotFound, PrefectHTTPStatusError
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOGGING_EXTRA_LOGGERS,
    PREFECT_LOGGING_LEVEL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    PREFECT_SERVER_LOGGING_LEVEL,
    PREFECT_UI_URL,
    temporary_settings,
)
from prefect.states import Crashed
from prefect.utilities.annotations import quote
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.ending import APPLICATION, arm
from flows.figures import figure
from flows.own_server import failing, own_server
from tasks.command_line import visible
from tasks.errors import CbiError, ServerGone
from tasks.logs import keep_logs
from tasks.operations.automations import HEARTBEAT_S
from tasks.operations.services import answers, running, server_guard, server_password
from tasks.secrets import redact, redact_error
from tasks.settings import Settings
from tasks.storage.files import private_folder
from tasks.storage.zones import Zones

if TYPE_CHECKING:
    from tasks.run import RunContext

ARTIFACT_EVERY_S = 1.0
LINE_EVERY_S = 60.0
"""How often work outside a Prefect run says how far it is where no bar can be drawn, as in a file of a schedule."""
SERVER_ERRORS = (PrefectHTTPStatusError, ObjectNotFound, httpx.TransportError)
LOGGED = ("tasks", "flows", "prefect.flow_runs", "prefect.task_runs")
SETTINGS_OF_A_SERVER = {
    setting.name: setting
    for setting in (PREFECT_API_AUTH_STRING, PREFECT_SERVER_API_AUTH_STRING, PREFECT_SERVER_CORS_ALLOWED_ORIGINS)
}
_quiet: list[bool] = []  # whether a command asked for no progress bars
_sessions: dict[str, str] = {}  # flow run of this process: its session


@contextmanager
def without_progress(quiet: bool = True) -> Iterator[None]:
    """In the block no progress bar is shown, if ``quiet``: for schedules, whose log nobody watches."""
    before = list(_quiet)
    if quiet:
        _quiet.append(True)
    try:
        yield
    finally:
        _quiet[:] = before


@contextmanager
def prefect_at_home(settings: Settings, meanwhile: Callable[[], Any] = lambda: None) -> Iterator[Any]:
    """Keep Prefect's database, results and logs under CBI_HOME, and its server quiet and private.

    A server named in the environment (PREFECT_API_URL) is used, else that of `make up` on this home, which receives the
    run's heartbeat and marks it crashed if it is killed. Without either the run starts its own. ``meanwhile``
    runs while that server starts, and its result is yielded.

    Raises:
        ServerGone: the server stopped answering, and did not answer again for a minute.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    home = private_folder(settings.home / "prefect")
    password = server_password(Zones(settings.home))
    ours: dict[Any, Any] = {
        PREFECT_HOME: home,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_LOGGING_EXTRA_LOGGERS: "tasks",
        PREFECT_LOGGING_LEVEL: "WARNING" if _quiet or sys.stderr.isatty() else settings.log_level,
        PREFECT_SERVER_LOGGING_LEVEL: "CRITICAL",
        PREFECT_API_AUTH_STRING: password,
    }
    server = running(Zones(settings.home), "server")
    if server and answers(server.address, password):
        ours |= {PREFECT_API_URL: f"{server.address}/api", PREFECT_FLOWS_HEARTBEAT_FREQUENCY: HEARTBEAT_S}
    elif PREFECT_API_URL.name not in os.environ:  # the run's own server
        ours |= {SETTINGS_OF_A_SERVER[name]: value for name, value in server_guard(password).items()}
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_without_known_errors)
            if _quiet or sys.stderr.isatty():  # the log file and the run's page have every line
                handler.addFilter(_warnings_alone)
    unset = {key: value for key, value in ours.items() if key.name not in os.environ}
    _end_orphaned_servers(home)
    with temporary_settings(updates=unset), secrets_redacted():
        keep_run_logs(settings)
        try:
            if PREFECT_API_URL.value():
                yield meanwhile()
            else:
                address, given = own_server(home).started(meanwhile)
                with temporary_settings({PREFECT_API_URL: address, PREFECT_UI_URL: ""}):  # it serves no pages
                    yield given
        except httpx.TransportError as error:  # Prefect's client: errors of sources are reported by tasks/http.py
            _drop_unsent_events()
            raise ServerGone(
                f"the Prefect server is gone ({type(error).__name__}: {error}). Results written so far are complete; "
                "run it again, after `make up` if that server is needed"
            ) from None
        except PrefectHTTPStatusError as error:
            _drop_unsent_events()
            first_line, _, _ = redact(str(error)).partition("\n")
            raise failing(home, f"{type(error).__name__}: {first_line}") from None


def keep_run_logs(settings: Settings) -> None:
    """Log to CBI_HOME/logs. Called at the start of a run: on the command line, and in a flow of a worker."""
    keep_logs(Zones(settings.home), _run_fields, LOGGED)
    wanted = logging.getLevelName(settings.log_level)
    for logger in map(logging.getLogger, LOGGED):
        if (shown := logger.getEffectiveLevel()) > wanted:  # the file has more lines than the terminal
            for handler in logging.getLogger().handlers:
                handler.addFilter(_Quieter(logger.name, shown))
            logger.setLevel(wanted)


@dataclass(frozen=True)
class _Quieter:
    """Drops a logger's lines below a level from a handler that did not show them before."""

    logger: str
    shown: int

    def filter(self, record: logging.LogRecord) -> bool:
        from_logger = record.name == self.logger or record.name.startswith(f"{self.logger}.")
        return not from_logger or record.levelno >= self.shown


def note_run(run: RunContext) -> RunContext:
    """Returns ``run``. From now on the log lines of the running flow have its session."""
    context = FlowRunContext.get()
    if context and context.flow_run:
        arm()  # Prefect has replaced our handler of SIGTERM
        keep_run_logs(run.settings)
        _sessions[str(context.flow_run.id)] = f"{run.as_of:%Y-%m-%d}"
    return run


def name_run(name: str) -> None:
    """Name the running flow run, so that a list can be read: `daily 2023-12-29 · recorded`. It stops nothing."""
    context = FlowRunContext.get()
    if not context or not context.flow_run or context.flow_run.name == name:
        return
    with suppress(*SERVER_ERRORS), get_client(sync_client=True) as server:
        server.update_flow_run(context.flow_run.id, name=name)


def mark_crashed() -> None:
    """Report to the server that the flow runs of this process have ended."""
    if not _sessions:  # there may be no server yet
        return
    with get_client(sync_client=True) as client:
        for run in _sessions:
            client.set_flow_run_state(UUID(run), Crashed(message="ended by a signal"))


def _run_fields(record: logging.LogRecord) -> dict[str, str]:
    """Flow, flow run, task and session of a record: from the context, else from Prefect's own fields."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    inside = flow.flow_run if flow else None
    fields = {
        "flow": flow.flow.name if flow and flow.flow else getattr(record, "flow_name", None),
        "run": str(inside.id) if inside else getattr(record, "flow_run_id", None),
        "task": task.task.name if task else getattr(record, "task_name", None),
    }
    given = (flow.parameters or {}) if flow else {}
    fields["as_of"] = _sessions.get(str(fields["run"])) or given.get("as_of")
    return {name: str(value) for name, value in fields.items() if value}


@contextmanager
def secrets_redacted() -> Iterator[None]:
    """Remove secrets from the text of an error: Prefect stores it, and a terminal shows it."""
    try:
        yield
    except BaseException as error:
        redact_error(error)
        raise


def give_back_memory(flow: object = None, flow_run: object = None, state: object = None) -> None:
    """Return freed memory to the system, so that a process that runs day after day does not grow.

    A hook for the end of a flow; its arguments are not used. Reference cycles are collected first: the frames
    of a run may be in one. Under ``ALLOCATORS`` Arrow's pool is the C library's, and its release is the
    ``malloc_trim`` of glibc.
    """
    import pyarrow as pa

    gc.collect()
    pa.default_memory_pool().release_unused()


def _drop_unsent_events() -> None:
    """Drop events for a server that is gone: at exit the process would try to send each for seconds."""
    for worker in list(EventsWorker._instances.values()):  # type: ignore[misc]  # one dictionary of all workers
        with suppress(queue.Empty):
            while True:
                worker._queue.get_nowait()


def _without_known_errors(record: logging.LogRecord) -> bool:
    """Drop stack traces from the console for errors that the command line reports in one line."""
    known = (CbiError, PrefectHTTPStatusError, httpx.TransportError)
    return not (record.exc_info and isinstance(record.exc_info[1], known))


def _warnings_alone(record: logging.LogRecord) -> bool:
    """Drop what is no warning from the console: forty tasks that ended well push the forecast off the screen."""
    return record.levelno >= logging.WARNING


def _end_orphaned_servers(home: Path) -> None:
    """End the temporary servers on this home whose run was killed: their parent is no longer a Python process."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if APPLICATION not in process.cmdline():
                continue
            parent = process.parent()
            orphaned = parent is None or not any("python" in word or "prefect" in word for word in parent.cmdline())
            if orphaned and process.environ().get("PREFECT_HOME") == str(home):
                process.terminate()


class Step(Protocol):
    """A task for flows: call it, or submit it to run in parallel."""

    def __call__(self, *args: Any) -> Any:
        """Run it now."""

    def submit(self, *args: Any) -> PrefectFuture[Any]:
        """Run it on the task runner."""


@dataclass(frozen=True)
class _Opaque:
    """A task that gets dataclasses unchanged: Prefect would otherwise traverse every series of the registry."""

    task: Any

    def __call__(self, *args: Any) -> Any:
        return self.task(*map(_opaque, args))

    def submit(self, *args: Any) -> PrefectFuture[Any]:
        return cast(PrefectFuture[Any], self.task.submit(*map(_opaque, args)))


def _opaque(argument: Any) -> Any:
    return quote(argument) if is_dataclass(argument) else argument


def as_task(function: Callable[..., Any], name: str, *, retries: int = 0) -> Step:
    """``function`` as a Prefect task. Retries are in the HTTP client. Files have an identity, so no cache is needed.

    ``retries`` is for work that may die from outside causes: the process of a fit.

    No tags: for each tag a task requests a concurrency slot from the server first, and waits for the database.
    """

    @wraps(function)
    def quietly(*args: Any) -> Any:
        with secrets_redacted():
            result = function(*args)
        if text := figure(result):
            with suppress(MissingContextError):  # a task that is called without a run has no page
                get_run_logger().info("%s: %s", name, text)
        return result

    return _Opaque(Task(quietly, name=name, retries=retries, cache_policy=NO_CACHE, persist_result=False))


class Steps:
    """A progress bar: a Prefect artifact of the running task, and a line in a terminal.

    Work outside a run writes one line per minute where stderr is no terminal.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._artifact: UUID | None = None
        self._sent = time.monotonic()  # work of less than a second needs no artifact
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=bool(_quiet) or not sys.stderr.isatty()
        )
        self._row = self._bar.add_task(what, total=None)

    def __enter__(self) -> Callable[[int, int, str], None]:
        self._bar.start()
        return self.move

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._artifact is not None:  # it says nothing once the work is done
            with suppress(*SERVER_ERRORS), get_client(sync_client=True) as server:
                server.delete_artifact(self._artifact)

    def move(self, done: int, total: int, item: str) -> None:
        """``done`` of ``total`` are finished, ``item`` the last of them."""
        self._bar.update(self._row, completed=done, total=total, description=f"{self.what}: {escape(visible(item))}")
        inside = FlowRunContext.get() or TaskRunContext.get()
        if not inside and not _quiet and not sys.stderr.isatty() and time.monotonic() - self._sent >= LINE_EVERY_S:
            self._sent = time.monotonic()
            print(f"{self.what}: {done} of {total}: {visible(redact(item))}", file=sys.stderr, flush=True)
        early = time.monotonic() - self._sent < ARTIFACT_EVERY_S
        if not inside or (early and (done < total or self._artifact is None)):
            return
        self._sent = time.monotonic()
        share = 100.0 * done / max(total, 1)
        item = redact(item)
        if self._artifact is None:
            key = re.sub(r"[^a-z0-9]+", "-", f"{self.what} progress".lower())  # Prefect refuses any other character
            artifact = create_progress_artifact(progress=share, key=key, description=f"{self.what}: {item}")
            self._artifact = artifact if isinstance(artifact, UUID) else None
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=share, description=f"{self.what}: {item}")
