"""``flows.training`` on threads, on Dask and on Ray: the same leaderboard, and no worker left behind."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from flows.training import plan_fits, task_runner, training
from tasks.errors import ManifestMismatch
from tasks.run import open_run
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import TEMPORARY, read_json, write_json
from tasks.storage.zones import Zones
from tests.conftest import EARLY, FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]
FAMILIES = ["curve", "drift", "har"]
PACKAGES = {"local": [], "dask": ["distributed", "prefect_dask"], "ray": ["ray", "prefect_ray"]}


@pytest.fixture(scope="module")
def small_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry, its quick budget cut to three families."""
    folder = Path(shutil.copytree(PROJECT / "registry", tmp_path_factory.mktemp("small") / "registry"))
    models = yaml.safe_load((folder / "models.yaml").read_text())
    models["budgets"]["quick"] = {"title": "small", "families": FAMILIES, "last_test_years": 2}
    (folder / "models.yaml").write_text(yaml.safe_dump(models, sort_keys=False))
    return folder


def workers() -> list[str]:
    """Processes of Dask and Ray under this one."""
    words = ("dask", "distributed", "raylet", "gcs_server", "ray::", "multiprocessing.spawn")
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            told = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if any(word in told for word in words) and "resource_tracker" not in told:
            found.append(told)
    return found


def begun(first_run: FinishedRun, registry: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Zones:
    """A home with the first run's training files and fits, less those of a week and a month: they are to be done."""
    zones, before = Zones(home), Zones(first_run.home)
    shutil.copytree(before.exports, zones.exports)
    shutil.copytree(before.fits, zones.fits)
    for path in list(zones.fits.glob("*/done.json")):
        if read_json(path)["horizons"] in (["1w"], ["1m"]):
            shutil.rmtree(path.parent)
    monkeypatch.setenv("CBI_HOME", str(home))
    monkeypatch.setenv("CBI_REGISTRY", str(registry))
    return zones


def trained(
    runner: str, first_run: FinishedRun, registry: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> pd.DataFrame:
    zones = begun(first_run, registry, home, monkeypatch)
    held = len(list(zones.fits.glob("*/done.json")))
    on = training.with_options(task_runner=task_runner(runner, 2))
    board, _ = on(EARLY, budget="quick", apart=runner != "local")
    made = len(list(zones.fits.glob("*/done.json"))) - held
    assert made == len(FAMILIES) * 2 * 3, "two folds and the final fit, at two horizons"
    return board


@pytest.fixture(scope="module")
def local_board(first_run: FinishedRun, small_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        return trained("local", first_run, small_registry, tmp_path_factory.mktemp("local"), patch)


@pytest.mark.more
@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_runner_gives_the_leaderboard_of_local_and_ends_its_workers(
    runner: str,
    first_run: FinishedRun,
    small_registry: Path,
    local_board: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in PACKAGES[runner]:
        pytest.importorskip(package)
    board = trained(runner, first_run, small_registry, tmp_path, monkeypatch)
    pd.testing.assert_frame_equal(board, local_board)
    assert board["pinball_log_return"].notna().all() and set(board["family"]) == set(FAMILIES)
    deadline = time.monotonic() + 120
    while workers() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert workers() == []


def test_training_files_of_another_session_than_the_training_are_not_planned_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daily run exported the next session after the training had begun."""
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    run = open_run(load_settings(), origin="live", as_of="2023-12-28")
    write_json(run.zones.exports / "manifest.json", {"as_of": "2023-12-29", "inputs": "x", "files": {}})
    with pytest.raises(ManifestMismatch, match=r"exports is of 2023-12-29, .* as of 2023-12-28: .* exported meanwhile"):
        plan_fits(run, "quick")


@pytest.mark.more
def test_a_family_whose_process_fails_is_tried_twice_and_does_not_lose_the_others(
    first_run: FinishedRun,
    small_registry: Path,
    local_board: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file lies where one fit of HAR would put its folder."""
    zones = begun(first_run, small_registry, tmp_path, monkeypatch)
    run = open_run(load_settings(), origin="live", as_of=EARLY)
    final = plan_fits(run, "quick").of("har", "1w")[-1]
    (zones.fits / f"{TEMPORARY}{final.identity}").write_text("in the way")
    board, _ = training.with_options(task_runner=task_runner("local", 2))(EARLY, budget="quick")
    lost = (local_board["family"] == "har") & (local_board["horizon"] == "1w")
    figures = ["horizon", "family", "pinball_log_return", "coverage_80"]
    pd.testing.assert_frame_equal(board[figures], local_board.loc[~lost, figures].reset_index(drop=True))
    assert "fits failed, the first: 1w final: FileExistsError" in caplog.text
    assert caplog.text.count("Retry 1/1") == 1
