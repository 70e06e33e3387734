"""The Prefect server of a run on a home where none stands. It ends with the process that began it.

It is the process that Prefect itself would start, by the same command. Prefect's own class for it is not used: its
import loads the whole server into the process of the run as well, which takes two seconds of each run.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import httpx
import prefect
from prefect.settings import get_current_settings

from flows.ending import APPLICATION
from tasks.errors import ServerGone

T = TypeVar("T")
logger = logging.getLogger("prefect")

STARTS_WITHIN_S = 120.0  # a busy machine takes a minute
ENDS_WITHIN_S = 5.0
ASKED_EVERY_S = 0.1
PORTS_TRIED = 3
READ_MEANWHILE = ("tasks.gates.run", "tasks.forecasting.forecast", "great_expectations", "matplotlib.figure", "duckdb")
"""What a day imports later on. While a server starts, its run has nothing else to do."""


class OwnServer:
    """One server process, asked for again where it has ended."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def started(self, meanwhile: Callable[[], T]) -> tuple[str, T]:
        """The address of its API, which answers, and what ``meanwhile`` gives: it is called while the server starts.

        Raises:
            ServerGone: it does not come up. Whatever ``meanwhile`` raises: the server is ended then.
        """
        if self._process is None or self._process.poll() is not None:
            self._begin()
        try:
            given = meanwhile()
            for name in READ_MEANWHILE:
                import_module(name)
        except BaseException:
            self.stop()
            raise
        for _ in range(PORTS_TRIED):  # another process may take a port before the server does
            if self._answers():
                return self._address, given
            self._begin()
        self.stop()
        raise failing(self._home, "it does not start; its own words are above")

    def _begin(self) -> None:
        port = _free_port()
        logger.info("Starting temporary server on http://127.0.0.1:%s", port)
        self._address = f"http://127.0.0.1:{port}/api"
        self._process = subprocess.Popen(_command(port), env=_environment())
        atexit.register(self.stop)

    def _answers(self) -> bool:
        """Whether it answers; False where the process ends first.

        Raises:
            ServerGone: it takes too long.
        """
        assert self._process is not None
        until = time.monotonic() + STARTS_WITHIN_S
        while self._process.poll() is None and time.monotonic() < until:
            try:
                if httpx.get(f"{self._address}/health", timeout=ENDS_WITHIN_S).status_code == httpx.codes.OK:
                    return self._process.poll() is None
            except httpx.TransportError:
                pass
            time.sleep(ASKED_EVERY_S)
        if self._process.poll() is None:
            raise failing(self._home, f"it does not answer within {STARTS_WITHIN_S:.0f} s")
        return False

    def stop(self) -> None:
        """End it: asked first, so that it closes its database."""
        if self._process is None:
            return
        logger.info("Stopping temporary server")
        self._process.terminate()
        try:
            self._process.wait(timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@lru_cache
def own_server(home: Path) -> OwnServer:
    """The one server of this process for ``home``, Prefect's folder."""
    return OwnServer(home)


def failing(home: Path, why: str) -> ServerGone:
    """The one line of a run whose server fails. ``home``: Prefect's folder."""
    return ServerGone(
        f"the Prefect server fails ({why}). What the run wrote by then is whole. Run it again; where that fails too, "
        f"delete {home / 'prefect.db'}, which holds the history of runs and nothing of the forecasts"
    )


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _command(port: int) -> list[str]:
    beside = ["--app-dir", str(prefect.__module_path__.parent), "--factory", APPLICATION]
    where = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    return [sys.executable, "-m", "uvicorn", *beside, *where]


def _environment() -> dict[str, str]:
    """What Prefect gives such a process: the run's settings, no pages, and no services that outlive a run."""
    alone = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    return {**os.environ, **alone, **get_current_settings().to_environment_variables(exclude_unset=True)}
