"""What the doctor asks of a machine, apart from a home: programs, network, clock. A test hands in another machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.request import getproxies
from zoneinfo import ZoneInfo

from cronsim import CronSim

from tasks import clock
from tasks.network import PROBES, any_accepts
from tasks.operations.deployments import DAILY
from tasks.secrets import end_of
from tasks.settings import PROJECT

MAC, LINUX = "Darwin", "Linux"
PROGRAM_WITHIN_S = 60.0
HOST_WITHIN_S = 10.0
DAY_LETTERS = "MTWRFSU"
"""pmset's letters of Monday to Sunday."""
WAKE_LATEST = timedelta(hours=1)
"""How long after the daily run is due a machine may wake: the run is late then, and starts at once."""


@dataclass(frozen=True)
class Ran:
    """A program that ended: its exit status, and the end of its output, redacted."""

    status: int
    output: str


def run_program(command: Sequence[str]) -> Ran | None:
    """Run a program that only looks. None: there is no such program, or it does not end."""
    if not shutil.which(command[0]):
        return None
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=PROGRAM_WITHIN_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ran(done.returncode, end_of(done.stdout + done.stderr, most=4000))


def reaches_a_source() -> bool:
    """Whether any host of the sources accepts a connection, or answers through the proxy of this machine."""
    return any_accepts([(host, 443) for host in PROBES]) or (bool(getproxies()) and time_of_a_server() is not None)


def time_of_a_server() -> datetime | None:
    """The time that a source's server says it is; None if none answers."""
    import httpx

    for host in PROBES:
        try:
            answer = httpx.head(f"https://{host}/", timeout=HOST_WITHIN_S)
            return parsedate_to_datetime(answer.headers["date"])
        except (httpx.HTTPError, KeyError, ValueError):
            continue
    return None


def time_of_this_machine() -> datetime:
    """The machine's own clock, whatever ``CBI_NOW`` says."""
    return datetime.now().astimezone()


@dataclass(frozen=True)
class Machine:
    """One machine. The defaults are this one."""

    system: str = field(default_factory=platform.system)
    project: Path = PROJECT
    user_folder: Path = field(default_factory=Path.home)
    python: tuple[int, int] = sys.version_info[:2]
    executable: str = sys.executable
    mac_version: str = field(default_factory=lambda: platform.mac_ver()[0])
    processor: str = field(default_factory=platform.machine)
    run: Callable[[Sequence[str]], Ran | None] = run_program
    reaches: Callable[[], bool] = reaches_a_source
    server_time: Callable[[], datetime | None] = time_of_a_server
    now: Callable[[], datetime] = time_of_this_machine

    @property
    def is_mac(self) -> bool:
        """Whether it runs macOS."""
        return self.system == MAC


def zone_problem() -> str:
    """What is wrong with the time zones of this process; empty if nothing is."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named and not os.path.isabs(named) and named not in zoneinfo.available_timezones() and not is_posix_zone(named):  # noqa: PTH117
        return f"TZ={named} names no time zone, so the clock is taken for UTC"
    try:
        ZoneInfo(DAILY.timezone)
    except zoneinfo.ZoneInfoNotFoundError:
        return f"this Python has no time zone {DAILY.timezone}"
    return ""


def is_posix_zone(name: str) -> bool:
    """Whether a name is a rule of its own, such as EST5EDT or UTC0."""
    return bool(re.fullmatch(r"<?[+\-A-Za-z0-9]{3,}>?[+-]?\d{1,2}.*", name))


def zone_name(user_zone: Path = Path("/etc/localtime")) -> str:
    """The machine's time zone by its name, where the system says it; else its offset."""
    if named := os.environ.get("TZ", "").removeprefix(":"):
        return named
    target = str(user_zone.resolve())
    return target.partition("zoneinfo/")[2] or f"{time_of_this_machine():%Z}"


def next_daily_run(now: datetime) -> datetime:
    """When the daily run is due next, in the zone of ``now``."""
    due = next(CronSim(DAILY.cron, now.astimezone(ZoneInfo(DAILY.timezone))))
    return due.astimezone(now.tzinfo)


def wake_command(now: datetime) -> str:
    """The command that wakes a Mac for each daily run, in its local time. It replaces an earlier repeated event.

    At the minute of the run, not before: a Mac with nothing to do may sleep again after a minute.
    """
    due = next_daily_run(now)
    days = "".join(DAY_LETTERS[(day + day_shift(due)) % 7] for day in range(5))
    return f"sudo pmset repeat wakeorpoweron {days} {due:%H:%M:%S}"


def day_shift(due: datetime) -> int:
    """How many days the local date of the daily run is after Chicago's: -1, 0 or 1."""
    return (due.date() - due.astimezone(ZoneInfo(DAILY.timezone)).date()).days


def wakes_at(schedule: str, due: datetime, *, awake: timedelta) -> bool | None:
    """Whether a repeated event of `pmset -g sched` has the machine awake for the daily run. None: there is none.

    Args:
        awake: how long the machine stays awake after it woke.
    """
    found = re.findall(r"(?im)^\s*wake\w*\s+at\s+(\d{1,2}):(\d\d)(?::\d\d)?\s*([AP]M)?(.*)$", schedule)
    if not found:
        return None
    for hour, minute, half, days in found:
        hours = int(hour) % 12 + 12 * (half.upper() == "PM") if half else int(hour)
        wake = due.replace(hour=hours, minute=int(minute), second=0)
        early, late = (due - wake) % timedelta(days=1), (wake - due) % timedelta(days=1)
        other_days = "weekend" in days.lower() or ("weekday" in days.lower() and day_shift(due) != 0)
        if not other_days and (early <= awake or late <= WAKE_LATEST):
            return True
    return False


def sleeps_after_minutes(settings: str) -> int | None:
    """The minutes of idleness after which `pmset -g` says the machine sleeps; 0: never; None: it does not say."""
    found = re.search(r"(?m)^\s*sleep\s+(\d+)", settings)
    return int(found[1]) if found else None


def is_rehearsal() -> bool:
    """Whether this shell rehearses another day (``CBI_NOW``)."""
    return clock.is_simulated()
