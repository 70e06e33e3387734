"""A disk that is full or read-only, on a real file system, and Prefect's database locked by somebody else."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import StorageFailed
from tasks.http import Http
from tasks.settings import PROJECT
from tasks.storage.files import TEMPORARY
from tests.conftest import LocalServer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.xdist_group("disk")]
SOURCE = "freight"


def ingest(home: Path, archive: Path, prefect: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CBI_HOME": str(home), "PREFECT_HOME": str(prefect)}
    command = [sys.executable, "-m", "cli", "ingest", SOURCE, "--origin", str(archive), "--as-of", "2023-12-29"]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's own folder is on another disk: these tests are about the data."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home whose staging lies on a file system of 16 kB."""
    disk = tmp_path / "home" / "staging"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def remounted(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def heals(home: Path, archive: Path, prefect: Path, note: object) -> None:
    started = time.monotonic()
    again = ingest(home, archive, prefect)
    assert again.returncode == 0, again.stderr[-2000:]
    note("healed_s", time.monotonic() - started)  # type: ignore[operator]
    assert (home / "staging" / SOURCE / "observations.parquet").exists()
    assert not list(home.rglob(f"{TEMPORARY}*"))


@pytest.mark.more
def test_full_disk_is_told_by_folder_and_nothing_is_half_written(
    small_disk: Path, archive: Path, prefect_home: Path, record_property: object
) -> None:
    ended = ingest(small_disk.parent, archive, prefect_home)
    assert ended.returncode == 1
    assert "StorageFailed" in ended.stderr and str(small_disk / SOURCE) in ended.stderr, ended.stderr[-2000:]
    assert "the disk is full" in ended.stderr
    assert not list(small_disk.rglob("*.parquet")) and not list(small_disk.rglob(f"{TEMPORARY}*"))
    remounted(small_disk, "size=64m")
    heals(small_disk.parent, archive, prefect_home, record_property)


def test_a_download_onto_a_full_disk_names_its_folder_and_goes_on_when_there_is_room(
    small_disk: Path, server: LocalServer
) -> None:
    folder, content = small_disk / ".downloads", bytes(range(256)) * 400
    server.script = [(200, content, {"ETag": '"v1"'})]
    with Http("somewhere", per_minute=60_000, downloads=folder) as http:
        with pytest.raises(StorageFailed, match=f"{folder} cannot be written: the disk is full"):
            http.download(f"{server.url}/big.zip")
        remounted(small_disk, "size=64m")
        assert http.download(f"{server.url}/big.zip").read_bytes() == content


@pytest.mark.more
def test_read_only_folder_is_named(
    small_disk: Path, archive: Path, prefect_home: Path, record_property: object
) -> None:
    remounted(small_disk, "size=64m,ro")
    ended = ingest(small_disk.parent, archive, prefect_home)
    assert ended.returncode == 1
    assert "StorageFailed" in ended.stderr and str(small_disk / SOURCE) in ended.stderr, ended.stderr[-2000:]
    assert "read-only" in ended.stderr
    remounted(small_disk, "rw")
    heals(small_disk.parent, archive, prefect_home, record_property)


@pytest.mark.more
def test_a_run_waits_while_prefects_database_is_locked(
    tmp_path: Path, archive: Path, prefect_home: Path, record_property: object
) -> None:
    home, database = tmp_path / "home", prefect_home / "prefect.db"
    if not database.exists():
        assert ingest(home, archive, prefect_home).returncode == 0
    held, running = sqlite3.connect(database, check_same_thread=False, isolation_level=None), threading.Event()

    def hold() -> None:
        held.execute("BEGIN EXCLUSIVE")
        running.set()
        time.sleep(6)
        held.execute("ROLLBACK")

    holder = threading.Thread(target=hold)
    holder.start()
    running.wait()
    heals(home, archive, prefect_home, record_property)
    holder.join()
    held.close()
