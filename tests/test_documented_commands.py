"""Every command that a page shows is one that the program accepts, and is run by a test or says why not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cli.app import main
from tasks.settings import PROJECT
from tests.documented import Shown, commands_of, entry_of, load_table, problem_of, shown_commands

SHOWN = shown_commands()
TABLE = load_table()


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 200
    assert {"README.md", "docs/tutorial.md", "docs/runbook.md", "docs/recover.md"} <= {one.page for one in SHOWN}


def test_the_program_accepts_every_command() -> None:
    assert [f"{one}: {why}" for one in SHOWN if (why := problem_of(one))] == []


def test_every_command_is_run_or_says_why_not() -> None:
    missing = [str(one) for one in SHOWN if entry_of(one) is None]
    assert missing == [], "give it a line in docs/commands.yaml"


@pytest.mark.parametrize("name", [*TABLE["run"], *TABLE["elsewhere"], *TABLE["not_run"]])
def test_an_entry_of_the_table_is_a_command_that_exists(name: str) -> None:
    words = tuple(shlex.split(name))
    if words[0] == "cbi" or (words[0] == "make" and not name.endswith("-")):
        assert problem_of(Shown("docs/commands.yaml", 0, words, whole=False)) == ""


@pytest.mark.parametrize(("name", "file"), TABLE["elsewhere"].items())
def test_the_test_that_runs_it_exists_and_names_it(name: str, file: str) -> None:
    text = (PROJECT / file).read_text(encoding="utf-8")
    word = [word for word in name.split() if not word.startswith("-")][-1].removesuffix("-site").split("-")[-1]
    assert word.rpartition(".")[2] in text, f"{file} has nothing of {name}"


@pytest.mark.parametrize(("line", "why"), TABLE["not_run"].items())
def test_what_no_test_runs_says_why(line: str, why: str) -> None:
    assert len(why.split()) >= 3, line


@pytest.mark.slow
@pytest.mark.xdist_group("daily")
def test_cheap_commands_run_on_a_computed_day(
    copied_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the table; what a page shows is what is run, word by word."""
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.delenv("CBI_NOTIFY", raising=False)
    ended = {}
    for line, wanted in TABLE["run"].items():
        status = main(shlex.split(line)[1:])
        printed = capsys.readouterr()
        if status != wanted:
            ended[line] = f"{status}, not {wanted}: {printed.err or printed.out[-400:]}"
        assert "Traceback" not in printed.err
    assert ended == {}


def test_commands_are_found_in_blocks_and_sentences_and_wrong_ones_are_named() -> None:
    page = "\n".join(
        [
            "Run `cbi health --jsn`, then `make tset`; `cbi.server.plist` is a file.",
            "```",
            "CBI_HOME=~/x cbi daily --origin recorded && make status  # both",
            "cbi models promote",
            "```",
            "```",
            "Soybean oil: 47.84",
            "cbi nothing  # output is not read",
            "```",
            "",
            "    cbi gates NO_SUCH --pge",
        ]
    )
    found = list(commands_of("x.md", page))
    assert [" ".join(one.words) for one in found] == [
        "cbi health --jsn",
        "make tset",
        "cbi daily --origin recorded",
        "make status",
        "cbi models promote",
        "cbi gates NO_SUCH --pge",
    ]
    wrong = [problem_of(one) for one in found]
    assert [bool(text) for text in wrong] == [True, True, False, False, True, True]
    assert "--jsn" in wrong[0] and "no target tset" in wrong[1]
