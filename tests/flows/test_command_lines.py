"""What a person meets on the command line: help at once, the nearest right word, one line at a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.main import get_command

from cli.app import application, main
from tasks.command_line import nearest
from tasks.errors import WarehouseError
from tasks.settings import PROJECT
from tasks.warehouse.dialect import parse_query, read_names
from tasks.warehouse.views import known_names


def commands(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    """Every command there is, as its words after ``cbi``."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, *before, name)
        else:
            yield (*before, name)


COMMANDS = list(commands(get_command(application())))
HEAVY = ("prefect", "pandas", "great_expectations", "lightgbm", "duckdb")


def python(*words: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, **({"CBI_HOME": str(home)} if home else {}), **environment}
    return subprocess.run(
        [sys.executable, *words], cwd=PROJECT, env=own, capture_output=True, encoding="utf-8", timeout=300, check=False
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_imports_nothing_that_takes_seconds(words, tmp_path):
    look = (
        "import atexit, sys; from cli.app import main; "
        f"atexit.register(lambda: print('IMPORTED', [m for m in {HEAVY} if m in sys.modules])); "
        "sys.exit(main([*sys.argv[1:], '--help']))"
    )
    asked = python("-c", look, *words, home=tmp_path / "home")
    assert asked.returncode == 0, asked.stderr
    assert "Examples:" in asked.stdout and f"  cbi {' '.join(words)}" in asked.stdout
    assert "IMPORTED []" in asked.stdout
    assert not (tmp_path / "home").exists()


def test_help_of_the_whole_groups_commands_by_who_needs_them_and_lists_exit_codes():
    told = python("-m", "cli", "--help").stdout
    for words in ("Every day", "Look and check", "Models", "Exit status", "3    a critical source is down"):
        assert words in told


@pytest.mark.parametrize("flow", ["daily", "ingest", "backfill", "health", "training", "launcher"])
def test_a_flow_started_as_a_module_is_its_command(flow):
    """Who has `python -m flows.ingest` in a crontab, or an agent of an earlier version, is not left without a run."""
    asked = python("-m", f"flows.{flow}", "--help")
    assert asked.returncode == 0 and "Usage: cbi " in asked.stdout, asked.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dialy"], "Did you mean 'daily'?"),
        (["train", "--budget", "ful"], "'daily', "),
        (["project", "setting", "hom"], "Did you mean home?"),
        (["daily", "--as_of", "2020-01-02"], "--as-of"),
    ],
)
def test_a_wrong_word_ends_with_2_and_the_right_ones(words, told):
    done = python("-m", "cli", *words)
    assert done.returncode == 2 and told in done.stderr, done.stderr


def test_help_names_the_sources_and_families_there_are():
    assert "usda_wasde" in python("-m", "cli", "ingest", "yahooo").stderr
    assert "lightgbm" in python("-m", "cli", "search", "--help").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gates", "post_stagin"], "Did you mean POST_STAGING?"),
        (["ingest", "yaho"], "Did you mean yahoo?"),
        (["ingest", "fred", "--series", "DSG10"], "Did you mean DGS10?"),
        (["backfill", "gdlet", "--start", "2020-01-01"], "Did you mean gdelt?"),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest_right_one_before_anything_starts(words, told, tmp_path):
    done = python("-m", "cli", *words, home=tmp_path / "home")
    assert done.returncode == 1 and done.stderr.rstrip().endswith(told), done.stderr
    assert not (tmp_path / "home" / "prefect").exists()


def test_a_command_inside_another_process_leaves_its_signals_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["gates", "no such gate"]) == 1 and "RegistryError" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("sql", "told"),
    [("SELEC 1", "Did you mean SELECT?"), ("SELECT point FORM api.vw_latest_forecast x", "Did you mean FROM?")],
)
def test_a_slip_in_a_keyword_is_told(sql, told):
    with pytest.raises(WarehouseError, match=r"SQL does not parse") as refused:
        parse_query(sql)
    assert str(refused.value).endswith(told)


def test_a_wrong_name_of_a_dataset_is_told():
    [name] = read_names(parse_query("WITH x AS (SELECT * FROM apii.vw_latest_forecast) SELECT * FROM x"))
    assert name == "apii.vw_latest_forecast"
    assert nearest(name, known_names()) == " Did you mean api.vw_latest_forecast?"
    assert nearest("qqqq", known_names()) == ""


@pytest.fixture
def begun() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def begin(started: list[subprocess.Popen[str]], *words: str, home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=PROJECT,
        env={**os.environ, "CBI_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # a suite that a shell runs in the background ignores Ctrl-C, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    started.append(process)
    return process


def child_of(process: subprocess.Popen[str], word: str, within_s: float = 120) -> psutil.Process:
    """The first process below it whose command has the word."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            if any(word in part for part in child.cmdline()):
                return child
        time.sleep(0.1)
    raise AssertionError(f"no {word}")


@pytest.mark.more
@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_daily_run_asked_to_end_says_what_stands_and_leaves_no_server(
    asked, status, name, archive, few_families, tmp_path, monkeypatch, begun
):
    monkeypatch.setenv("CBI_REGISTRY", str(few_families))
    run = begin(begun, "flows.daily", "--origin", str(archive), "--as-of", "2011-12-30", home=tmp_path / "home")
    server = child_of(run, "prefect.server.api.server:create_app")
    landed = tmp_path / "home" / "raw"
    deadline = time.monotonic() + 180
    while not landed.exists() and time.monotonic() < deadline:  # within the flow, where Prefect has taken SIGTERM
        time.sleep(0.1)
    run.send_signal(asked)
    _, said = run.communicate(timeout=60)
    last = [line for line in said.splitlines() if line.strip()][-1]
    assert last == f"Ended by {name}. Nothing was published yet. The same command continues where this one stopped."
    assert run.returncode == status and "Traceback" not in said
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_a_run_asked_to_end_while_its_server_starts_says_what_stands_and_leaves_no_server(archive, tmp_path, begun):
    run = begin(begun, "flows.daily", "--origin", str(archive), "--as-of", "2011-12-30", home=tmp_path / "home")
    server = child_of(run, "prefect.server.api.server:create_app")
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    last = [line for line in said.splitlines() if line.strip()][-1]
    assert last == "Ended by Ctrl-C. Nothing was published; earlier forecasts stay as they were."
    assert run.returncode == 130 and "Traceback" not in said
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.more
@pytest.mark.xdist_group("daily")  # it needs the day computed there
@pytest.mark.slow
def test_what_was_published_before_is_named(copied_home, archive, few_families, monkeypatch, begun):
    from flows.daily import open_daily_run, published_state

    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(few_families))
    told = published_state(open_daily_run(str(archive), "2011-12-30"))
    assert told.startswith("The forecast of 2011-12-30 is published, created 20")
    told = published_state(open_daily_run(str(archive), "2011-12-29"))
    assert told.startswith("Nothing was published of 2011-12-29; the newest forecast is of 2011-12-30 and stays.")


def test_a_signal_before_anything_has_begun_is_one_line_too(tmp_path, begun):
    wait = (
        "import sys, time, types\n"
        "from cli.app import main\n"
        "slow = types.ModuleType('flows.daily')\n"
        "slow.run_daily = lambda *_: (print('ready', flush=True), time.sleep(60))\n"
        "sys.modules['flows.daily'] = slow\n"
        "main(['daily'])"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", wait], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    begun.append(run)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=30)
    assert said == "Ended by SIGTERM. Nothing was published; earlier forecasts stay as they were.\n"
