"""Server and worker as services of the user: what is written, what it starts, and what is taken away again."""

from __future__ import annotations

import os
import plistlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.launcher import RUN_ID, ended_within, runs_of, stay_awake, watch
from tasks.errors import VolumeMissing
from tasks.operations import launchd, systemd
from tasks.operations.install import load_mac
from tasks.operations.services import answers, free_port, marked, running, server_password, start, stop
from tasks.operations.units import SERVICES, Unit
from tasks.operations.volume import await_volume, volume_of
from tasks.settings import PROJECT, load_settings
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

# launchd.plist(5): the keys an agent may hold, and what each takes
KNOWN: dict[str, type] = {
    "Label": str,
    "ProgramArguments": list,
    "WorkingDirectory": str,
    "EnvironmentVariables": dict,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "SoftResourceLimits": dict,
    "Umask": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
PLANTED = {
    "EIA_API_KEY": "planted-key-1",  # pragma: allowlist secret
    "PREFECT_SERVER_API_AUTH_STRING": "cbi:planted-password-2",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://prefect:planted-3@127.0.0.1/p",  # pragma: allowlist secret
}
SLEEPER = "import time; time.sleep(900)"


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a person who has keys in the environment, and CBI_HOME in a folder with an awkward name."""
    for name, value in {**PLANTED, "HOME": str(tmp_path), "CBI_HOME": str(tmp_path / "100% of it")}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-m", "cli", "services", *words],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def installed(system: str, folder: Path, *words: str) -> dict[str, bytes]:
    done = run("install", system, "--folder", str(folder), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_agents_hold_what_launchd_knows_and_no_key_twice_the_same_and_uninstall_takes_only_ours(person: Path) -> None:
    folder = person / "agents"
    folder.mkdir()
    other = folder / "com.example.other.plist"
    other.write_bytes(plistlib.dumps({"Label": "com.example.other", "ProgramArguments": ["/bin/true"]}))
    files = installed("mac", folder)
    assert set(files) == {other.name, "cbi.server.plist", "cbi.worker.plist"}
    for name in SERVICES:
        content = plistlib.loads(files[f"cbi.{name}.plist"])
        assert {key: type(value) for key, value in content.items()} == KNOWN
        assert content["Label"] == f"cbi.{name}"
        assert content["KeepAlive"] == {"SuccessfulExit": False, "Crashed": True}
        assert content["ProcessType"] in ("Background", "Standard", "Adaptive", "Interactive")
        assert all(isinstance(word, str) for word in content["ProgramArguments"])
        assert all(isinstance(value, str) for value in content["EnvironmentVariables"].values())
        assert Path(content["ProgramArguments"][0]).is_absolute() and Path(content["StandardOutPath"]).parent.is_dir()
        assert content["EnvironmentVariables"]["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"
        assert plistlib.dumps(content) == files[f"cbi.{name}.plist"]
    for secret in PLANTED.values():
        assert not any(secret.encode() in content for content in files.values())
    assert installed("mac", folder) == files
    done = run("uninstall", "mac", "--folder", str(folder))
    assert done.returncode == 0 and [path.name for path in folder.iterdir()] == [other.name]


def test_what_an_earlier_version_installed_is_ours(person: Path) -> None:
    for system, is_ours in (("mac", launchd.is_ours), ("linux", systemd.is_ours)):
        folder = person / system
        installed(system, folder)
        for path in folder.iterdir():
            text = path.read_text()
            words = '"-m" "cli" "services" "keep"' if system == "linux" else None
            if words:
                earlier = text.replace(words, '"-m" "flows.launcher"')
            else:
                for word in ("cli", "services"):
                    text = text.replace(f"\t\t<string>{word}</string>\n", "")
                earlier = text.replace("<string>keep</string>", "<string>flows.launcher</string>")
            assert "flows.launcher" in earlier and "services" not in earlier
            path.write_text(earlier)
            assert is_ours(path), earlier


@pytest.mark.parametrize("content", [b"", b"<?xml version='1.0'?><plist version='1.0'><dict>", b"\xff", b"bplist00"])
def test_a_damaged_file_is_not_ours(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cbi.server.plist"
    path.write_bytes(content)
    assert not launchd.is_ours(path) and not systemd.is_ours(path)


def test_a_file_of_our_name_that_is_not_ours_is_neither_replaced_nor_taken_away(person: Path) -> None:
    for system, path in (
        ("mac", launchd.plist_path(person, "server")),
        ("linux", systemd.unit_path(person, "server")),
    ):
        theirs = plistlib.dumps({"Label": "cbi.server", "ProgramArguments": ["/bin/true"]})
        path.write_bytes(theirs)
        done = run("install", system, "--folder", str(person))
        assert done.returncode == 1 and "was not written by CBI" in done.stderr
        done = run("uninstall", system, "--folder", str(person))
        assert "left alone" in done.stdout and path.read_bytes() == theirs


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_units_pass_systemds_own_check_and_hold_no_key(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(person))
    folder = person / "units"
    files = installed("linux", folder)
    assert installed("linux", folder) == files
    for secret in PLANTED.values():
        assert not any(secret.encode() in content for content in files.values())

    def check() -> str:
        asked = ["systemd-analyze", "--user", "verify", *(str(folder / name) for name in files)]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert check() == ""
    unit = folder / "cbi-worker.service"
    unit.write_text(unit.read_text().replace("RestartSec=", "RestartSecs="))
    assert "RestartSecs" in check()  # it does look


def test_awkward_words_reach_the_command_as_they_are(tmp_path: Path) -> None:
    unit = Unit("worker", "100%", ("/bin/a b", '"$HOME"', "%h\\"), tmp_path, {"CBI_HOME": '/tmp/100% "of" it'})
    text = systemd.unit_text(unit)
    assert 'ExecStart="/bin/a b" "\\"$$HOME\\"" "%%h\\\\"' in text
    assert 'Environment="CBI_HOME=/tmp/100%% \\"of\\" it"' in text


def test_a_missing_volume_is_named_and_nothing_is_written_in_its_place(
    person: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = person / "Drive"
    volume.mkdir()  # the mount point that stayed behind
    monkeypatch.setenv("CBI_HOME", str(volume / "cbi"))
    done = run("keep", "worker", "--volume", str(volume), "--wait", "0")
    assert done.returncode == 1
    assert f"VolumeMissing: CBI_HOME {volume}/cbi is on the volume Drive, which is not mounted" in done.stdout
    done = run("install", "mac", "--folder", str(person / "agents"), "--volume", str(volume))
    assert done.returncode == 1 and "volume Drive" in done.stderr
    assert list(volume.iterdir()) == [] and not (person / "agents").exists()


def test_the_wait_for_a_volume_ends_when_it_comes_and_tells_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(os.path, "ismount", lambda path: asked.append(path) or len(asked) > 3)
    told: list[str] = []
    await_volume(Path("/Volumes/A/cbi"), Path("/Volumes/A"), within_s=10, tell=told.append, every_s=0.01)
    assert len(told) == 1 and "Waiting 10 s" in told[0]
    monkeypatch.setattr(os.path, "ismount", lambda _: False)
    with pytest.raises(VolumeMissing):
        await_volume(Path("/Volumes/A/cbi"), Path("/Volumes/A"), within_s=0.02, tell=told.append, every_s=0.01)


@pytest.mark.parametrize(
    ("home", "mounts", "volume"),
    [
        ("/Volumes/Data disk/cbi/var", {"/"}, "/Volumes/Data disk"),  # mounted or not
        ("/mnt/data/cbi", {"/", "/mnt/data"}, "/mnt/data"),
        ("/Users/me/cbi", {"/"}, None),
    ],
)
def test_the_volume_of_a_home(home: str, mounts: set[str], volume: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in mounts)
    assert volume_of(Path(home)) == (Path(volume) if volume else None)


def test_agents_are_loaded_once_and_again_only_where_their_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a stand-in for launchctl, which no other system has: it forgets late, and refuses what it knows already."""
    known = tmp_path / "known"
    known.mkdir()
    program = tmp_path / "launchctl"
    program.write_text(f"""#!/bin/sh
echo "$1 $2" >> {tmp_path}/log
agent={known}/$(basename "$2")
case $1 in
  print) [ -e "$agent" ];;
  bootout) (sleep 0.3; rm "$agent") >/dev/null 2>&1 &;;
  bootstrap) agent={known}/$(basename "$3" .plist); [ ! -e "$agent" ] || exit 5; touch "$agent";;
  kickstart) [ -e "$agent" ];;
esac
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    load_mac(tmp_path, ["server", "worker"])
    load_mac(tmp_path, [])
    load_mac(tmp_path, ["worker"])
    told = (tmp_path / "log").read_text()
    assert told.count("bootstrap") == 3 and told.count("bootout") == 1 and told.count("kickstart") == 6
    assert sorted(path.name for path in known.iterdir()) == ["cbi.server", "cbi.worker"]


def begun(zones: Zones, command: str = SLEEPER) -> Any:
    return start(
        zones,
        "worker",
        [sys.executable, "-c", command],
        environment=dict(os.environ),
        folder=zones.home.parent,
        address="",
    )


def test_who_ended_a_service_decides_whether_it_is_started_again(zones: Zones) -> None:
    def after(end: Callable[[], object]) -> int:
        service = begun(zones)
        threading.Timer(0.5, end).start()
        return watch(load_settings(), zones, service, None)

    def down() -> None:
        with exclusive(zones, "services"):
            stop(zones, "worker")

    assert after(lambda: os.kill(running(zones, "worker").pid, signal.SIGKILL)) == 1
    assert after(down) == 0


def test_a_volume_that_is_taken_away_ends_the_service(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.launcher.LOOK_EVERY_S", 0.1)
    service = begun(zones)
    with pytest.raises(VolumeMissing):
        watch(load_settings(), zones, service, zones.home)  # a folder, not mounted
    assert not service.alive and marked(zones, "worker") == []


def test_the_machine_is_kept_awake_as_long_as_a_run_lasts(zones: Zones) -> None:
    run_of = f"import os, subprocess, sys; os.environ['{RUN_ID}'] = '1'; "
    service = begun(zones, run_of + f"subprocess.Popen([sys.executable, '-c', '{SLEEPER}']).wait(); {SLEEPER}")
    try:
        deadline = time.monotonic() + 120
        while not (runs := runs_of(service)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        asked: list[int] = []

        def holds(pid: int) -> list[str]:
            asked.append(pid)
            return [sys.executable, "-c", f"import psutil; psutil.wait_procs([psutil.Process({pid})])"]

        awake = stay_awake(runs, {}, holds)
        awake = stay_awake(runs, awake, holds)
        assert asked == runs and awake[runs[0]].poll() is None
        psutil.Process(runs[0]).kill()
        awake[runs[0]].wait(timeout=120)
        assert stay_awake([], awake, holds) == {}
    finally:
        stop(zones, "worker")
    assert ended_within(service, 60)


@pytest.mark.more
@pytest.mark.slow
def test_the_command_of_the_agent_starts_a_server_and_takes_charge_of_it_again(tmp_path: Path) -> None:
    """With what launchd gives it and nothing else: the agent's own environment, folder and file."""
    zones, port = Zones(tmp_path / "home"), free_port("127.0.0.1")
    environment = {**os.environ, "HOME": str(tmp_path), "CBI_HOME": str(zones.home), "PYTHONPATH": str(PROJECT)}
    made = [sys.executable, "-m", "cli", "services", "install", "mac", "--folder", str(tmp_path), "--port", str(port)]
    subprocess.run(made, cwd=PROJECT, env=environment, check=True, capture_output=True)
    agent = plistlib.loads(launchd.plist_path(tmp_path, "server").read_bytes())
    log = Path(agent["StandardOutPath"])
    launchers: list[subprocess.Popen[bytes]] = []

    def launched(times: int) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            launcher = subprocess.Popen(
                agent["ProgramArguments"],
                cwd=agent["WorkingDirectory"],
                env={**agent["EnvironmentVariables"], "HOME": str(tmp_path)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        launchers.append(launcher)
        deadline = time.monotonic() + 300
        while log.read_text().count("watching process") < times:
            assert launcher.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        return launcher

    try:
        first = launched(1)
        server = running(zones, "server")
        assert (
            server
            and answers(f"http://127.0.0.1:{port}", server_password(zones))
            and (zones.home / "prefect" / "prefect.db").exists()
        )
        first.kill()
        first.wait()
        second = launched(2)
        assert running(zones, "server") == server
        second.terminate()
        assert second.wait(timeout=240) == 0, log.read_text()
        left = marked(zones, "server")
    finally:
        for launcher in launchers:
            launcher.kill()
        stop(zones, "server")
    assert left == [] and "ended, as requested" in log.read_text()
