"""Kill -9 in the middle of a real run; the rerun ends with the tables of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tasks.settings import PROJECT
from tests.conftest import EARLY, FinishedRun, tables_of

pytestmark = pytest.mark.slow


def start(home: Path, archive: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CBI_HOME": str(home)}
    command = [sys.executable, "-m", "flows.daily", "--origin", str(archive), "--as-of", EARLY]
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=out, stderr=out)


def servers_of(home: Path) -> list[psutil.Process]:
    """Prefect's servers that run on this home's database."""
    found = []
    for process in psutil.process_iter():
        try:
            if "prefect.server.api.server:create_app" in process.cmdline() and process.environ().get(
                "PREFECT_HOME"
            ) == str(home / "prefect"):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@pytest.mark.timeout(400)
def test_a_run_killed_three_times_ends_like_an_undisturbed_one(first_run: FinishedRun, tmp_path: Path) -> None:
    home, log, killed = tmp_path / "home", tmp_path / "log", []
    for _ in range(3):
        running = start(home, first_run.archive, log)
        moment = random.uniform(9, 30)
        try:
            running.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            killed.append(round(moment, 1))
    last = start(home, first_run.archive, log)
    assert last.wait(timeout=200) == 0, log.read_text()[-3000:]
    print(f"killed after {killed} s")
    assert killed, "no run lived long enough to be killed"
    time.sleep(1)
    assert servers_of(home) == [], "the servers that killed runs left behind are ended by the next run"
    undisturbed, survived = tables_of(first_run.home), tables_of(home)
    assert survived.keys() == undisturbed.keys()
    for name, frame in undisturbed.items():
        pd.testing.assert_frame_equal(survived[name], frame, obj=f"{name} after kills at {killed}")
    assert not list(home.rglob(".tmp-*")), "no temporary file is left"
    assert sorted(p.name for p in (home / "models").rglob("v0*")) == sorted(
        p.name for p in (first_run.home / "models").rglob("v0*")
    ), "no model version is doubled"
