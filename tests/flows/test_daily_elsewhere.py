"""A whole day in a checkout whose folder has an awkward name, from another folder, in another locale and time zone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.settings import PROJECT
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.conftest import EARLY, FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.more, pytest.mark.xdist_group("daily")]
WHERE = {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONWARNDEFAULTENCODING": "1"}
FIGURES = "SELECT horizon, point, p10, p90, family FROM api.vw_latest_forecast ORDER BY horizon"


def test_the_forecasts_are_the_same_in_any_folder_locale_and_time_zone(first_run: FinishedRun, tmp_path: Path) -> None:
    checkout, elsewhere = tmp_path / "Satechi Hub" / "it's Süßöl [z] 100% #1 *" / "cbi", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("cli", "tasks", "flows", "expectations"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(first_run.registry, checkout / "registry")
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CBI_", "LC_", "LANG", "PREFECT", "PYTHON"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "flows.daily", "--origin", str(first_run.archive), "--as-of", EARLY],
        cwd=elsewhere,
        env={**own, **WHERE, "PYTHONPATH": str(checkout)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    guessed = [line for line in done.stderr.splitlines() if "EncodingWarning" in line and f"{checkout}/" in line]
    assert guessed == [], "every text is read and written as UTF-8, whatever the locale"
    home = checkout / "var"
    assert (
        f"Charts and gates: {home / 'reports'}" in done.stdout and (home / "reports" / f"gates_{EARLY}.html").exists()
    )
    figures = [DuckDbWarehouse(Zones(place)).query(FIGURES) for place in (home, first_run.home)]
    pd.testing.assert_frame_equal(*figures)
    seen = DuckDbWarehouse(Zones(home)).query("SELECT COUNT(*) AS rows_seen FROM staging.observations")
    assert seen["rows_seen"].iloc[0] > 0
    assert (home / "prefect" / "prefect.db").exists()
    assert not list(elsewhere.iterdir()), "nothing is written where the command is run"
    assert {path.name for path in checkout.iterdir()} == {"cli", "tasks", "flows", "expectations", "registry", "var"}
