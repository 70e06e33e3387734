"""Every kind of file under CBI_HOME, damaged one at a time; each of Prefect's on real processes."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.settings import PROJECT
from tests.conftest import tables_of
from tests.faults.conftest import SmallHome
from tests.faults.every_file import DAMAGES, Asked, Said, damaged_copy, kinds, look, remedy

pytestmark = [pytest.mark.faults, pytest.mark.slow]
PARTS, ZONE_PARTS = 10, 4
OF_PREFECT = ("prefect", "services")
"""Folders that only processes with a Prefect server read."""
DIARY = ("ops.ingest_runs", "ops.alert_events")
"""Tables that tell how a run went, which a damaged file changes."""


def lost(said: Said) -> list[str]:
    return [told for told in said.differs if not told.startswith(DIARY)]


def survives(small_home: SmallHome, file: Path, how: str, folder: Path, wanted: dict[str, Any]) -> float:
    """One file damaged in a copy of the home: what is told, what is done about it, and in how many seconds it heals.

    Health, audit and the query end with a code. The daily run ends with the tables of an undisturbed home, or tells the
    file and the remedy, in its one line or in the forecasts; then the remedy is taken and the next run ends with them.
    """
    home = damaged_copy(small_home.home, folder / "home", file, how)
    settings = (("CBI_ARCHIVE", str(small_home.archive)),)
    asked = Asked(home, small_home.registry, "recorded", small_home.as_of, settings)
    said = look(asked, folder / "answer.json", wanted)
    assert not said.broke, f"{said.broke}: {[said.words.get(name, '')[-2000:] for name in said.broke]}"
    assert {"health", "audit", "query", "daily"} <= set(said.codes), said.codes
    if said.codes["daily"] == 0 and not lost(said):
        return said.seconds
    words = said.words["daily"] if said.codes["daily"] else said.told
    remedy(words, home / file, small_home.home / file, small_home.environment(home))
    again = look(asked, folder / "answer.json", wanted)
    assert again.codes["daily"] == 0 and not lost(again), (
        words,
        again.codes,
        again.words["daily"][-2000:],
        lost(again),
    )
    return said.seconds + again.seconds


def sweep(small_home: SmallHome, jobs: list[tuple[Path, str]], folder: Path, record_property: Any) -> None:
    wanted, failed, longest = tables_of(small_home.home), {}, 0.0
    for file, how in jobs:
        try:
            longest = max(longest, survives(small_home, file, how, folder, wanted))
        except AssertionError as error:
            failed[f"{file} {how}"] = str(error)[:3000]
    record_property("healed_s", longest)
    assert not failed, "\n\n".join(f"{name}: {why}" for name, why in failed.items())


def swept(small_home: SmallHome) -> list[Path]:
    return [
        file
        for _, file in sorted(kinds(small_home.home, small_home.registry).items())
        if file.parts[0] not in OF_PREFECT
    ]


@pytest.mark.more
@pytest.mark.parametrize("part", range(ZONE_PARTS))
def test_a_damaged_file_of_each_zone_is_survived(
    part: int, small_home: SmallHome, tmp_path: Path, record_property: Any
) -> None:
    """In parts: two daily runs per zone are more than one test's time on a busy machine."""
    by_zone = {file.parts[0]: file for file in swept(small_home)}
    jobs = [(file, list(DAMAGES)[number % len(DAMAGES)]) for number, file in enumerate(by_zone.values())]
    sweep(small_home, jobs[part::ZONE_PARTS], tmp_path, record_property)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_file_of_every_kind_is_survived(
    part: int, small_home: SmallHome, tmp_path: Path, record_property: Any
) -> None:
    """Of each kind one file cut or zeroed, and one emptied or gone."""
    pairs = (("truncated", "deleted"), ("zeroed", "emptied"))
    jobs = [(file, how) for number, file in enumerate(swept(small_home)) for how in pairs[number % 2]]
    sweep(small_home, jobs[part::PARTS], tmp_path, record_property)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_of_prefect_or_of_its_server_costs_no_forecast(
    how: str, small_home: SmallHome, tmp_path: Path, record_property: Any
) -> None:
    """A real run on each: it ends well, or with one line that says what to do, after which it does."""
    wanted, longest = tables_of(small_home.home), 0.0
    files = [file for file in kinds(small_home.home, small_home.registry).values() if file.parts[0] in OF_PREFECT]
    assert any(file.name == "prefect.db" for file in files)
    for file in files:
        home = damaged_copy(small_home.home, tmp_path / "home", file, how)
        began = time.monotonic()
        for _ in range(2):
            done = subprocess.run(
                small_home.daily(), cwd=PROJECT, env=small_home.environment(home), capture_output=True, text=True
            )
            assert "Traceback (most recent call last)" not in done.stderr, f"{file}: {done.stderr[-3000:]}"
            if done.returncode == 0:
                break
            remedy(done.stderr, home / file, small_home.home / file, small_home.environment(home))
        assert done.returncode == 0, f"{file}: {done.stderr[-3000:]}"
        longest = max(longest, time.monotonic() - began)
        held = tables_of(home)
        assert held.keys() == wanted.keys() and all(held[name].equals(wanted[name]) for name in wanted), file
        shutil.rmtree(home)
    record_property("healed_s", longest)
