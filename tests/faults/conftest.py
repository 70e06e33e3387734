"""A small home for what is done to homes as a whole: five series of the price, three more sources, few families."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.settings import PROJECT
from tasks.sources.archive import DESCRIBED, MANIFEST, PACKED
from tests.conftest import EARLY

KEPT = (
    *("yahoo/ZL=F", "yahoo/ZS=F", "yahoo/ZM=F", "yahoo/CL=F", "yahoo/^VIX", "fred/DGS10", "fred/VIXCLS"),
    *("federal_register/documents", "noaa/oni"),
)


@dataclass(frozen=True)
class SmallHome:
    """A home in which the recorded payloads of a few series were run twice, the first time with a training."""

    home: Path
    archive: Path
    registry: Path
    as_of: str = EARLY

    def environment(self, home: Path | None = None, **more: str) -> dict[str, str]:
        """What a process of it, or of a copy of it, sees."""
        own = {"CBI_REGISTRY": str(self.registry), "CBI_ARCHIVE": str(self.archive)}
        return {**os.environ, "CBI_HOME": str(home or self.home), **own, **more}

    def daily(self) -> list[str]:
        """The command of its daily run."""
        return [sys.executable, "-m", "cli", "daily", "--origin", "recorded", "--as-of", self.as_of]


def small_archive(to: Path) -> Path:
    """A packed archive with a few of the recorded series, byte for byte."""
    to.mkdir(parents=True)
    with (PROJECT / "recorded" / MANIFEST).open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["file"].startswith(KEPT)]
    with (to / MANIFEST).open("w", newline="", encoding="utf-8") as handle:
        listed = csv.DictWriter(handle, DESCRIBED)
        listed.writeheader()
        listed.writerows(rows)
    names = {row["file"] for row in rows}
    for source in {row["source"] for row in rows}:
        packed = f"{source}{PACKED}"
        with tarfile.open(PROJECT / "recorded" / packed) as whole, tarfile.open(to / packed, "w:xz", preset=0) as part:
            for member in whole:
                if {member.name, f"{source}/{member.name}"} & names:
                    part.addfile(member, whole.extractfile(member))
    return to


@pytest.fixture(scope="session")
def small_home(once: Any, few_families: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallHome:
    """Made by real processes, so that it holds what they leave: Prefect's database, logs, locks, fits, reports."""

    def make() -> SmallHome:
        folder = tmp_path_factory.mktemp("small")
        registry = Path(shutil.copytree(few_families, folder / "registry"))
        made = SmallHome(folder / "home", small_archive(folder / "archive"), registry)
        for command in (made.daily(), made.daily(), [sys.executable, "-m", "cli", "support"]):
            done = subprocess.run(
                command, cwd=PROJECT, env=made.environment(), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-3000:]
        return made

    return once("small_home", make)
