"""The door of a small published home, served over loopback by its real HTTP server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from tasks.door.answers import LIMITS, Limits
from tasks.door.http import door
from tasks.door.run import HOST, configured
from tasks.door.tools import Questions
from tasks.operations.services import free_port
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.reporting.site_home import publish_home

TOKEN = "a-token-of-the-tests-that-is-long-enough"  # pragma: allowlist secret


@dataclass(frozen=True)
class Served:
    """A running door."""

    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DuckDbWarehouse]:
    folder = tmp_path_factory.mktemp("door") / "home"
    return folder, publish_home(folder)


@pytest.fixture
def serving(home: tuple[Path, DuckDbWarehouse]) -> Iterator[Callable[..., Served]]:
    """Starts a door; all are ended after the test."""
    with ExitStack() as ending:

        def begin(limits: Limits = LIMITS, **given: float) -> Served:
            folder, warehouse = home
            port = free_port(HOST)
            app = door(Questions(warehouse, limits), token=TOKEN, port=port)
            server = uvicorn.Server(configured(app if not given else type(app)(app.app, TOKEN, port, **given), port))
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()

            def end() -> None:
                server.should_exit = True
                thread.join(timeout=60)

            ending.callback(end)
            deadline = time.monotonic() + 60
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.02)
            return Served(port, folder)

        yield begin


@pytest.fixture
def served(serving: Callable[..., Served]) -> Served:
    return serving()
