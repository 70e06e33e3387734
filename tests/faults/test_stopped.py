"""A run that stands still for a minute, as on a machine that is suspended, and ten runs of one home at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tasks.settings import PROJECT
from tests.conftest import tables_of
from tests.faults.conftest import SmallHome

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.xdist_group("small_home")]
STILL_S = 40.0  # the server's heartbeats, the database's wait for its lock and http's keep-alive are shorter


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def stopped_with_a_lock(process: subprocess.Popen[bytes], home: Path) -> str:
    """Stop a run at a moment at which it holds a lock; the name of that lock."""
    own = psutil.Process(process.pid)
    while process.poll() is None:
        held = [Path(file.path) for file in own.open_files() if Path(file.path).parent == home / "locks"]
        if any(lock.stem.startswith("staging-") for lock in held):
            process.send_signal(signal.SIGSTOP)
            still = [Path(file.path).stem for file in own.open_files() if Path(file.path).parent == home / "locks"]
            if locked := [name for name in still if name.startswith("staging-")]:
                return locked[0]
            process.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    raise AssertionError("it ended without being stopped")


def same_tables(home: Path, wanted: dict[str, pd.DataFrame]) -> None:
    held = tables_of(home)
    assert held.keys() == wanted.keys()
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(held[name], frame, obj=name)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_stopped_run_goes_on_and_a_second_one_meanwhile_says_what_is_held(
    small_home: SmallHome, tmp_path: Path, record_property: Any
) -> None:
    home, log = Path(shutil.copytree(small_home.home, tmp_path / "home")), tmp_path / "log"
    shutil.rmtree(home / "staging")  # so that the run has something to stage, and a lock for it
    environment, wanted = small_home.environment(home), tables_of(small_home.home)
    with running(small_home.daily(), environment, log) as run:
        lock = stopped_with_a_lock(run, home)
        began = time.monotonic()
        source = lock.removeprefix("staging-")
        second = [sys.executable, "-m", "cli", "ingest", source, "--origin", "recorded", "--as-of", small_home.as_of]
        told = subprocess.run(second, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 1 and "Traceback" not in told.stderr, told.stderr[-2000:]
        assert f"ZoneBusy: {lock}: another run has held {home / 'locks' / lock}.lock for 120 s" in told.stderr
        assert time.monotonic() - began > STILL_S
        health = [sys.executable, "-m", "cli", "health"]
        told = subprocess.run(health, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode in (0, 1, 2) and "Traceback" not in told.stderr, told.stderr[-2000:]
        run.send_signal(signal.SIGCONT)
        began = time.monotonic()
        assert run.wait(timeout=400) == 0, log.read_text()[-3000:]
    record_property("healed_s", time.monotonic() - began)
    same_tables(home, wanted)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_ten_daily_runs_at_once_end_with_one_set_of_rows(
    small_home: SmallHome, tmp_path: Path, record_property: Any
) -> None:
    """Each ends well, or with one line that names the lock that another one held for too long."""
    home = tmp_path / "home"
    shutil.copytree(small_home.home, home)
    shutil.rmtree(home / "staging")
    environment, wanted = small_home.environment(home), tables_of(small_home.home)
    logs = [tmp_path / f"{number}.log" for number in range(10)]
    began = time.monotonic()
    processes = []
    for log in logs:
        with log.open("wb") as out:
            processes.append(
                subprocess.Popen(small_home.daily(), cwd=PROJECT, env=environment, stdout=out, stderr=subprocess.STDOUT)
            )
    try:
        codes = [process.wait(timeout=1200) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
    for code, log in zip(codes, logs, strict=True):
        told = log.read_text()
        assert code == 0 or (code == 1 and "\nZoneBusy: " in told), f"{code}: {told[-3000:]}"
        assert "Traceback (most recent call last)" not in told, told[-3000:]
    assert 0 in codes
    record_property("healed_s", time.monotonic() - began)
    same_tables(home, wanted)
    assert not list(home.rglob(".tmp-*"))
