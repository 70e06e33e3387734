"""Four sessions of the real flow with kills end like four without: the soak of `make soak`, in small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.settings import PROJECT

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.long]


@pytest.mark.timeout(1800)
def test_sessions_with_kills_end_with_the_warehouse_of_those_without(
    archive: Path, few_families: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "CBI_HOME": str(tmp_path), "CBI_REGISTRY": str(few_families)}
    soak = [sys.executable, "-m", "flows.soak", "--sessions", "4", "--from", "2012-01-03", "--kill-share", "0.6"]
    command = [*soak, "--every", "4", "--origin", str(archive)]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    assert "4 of 4 sessions" in ended.stdout and "alike" in ended.stdout
    assert " 0 kills" not in ended.stdout, "the seed kills none: choose another"
    page = (tmp_path / "soak" / "soak.md").read_text()
    assert "have the checksums of the undisturbed run" in page
