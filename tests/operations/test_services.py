"""Processes that are found again and ended whole, logs that stay small, and no open door."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from tasks.errors import SettingsError
from tasks.operations.services import (
    address_of,
    free_port,
    marked,
    record_path,
    require_private,
    rotate,
    running,
    start,
    stop,
)
from tasks.settings import PROJECT
from tasks.storage.files import write_json
from tasks.storage.zones import Zones

# a service with a child in a session of its own, as a worker starts its runs
CHILD = "[sys.executable, '-c', 'import time; time.sleep(900)']"
PARENT = f"import subprocess, sys, time; subprocess.Popen({CHILD}, start_new_session=True); time.sleep(900)"


def begin(zones: Zones, command: str = PARENT):
    service = start(
        zones,
        "worker",
        [sys.executable, "-c", command],
        environment=dict(os.environ),
        address="",
        folder=zones.home.parent,
    )
    deadline = time.monotonic() + 120
    while command == PARENT and len(marked(zones, "worker")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return service


def test_a_service_is_ended_with_what_it_started(zones: Zones) -> None:
    service = begin(zones)
    assert running(zones, "worker") == service
    assert len(marked(zones, "worker")) == 2
    assert stop(zones, "worker") and not stop(zones, "worker")
    assert marked(zones, "worker") == [] and running(zones, "worker") is None


def test_what_a_killed_service_left_behind_is_ended_by_the_next_start(zones: Zones) -> None:
    service = begin(zones)
    (child,) = [one for one in marked(zones, "worker") if one.pid != service.pid]
    psutil.Process(service.pid).kill()
    psutil.wait_procs([psutil.Process(service.pid)], timeout=60)
    assert running(zones, "worker") is None and child.is_running()
    again = begin(zones, "import time; time.sleep(900)")
    assert [one.pid for one in marked(zones, "worker")] == [again.pid]
    stop(zones, "worker")


def test_a_stranger_with_the_same_pid_is_left_alone(zones: Zones) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"])
    try:
        service = begin(zones, "import time; time.sleep(900)")
        stop(zones, "worker")
        write_json(
            record_path(zones, "worker"), asdict(replace(service, pid=stranger.pid, started=service.started - 9))
        )
        assert running(zones, "worker") is None and not stop(zones, "worker")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_log_that_grew_is_set_aside_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as writer:
        for turn in range(5):
            writer.write(b"%d" % turn * 100)
            assert rotate(log, limit=50, keep=3)
        writer.write(b"last")
    assert not rotate(log, limit=50, keep=3)
    assert log.read_bytes() == b"last"
    assert {path.name: path.read_bytes()[:1] for path in tmp_path.glob("*.log.*")} == {
        "server.log.1": b"4",
        "server.log.2": b"3",
        "server.log.3": b"2",
    }


def test_a_log_that_three_rotate_at_once_is_set_aside_once(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    written = b"".join(b"line %d\n" % number for number in range(1_000_000))
    log.write_bytes(written)
    together = threading.Barrier(3)

    def turn(_: int) -> bool:
        together.wait()
        return rotate(log, limit=50, keep=3)

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(turn, range(3))) == 1
    assert (tmp_path / "worker.log.1").read_bytes() == written
    assert {path.name for path in tmp_path.iterdir()} == {"worker.log", "worker.log.1"}


def test_where_there_is_no_room_for_the_copy_a_log_and_its_older_pieces_stay(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    for name in ("server.log.1", "server.log.2", "server.log.3"):
        (tmp_path / name).write_text(name)
    log.write_bytes(b"x" * 100_000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, allowed[1]))  # the system refuses what is written beyond that
    try:
        assert not rotate(log, limit=50, keep=3)
        assert not rotate(log, limit=50, keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert rotate(log, limit=50, keep=3)
    assert (log.read_bytes(), (tmp_path / "server.log.3").read_text()) == (b"", "server.log.2")


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        taken = held.getsockname()[1]
        assert free_port("127.0.0.1", taken) not in (taken, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_password(host: str) -> None:
    require_private(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.10", "::", "studio.local"])
def test_any_other_address_needs_one(host: str) -> None:
    with pytest.raises(SettingsError, match="PREFECT_SERVER_API_AUTH_STRING"):
        require_private(host, None)
    require_private(host, "reader:secret")


def test_up_refuses_an_open_door_before_it_starts_anything(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    command = [sys.executable, "-m", "cli", "services", "up", "--host", "0.0.0.0"]
    refused = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "SettingsError: UI_HOST 0.0.0.0" in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "home" / "services").exists()


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:4200"), ("0.0.0.0", "http://127.0.0.1:4200"), ("::1", "http://[::1]:4200")],
)
def test_where_a_server_answers_to_its_own_machine(host: str, address: str) -> None:
    assert address_of(host, 4200) == address
