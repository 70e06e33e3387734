"""The product run as people run it: in processes of its own."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evidence.measurement import BenchError, PeakMemory
from tasks.settings import PROJECT

STAMPED = re.compile(r"^(\d\d):(\d\d):(\d\d\.\d+) \| ")
DAY_S = 86_400


@dataclass(frozen=True)
class DailyRun:
    """One `cbi daily`, what it cost and what it left in the warehouse."""

    wall_s: float
    peak_mb: float
    prefect_start_s: float | None
    prefect_stop_s: float | None
    row_counts: dict[str, int]


def daily_run(home: Path, archive: Path) -> DailyRun:
    """Run it on the archive with its own Prefect server.

    Raises:
        BenchError: it did not end well, with the last line it wrote.
    """
    environment = _environment(home)
    log = home.with_name("daily.log")
    command = [sys.executable, "-m", "cli", "daily", "--origin", str(archive)]
    with log.open("w", encoding="utf-8") as handle:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=handle, stderr=subprocess.STDOUT)
        with PeakMemory(process.pid, every_s=0.1) as memory:
            status = process.wait()
        wall_s, ended = time.perf_counter() - start, _second_of_day()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if status:
        said = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise BenchError(f"`{' '.join(command[1:])}` ended with {status}; its last line: {said}")
    begun, beginning, stopping = (
        _stamp(lines, text) for text in ("Starting temporary server", "Beginning flow run", "Stopping temporary server")
    )
    return DailyRun(
        wall_s,
        memory.megabytes,
        prefect_start_s=None if begun is None or beginning is None else (beginning - begun) % DAY_S,
        prefect_stop_s=None if stopping is None else (ended - stopping) % DAY_S,
        row_counts=_row_counts(environment),
    )


def import_seconds(module: str) -> float:
    """Seconds of `import module` in a fresh process, the interpreter's own start left out."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    environment = _environment(PROJECT / "var")
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=True).stdout)


def build_in_child(what: str, folder: Path, *, times: int = 1, series: int = 1) -> dict[str, float]:
    """One build of evidence.child in a fresh process: first_s, seconds, peak_mb, grown_mb, cells.

    Raises:
        BenchError: it did not end well, with the last line it wrote.
    """
    command = [sys.executable, "-m", "evidence.child", what, str(folder), str(times), str(series)]
    environment = _environment(PROJECT / "var")
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8")
    if done.returncode:
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "nothing")
        raise BenchError(f"`{' '.join(command[1:])}` ended with {done.returncode}; its last line: {said}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _environment(home: Path) -> dict[str, str]:
    """This process's, with the home given, the log as the figures need it and no server but the run's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CBI_HOME"))}
    return kept | {"CBI_HOME": str(home), "CBI_LOG_LEVEL": "INFO", "DO_NOT_TRACK": "1"}


def _stamp(lines: list[str], text: str) -> float | None:
    """Second of the day of the first line that has ``text``, by the log's own clock."""
    for line in lines:
        found = STAMPED.match(line)
        if found and text in line:
            return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return None


def _second_of_day() -> float:
    now = time.time()
    local = time.localtime(now)
    return 3600 * local.tm_hour + 60 * local.tm_min + local.tm_sec + now % 1


def _row_counts(environment: dict[str, str]) -> dict[str, int]:
    command = [sys.executable, "-m", "cli", "query", "--csv"]
    listed = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", check=True)
    contents = pd.read_csv(io.StringIO(listed.stdout))
    return dict(zip(contents["name"].astype(str), contents["rows"].astype(int), strict=True))
