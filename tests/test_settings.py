"""Settings as a person finds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import SettingsError
from tasks.settings import PROJECT, Settings, load_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CBI_")]:
        monkeypatch.delenv(name)


def test_the_example_file_names_every_setting_and_no_other() -> None:
    named = re.findall(r"^# (CBI_\w+)=", (PROJECT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(f"CBI_{name.upper()}" for name in Settings.model_fields)


def test_the_example_file_as_it_is_changes_nothing(tmp_path: Path) -> None:
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(re.sub(r"^# (?=CBI_\w+=)", "", text, flags=re.MULTILINE), encoding="utf-8")
    for folder in ("recorded", "registry", "expectations"):
        (tmp_path / folder).mkdir()
    found, usual = load_settings(tmp_path), load_settings()
    same = set(Settings.model_fields) - {"home", "archive", "registry", "expectations"}
    assert {name: getattr(found, name) for name in same} == {name: getattr(usual, name) for name in same}
    assert found.home == tmp_path / "var"


@pytest.mark.parametrize(
    ("written", "home"),
    [
        ('CBI_HOME="{0}/Satechi Hub/q"', "Satechi Hub/q"),
        ("CBI_HOME='{0}/Satechi Hub/q'", "Satechi Hub/q"),
        ("CBI_HOME={0}/q   # the big disk", "q"),
        ("CBI_HOME={0}/q$1", "q$1"),
        ("CBI_HOME={0}/Süßöl [1] 100%#x", "Süßöl [1] 100%#x"),
        ("export CBI_HOME={0}/q", "q"),
        ("CBI_HOME=data", "data"),
    ],
)
def test_a_home_is_read_as_written_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, home: str
) -> None:
    (tmp_path / ".env").write_text(written.format(tmp_path) + "\n", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_settings(tmp_path).home == tmp_path / home


def test_the_environment_comes_before_the_file_and_an_empty_value_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("CBI_WORKERS=3\nCBI_DEVICE=cpu\nCBI_GCP_BLOCK=\n")
    monkeypatch.setenv("CBI_WORKERS", "2")
    monkeypatch.setenv("CBI_HOME", "")
    found = load_settings(tmp_path)
    assert (found.workers, found.device, found.gcp_block, found.home) == (2, "cpu", None, PROJECT / "var")


def test_a_mistyped_name_or_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("CBI_ARCHVE=somewhere\n")
    with pytest.raises(SettingsError, match="unknown setting CBI_ARCHVE"):
        load_settings(tmp_path)
    (tmp_path / ".env").unlink()
    monkeypatch.setenv("CBI_ARCHIVE", str(tmp_path / "archvie"))
    with pytest.raises(SettingsError, match=r"CBI_ARCHIVE: .*archvie is not a folder"):
        load_settings(tmp_path)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("CBI_HOME=/Volumes/Süßöl\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env cannot be read: .*UTF-8"):
        load_settings(tmp_path)


def test_cloud_settings_ask_for_the_cloud_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().extras() == ()
    monkeypatch.setenv("CBI_WAREHOUSE", "bigquery://project")
    assert load_settings().extras() == ("cloud",)


def test_make_asks_for_one_setting(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "project", "setting", "home"],
        cwd=PROJECT,
        env={**os.environ, "CBI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{home}\n"


def test_a_rehearsed_clock_belongs_to_one_command_not_to_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CBI_NOW=2023-11-03T18:30-05:00\n")
    with pytest.raises(SettingsError, match="CBI_NOW rehearses another day"):
        load_settings(tmp_path)
