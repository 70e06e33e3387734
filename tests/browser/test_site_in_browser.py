"""Every page in headless Chromium: from disk and served, desktop and phone, light and dark (``make test-site``).

CBI_SITE_FOLDER, a site that is built already, is checked instead of the small one; CBI_SITE_SHOTS keeps screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.forecasting.surface import answers_of, surface_answer
from tasks.reporting.site.build import PAGES, build_site
from tasks.reporting.site.serve import server_of
from tasks.settings import PROJECT
from tasks.storage.zones import Zones
from tests.reporting.site_home import NOW, publish_home, surface

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PACKAGES = os.environ.get("NODE_PATH") or str(PROJECT / ".venv" / "browser-packages" / "node_modules")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.more,
    pytest.mark.skipif(
        CHROMIUM is None or not (Path(PACKAGES) / "playwright-core").is_dir(), reason="make test-site installs Chromium"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("CBI_SITE_FOLDER"):
        return Path(given)
    home = tmp_path_factory.mktemp("browser") / "home"
    return build_site(publish_home(home), Zones(home), now=NOW).folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Iterator[dict[str, Any]]:
    server = server_of(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    words = [str(folder), f"http://127.0.0.1:{server.server_port}/", str(CHROMIUM)]
    words += [shots] if (shots := os.environ.get("CBI_SITE_SHOTS")) else []
    checked = subprocess.run(
        ["node", str(Path(__file__).with_name("check.js")), *words],
        env={**os.environ, "NODE_PATH": PACKAGES}, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    server.shutdown()
    assert checked.returncode == 0, checked.stderr
    yield json.loads(checked.stdout)


def test_no_page_reports_an_error_or_obeys_a_text(found: dict[str, Any]) -> None:
    assert found["errors"] == []


def test_no_request_leaves_the_folder(found: dict[str, Any]) -> None:
    assert found["outside"] == []


def test_axe_finds_nothing_serious(found: dict[str, Any]) -> None:
    assert found["axe"] == []


def test_no_page_is_wider_than_the_screen(found: dict[str, Any]) -> None:
    assert found["wide"] == []


def test_charts_are_drawn_and_become_interactive(found: dict[str, Any]) -> None:
    assert found["charts"] == found["interactive"] >= 20  # on disk and served


def test_a_search_filters_and_gives_back(found: dict[str, Any]) -> None:
    assert set(found["filtered"]) == {"series-table", "dictionary-table", "documents"}
    for before, none, after in found["filtered"].values():
        assert before == after > none == 0


def test_an_old_page_says_that_it_is_stale(found: dict[str, Any]) -> None:
    assert found["stale"] == {page.file: True for page in PAGES}


def test_the_sliders_answer_as_the_surface_does(found: dict[str, Any], folder: Path) -> None:
    """Every state of the sliders, against the same arithmetic in Python on the same rows."""
    if os.environ.get("CBI_SITE_FOLDER"):
        pytest.skip("the surface of a given site is not known here")
    rows = pd.DataFrame(surface())
    rows = rows[rows["surface"].notna()]
    answers = {str(horizon): answers_of(part) for horizon, part in rows.groupby("horizon")}
    assert found["sliders"]["count"] == 2  # palm and the VIX; no forecast reacts to the dollar, the real has no value
    states = found["sliders"]["states"]
    assert len({json.dumps(state["moves"]) for state in states}) >= 11
    missing = 0
    for state in states:
        assert set(state["answers"]) == {"1w", "1m", "3m", "6m", "12m"}
        for horizon, shown in state["answers"].items():
            expected = surface_answer(answers[horizon], state["moves"]) if horizon in answers else {"p50": float("nan")}
            if np.isnan(expected["p50"]):
                assert set(shown.values()) == {"not known"}
                missing += 1
                continue
            today = answers[horizon][()]["p50"]
            assert float(shown["p50"]) == pytest.approx(expected["p50"], abs=0.0051)
            assert float(shown["change"]) == pytest.approx(expected["p50"] - today, abs=0.0051)
            low, high = shown["band"].split(" to ")
            assert (float(low), float(high)) == pytest.approx((expected["p10"], expected["p90"]), abs=0.0051)
    assert missing > len(states)  # 12 months everywhere, 6 months where its point has no answer
    first, last = states[0], states[-1]
    assert first == last and set(first["moves"].values()) == {0}
    assert states[-2]["moves"] != states[-3]["moves"], "the arrow keys move a slider"


def test_without_scripts_the_computed_answers_can_be_read(found: dict[str, Any]) -> None:
    if os.environ.get("CBI_SITE_FOLDER"):
        pytest.skip("the surface of a given site is not known here")
    assert not found["plain"]["sliders"]
    assert "Two inputs at once" in found["plain"]["text"]
    three = next(row for row in surface() if row["horizon"] == "3m" and row["point"] == "palm -20, vix +100")
    assert f"{three['p50']:.2f}\n{three['p10']:.2f} to {three['p90']:.2f}" in found["plain"]["opened"]
