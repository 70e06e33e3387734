"""``cbi doctor``: whether this machine can run CBI every day, one line per check, each with what to do next.

What ``cbi health`` checks is not checked again here: its findings are lines of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from packaging.specifiers import SpecifierSet

from tasks.alerts.routes import NOTIFY, addresses, is_usable
from tasks.errors import CbiError
from tasks.operations.doctor_mac import checkout, wake
from tasks.operations.doctor_services import last_run, not_usable, port, services
from tasks.operations.findings import STATES, WRONG, Finding, not_tried, ok, open_choice, wrong
from tasks.operations.health import FAILING, NOT_YET, OK, Health, run_here, take_health
from tasks.operations.keys import key_problem, keychain, keys_of, probe_keychain
from tasks.operations.machine import Machine, is_rehearsal, next_daily_run, zone_name, zone_problem
from tasks.operations.volume import require_volume, volume_of
from tasks.registry import DataSources, load_sources
from tasks.secrets import find_secret, key_file, quoted
from tasks.settings import Settings, load_settings
from tasks.storage.files import in_shell
from tasks.storage.zones import Zones

CLOCK_OFF_S = 60
FIRST_MACOS = 14
"""The oldest macOS that the pinned PyTorch has a package for."""
FROM_HEALTH = {
    "warehouse": "see docs/runbook.md",
    "disk": "delete what is not needed, or set CBI_HOME to a larger disk",
    "permissions": "run the command above",
    "forecast": "`make daily`",
    "backup": "set CBI_BACKUP in .env (docs/running.md#backup)",
}
"""Checks of health with a line of their own, and what to do where their text does not say it."""
HEALTH_LINES = (*FROM_HEALTH, "health")


@dataclass(frozen=True)
class Examination:
    """All findings, in the order of a first installation."""

    findings: tuple[Finding, ...]

    @property
    def state(self) -> str:
        """``wrong`` if anything is, else ok."""
        return WRONG if any(one.state == WRONG for one in self.findings) else OK

    @property
    def exit_code(self) -> int:
        """1 if something is to be acted on, else 0."""
        return int(self.state == WRONG)

    @property
    def summary(self) -> str:
        """How many checks have each state."""
        counts = {state: sum(one.state == state for one in self.findings) for state in STATES}
        return ", ".join(f"{count} {state}" for state, count in counts.items() if count)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "state": self.state,
            "exit_code": self.exit_code,
            "summary": self.summary,
            "checks": [asdict(one) for one in self.findings],
        }


def examine(machine: Machine, *, settings: Callable[[Path], Settings] = load_settings) -> Examination:
    """Run every check. One that cannot run is a finding; no error is raised."""
    try:
        chosen, refused = settings(machine.project), ""
    except CbiError as error:
        chosen, refused = None, str(error)
    found = [python(machine), openmp(machine), checkout(machine)]
    if chosen is None:
        found += [
            wrong("settings", refused, f"correct {machine.project / '.env'} or the environment, or run `cbi setup`"),
            not_tried("home", "the settings are refused"),
        ]
    else:
        found += [ok("settings", f"read from {settings_places(machine)}"), home(chosen.home)]
    usable = chosen is not None and found[-1].state == OK
    sources = known_sources(chosen.registry if chosen else machine.project / "registry")
    reached = network(machine)
    found += [chain(machine), keys(machine, sources), notify(), reached]
    found += [time_of_day(machine, reached=reached.state == OK), time_zone(machine), wake(machine)]
    if chosen is None or not usable:
        return Examination((*found, *map(not_usable, ("port", "services", "last run", *HEALTH_LINES))))
    zones = Zones(chosen.home)
    found += [port(zones), services(machine, zones)]
    found += [last_run(machine, zones, sources) if sources else not_tried("last run", "the registry cannot be read")]
    return Examination((*found, *of_health(chosen)))


def settings_places(machine: Machine) -> str:
    """Where settings are read from."""
    file = machine.project / ".env"
    return f"the environment and {file}" if file.is_file() else f"the environment; there is no {file}"


def known_sources(registry: Path) -> DataSources | None:
    """The sources of the registry; None if it cannot be read (health names the reason)."""
    try:
        return load_sources(registry)
    except CbiError:
        return None


def python(machine: Machine) -> Finding:
    """Whether this Python is one that CBI runs on, and made for this processor."""
    if machine.is_mac and (problem := mac_problem(machine)):
        return wrong("python", *problem)
    running = ".".join(map(str, machine.python))
    wanted = metadata("cbi")["Requires-Python"]
    install = "`brew install python@3.13`" if machine.is_mac else "`sudo apt install python3 python3-venv`"
    if not SpecifierSet(wanted).contains(running):
        return wrong(
            "python", f"this is Python {running}; CBI needs {wanted}", f"{install}, `make clean`, `make setup`"
        )
    if machine.is_mac and is_translated(machine):
        remedy = (
            "install Homebrew for Apple silicon (it is in /opt/homebrew; the one in /usr/local is for Intel), "
            "`/opt/homebrew/bin/brew install python@3.13 libomp`, `make clean`, "
            "`make setup PYTHON=/opt/homebrew/bin/python3.13`"
        )
        return wrong("python", "this Python is for Intel and runs translated (Rosetta)", remedy)
    return ok("python", f"{running}, {machine.executable}")


def mac_problem(machine: Machine) -> tuple[str, str] | None:
    """What of this Mac no package for training is made for (PyTorch: Apple silicon, macOS 14), and the remedy."""
    number = machine.mac_version.partition(".")[0]
    if number.isdecimal() and int(number) < FIRST_MACOS:
        return (
            f"this is macOS {machine.mac_version}; training and the schedule need macOS {FIRST_MACOS} (PyTorch)",
            "System Settings, General, Software Update. `make demo` and `make daily` run without",
        )
    if machine.processor == "x86_64" and not is_translated(machine):
        return (
            "this Mac has an Intel processor; training and the schedule need Apple silicon (PyTorch)",
            "use another machine, or Linux. `make demo` and `make daily` run without",
        )
    return None


def is_translated(machine: Machine) -> bool:
    """Whether this Python is for Intel and runs on Apple silicon."""
    answer = machine.run(["sysctl", "-in", "sysctl.proc_translated"])
    return answer is not None and answer.output.strip() == "1"


def openmp(machine: Machine) -> Finding:
    """Whether LightGBM finds its OpenMP runtime. On macOS that is libomp, which no wheel brings."""
    loaded = machine.run([machine.executable, "-c", "import lightgbm"])
    if loaded is None:
        return not_tried("libomp", f"{machine.executable} cannot be started or does not end")
    if loaded.status == 0:
        return ok("libomp", "LightGBM loads, with its OpenMP runtime")
    remedy = "`brew install libomp`" if machine.is_mac else "`sudo apt install libgomp1`"
    reason = next((line for line in reversed(loaded.output.splitlines()) if line.strip()), "no message")
    return wrong("libomp", f"LightGBM does not load: {quoted(reason, most=160)}", remedy)


def home(folder: Path) -> Finding:
    """Whether CBI_HOME is there, on its volume, and can be written; and whether its file system keeps permissions."""
    volume = volume_of(folder)
    where = f"{folder}, on the volume {volume}" if volume else f"{folder}, on the system's disk"
    try:
        require_volume(folder, volume)
    except CbiError as error:
        return wrong("home", str(error), "connect and unlock the drive, or set another CBI_HOME with `cbi setup`")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    problem, remedy = try_to_write(there)
    if problem:
        return wrong("home", f"{there}: {problem}", remedy)
    return ok("home", where if there == folder else f"{where}; the first run creates it")


def try_to_write(folder: Path) -> tuple[str, str]:
    """Write a file there and take it away. Returns what is wrong and its remedy; both empty if nothing is."""
    probe = folder / f".cbi-doctor-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        mode = probe.stat().st_mode & 0o777
        probe.unlink()
    except OSError as error:
        return (
            f"cannot be written: {error.strerror}",
            f"`chmod u+rwx {in_shell(folder)}`, or change its owner; on macOS give Python Full Disk Access "
            "(System Settings, Privacy & Security; docs/installed_services.md)",
        )
    if mode != 0o600:  # exFAT gives every file one mode: 0777, or 0700, which has no bit too many
        return (
            f"its file system does not keep permissions (a file made with 0600 has {mode:04o}), so others may read "
            "what is private",
            "use a drive with a file system that does; on macOS format it as APFS",
        )
    return "", ""


def chain(machine: Machine) -> Finding:
    """Where keys can be stored, and whether only the owner can read them."""
    file = key_file()
    if file.is_file() and file.stat().st_mode & 0o077:
        return wrong("keychain", f"others may read {file}, so its keys are not used", f"`chmod 600 {in_shell(file)}`")
    found, why = keychain()
    if found is not None and not (why := probe_keychain(found)):
        return ok("keychain", "a value was stored, read and deleted again")
    if machine.is_mac:
        return wrong("keychain", why, "log in at the screen, `security unlock-keychain`, then run this again")
    return not_tried("keychain", f"{why}; keys are read from the environment and {file}")


def keys(machine: Machine, sources: DataSources | None) -> Finding:
    """Which keys are set, and where the others are to be had."""
    if sources is None:
        return not_tried("keys", "the registry cannot be read")
    known = keys_of(sources)
    written = [key.name for key in known if key.name in lines_of(machine.project / ".env")]
    if written:
        return wrong(
            "keys",
            f"{', '.join(written)} in {machine.project / '.env'}: keys are never read from there",
            "delete the line, then `cbi setup` stores the key",
        )
    unfit = [problem for key in known if (value := find_secret(key.name)) and (problem := key_problem(key.name, value))]
    if unfit:
        return wrong("keys", "; ".join(unfit), "`cbi setup` asks for it again")
    unset = [key for key in known if key.place is None]
    if not unset:
        return ok("keys", f"all {len(known)} are set")
    pages = "; ".join(f"{key.name} ({', '.join(key.sources)}): {key.page}" for key in unset)
    return open_choice("keys", f"{len(known) - len(unset)} of {len(known)} are set. Not set: {pages}", "`cbi setup`")


def lines_of(file: Path) -> set[str]:
    """The names that a `.env` sets."""
    try:
        return {name for name, value in dotenv_values(file, encoding="utf-8", interpolate=False).items() if value}
    except (OSError, UnicodeDecodeError):  # the line `settings` names it
        return set()


def notify() -> Finding:
    """Whether anyone is notified, by addresses that are addresses."""
    given = addresses()
    if not given:
        return open_choice("notify", f"{NOTIFY} is not set: nobody is notified of alerts", "`cbi setup`")
    unknown = sum(not is_usable(one) for one in given)
    if unknown:
        return wrong(
            "notify", f"{unknown} of {len(given)} addresses in {NOTIFY} cannot be used", "`cbi setup`; docs/running.md"
        )
    return ok("notify", f"{len(given)} addresses; nothing was sent to try them")


def network(machine: Machine) -> Finding:
    """Whether the sources can be reached."""
    if machine.reaches():
        return ok("network", "a source accepts connections")
    return wrong(
        "network",
        "no source accepts a connection at port 443",
        "connect the machine; let port 443 out of the firewall; behind a proxy set HTTPS_PROXY",
    )


def time_of_day(machine: Machine, *, reached: bool) -> Finding:
    """Whether the clock is right, compared with a source's server."""
    if is_rehearsal():
        return wrong("clock", "CBI_NOW is set: commands of this shell rehearse another day", "`unset CBI_NOW`")
    there = machine.server_time() if reached else None
    if there is None:
        return not_tried(
            "clock", "no server gave its time" if reached else "without a network no server gives its time"
        )
    off = abs((machine.now() - there).total_seconds())
    if off > CLOCK_OFF_S:
        remedy = (
            "System Settings, General, Date & Time: set it automatically"
            if machine.is_mac
            else "`sudo timedatectl set-ntp true`"
        )
        return wrong("clock", f"{off:.0f} s away from a source's server", remedy)
    return ok("clock", f"{off:.0f} s away from a source's server")


