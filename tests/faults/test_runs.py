"""Whole daily runs in trouble: two at once, the server killed under one, the data of an earlier commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.operations.services import recorded, stop
from tasks.settings import PROJECT
from tasks.storage.zones import Zones
from tests.conftest import EARLY, FinishedRun, tables_of, with_few_families

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("homes"),
]
NEXT = "2012-01-03"  # the session after EARLY
COMMITS_BACK = (1, 30)


def start(
    run: FinishedRun, home: Path, log: Path, as_of: str = NEXT, checkout: Path = PROJECT, **more: str
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CBI_HOME": str(home), "CBI_REGISTRY": str(run.registry), **more}
    command = [sys.executable, "-m", "cli", "daily", "--origin", str(run.archive), "--as-of", as_of]
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=checkout, env=environment, stdout=out, stderr=out)


@pytest.fixture(scope="module")
def undisturbed(first_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("undisturbed")
    home = Path(shutil.copytree(first_run.home, folder / "home"))
    assert start(first_run, home, folder / "log").wait() == 0, (folder / "log").read_text()[-2000:]
    return tables_of(home)


def same(home: Path, wanted: dict[str, pd.DataFrame]) -> None:
    held = tables_of(home)
    assert held.keys() == wanted.keys()
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(held[name], frame, obj=name)


def test_two_daily_runs_at_once_end_in_one_state(
    first_run: FinishedRun, copied_home: Path, undisturbed: Any, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    began = time.monotonic()
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    codes = [run.wait() for run in [start(first_run, copied_home, log) for log in logs]]
    busy = [code == 0 or "ZoneBusy" in log.read_text() for code, log in zip(codes, logs, strict=True)]
    assert 0 in codes and all(busy), [log.read_text()[-1500:] for log in logs]
    record_property("healed_s", time.monotonic() - began)
    same(copied_home, undisturbed)


def test_server_killed_in_a_run_and_the_next_run_heals(
    first_run: FinishedRun, copied_home: Path, undisturbed: Any, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    from flows.services import serve
    from tasks.settings import load_settings

    zones, log = Zones(copied_home), tmp_path / "killed.log"
    server = serve(load_settings().model_copy(update={"home": copied_home}), zones, "127.0.0.1", 0)
    try:
        running = start(first_run, copied_home, log)
        while "gate POST_COLLECTION" not in log.read_text():
            assert running.poll() is None, log.read_text()[-2000:]
            time.sleep(0.1)
        assert recorded(zones, "server") == server
        os.kill(server.pid, 9)
        killed = time.monotonic()
        assert running.wait(timeout=600) == 1
        assert time.monotonic() - killed < 240, "a client asks a dead server for a minute, and no event is waited for"
        assert "ServerGone: the Prefect server is gone" in log.read_text(), log.read_text()[-2000:]
        assert "Nothing was published" not in log.read_text(), "that depends on when it went"
    finally:
        stop(zones, "server")
    began = time.monotonic()
    assert start(first_run, copied_home, log).wait() == 0, log.read_text()[-2000:]
    record_property("healed_s", time.monotonic() - began)
    same(copied_home, undisturbed)


@pytest.mark.parametrize("back", COMMITS_BACK)
def test_upgrade_from_the_data_of_an_earlier_commit_loses_no_row(
    back: int, first_run: FinishedRun, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    checkout, home = tmp_path / "earlier", tmp_path / "home"
    asked = ["git", "worktree", "add", "--detach", str(checkout), f"HEAD~{back}"]
    if subprocess.run(asked, cwd=PROJECT, capture_output=True, check=False).returncode:
        pytest.skip("this clone is too shallow to hold an earlier commit")
    try:
        # the registry of that commit; every family of the older one: the code decides what it can read
        registry = checkout / "registry"
        if back == 1:
            registry = with_few_families(registry, tmp_path / "registry")
        earlier = FinishedRun(home, first_run.archive, registry, first_run.summary, "")
        log = tmp_path / "earlier.log"
        made = start(earlier, home, log, EARLY, checkout, PYTHONPATH=str(checkout)).wait()
        assert made == 0, log.read_text()[-2000:]
        before = tables_of(home)
        began = time.monotonic()
        assert start(first_run, home, tmp_path / "now.log").wait() == 0, (tmp_path / "now.log").read_text()[-2000:]
        record_property("healed_s", time.monotonic() - began)
        after = tables_of(home)
        from tasks.warehouse.tables import tables

        for name, frame in before.items():
            keys = list(tables()[name].key)
            kept = frame[keys].merge(after[name][keys].drop_duplicates(), on=keys, how="left", indicator=True)
            lost = kept[kept["_merge"] == "left_only"]
            assert lost.empty, f"{name}: {len(lost)} rows of {len(frame)} lost: {lost.head(3).to_dict('records')}"
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(checkout)], cwd=PROJECT, check=False)
