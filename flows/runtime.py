"""A plain function becomes a Prefect task here: name, tags, log bridge, progress. Nothing else knows how."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import UUID

import psutil
from prefect import Task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import PrefectFuture
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOGGING_EXTRA_LOGGERS,
    PREFECT_LOGGING_LEVEL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_LOGGING_LEVEL,
    temporary_settings,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tasks.errors import CbiError
from tasks.settings import Settings
from tasks.zones import read_json, write_json

ARTIFACT_EVERY_S = 1.0


@contextmanager
def prefect_at_home(settings: Settings) -> Iterator[None]:
    """Keep Prefect's database, results and logs under CBI_HOME, and its server quiet and private.

    A server named in the environment (PREFECT_API_URL) is used; without one the run starts its own.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    home = settings.home / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    ours = {
        PREFECT_HOME: home,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_LOGGING_EXTRA_LOGGERS: "tasks",
        PREFECT_LOGGING_LEVEL: "WARNING" if sys.stderr.isatty() else settings.log_level,
        PREFECT_SERVER_LOGGING_LEVEL: "CRITICAL",
    }
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_told_at_the_end)
    unset = {key: value for key, value in ours.items() if key.name not in os.environ}
    with temporary_settings(updates=unset), _own_server(home / "temporary-servers"):
        yield


def _told_at_the_end(record: logging.LogRecord) -> bool:
    """Drop the stack traces of our own errors from the console: the command line ends with their one clear line."""
    return not (record.exc_info and isinstance(record.exc_info[1], CbiError))


@contextmanager
def _own_server(notes: Path) -> Iterator[None]:
    """Without a server named, start Prefect's temporary one and note whose it is; end those that killed runs left."""
    if PREFECT_API_URL.value():
        yield
        return
    for note in notes.glob("*.json"):
        held = read_json(note) or {}
        if not _alive(held.get("run")):
            for left in held.get("servers", []):
                if _alive(left):
                    psutil.Process(left["pid"]).terminate()
            note.unlink(missing_ok=True)
    get_client(sync_client=True)
    me = psutil.Process()
    servers = [child for child in me.children() if "prefect.server.api.server:create_app" in child.cmdline()]
    note = notes / f"{me.pid}.json"
    write_json(note, {"run": _identity(me), "servers": [_identity(child) for child in servers]})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _identity(process: psutil.Process) -> dict[str, float]:
    return {"pid": process.pid, "started": process.create_time()}


def _alive(noted: dict[str, Any] | None) -> bool:
    """Whether exactly that process still runs: a process id is used again, its start time is not."""
    if not noted or not psutil.pid_exists(noted["pid"]):
        return False
    try:
        return psutil.Process(noted["pid"]).create_time() == noted["started"]
    except psutil.NoSuchProcess:
        return False


class Step(Protocol):
    """A task as flows use it: call it, or submit it to run beside others."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it now."""

    def submit(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:
        """Run it on the task runner."""


def as_task(function: Callable[..., Any], name: str, *, tags: tuple[str, ...] = ()) -> Step:
    """``function`` as a Prefect task. Retries live at the HTTP edge; files carry their identity, so no cache."""
    made: Any = Task(function, name=name, tags=set(tags), cache_policy=NO_CACHE, persist_result=False)
    return cast(Step, made)


class Steps:
    """A progress bar: a Prefect artifact of the running task, and a line in a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._artifact: UUID | None = None
        self._sent = 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._row = self._bar.add_task(what, total=None)

    def __enter__(self) -> Callable[[int, int, str], None]:
        self._bar.start()
        return self.move

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def move(self, done: int, total: int, item: str) -> None:
        """``done`` of ``total`` are finished, ``item`` the last of them."""
        self._bar.update(self._row, completed=done, total=total, description=f"{self.what}: {item}")
        inside = FlowRunContext.get() or TaskRunContext.get()
        if not inside or (done < total and time.monotonic() - self._sent < ARTIFACT_EVERY_S):
            return
        self._sent = time.monotonic()
        share = 100.0 * done / max(total, 1)
        if self._artifact is None:
            key = re.sub("[^a-z0-9]+", "-", f"{self.what} progress".lower())  # all that Prefect allows in one
            made = create_progress_artifact(progress=share, key=key, description=f"{self.what}: {item}")
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=share, description=f"{self.what}: {item}")
