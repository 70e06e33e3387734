"""The doctor on a sound home, on one with planted faults, and on a Mac that is played by stand-ins."""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import pandas as pd
import psutil
import pytest

from cli.app import main
from tasks.operations import doctor, findings
from tasks.operations import machine as machine_module
from tasks.operations.doctor import examine
from tasks.operations.doctor_mac import checkout, wake
from tasks.operations.doctor_report import without_names, write_report
from tasks.operations.doctor_services import services
from tasks.operations.findings import NOT_TRIED, WRONG, Finding
from tasks.operations.install import AGENTS
from tasks.operations.launchd import plist_path
from tasks.operations.machine import Machine, Ran, next_daily_run, wake_command, wakes_at
from tasks.operations.services import free_port, record_path
from tasks.settings import PROJECT
from tasks.sources.payloads import Fetched, land
from tasks.staging.stage import stage_source
from tasks.storage.files import write_json
from tasks.storage.zones import Zones
from tests.reporting.site_home import publish_home

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2024, 1, 6, 7, 0, tzinfo=NEW_YORK)
LINES = (
    "python", "libomp", "checkout", "settings", "home", "keychain", "keys", "notify", "network", "clock", "time zone",
    "wake", "port", "services", "last run", "warehouse", "disk", "permissions", "forecast", "backup", "health",
)  # fmt: skip
KEY = "planted-key-of-the-eia"  # pragma: allowlist secret


def answering(answers: dict[str, Ran | None]) -> Callable[[Sequence[str]], Ran | None]:
    """A machine's programs: by the beginning of the command. What is not named ends well and says nothing."""

    def run(command: Sequence[str]) -> Ran | None:
        words = " ".join(command)
        return next((answer for begins, answer in answers.items() if begins in words), Ran(0, ""))

    return run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, registry) -> Path:
    """A live home whose price is fetched and whose forecast is published, as of 2024-01-05."""
    folder = tmp_path_factory.mktemp("sound") / "home"
    days = pd.bdate_range("2023-12-01", "2024-01-05")
    closes = [47 + place % 7 / 10 for place in range(len(days))]
    bars = "".join(
        f"{day:%Y-%m-%d},{close},{close + 0.3:.2f},{close - 0.3:.2f},{close},{close},100\n"
        for day, close in zip(days, closes, strict=True)
    )
    served = Fetched("ZL=F", "csv", f"Date,Open,High,Low,Close,Adj Close,Volume\n{bars}".encode(), "u")
    spec = registry.sources.source("yahoo")
    land(Zones(folder), "yahoo", served, spec, fetched_at=pd.Timestamp("2024-01-05T23:00", tz="UTC"))
    stage_source(Zones(folder), "yahoo", spec, as_of=pd.Timestamp("2024-01-05"), code="tests")
    publish_home(folder)
    write_json(folder / "collection" / "asked.json", {"as_of": "2024-01-05", "recorded": True})
    return folder


