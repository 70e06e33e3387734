"""Kill -9 in the middle of a real run; the rerun ends with the tables of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tasks.settings import PROJECT
from tests.conftest import EARLY, FinishedRun, tables_of

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.more, pytest.mark.xdist_group("homes")]


def start(home: Path, archive: Path, registry: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "CBI_HOME": str(home), "CBI_REGISTRY": str(registry)}
    command = [sys.executable, "-m", "cli", "daily", "--origin", str(archive), "--as-of", EARLY]
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


# a line of the run's own log, then up to so many seconds more: in the ingest, in the training, around the publishing
PHASES = (("Beginning flow run 'daily", 6.0), ("Beginning subflow run 'training", 8.0), ("Task run 'forecast", 2.5))


def kill_in(phase: tuple[str, float], home: Path, archive: Path, registry: Path, log: Path) -> str:
    """Start a run and kill it at a random moment of a phase; says when."""
    marker, up_to = phase
    seen = log.stat().st_size if log.exists() else 0
    running = start(home, archive, registry, log)
    deadline = time.monotonic() + 300
    while marker not in log.read_text()[seen:]:
        assert running.poll() is None, f"ended before {marker!r}: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"{marker!r} never came"
        time.sleep(0.05)
    moment = random.uniform(0, up_to)
    time.sleep(moment)
    assert running.poll() is None, f"ended within {moment:.1f} s of {marker!r}"
    running.send_signal(signal.SIGKILL)
    running.wait()
    return f"{moment:.1f} s after {marker!r}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [1, pytest.param(len(PHASES), marks=pytest.mark.long)])
def test_a_killed_run_ends_like_an_undisturbed_one(
    kills: int,
    request: pytest.FixtureRequest,
    archive: Path,
    few_families: Path,
    tmp_path: Path,
    record_property: Any,
) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    phases = sorted(random.sample(PHASES, kills), key=PHASES.index)
    killed = [kill_in(phase, home, archive, few_families, log) for phase in phases]
    began = time.monotonic()
    last = start(home, archive, few_families, log)
    assert last.wait(timeout=400) == 0, log.read_text()[-3000:]
    record_property("healed_s", time.monotonic() - began)
    time.sleep(1)
    assert servers_of(home) == [], "the servers that killed runs left behind are ended by the next run"
    first_run: FinishedRun = request.getfixturevalue("first_run")  # another process may have been at it meanwhile
    undisturbed, survived = tables_of(first_run.home), tables_of(home)
    assert survived.keys() == undisturbed.keys()
    for name, frame in undisturbed.items():
        pd.testing.assert_frame_equal(survived[name], frame, obj=f"{name} after kills at {killed}")
    assert not list(home.rglob(".tmp-*")), "no temporary file is left"
    assert sorted(p.name for p in (home / "models").rglob("v0*")) == sorted(
        p.name for p in (first_run.home / "models").rglob("v0*")
    ), "no model version is doubled"