def time_zone(machine: Machine) -> Finding:
    """Whether the time zone is known, and when the daily run is due in it."""
    if problem := zone_problem():
        return wrong("time zone", problem, "`unset TZ`, or set it to a name such as Europe/Berlin")
    due = next_daily_run(machine.now())
    return ok("time zone", f"{zone_name()}: the next daily run is due {due:%a %Y-%m-%d %H:%M}, local time")


def of_health(settings: Settings) -> list[Finding]:
    """Health's findings about the machine, one line each, and one line for all that concerns the data."""
    try:
        run, dated = run_here(settings, None)
        taken = take_health(run, dated=dated)
    except Exception as error:  # the doctor is asked when something is broken
        return [
            *(not_tried(name, "health is not known; see the line `health`") for name in FROM_HEALTH),
            wrong("health", f"{type(error).__name__}: {error}", "`cbi health`; docs/runbook.md"),
        ]
    rows = {row["check"]: (row["state"], row["told"]) for row in taken.checks.to_dict("records")}
    return [*(finding(name, *rows[name]) for name in FROM_HEALTH), of_data(taken)]


def finding(name: str, state: str, text: str) -> Finding:
    """A check of health as a finding."""
    if state in (OK, NOT_YET):
        return Finding(name, state, text)
    return wrong(name, text, FROM_HEALTH[name])


def of_data(taken: Health) -> Finding:
    """What health says of sources, tables, gates, champions and the record. Warnings are not the machine's fault."""
    rest = [row for row in taken.checks.to_dict("records") if row["check"] not in FROM_HEALTH]
    failing = [f"{row['check']}: {row['told']}" for row in rest if row["state"] == FAILING]
    if failing:
        return wrong("health", "; ".join(failing), "`cbi health` shows all; docs/runbook.md")
    noted = [row["check"] for row in rest if row["state"] != OK]
    return ok("health", f"nothing fails; `cbi health` has notes on {', '.join(noted)}" if noted else "all is well")
