"""Runs commands in separate processes, with their time and memory."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pandas as pd
import psutil

from evidence.measurement import MEGABYTE, BenchError
from tasks.settings import PROJECT

STAMPED = re.compile(r"^(\d\d):(\d\d):(\d\d\.\d+) \| ")
DAY_S = 86_400
LINUX_RESET, LINUX_STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """The largest resident memory of a process and its children while the block runs, by sampling.

    Pages that parent and child share count in both, so the figure is an upper bound.
    """

    def __init__(self, pid: int | None = None, *, every_s: float = 0.02) -> None:
        self.megabytes = 0.0
        self._process = psutil.Process(pid)
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.megabytes = max(self.megabytes, self._resident() / MEGABYTE)
            if self._done.wait(self._every_s):
                return

    def _resident(self) -> int:
        total = 0
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return 0
        for process in family:
            try:
                total += process.memory_info().rss
            except psutil.Error:  # the process has ended
                continue
        return total


def reset_peak() -> None:
    """Forget the peak so far. Only on Linux; elsewhere the peak includes the creation of the input."""
    if LINUX_RESET.exists():
        LINUX_RESET.write_text("5", encoding="utf-8")


def peak_mb() -> float:
    """The largest resident memory of this process since ``reset_peak``, exact, from the kernel.

    Not ``ru_maxrss`` on Linux, which a child inherits from the process that started it.
    """
    if LINUX_STATUS.exists():
        (line,) = [line for line in LINUX_STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / MEGABYTE if sys.platform == "darwin" else used / 1024


@dataclass(frozen=True)
class Finished:
    """A process that has ended. ``cpu_s`` and ``peak_mb`` include its children; ``peak_mb`` is sampled.

    (The kernel's ``ru_maxrss`` cannot be used: a child inherits that of its parent.)
    """

    status: int
    seconds: float
    cpu_s: float
    peak_mb: float
    out: str
    log: str


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path = PROJECT,
    sampled: bool = False,
    check: bool = True,
) -> Finished:
    """Run a command to its end and measure it.

    Args:
        sampled: whether memory is sampled, which takes some CPU time; without it ``peak_mb`` is 0.

    Raises:
        BenchError: it failed and ``check`` is set; the message has its last line.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
    ):
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=log)
        memory = PeakMemory(process.pid, every_s=0.1) if sampled else None
        with memory or nullcontext():
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        log.seek(0)
        done = Finished(
            process.returncode,
            seconds,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mb=memory.megabytes if memory else 0.0,
            out=out.read(),
            log=log.read(),
        )
    if check and done.status:
        last = next((line for line in reversed((done.out + done.log).splitlines()) if line.strip()), "nothing")
        raise BenchError(f"`{' '.join(command[1:])}` ended with {done.status}; its last line: {last}")
    return done


def run_python(*words: str, home: Path = PROJECT / "var", sampled: bool = False) -> Finished:
    """Run this Python with its own home, detailed logs, and only the run's own server.

    Raises:
        BenchError: it failed.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CBI_HOME"))}
    own = {"CBI_HOME": str(home), "CBI_LOG_LEVEL": "INFO", "DO_NOT_TRACK": "1"}
    return run([sys.executable, *words], environment=kept | own, sampled=sampled)


@dataclass(frozen=True)
class DailyRun:
    """One `cbi daily`: its cost, and the rows of the warehouse after it."""

    wall_s: float
    peak_mb: float
    prefect_start_s: float | None
    prefect_stop_s: float | None
    row_counts: dict[str, int]


def daily_run(home: Path, archive: Path) -> DailyRun:
    """Run `cbi daily` on the archive with its own Prefect server.

    Raises:
        BenchError: it failed.
    """
    done = run_python("-m", "cli", "daily", "--origin", str(archive), home=home, sampled=True)
    ended, lines = _second_of_day(), [*done.out.splitlines(), *done.log.splitlines()]
    begun, beginning, stopping = (
        _stamp(lines, text) for text in ("Starting temporary server", "Beginning flow run", "Stopping temporary server")
    )
    counts = pd.read_csv(io.StringIO(run_python("-m", "cli", "query", "--csv", home=home).out))
    return DailyRun(
        done.seconds,
        done.peak_mb,
        prefect_start_s=None if begun is None or beginning is None else (beginning - begun) % DAY_S,
        prefect_stop_s=None if stopping is None else (ended - stopping) % DAY_S,
        row_counts=dict(zip(counts["name"].astype(str), counts["rows"].astype(int), strict=True)),
    )


def import_seconds(module: str) -> float:
    """Seconds of `import module` in a fresh process, without the interpreter's start."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return float(run_python("-c", code).out)


def build_in_child(what: str, folder: Path, *, times: int = 1, series: int = 1) -> dict[str, float]:
    """One build of evidence.child in a fresh process: first_s, seconds, peak_mb, grown_mb, cells.

    Raises:
        BenchError: it failed.
    """
    done = run_python("-m", "evidence.child", what, str(folder), str(times), str(series))
    result: dict[str, float] = json.loads(done.out.splitlines()[-1])
    return result


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
