"""The command lines of evidence: a help with examples, one line for an error, any terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evidence.command_line import command, exit_status
from evidence.measurement import BenchError
from tasks.settings import PROJECT

# those of the Makefile, and the one run by hand
NAMES = ["", ".bake_off_report", ".bigquery_cost", ".cost_of_a_day", ".false_prices", ".mutants", ".peers", ".proofs"]
NAMES += [".scaling", ".soak", ".time_machine"]


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *words], cwd=PROJECT, env=own, capture_output=True, encoding="utf-8", timeout=300, check=False
    )


@pytest.mark.parametrize("name", [".bigquery_cost", ".soak", *(pytest.param(n, marks=pytest.mark.more) for n in NAMES)])
def test_help_has_an_example_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    asked = python("-m", f"evidence{name}", "--help", CBI_HOME=str(tmp_path / "home"))
    assert "examples:\n" in asked.stdout and f"  python -m evidence{name}" in asked.stdout, asked.stderr
    assert not (tmp_path / "home").exists()


def test_a_sign_that_the_terminal_lacks_ends_no_command() -> None:
    say = "from evidence.command_line import command; command('x', 'y'); print('Süßöl ≥ 5')"
    said = python("-c", say, PYTHONIOENCODING="ascii")
    assert (said.returncode, said.stdout) == (0, "S???l ? 5\n"), said.stderr


def test_without_examples_there_is_no_heading() -> None:
    assert "examples" not in command("x", "y").format_help()


def test_an_error_of_the_product_is_one_line_and_a_status_of_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise BenchError("nothing was measured")

    assert exit_status(fail) == 1 and exit_status(lambda: 3) == 3
    assert capsys.readouterr().err == "BenchError: nothing was measured\n"
