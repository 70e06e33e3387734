"""Persons who promote at once, and processes that die in between: one wins, and nothing is torn. On both stores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.model_store.champions import CHAMPIONS, HISTORY, current_champions, name_of, of_lines
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import Version
from tasks.settings import PROJECT
from tests.cloud.models import Fitted, Place, fit_baseline, metadata
from tests.cloud.storage_proxy import Proxy

CHILD = """
import json, os, signal, sys
from pathlib import Path
import pandas as pd
from tasks.model_store import folder
from tasks.model_store.administration import Judge, promote, roll_back
from tasks.registry import load_horizons, load_quality_gates
from tasks.settings import PROJECT
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tests.cloud.models import Place
uri, home, machine, work, dies_at = sys.argv[1:]
place = Place(uri, Path(home))
if dies_at and not place.in_bucket:
    def dying(write):
        def instead(path, content):
            if path.name == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(path, content)
        return instead
    folder.write_bytes, folder.write_json = dying(folder.write_bytes), dying(folder.write_json)
registry = PROJECT / "registry"
judge = Judge(load_quality_gates(registry).promotion, "c0de", load_horizons(registry))
store = place.store(machine)
for at, name in json.loads(work):
    with exclusive(Zones(Path(home)), "models", wait_s=60):
        if name == "back":
            roll_back(store, "1w", judge, at=pd.Timestamp(at))
        else:
            promote(store, name, judge, at=pd.Timestamp(at), force=True, reason=machine)
    print(name, flush=True)
"""
NOW = "2020-03-02T16:00:00Z"
MARCH = pd.Timestamp("2020-03-02")


@pytest.fixture(scope="module")
def fitted(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_baseline(archive, tmp_path_factory.mktemp("fitted"))


@pytest.fixture(params=["folder", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    uri = "folder" if request.param == "folder" else request.getfixturevalue("models_uri")
    return Place(uri, tmp_path / "machines")


@pytest.fixture
def versions(place: Place, fitted: Fitted) -> dict[str, Version]:
    """Three versions, of which the first serves."""
    found = {
        family: place.store().add(fitted.files, metadata(family, family=family), {"skill_pct": 0.0})
        for family in ("curve", "har", "ridge")
    }
    place.store().promote(found["curve"], run="r")
    return found


def child(place: Place, machine: str, work: list[tuple[str, str]], dies_at: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, place.uri, str(place.home), machine, json.dumps(work), dies_at]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)


def history_of(place: Place) -> list[dict[str, str]]:
    return of_lines(place.pointer(HISTORY), "")


def agree(place: Place) -> list[dict[str, str]]:
    """The history, once champions.json was found to follow from it."""
    history = history_of(place)
    assert json.loads(place.pointer(CHAMPIONS)) == current_champions(history)
    return history


def test_two_persons_promote_at_once_and_every_entry_is_there_once(place: Place, versions: dict[str, Version]) -> None:
    days = [f"2020-03-{day:02d}T16:00:00Z" for day in range(2, 8)]
    running = [child(place, family, [(day, versions[family].name) for day in days]) for family in ("har", "ridge")]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    history = agree(place)
    assert sorted((line["reason"], line["at"]) for line in history[1:]) == sorted(
        (family, day) for family in ("har", "ridge") for day in days
    ), "each line is whole, none is lost and none is doubled"
    last = [line for line in history if line.get("at") == days[-1]][-1]
    champion = place.store("c").champion("1w", pd.Timestamp("2020-04-01"))
    assert champion is not None and champion.name == name_of(last), "of one day the last written wins"


def test_two_persons_roll_back_at_once_and_it_is_rolled_back_once(place: Place, versions: dict[str, Version]) -> None:
    setup = child(place, "a", [("2020-02-03T16:00:00Z", versions["har"].name), (NOW, versions["ridge"].name)])
    assert setup.wait(timeout=120) == 0
    running = [child(place, machine, [(NOW, "back")]) for machine in "ab"]
    assert 0 in [process.wait(timeout=120) for process in running]
    back = [name_of(line) for line in agree(place) if "rolled_back" in line]
    assert back in ([versions["har"].name], [versions["har"].name, versions["curve"].name]), (
        "the second finds what the first left, and goes one further back or has nothing to do"
    )


@pytest.mark.parametrize("at", [HISTORY, CHAMPIONS])
def test_killed_between_the_pointers_it_happened_or_did_not_and_the_next_one_mends_it(
    place: Place, versions: dict[str, Version], request: pytest.FixtureRequest, at: str
) -> None:
    running: list[subprocess.Popen[str]] = []
    if place.in_bucket:
        storage: Proxy = request.getfixturevalue("storage")

        def kill(told: str) -> None:
            if told.startswith("POST") and told.endswith(at) and running and running[0].poll() is None:
                os.kill(running[0].pid, signal.SIGKILL)
                running[0].wait()

        storage.watch = kill
    running.append(child(place, "a", [(NOW, versions["ridge"].name)], dies_at=at))
    running[0].communicate(timeout=120)
    assert running[0].returncode == -signal.SIGKILL
    if place.in_bucket:
        storage.watch = None
    # in the bucket the request was on its way when its sender died
    happened = at == CHAMPIONS or place.in_bucket
    expected = versions["ridge" if happened else "curve"].name
    champion = place.store("b").champion("1w", MARCH)
    assert champion is not None and champion.name == expected, "who serves is read from the history"
    assert len(history_of(place)) == (2 if happened else 1)
    again = child(place, "b", [(NOW, versions["ridge"].name)])
    assert again.wait(timeout=120) == 0
    history = agree(place)
    assert [name_of(line) for line in history] == [versions["curve"].name, versions["ridge"].name]
    store = place.store()
    if isinstance(store, FolderStore):
        names = {path.name for path in store.folder.iterdir() if path.is_file()}
        assert names == {HISTORY, CHAMPIONS}, "nothing half-written is left"
