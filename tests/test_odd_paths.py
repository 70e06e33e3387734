"""Homes and projects in folders as people name them: every sign of a name is a sign, nowhere a pattern or a command."""

from __future__ import annotations

import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from tasks.errors import SettingsError, WarehouseError
from tasks.operations import launchd, systemd
from tasks.operations.units import Unit, units
from tasks.reporting.terminal import print_table
from tasks.settings import Settings
from tasks.storage.files import write_parquet
from tasks.storage.zones import Zones, require_usable_home
from tasks.training.search import storage_url
from tasks.warehouse.duckdb import DuckDbWarehouse

NAMES = [
    "Satechi Hub",
    "Süßöl [1] 100%",
    'Kirk\'s "SSD"',
    "a*b",
    "#1 $HOME `x` {y} & (z);",
    "[!a]",
    "value=9",
    "~tilde",
    "-dash",
]


def observations(value: float) -> pd.DataFrame:
    """One observation, with the columns that the view shows."""
    from tasks.warehouse.frames import conform
    from tasks.warehouse.tables import OBSERVATIONS, Table

    known = pd.Timestamp("2023-12-28", tz="UTC")
    row = {"source": "mei", "series": "mei", "field": "value", "value": value, "available_at": known}
    row |= {"observation_date": pd.Timestamp("2023-12-01"), "fetched_at": known, "vintage": known}
    frame = pd.DataFrame([{name: row.get(name) for name in OBSERVATIONS}])
    return conform(Table("staging.observations", (), dict(OBSERVATIONS)), frame, OBSERVATIONS).to_pandas()


def a_home_with(folder: Path, value: float) -> Zones:
    zones = Zones(folder)
    write_parquet(zones.staging / "mei" / "observations.parquet", observations(value))
    return zones


@pytest.mark.parametrize("name", NAMES)
def test_the_warehouse_of_a_home_shows_its_own_observations_and_no_others(name, tmp_path):
    zones = a_home_with(tmp_path / name / "home", 1.0)
    a_home_with(tmp_path / "axb" / "home", 2.0)  # which the pattern `a*b` would find too
    warehouse = DuckDbWarehouse(zones)
    warehouse.publish({}, as_of="2023-12-29", staging=zones.staging)
    assert list(warehouse.query("SELECT value FROM staging.observations")["value"]) == [1.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_copied_command_names_the_file_of_a_message(name, tmp_path):
    zones = Zones(tmp_path / name)
    zones.warehouse.mkdir(parents=True)
    file = zones.warehouse / "cbi.duckdb"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError, match="cannot be used") as refused:
        DuckDbWarehouse(zones).migrate()
    command = str(refused.value).split("move it away with `")[1].split("`, then")[0]
    assert shlex.split(command) == ["mv", str(file), f"{file}.bad"]
    subprocess.run(command, shell=True, check=True)
    assert not file.exists()


@pytest.mark.parametrize("name", ["a?b", "a\\b", "a\nb", "a\0b"])
def test_a_home_that_cannot_work_is_refused_with_its_sign(name, tmp_path):
    with pytest.raises(SettingsError, match=r"CBI_HOME .* has .* in its name") as refused:
        require_usable_home(tmp_path / name / "home")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_other_name_may_be_a_home(name, tmp_path):
    require_usable_home(tmp_path / name / "home")
    assert not (tmp_path / name).exists(), "looking makes nothing"


def test_a_home_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    for home in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "home"):
        with pytest.raises(SettingsError, match=r"notes\.txt is a file"):
            require_usable_home(home)


def units_of(project: Path) -> list[Unit]:
    given = {"python": project / ".venv" / "bin" / "python", "folder": project, "volume": project.parent, "given": {}}
    return units(Settings(home=project / "var"), host="127.0.0.1", port=4200, **given)


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_of_launchd_names_the_folders_as_they_are(name, tmp_path):
    project = tmp_path / name / "cbi"
    for unit in units_of(project):
        held = plistlib.loads(launchd.agent_text(unit, logs=tmp_path).encode())
        assert held["ProgramArguments"][0] == str(project / ".venv" / "bin" / "python")
        assert held["WorkingDirectory"] == str(project)
        assert held["EnvironmentVariables"]["CBI_HOME"] == str(project / "var")


@pytest.mark.parametrize("sign", ["\n", "\x1b"])
def test_a_setting_that_no_line_can_hold_is_refused(sign, tmp_path):
    unit = Unit("worker", "a worker", ("/bin/true",), tmp_path, {"CBI_ARCHIVE": f"/tmp/a{sign}ExecStart=/bin/b"})
    for text in (lambda: launchd.agent_text(unit, logs=tmp_path), lambda: systemd.unit_text(unit)):
        with pytest.raises(SettingsError, match="control character"):
            text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_finds_the_program_of_a_unit_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    files = []
    for number, name in enumerate([*NAMES, "$x", "plain"]):
        python = tmp_path / name / "cbi" / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to("/bin/true")
        (folder := tmp_path / f"units{number}").mkdir()
        for unit in units_of(tmp_path / name / "cbi"):
            path = systemd.unit_path(folder, unit.name)
            path.write_text(systemd.unit_text(unit), encoding="utf-8")
            assert systemd.is_ours(path)
        done = subprocess.run(
            ["systemd-analyze", "--user", "verify", "--man=no", *map(str, folder.iterdir())],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        files.append((name, done.stdout + done.stderr))
    assert files == [(name, "") for name, _ in files]


def test_the_shell_of_a_unit_starts_the_program_with_its_words(tmp_path):
    program = tmp_path / "it's $HOME" / "say"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s|" "$0" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    command = systemd.startable([str(program), "-m", "a b", "$HOME"])
    assert command[0] == "/bin/sh"
    said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert said == f"{program}|-m|a b|$HOME|"


@pytest.mark.parametrize("name", NAMES)
def test_a_search_of_options_keeps_its_studies_in_the_home(name, tmp_path):
    optuna = pytest.importorskip("optuna")
    (tmp_path / name).mkdir()
    optuna.create_study(storage=storage_url(tmp_path / name / "har.db"), study_name="har")
    assert [path.name for path in (tmp_path / name).iterdir()] == ["har.db"]


def test_what_looks_like_a_style_is_printed_as_it_is(capsys):
    print_table(Console(width=200), "Paths", pd.DataFrame({"path": ["/Volumes/Hub [z]/var [/]"]}))
    assert "/Volumes/Hub [z]/var [/]" in capsys.readouterr().out
