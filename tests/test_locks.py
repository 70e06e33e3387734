"""One run at a time, whatever becomes of the lock's file; each with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.errors import StorageFailed, ZoneBusy
from tasks.settings import PROJECT
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones
from tests.test_zones import child

NAME = "raw-yahoo"
FILE = f"{NAME}.lock"


@contextmanager
def held(zones: Zones) -> Iterator[subprocess.Popen[str]]:
    """The lock, held by another process until the end."""
    code = (
        "import time; from pathlib import Path\n"
        "from tasks.storage.locks import exclusive; from tasks.storage.zones import Zones\n"
        f"with exclusive(Zones(Path({str(zones.home)!r})), {NAME!r}):\n"
        "    print('ready', flush=True); time.sleep(900)\n"
    )
    holder = child(code)
    try:
        yield holder
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()


def busy(zones: Zones) -> None:
    refused = pytest.raises(ZoneBusy, match=r"raw-yahoo: another run has held .*raw-yahoo\.lock")
    with refused, exclusive(zones, NAME, wait_s=0.1):
        pass


@pytest.mark.faults
def test_a_second_run_is_refused_by_name_and_a_killed_one_frees_its_lock(zones: Zones) -> None:
    with held(zones):
        busy(zones)
        with exclusive(zones, "raw-fred", wait_s=0.1):
            pass
    with exclusive(zones, NAME, wait_s=60):
        pass


@pytest.mark.faults
def test_a_lock_holds_while_its_file_or_its_folder_is_deleted(zones: Zones) -> None:
    visible, second = zones.locks / FILE, zones.home / ".locks" / FILE
    with held(zones):
        for gone in (visible, second, visible.parent, second.parent):
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
            busy(zones)
            (zones.home / "copy").write_bytes(b"")
            if not visible.exists():  # a copy of a backup put in its place is not the lock either
                visible.parent.mkdir(exist_ok=True)
                (zones.home / "copy").rename(visible)
                busy(zones)
                visible.unlink()
            else:
                second.parent.mkdir(exist_ok=True)
                (zones.home / "copy").rename(second)
                busy(zones)
                second.unlink()
            visible.parent.mkdir(exist_ok=True)
            second.parent.mkdir(exist_ok=True)
            there = visible if visible.exists() else second
            os.link(there, second if there == visible else visible)
    with exclusive(zones, NAME, wait_s=60):
        assert visible.samefile(second)


def test_who_comes_after_a_deletion_puts_the_name_back(zones: Zones) -> None:
    for gone in (zones.locks, zones.home / ".locks"):
        with exclusive(zones, NAME):
            shutil.rmtree(gone)
        with exclusive(zones, NAME, wait_s=1):
            assert (zones.locks / FILE).samefile(zones.home / ".locks" / FILE)


def test_both_names_deleted_is_logged(zones: Zones, caplog: pytest.LogCaptureFixture) -> None:
    with exclusive(zones, NAME):
        shutil.rmtree(zones.locks)
        shutil.rmtree(zones.home / ".locks")
    assert "were deleted while a run held them" in caplog.text


def test_a_home_that_was_copied_locks_again(zones: Zones, tmp_path: Path) -> None:
    with exclusive(zones, NAME):
        pass
    copied = Zones(Path(shutil.copytree(zones.home, tmp_path / "copied")))
    assert not (copied.locks / FILE).samefile(copied.home / ".locks" / FILE)
    with exclusive(copied, NAME, wait_s=1):
        assert (copied.locks / FILE).samefile(copied.home / ".locks" / FILE)


INSIDE = """
import sys; from pathlib import Path; from tasks.storage.locks import exclusive; from tasks.storage.zones import Zones
zones, counter = Zones(Path(sys.argv[1])), Path(sys.argv[1]) / "counter"
for _ in range(40):
    with exclusive(zones, "raw-yahoo", wait_s=60):
        seen = int(counter.read_text())
        counter.write_text(str(seen + 1))
"""


def test_nobody_is_inside_with_another_while_files_and_folders_are_deleted(zones: Zones) -> None:
    zones.home.mkdir()
    counter = zones.home / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", INSIDE, str(zones.home)]
    runs = [subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    turn = 0
    while any(run.poll() is None for run in runs):
        turn += 1
        folder = (zones.locks, zones.home / ".locks")[turn // 2 % 2]
        other = (zones.locks, zones.home / ".locks")[(turn // 2 + 1) % 2]
        if (other / FILE).exists():
            shutil.rmtree(folder, ignore_errors=True) if turn % 2 else (folder / FILE).unlink(missing_ok=True)
        time.sleep(0.002)
    assert [run.communicate()[1] for run in runs] == [""] * 4
    assert counter.read_text() == "160" and turn > 20


@pytest.mark.parametrize("what", ["folder", "link", "fifo"])
@pytest.mark.parametrize("place", ["locks", ".locks"])
def test_what_is_no_file_in_a_lock_s_place_is_one_clear_line(zones: Zones, what: str, place: str) -> None:
    path = zones.home / place / FILE
    path.parent.mkdir(parents=True)
    {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(zones.home / "elsewhere"),
        "fifo": lambda: os.mkfifo(path),
    }[what]()
    with pytest.raises(StorageFailed, match=rf"{place}/raw-yahoo\.lock is not a file") as told:  # noqa: SIM117
        with exclusive(zones, NAME, wait_s=1):
            pass
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("place", ["locks", ".locks"])
def test_a_file_in_the_place_of_the_folder_of_locks_is_one_clear_line(zones: Zones, place: str) -> None:
    zones.home.mkdir()
    (zones.home / place).write_bytes(b"")
    with pytest.raises(StorageFailed, match=rf"{place} is not a folder"):  # noqa: SIM117
        with exclusive(zones, NAME, wait_s=1):
            pass
