"""``python -m evidence.soak --sessions N --from DATE``: consecutive days through the real flow, with kills and without.

After a stop, the same command continues.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil

from evidence.command_line import command, exit_status
from evidence.inputs import staged
from evidence.machine import commit
from evidence.measurement import MEGABYTE
from evidence.processes import peak_mb, run
from evidence.soak_report import (
    Soak,
    SoakDay,
    days_over,
    differences,
    table_checksums,
    write_days,
    write_report,
)
from tasks.errors import ServiceFailed
from tasks.operations.services import ALLOCATORS, server_password, stop
from tasks.run import open_run
from tasks.settings import PROJECT, Settings, load_settings
from tasks.sources.payloads import RECORDED
from tasks.storage.files import UTF_8

TRIES = 6  # tries of one session, kills included
DAY_WITHIN_S = 900.0
KILL_WITHIN = 1.1  # share of a day's seconds; above 1, so that a few kills fall between two days
FIRST_DAY_S = 30.0


def work() -> int:
    """Run every session from stdin through the daily flow. Print one line of figures per session."""
    from flows.daily import daily
    from flows.runtime import prefect_at_home

    answers, settings = os.fdopen(os.dup(1), "w", encoding="utf-8"), load_settings()
    os.dup2(2, 1)  # all other output goes to the log
    me = psutil.Process()
    with prefect_at_home(settings):
        for line in sys.stdin:
            request = json.loads(line)
            began, cpu = time.monotonic(), time.process_time()
            daily(request["origin"], request["session"])
            figures = {
                "session": request["session"],
                "seconds": time.monotonic() - began,
                "cpu_s": time.process_time() - cpu,
                "rss_mb": me.memory_info().rss / MEGABYTE,
                "peak_mb": peak_mb(),
                "open_files": me.num_fds(),
                "threads": me.num_threads(),
            }
            print(json.dumps(figures), file=answers, flush=True)
    return 0


def prepare(settings: Settings, origin: str, before: str, last: str) -> None:
    """Stage the payloads up to ``last``, then one day as of ``before``, which trains the models."""
    opened = open_run(settings, origin=origin, as_of=last)
    for _ in staged(opened.zones, opened.sources, opened.as_of, origin=opened.payloads):
        pass
    words = [sys.executable, "-m", "cli", "daily", "--origin", origin, "--as-of", before]
    run(words, environment={**os.environ, "CBI_HOME": str(settings.home)})


@dataclass
class Runner:
    """One home, the process that runs its days, and the times at which that process is killed.

    The result of each day is stored beside the home when it ends, so that a stopped soak continues.
    """

    home: Path
    origin: str
    api: dict[str, str]
    server: psutil.Process
    log: Path
    kills: random.Random | None = None
    share: float = 0.0
    days: list[SoakDay] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.days += days_over(self.home)

    @property
    def killed(self) -> list[str]:
        """The kills so far: session and second."""
        return [f"{day.session} after {second:.1f} s" for day in self.days for second in day.killed_after_s]

    def run(self, sessions: Sequence[str]) -> None:
        """Run the sessions that are not done yet, in order. Each is tried again after a kill."""
        over = {day.session for day in self.days}
        for session in sessions:
            if session not in over:
                self.days.append(self._day(session))
                write_days(self.home, self.days)

    def _day(self, session: str) -> SoakDay:
        began, usual = time.monotonic(), sorted(day.seconds for day in self.days) or [FIRST_DAY_S]
        killed: list[float] = []
        for number in range(1, TRIES + 1):
            started = time.monotonic()
            moment = None
            if self.kills is not None and number < TRIES and self.kills.random() < self.share:
                moment = self.kills.uniform(0, KILL_WITHIN * usual[len(usual) // 2])
            figures = self._try(session, moment)
            if figures is not None:
                whole, files = self.server.memory_info().rss / MEGABYTE, self.server.num_fds()
                return SoakDay(
                    **figures,
                    commit=commit(),
                    server_rss_mb=whole,
                    server_open_files=files,
                    killed_after_s=tuple(killed),
                    lost_s=started - began if number > 1 else 0.0,
                )
            killed.append(cast(float, moment))
        raise AssertionError("the last try is never killed")

    def _try(self, session: str, moment: float | None) -> dict[str, Any] | None:
        """The figures of one run, or None when it was killed. A run that fails without a kill ends the soak."""
        process = self._process if self._process and self._process.poll() is None else self._start()
        assert process.stdin and process.stdout
        request = {"origin": self.origin, "session": session}
        limit = threading.Timer(DAY_WITHIN_S if moment is None else moment, process.send_signal, [signal.SIGKILL])
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        limit.start()
        line = process.stdout.readline()
        limit.cancel()
        if line:
            figures: dict[str, Any] = json.loads(line)
            return figures
        code = process.wait()
        if code != -signal.SIGKILL or moment is None:
            raise ServiceFailed(f"the run as of {session} ended with {code} by itself; see {self.log}")
        return None

    def _start(self) -> subprocess.Popen[str]:
        self.end()
        environment = {**ALLOCATORS, **os.environ, **UTF_8, "CBI_HOME": str(self.home), **self.api}
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "evidence.soak", "--work"],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                encoding="utf-8",
            )
        return self._process

    def end(self) -> None:
        """End the process and close its pipes."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def soak(settings: Settings, folder: Path, origin: str, given: argparse.Namespace) -> Soak:
    """Run both homes from one start, in parallel block by block, and compare them after each block."""
    from flows.services import serve
    from tasks.calendar import session_on_or_before, sessions
    from tasks.storage.files import read_json, write_json
    from tasks.storage.zones import Zones

    first = session_on_or_before(given.since)
    days = [f"{day:%Y-%m-%d}" for day in sessions(first)[: given.sessions]]
    base, log = folder / "base", folder / "soak.log"
    folder.mkdir(parents=True, exist_ok=True)
    homes = {name: folder / name for name in ("killed", "undisturbed")}
    settings_of = {"origin": origin, "sessions": days, "kill_seed": given.kill_seed, "kill_share": given.kill_share}
    if read_json(folder / "asked.json") != settings_of:  # a soak with other settings starts again
        for home in (base, *homes.values()):
            shutil.rmtree(home, ignore_errors=True)
        print(f"preparing {base}: staged to {days[-1]}, trained before {days[0]}", flush=True)
        prepare(settings.model_copy(update={"home": base}), origin, f"{sessions(last=first)[-2]:%Y-%m-%d}", days[-1])
        for home in homes.values():
            write_days(home, [])
            shutil.copytree(base, home, ignore=shutil.ignore_patterns("prefect"))
        write_json(folder / "asked.json", settings_of)
    watched = Zones(folder / "server")
    server = serve(settings.model_copy(update={"home": watched.home}), watched, "127.0.0.1", 0)
    process = psutil.Process(server.pid)
    api = {"PREFECT_API_URL": f"{server.address}/api", "PREFECT_API_AUTH_STRING": server_password(watched)}
    gone_by = len(days_over(homes["killed"]))
    kills = random.Random(f"{given.kill_seed} {gone_by}")
    runners = [
        Runner(homes["killed"], origin, api, process, log, kills=kills, share=given.kill_share),
        Runner(homes["undisturbed"], origin, api, process, log),
    ]
    disturbed, calm = runners
    try:
        over = min(len(calm.days), len(disturbed.days), len(days) - 1)
        for block in range(over // given.every * given.every, len(days), given.every):
            with ThreadPoolExecutor(2) as pool:
                for done in [pool.submit(runner.run, days[block : block + given.every]) for runner in runners]:
                    done.result()
            from tasks.warehouse.duckdb import DuckDbWarehouse

            words, counts = table_checksums(calm.home), DuckDbWarehouse(Zones(calm.home)).row_counts()
            so_far = Soak(
                seed=given.kill_seed,
                origin=origin,
                wanted=len(days),
                kills=disturbed.killed,
                killed=disturbed.days,
                undisturbed=calm.days,
                tables=len(words),
                rows=sum(counts[name] for name in words),
                found=differences(disturbed.home, calm.home),
            )
            write_report(given.report or folder / "soak.md", so_far)
            print(
                f"{len(calm.days)} of {len(days)} sessions, to {days[len(calm.days) - 1]}: "
                f"{len(disturbed.killed)} kills, {'alike' if not so_far.found else f'NOT alike: {so_far.found}'}; "
                f"{calm.days[-1].seconds:.1f} s a day, {calm.days[-1].rss_mb:.0f} MB, {calm.days[-1].open_files} files",
                flush=True,
            )
            if so_far.found:
                break
    finally:
        for runner in runners:
            runner.end()
        stop(watched, "server")
    return so_far


def main() -> int:
    """Command line. Exits with 1 if the two homes differ, or a day failed without a kill."""
    parser = command("evidence.soak", __doc__, "--sessions 20 --from 2022-12-30")
    parser.add_argument("--sessions", type=int, default=250, help="how many, one after the other")
    parser.add_argument("--from", dest="since", default="2022-12-30", help="the first of them")
    parser.add_argument("--kill-seed", type=int, default=1, help="decides when the process is killed")
    parser.add_argument("--kill-share", type=float, default=0.2, help="share of runs that are killed")
    parser.add_argument("--every", type=int, default=10, help="compare, and write the report, after this many sessions")
    parser.add_argument("--origin", help="a folder of recorded payloads (default: the recorded archive)")
    parser.add_argument("--report", type=Path, help="(default: soak.md in the home)")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work()
    return exit_status(lambda: compared(given))


def compared(given: argparse.Namespace) -> int:
    """Run a soak. Returns 1 if the two homes differ."""
    settings = load_settings()
    origin = str(Path(given.origin).resolve()) if given.origin else RECORDED
    return int(bool(soak(settings, (settings.home / "soak").resolve(), origin, given).found))


if __name__ == "__main__":
    sys.exit(main())
