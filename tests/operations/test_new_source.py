"""`make new-source`: a skeleton that lints and whose own test passes, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.operations.new_source import write_skeleton
from tasks.registry import load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import why_disabled


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's own files again."""
    for folder in ("cli", "tasks", "flows", "evidence", "registry", "expectations", "tests"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(PROJECT / "pyproject.toml", tmp_path)).parent


def run(project: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(project)}
    ended = subprocess.run(
        [sys.executable, "-m", *words], cwd=project, env=environment, capture_output=True, text=True, timeout=180
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.more
@pytest.mark.slow
def test_the_skeleton_lints_and_its_test_passes_and_it_is_at_most_40_lines(project):
    before = load_sources(project / "registry")
    entry = len((project / "registry" / "data_sources.yaml").read_text().splitlines())
    written = write_skeleton("my_source", project)
    assert [path.relative_to(project).as_posix() for path in written] == [
        "registry/data_sources.yaml",
        "tasks/sources/my_source.py",
        "tests/sources/test_my_source.py",
        "expectations/staging/my_source.json",
        "prefect.yaml",
    ]
    run(project, "ruff", "format", "--check", "tasks/sources", "tests/sources")
    run(project, "ruff", "check", ".")
    run(project, "mypy", "tasks/sources/my_source.py")
    run(project, "cli", "project", "deployments", "--check")
    run(project, "pytest", "-p", "no:cacheprovider", "tests/sources/test_my_source.py")
    after = load_sources(project / "registry")
    assert set(after.sources) - set(before.sources) == {"my_source"}
    assert why_disabled(after.source("my_source")).startswith("the skeleton of `make new-source`")
    new = (project / "registry" / "data_sources.yaml").read_text().splitlines()[entry:]
    code = [line for line in written[1].read_text().splitlines() if line.strip()]
    assert len(new) + len(code) <= 40


@pytest.mark.parametrize("name", ["yahoo", "My-Source", "payloads", "../up"])
def test_a_name_that_is_taken_or_none_is_refused_and_nothing_is_written(project, name):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(RegistryError, match=f"`{name}`"):
        write_skeleton(name, project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
