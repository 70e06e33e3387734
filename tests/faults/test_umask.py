"""A whole demo run under the strictest and the loosest umask: what is written has the modes it should have."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.settings import PROJECT
from tests.faults.conftest import SmallHome

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
PRIVATE = ("prefect", "logs", "services", "support", "warehouse/billed")
WRITTEN_BY_US = ("logs/", "services/", "support/", "warehouse/billed/")
"""In `prefect` the files are Prefect's, behind the folder's mode."""


@pytest.mark.parametrize("umask", [0o077, 0o000], ids=["077", "000"])
def test_a_demo_run_under_a_umask_keeps_private_what_is(umask: int, small_home: SmallHome, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = small_home.environment(home)
    for command in (small_home.daily(), [sys.executable, "-m", "cli", "support"]):
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, umask=umask, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    opened = []
    for path in sorted(home.rglob("*")):
        mode, place = stat.S_IMODE(path.stat().st_mode), path.relative_to(home).as_posix()
        own = place in PRIVATE or place.startswith(WRITTEN_BY_US)
        if mode & (0o077 if umask == 0o077 or own else 0o000):
            opened.append(f"{place} {mode:o}")
    assert not opened, opened[:20]
    told = subprocess.run(
        [sys.executable, "-m", "cli", "health"],
        cwd=PROJECT,
        env=environment,
        umask=umask,
        capture_output=True,
        text=True,
    ).stdout
    assert ("others may write to" in told) == (umask == 0), told
