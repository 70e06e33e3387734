"""One daily run on the real archive, as of a session early enough that its training is short."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tasks.reporting.summary import RunSummary
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.zones import Zones

EARLY = "2011-12-30"


@dataclass(frozen=True)
class FinishedRun:
    home: Path
    archive: Path
    summary: RunSummary


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.settings import PREFECT_RUNNER_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=60),
        temporary_settings({PREFECT_RUNNER_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="session")
def run_daily(prefect_server: None) -> Callable[..., RunSummary]:
    """Run the daily flow in this process under a CBI_HOME of its own."""
    from flows.daily import daily

    def run(home: Path, origin: Path, as_of: str | None = EARLY, **settings: str) -> RunSummary:
        changed = {"CBI_HOME": str(home), **settings}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            return daily(str(origin), as_of)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

    return run


@pytest.fixture(scope="session")
def first_run(
    run_daily: Callable[..., RunSummary], archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    home = tmp_path_factory.mktemp("first") / "home"
    return FinishedRun(home, archive, run_daily(home, archive))


@pytest.fixture
def copied_home(first_run: FinishedRun, tmp_path: Path) -> Path:
    """The first run's home again, for a test that goes on from it."""
    return Path(shutil.copytree(first_run.home, tmp_path / "home"))


def tables_of(home: Path) -> dict[str, pd.DataFrame]:
    """Every table as published, without the clock times of its rows, in key order."""
    from tasks.warehouse.tables import tables

    warehouse = DuckDbWarehouse(Zones(home))
    found = {}
    for name, table in tables().items():
        if name in warehouse.row_counts():
            keys = ", ".join(f"`{key}`" for key in table.key)
            found[name] = warehouse.query(f"SELECT * FROM {name} ORDER BY {keys}").drop(
                columns="created_at", errors="ignore"
            )
    return found