@pytest.fixture
def sound(published, tmp_path, monkeypatch) -> Iterator[tuple[Machine, Path]]:
    """A machine and its home, with nothing wrong: server and worker are two living processes of this test."""
    home, project, person = tmp_path / "home", tmp_path / "checkout", tmp_path / "person"
    shutil.copytree(published, home)
    home.chmod(0o700)
    for folder in (project, person):
        folder.mkdir()
    for name in ("CBI_NOW", "TZ", "CBI_NOTIFY", *(key for key in os.environ if key.endswith("_API_KEY"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("CBI_HOME", str(home))
    monkeypatch.setenv("CBI_BACKUP", "none")
    monkeypatch.setenv("CBI_REGISTRY", str(PROJECT / "registry"))
    monkeypatch.setattr("tasks.operations.doctor_services.PORT", free_port("127.0.0.1"))
    own = psutil.Process()
    for name in ("server", "worker"):
        started = {"name": name, "pid": own.pid, "started": own.create_time(), "address": "http://127.0.0.1:1"}
        write_json(record_path(Zones(home), name), started)
    write_json(home / "runs" / "daily" / "2024-01-05-x.json", {"outcome": "done", "at": "2024-01-06T00:40:00+00:00"})
    machine = Machine(
        system="Linux",
        project=project,
        user_folder=person,
        run=answering({"systemctl": None}),
        reaches=lambda: True,
        server_time=lambda: NOW + timedelta(seconds=2),
        now=lambda: NOW,
    )
    yield machine, home


def by_name(machine: Machine) -> dict[str, Finding]:
    return {one.check: one for one in examine(machine).findings}


def test_a_sound_home_is_ok_and_what_this_system_cannot_try_says_so(sound):
    machine, home = sound
    before = sorted(str(one) for one in home.rglob("*"))
    found = examine(machine)
    assert tuple(one.check for one in found.findings) == LINES
    assert [one for one in found.findings if one.state == WRONG] == [] and found.exit_code == 0
    assert {one.check for one in found.findings if one.state == NOT_TRIED} == {"checkout", "keychain", "wake"}
    assert all(one.text for one in found.findings)
    assert all("macOS" in one.text for one in found.findings if one.check in ("checkout", "wake"))
    assert sorted(str(one) for one in home.rglob("*") if "lock" not in str(one)) == [
        one for one in before if "lock" not in one
    ]


def wrong_python(machine: Machine, home: Path, monkeypatch) -> Machine:
    return replace(machine, python=(3, 10))


def no_libomp(machine: Machine, home: Path, monkeypatch) -> Machine:
    said = "Traceback\nOSError: Library not loaded: @rpath/libomp.dylib"
    return replace(machine, system="Darwin", run=answering({"import lightgbm": Ran(1, said)}))


def misspelt_setting(machine: Machine, home: Path, monkeypatch) -> Machine:
    (machine.project / ".env").write_text("CBI_HOEM=/somewhere\n", encoding="utf-8")
    return machine


def drive_unplugged(machine: Machine, home: Path, monkeypatch) -> Machine:
    monkeypatch.setenv("CBI_HOME", "/Volumes/Data/cbi")
    return machine


def home_not_writable(machine: Machine, home: Path, monkeypatch) -> Machine:
    real = os.open

    def refuse(path, *given, **named):
        if ".cbi-doctor" in str(path):
            raise PermissionError(1, "Operation not permitted")
        return real(path, *given, **named)

    monkeypatch.setattr("tasks.operations.doctor.os.open", refuse)
    return machine


def drive_without_permissions(machine: Machine, home: Path, monkeypatch, mode: int = 0o777) -> Machine:
    real = os.open  # exFAT: every file has the mode of the mount

    def open_to_all(path, *given, **named):
        handle = real(path, *given, **named)
        if ".cbi-doctor" in str(path):
            os.fchmod(handle, mode)
        return handle

    monkeypatch.setattr("tasks.operations.doctor.os.open", open_to_all)
    return machine


def drive_with_one_mode(machine: Machine, home: Path, monkeypatch) -> Machine:
    return drive_without_permissions(machine, home, monkeypatch, 0o700)


def key_file_open_to_all(machine: Machine, home: Path, monkeypatch) -> Machine:
    file = machine.user_folder / ".config" / "cbi" / "secrets.env"
    file.parent.mkdir(parents=True)
    file.write_text(f'EIA_API_KEY="{KEY}"\n', encoding="utf-8")
    file.chmod(0o644)
    return machine


def key_in_env_file(machine: Machine, home: Path, monkeypatch) -> Machine:
    (machine.project / ".env").write_text(f"EIA_API_KEY={KEY}\n", encoding="utf-8")
    return machine


def key_that_is_none(machine: Machine, home: Path, monkeypatch) -> Machine:
    monkeypatch.setenv("FRED_API_KEY", "<your key here>")
    return machine


def no_network(machine: Machine, home: Path, monkeypatch) -> Machine:
    return replace(machine, reaches=lambda: False)


def clock_wrong(machine: Machine, home: Path, monkeypatch) -> Machine:
    return replace(machine, server_time=lambda: NOW - timedelta(hours=1))


def rehearsal(machine: Machine, home: Path, monkeypatch) -> Machine:
    monkeypatch.setenv("CBI_NOW", "2023-11-03T18:30-05:00")
    return machine


def no_such_zone(machine: Machine, home: Path, monkeypatch) -> Machine:
    monkeypatch.setenv("TZ", "Mars/Olympus")
    return machine


def asleep(machine: Machine, home: Path, monkeypatch) -> Machine:
    return replace(
        machine, system="Darwin", run=answering({"pmset -g sched": Ran(0, ""), "pmset": Ran(0, " sleep 10")})
    )


def disk_full(machine: Machine, home: Path, monkeypatch) -> Machine:
    monkeypatch.setattr("tasks.operations.health.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 10**8))
    return machine


def logs_open_to_all(machine: Machine, home: Path, monkeypatch) -> Machine:
    (home / "logs").mkdir(exist_ok=True)
    (home / "logs").chmod(0o755)
    return machine


def worker_ended(machine: Machine, home: Path, monkeypatch) -> Machine:
    gone = {"name": "worker", "pid": 2**22 - 1, "started": 1.0, "address": "http://127.0.0.1:1"}
    write_json(record_path(Zones(home), "worker"), gone)
    return machine


def warehouse_damaged(machine: Machine, home: Path, monkeypatch) -> Machine:
    for snapshot in (home / "warehouse" / "published").glob("*.duckdb"):
        snapshot.write_bytes(b"not a database")
    return machine


def bad_address(machine: Machine, home: Path, monkeypatch) -> Machine:
    monkeypatch.setenv("CBI_NOTIFY", "nosuchkind://planted-user:planted-word@host")  # pragma: allowlist secret
    return machine


def registry_broken(machine: Machine, home: Path, monkeypatch) -> Machine:
    folder = machine.project / "registry"
    shutil.copytree(PROJECT / "registry", folder)
    (folder / "horizons.yaml").write_text("horizons: 5\n", encoding="utf-8")
    monkeypatch.setenv("CBI_REGISTRY", str(folder))
    return machine


@pytest.mark.parametrize(
    ("plant", "line", "found", "remedy"),
    [
        (wrong_python, "python", "this is Python 3.10", "apt install python3"),
        (no_libomp, "libomp", "Library not loaded", "brew install libomp"),
        (misspelt_setting, "settings", "unknown setting CBI_HOEM", "cbi setup"),
        (drive_unplugged, "home", "the volume Data, which is not mounted", "connect and unlock the drive"),
        (home_not_writable, "home", "Operation not permitted", "Full Disk Access"),
        (drive_without_permissions, "home", "does not keep permissions", "APFS"),
        (drive_with_one_mode, "home", "has 0700", "APFS"),
        (key_file_open_to_all, "keychain", "others may read", "chmod 600"),
        (key_in_env_file, "keys", "EIA_API_KEY in ", "cbi setup"),
        (key_that_is_none, "keys", "FRED_API_KEY does not look like a key", "cbi setup"),
        (no_network, "network", "no source accepts", "firewall"),
        (clock_wrong, "clock", "3600 s away", "timedatectl set-ntp true"),
        (rehearsal, "clock", "CBI_NOW is set", "unset CBI_NOW"),
        (no_such_zone, "time zone", "TZ=Mars/Olympus names no time zone", "unset TZ"),
        (asleep, "wake", "sleeps after 10 minutes, and nothing wakes it", "pmset repeat wakeorpoweron MTWRF 20:00:00"),
        (disk_full, "disk", "0.1 GB free", "CBI_HOME to a larger disk"),
        (logs_open_to_all, "permissions", "chmod 700", "run the command above"),
        (worker_ended, "services", "worker ended", "make up"),
        (warehouse_damaged, "warehouse", "cannot be read", "runbook"),
        (bad_address, "notify", "1 of 1 addresses", "cbi setup"),
        (registry_broken, "health", "horizons.yaml", "cbi health"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_fault_is_named_with_its_remedy(sound, monkeypatch, plant, line, found, remedy):
    machine, home = sound
    if line not in doctor.HEALTH_LINES:  # health takes a second: it is run where it finds the fault
        monkeypatch.setattr(doctor, "of_health", lambda _: [findings.ok(name, "well") for name in doctor.HEALTH_LINES])
    examination = examine(plant(machine, home, monkeypatch))
    named = {one.check: one for one in examination.findings}
    assert tuple(named) == LINES and examination.exit_code == 1
    fault = named[line]
    assert fault.state == WRONG and found in fault.text and remedy in fault.next
    assert f"{findings.NEXT_LINE}{fault.next}" in fault.line and "\n" not in fault.line
    assert KEY not in str(examination.to_json()) and "planted-word" not in str(examination.to_json())


def test_ten_faults_at_once_are_ten_lines(sound, monkeypatch):
    machine, home = sound
    planted = (
        wrong_python, no_libomp, key_file_open_to_all, key_that_is_none, bad_address, clock_wrong, no_such_zone,
        worker_ended, disk_full, logs_open_to_all,
    )  # fmt: skip
    for plant in planted:
        machine = plant(machine, home, monkeypatch)
    lines = {one.check for one in examine(machine).findings if one.state == WRONG}
    assert lines >= {
        "python", "libomp", "keychain", "keys", "notify", "clock", "time zone", "services", "disk", "permissions",
    }  # fmt: skip


def test_a_port_that_another_program_has_is_named_with_a_free_one(sound):
    machine, home = sound
    record_path(Zones(home), "server").unlink()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", doctor_port()))
        taken.listen()
        fault = by_name(machine)["port"]
    assert fault.state == WRONG and f"{doctor_port()} is taken by" in fault.text and "make up UI_PORT=" in fault.next


def doctor_port() -> int:
    from tasks.operations import doctor_services

    return doctor_services.PORT


def test_a_live_home_that_missed_sessions_says_how_many(sound):
    machine, _ = sound
    later = replace(machine, now=lambda: NOW + timedelta(days=7))
    later = replace(later, server_time=lambda: later.now())
    fault = by_name(later)["last run"]
    assert fault.state == WRONG and "5 sessions have ended since" in fault.text and "make daily" in fault.next
    assert by_name(machine)["last run"].state == findings.OK


def test_a_new_machine_is_told_what_is_open_not_that_it_is_wrong(sound, tmp_path, monkeypatch):
    machine, _ = sound
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "new"))
    found = by_name(machine)
    assert not (tmp_path / "new").exists()
    assert found["last run"].state == found["services"].state == findings.NOT_YET
    assert "make demo" in found["last run"].next and "make install-linux" in found["services"].next
    assert "EIA_API_KEY (eia, eia_biofuels): https://www.eia.gov/opendata/register.php, free" in found["keys"].text


@pytest.mark.parametrize(
    ("settings", "events", "state", "words"),
    [
        (" sleep                0", "", "ok", "never sleeps"),
        (" sleep                1 (sleep prevented by caffeinate)", "", WRONG, "nothing wakes it"),
        (" sleep 1", "Repeating power events:\n  wakepoweron at 8:00PM weekdays only\n", "ok", "wakes for"),
        (" sleep 1", "Repeating power events:\n  wakeorpoweron at 20:00:00 MTWRF\n", "ok", "wakes for"),
        (" sleep 1", "Repeating power events:\n  wakepoweron at 8:30PM every day\n", "ok", "wakes for"),
        (" sleep 15", "Repeating power events:\n  wakepoweron at 7:50PM weekdays only\n", "ok", "wakes for"),
        (" sleep 1", "Repeating power events:\n  wakepoweron at 7:50PM weekdays only\n", WRONG, "asleep again"),
        (" sleep 1", "Repeating power events:\n  wakepoweron at 8:00PM weekends only\n", WRONG, "other days"),
        (" sleep 1", "Repeating power events:\n  wakepoweron at 7:00AM every day\n", WRONG, "asleep again"),
        ("Currently in use:\n", "", WRONG, "sleeps when idle"),
    ],
)
def test_the_wake_schedule_of_a_mac(sound, settings, events, state, words):
    run = answering({"pmset -g sched": Ran(0, events), "pmset -g": Ran(0, settings)})
    found = wake(replace(sound[0], system="Darwin", run=run))
    assert found.state == state and words in found.text


@pytest.mark.parametrize(
    ("zone", "command"),
    [
        ("America/Chicago", "MTWRF 19:00:00"),
        ("Europe/Berlin", "TWRFS 02:00:00"),
        ("Asia/Tokyo", "TWRFS 10:00:00"),
        ("Pacific/Honolulu", "MTWRF 15:00:00"),
    ],
)
def test_the_wake_command_is_in_local_time_on_the_local_days(zone, command):
    now = NOW.astimezone(ZoneInfo(zone))
    assert wake_command(now) == f"sudo pmset repeat wakeorpoweron {command}"
    due = next_daily_run(now)
    awake = timedelta(minutes=10)
    early = f"{due - awake:%I:%M%p}"
    assert wakes_at(f"  wakepoweron at {early} every day", due, awake=awake)
    assert wakes_at("nothing", due, awake=awake) is None
    assert wakes_at(f"  sleep at {early} every day", due, awake=awake) is None
    assert wakes_at(f"  wakepoweron at {early} weekdays only", due, awake=awake) is (command.startswith("M"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mac_version": "13.6.7", "processor": "arm64"}, "macOS 13.6.7"),
        ({"mac_version": "15.1", "processor": "x86_64"}, "Intel processor"),
        ({"mac_version": "15.1", "processor": "x86_64", "run": answering({"sysctl": Ran(0, "1\n")})}, "Rosetta"),
    ],
)
def test_a_mac_that_no_package_for_training_is_made_for_is_named(sound, given, words):
    mac = replace(sound[0], system="Darwin", **given)
    found = doctor.python(mac)
    assert found.state == WRONG and words in found.text and found.next
    assert doctor.python(replace(mac, mac_version="14.0", processor="arm64", run=answering({}))).state == findings.OK


class LockedStore:
    """A keychain that is locked: it answers that an item is not there, and stores none."""

    class errors:
        class KeyringError(Exception):
            """As keyring's."""

    stored: ClassVar[dict[str, str]] = {}
    locked = True

    def set_password(self, service: str, name: str, value: str) -> None:
        if self.locked:
            raise self.errors.KeyringError("-25308")
        self.stored[name] = value

    def get_password(self, service: str, name: str) -> str | None:
        return self.stored.get(name)

    def delete_password(self, service: str, name: str) -> None:
        del self.stored[name]


def test_a_locked_keychain_is_found_and_a_sound_one_has_nothing_in_it_afterwards(sound, monkeypatch):
    mac, store = replace(sound[0], system="Darwin"), LockedStore()
    monkeypatch.setattr(doctor, "keychain", lambda: (store, ""))
    found = doctor.chain(mac)
    assert found.state == WRONG and "does not store" in found.text and "unlock-keychain" in found.next
    store.locked = False
    assert doctor.chain(mac).state == findings.OK and store.stored == {}


def test_a_machine_behind_a_proxy_is_not_called_offline(monkeypatch):
    monkeypatch.setattr(machine_module, "any_accepts", lambda places: False)
    monkeypatch.setattr(machine_module, "time_of_a_server", lambda: NOW)
    monkeypatch.setattr(machine_module, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert machine_module.reaches_a_source()
    monkeypatch.setattr(machine_module, "getproxies", dict)
    assert not machine_module.reaches_a_source()


@pytest.mark.parametrize(
    ("folder", "state", "words"),
    [
        ("person/Documents/cbi", WRONG, "guards from agents"),
        ("person/cbi", "ok", "can be read"),
    ],
)
def test_a_checkout_where_macos_keeps_agents_out_is_named(sound, tmp_path, folder, state, words):
    found = checkout(replace(sound[0], system="Darwin", project=tmp_path / folder))
    assert found.state == state and words in found.text
    on_volume = checkout(replace(sound[0], system="Darwin", project=Path("/Volumes/Data/cbi")))
    assert on_volume.state == WRONG and "EX_CONFIG" in on_volume.text


def agent(machine: Machine, name: str, program: str) -> None:
    path = plist_path(machine.user_folder / AGENTS, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [program, "-m", "cli", "services", "keep", name]
    path.write_bytes(plistlib.dumps({"Label": f"cbi.{name}", "ProgramArguments": words}))


def test_agents_of_a_mac_that_are_not_loaded_or_have_lost_their_python(sound):
    machine, home = sound
    mac = replace(machine, system="Darwin")
    for name in ("server", "worker"):
        agent(mac, name, "/bin/sh")
    assert services(mac, Zones(home)).text == "server and worker run, kept running by the system"
    unloaded = services(replace(mac, run=answering({"launchctl print": Ran(113, "not found")})), Zones(home))
    assert unloaded.state == WRONG and "server, worker: installed, but" in unloaded.text
    assert "make install-mac" in unloaded.next
    agent(mac, "worker", "/gone/.venv/bin/python")
    assert "starts /gone/.venv/bin/python, which is not there" in services(mac, Zones(home)).text


def test_the_report_has_every_line_versions_and_no_key_name_or_machine(sound, tmp_path, monkeypatch):
    machine, _ = sound
    monkeypatch.setenv("EIA_API_KEY", KEY)
    found = examine(machine)
    path = write_report(tmp_path / "first-mac.md", found, machine)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o600
    assert all(f"| {line} |" in text for line in LINES) and "never run on a Mac" in text
    assert "- prefect " in text and "- [ ] `make install-mac`" in text and "Not tried here: checkout" in text
    assert KEY not in text and str(machine.user_folder) not in text
    monkeypatch.setattr("tasks.operations.doctor_report.socket.gethostname", lambda: "anns-macbook")
    hidden = without_names(f"{machine.user_folder}/cbi on anns-macbook", machine)
    assert hidden == "~/cbi on (this machine)"


def test_the_command_prints_a_line_each_and_json(sound, tmp_path, monkeypatch, capsys):
    machine, _ = sound
    monkeypatch.setattr("tasks.operations.machine.Machine", lambda: machine)
    assert main(["doctor", "--report", str(tmp_path / "report.md")]) == 0
    out, err = capsys.readouterr()
    assert [line.split("  ")[0] for line in out.splitlines()[: len(LINES)]] == list(LINES)
    assert str(tmp_path / "report.md") in err
    wrong = replace(machine, reaches=lambda: False)
    monkeypatch.setattr("tasks.operations.machine.Machine", lambda: wrong)
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == WRONG and [one["check"] for one in told["checks"]] == list(LINES)


def test_no_check_is_in_two_places():
    """What health checks is taken from it: the doctor reads neither disk nor warehouse itself."""
    source = (PROJECT / "tasks" / "operations" / "doctor.py").read_text(encoding="utf-8")
    assert "disk_usage" not in source and "open_warehouse" not in source
    assert set(doctor.FROM_HEALTH) <= set(LINES)
