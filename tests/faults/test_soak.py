"""Four sessions of the real flow, with kills and in two pieces, end like four without: `make soak` in small."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evidence.soak_report import days_over
from tasks.settings import PROJECT

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.long]


@pytest.mark.timeout(1800)
def test_sessions_with_kills_end_with_the_warehouse_of_those_without(
    archive: Path, few_families: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "CBI_HOME": str(tmp_path), "CBI_REGISTRY": str(few_families)}
    soak = [sys.executable, "-m", "evidence.soak", "--sessions", "4", "--from", "2012-01-03", "--kill-share", "0.6"]
    command = [*soak, "--every", "4", "--origin", str(archive)]
    with subprocess.Popen(command, cwd=PROJECT, env=environment) as stopped:
        homes = [tmp_path / "soak" / name for name in ("killed", "undisturbed")]
        while not all(days_over(home) for home in homes):
            assert stopped.poll() is None, "it ended by itself"
            time.sleep(0.5)
        stopped.kill()
    before = [days_over(home) for home in homes]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert "4 of 4 sessions" in ended.stdout and "alike" in ended.stdout
    assert " 0 kills" not in ended.stdout, "the seed kills none: choose another"
    assert all(days_over(home)[: len(days)] == days for home, days in zip(homes, before, strict=True)), "begun anew"
    page = (tmp_path / "soak" / "soak.md").read_text()
    assert "| tables that differ | none |" in page
