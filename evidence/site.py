"""``python -m evidence.site``: Lighthouse on the site's page Today, desktop and phone; writes docs/results/site.md.

It reads the site in CBI_HOME (`make demo` builds it) through a server on loopback, in the system's Chromium. Lighthouse
is of npm, its version pinned in tests/browser/package.json; `make lighthouse` installs both.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from evidence.command_line import page_command
from evidence.machine import stamp
from evidence.measurement import BenchError
from evidence.page import shown, table, write_page
from tasks.reporting.site.serve import server_of
from tasks.settings import PROJECT, load_settings

PAGE = PROJECT / "docs" / "results" / "site.md"
RUNS = 3
LIMIT = 95
PRESETS = {"desktop": ("--preset=desktop",), "phone": ()}
"""Lighthouse's own settings: a desktop with a fast connection; a phone with a slow processor and connection."""
CATEGORIES = {"performance": "performance", "accessibility": "accessibility", "best-practices": "best practices"}
METRICS = {
    "first-contentful-paint": "first content, ms",
    "largest-contentful-paint": "largest content, ms",
    "total-blocking-time": "blocked, ms",
    "cumulative-layout-shift": "layout shift",
    "total-byte-weight": "bytes",
}


def measure() -> None:
    """Measure Today, each preset several times in turns, and write the page.

    Raises:
        BenchError: the site, Chromium or Lighthouse is missing, or Lighthouse fails.
    """
    before, site = stamp("make lighthouse"), load_settings().home / "site"
    if not (site / "index.html").exists():
        raise BenchError(f"there is no site in {site}: run `make demo` first")
    server = server_of(site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/index.html"
    try:
        reports: dict[str, list[dict[str, Any]]] = {preset: [] for preset in PRESETS}
        for _ in range(RUNS):
            for preset in PRESETS:
                reports[preset].append(lighthouse(address, PRESETS[preset]))
                print(f"{preset}: {scores(reports[preset][-1])}", flush=True)
    finally:
        server.shutdown()
        server.server_close()
    write_page(PAGE, "The site in Lighthouse", before, *parts(reports))


def lighthouse(address: str, words: tuple[str, ...]) -> dict[str, Any]:
    """One report of Lighthouse, as it writes it in JSON.

    Raises:
        BenchError: Chromium or Lighthouse is missing, or it fails.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    packages = Path(os.environ.get("NODE_PATH") or PROJECT / ".venv" / "browser-packages" / "node_modules")
    program = packages / "lighthouse" / "cli" / "index.js"
    if browser is None or not program.exists():
        raise BenchError("Chromium or Lighthouse is missing: `make lighthouse` installs them")
    with tempfile.TemporaryDirectory(prefix="cbi-lighthouse-") as folder:
        output = Path(folder) / "report.json"
        ran = subprocess.run(
            [
                "node",
                str(program),
                address,
                *words,
                f"--only-categories={','.join(CATEGORIES)}",
                "--output=json",
                f"--output-path={output}",
                "--quiet",
                "--no-enable-error-reporting",
                "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
            ],
            env={**os.environ, "CHROME_PATH": browser},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        if ran.returncode != 0 or not output.exists():
            raise BenchError(f"Lighthouse failed: {' '.join(ran.stderr.split())[-300:]}")
        report: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    if "runtimeError" in report:
        raise BenchError(f"Lighthouse failed: {report['runtimeError']['message']}")
    return report


def scores(report: dict[str, Any]) -> dict[str, float | None]:
    """The score of each category, of 100."""
    found = {name: report["categories"][name]["score"] for name in CATEGORIES}
    return {name: None if score is None else 100 * score for name, score in found.items()}


def parts(reports: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The sections of the page: scores, what is behind the first of them, and what costs points."""
    rows: list[tuple[object, ...]] = []
    for preset, own in reports.items():
        for name, title in CATEGORIES.items():
            values = [score for report in own if (score := scores(report)[name]) is not None]
            middle = statistics.median(values) if values else None
            met = "" if preset != "desktop" else "yes" if middle is not None and middle >= LIMIT else "**not met**"
            each = ", ".join(f"{value:.0f}" for value in values)
            rows.append((preset, title, shown(middle, "{:.0f}"), each, LIMIT if preset == "desktop" else "none", met))
    behind = [
        (title, *(shown(_middle(own, name), "{:,.3g}" if "shift" in name else "{:,.0f}") for own in reports.values()))
        for name, title in METRICS.items()
    ]
    version = next(iter(reports.values()))[0]["lighthouseVersion"]
    return [
        f"Lighthouse {version} on Today, served on loopback without compression; {RUNS} runs of each preset, in turns; "
        "the median counts. The limits are for the desktop.",
        table(["preset", "category", "score", "each run", "limit", "met?"], rows),
        "## Behind the performance",
        "Medians. The phone's are what Lighthouse computes for a slow processor and connection.",
        table(["", *reports], behind),
        "## What costs points",
        table(["preset", "audit", "score"], _below(reports)),
    ]


def _middle(own: list[dict[str, Any]], name: str) -> float | None:
    values = [value for report in own if (value := report["audits"][name].get("numericValue")) is not None]
    return statistics.median(values) if values else None


def _below(reports: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str, str]]:
    """Audits with a weight in their category and less than the full score in the first run."""
    found = []
    for preset, (report, *_) in reports.items():
        weighted = {
            ref["id"] for name in CATEGORIES for ref in report["categories"][name]["auditRefs"] if ref["weight"]
        }
        for name in sorted(weighted):
            audit = report["audits"][name]
            if audit["score"] is not None and audit["score"] < 1:
                found.append((preset, str(audit["title"]), f"{audit['score']:.2f}"))
    return found


if __name__ == "__main__":
    sys.exit(page_command("evidence.site", __doc__, measure, PAGE))
