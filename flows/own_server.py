"""The Prefect server of a run on a home without a running one. It ends with the process that started it.

It is the same process that Prefect would start, by the same command. Prefect's own class is not used: its
import loads the whole server into the process of the run as well, which takes two seconds of each run.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import prefect
from prefect.settings import PREFECT_API_AUTH_STRING, get_current_settings

from flows.ending import APPLICATION, SERVER_ENDS_WITHIN_S
from tasks.errors import ServerGone
from tasks.operations.services import address_of, answers, free_port, wait_until

T = TypeVar("T")
logger = logging.getLogger("prefect")

HOST = "127.0.0.1"
STARTS_WITHIN_S = 120.0  # a busy machine takes a minute
ASKED_EVERY_S = 0.1
STARTS_TRIED = 3


class OwnServer:
    """One server process, restarted if it has ended. ``home``: Prefect's folder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        atexit.register(self.stop)

    def started(self, meanwhile: Callable[[], T]) -> tuple[str, T]:
        """Start it. Returns the address of its API, and the result of ``meanwhile``, which runs during the start.

        Raises:
            ServerGone: it does not start. Exceptions of ``meanwhile`` pass through; the server is ended then.
        """
        self._begun()
        try:
            given = meanwhile()
        except BaseException:
            self.stop()
            raise
        for _ in range(STARTS_TRIED):  # another process may take the port before the server does
            process = self._begun()
            if not wait_until(self._ended_or_answers, within_s=STARTS_WITHIN_S, every_s=ASKED_EVERY_S):
                raise failing(self._home, f"it does not answer within {STARTS_WITHIN_S:.0f} s")
            if process.poll() is None:
                return f"{self._address}/api", given
        raise failing(self._home, "it does not start; its output is above")

    def stop(self) -> None:
        """Terminate it, so that it closes its database."""
        process, self._process = self._process, None
        if process is None:
            return
        logger.info("Stopping temporary server")
        process.terminate()
        try:
            process.wait(timeout=SERVER_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _begun(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            port = free_port(HOST)
            self._address = address_of(HOST, port)
            logger.info("Starting temporary server on %s", self._address)
            self._process = subprocess.Popen(_command(port), env=_environment())
        return self._process

    def _ended_or_answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        return answers(self._address, PREFECT_API_AUTH_STRING.value() or "")


@lru_cache
def own_server(home: Path) -> OwnServer:
    """The one server of this process for ``home``, Prefect's folder."""
    return OwnServer(home)


def failing(home: Path, why: str) -> ServerGone:
    """The error of a run whose server fails. ``home``: Prefect's folder."""
    return ServerGone(
        f"the Prefect server fails ({why}). Results written so far are complete. Run it again; if that fails too, "
        f"delete {home / 'prefect.db'}, which has the history of runs and no forecasts"
    )


def _command(port: int) -> list[str]:
    application = ["--app-dir", str(prefect.__module_path__.parent), "--factory", APPLICATION]
    where = ["--host", HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    return [sys.executable, "-m", "uvicorn", *application, *where]


def _environment() -> dict[str, str]:
    """The environment that Prefect gives such a process: the run's settings, without UI and background services."""
    alone = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    return {**os.environ, **alone, **get_current_settings().to_environment_variables(exclude_unset=True)}
