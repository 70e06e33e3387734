"""The documentation opened from disk in headless Chromium: search works, the dictionary filters, no host is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operations.test_documentation_site import documentation

__all__ = ["documentation"]  # the site, built once
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")]


def opened(page: str, folder: Path) -> tuple[str, set[str]]:
    """The page as it is after its scripts ran, and the addresses that it requested over a network.

    No name is resolved; a request is logged all the same. The browser's own requests have no origin.
    """
    log = folder / "net.json"
    words = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *(
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--no-first-run",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
        ),
        *(f"--log-net-log={log}", "--virtual-time-budget=8000", "--dump-dom", page),
    ]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=180, check=True)
    events = [line for line in log.read_text(encoding="utf-8").split("\n") if '"initiator":' in line]
    assert events, "the log has the page's own request"
    asked = (re.search(r'"url":"(https?://[^"]+)"', line) for line in events if "not an origin" not in line)
    return done.stdout, {found[1] for found in asked if found}


def test_search_finds_a_page_and_asks_no_host(documentation: Path, tmp_path: Path) -> None:
    shown, requested = opened(f"{(documentation / 'index.html').as_uri()}?q=quarantine", tmp_path)
    assert shown.count("md-search-result__item") >= 3
    assert requested == set()


def test_the_dictionary_counts_its_rows(documentation: Path, tmp_path: Path) -> None:
    shown, requested = opened((documentation / "data_dictionary.html").as_uri(), tmp_path)
    found = re.search(r'role="status">(\d+) rows<', shown)
    assert found and int(found[1]) > 900, "series, derived series and features"
    assert requested == set()
