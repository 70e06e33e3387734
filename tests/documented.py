"""The commands that the README and the pages of docs/ show: found, and read as the program would read them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from cli.app import application
from tasks.settings import PROJECT

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "deploy/*/README.md", "recorded/README.md")
TABLE = PROJECT / "docs" / "commands.yaml"
HEADS = ("cbi", "make", "python", ".venv/bin/python", "export")
"""What is read word by word. Any other program of a block of commands needs its line in the table."""
INLINE = re.compile(r"`((?:cbi|make|python -m|\.venv/bin/\S+)(?: [^`]*)?)`")
MARKS = "…"


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it. ``whole``: from a block of commands, so that it can be copied and run."""

    page: str
    line: int
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def shown_commands() -> list[Shown]:
    """Every command of every page."""
    paths = sorted(path for pattern in PAGES for path in PROJECT.glob(pattern))
    return [one for path in paths for one in commands_of(path.relative_to(PROJECT).as_posix(), path.read_text("utf-8"))]


def commands_of(page: str, text: str) -> Iterator[Shown]:
    """The commands of a page: lines of blocks whose first line is a command, and code within sentences.

    A block of output is left out: its first line begins with no program that the table knows.
    """
    programs = {*HEADS, *(name.split()[0] for part in load_table().values() for name in part)}
    block: list[tuple[int, str]] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and block is None:
            block = [] if fence[1] in ("", "bash", "sh", "console") else [(number, MARKS)]
        elif fence or (block is not None and not line.strip() and not block):
            yield from _of_block(page, block or [], programs)
            block = None
        elif block is not None:
            block.append((number, line))
        elif line.startswith("    ") and _first(line) in programs:
            yield from _of_line(page, number, line, whole=True)
        else:
            for found in INLINE.finditer(line):
                yield from _of_line(page, number, found[1], whole=False)


def _of_block(page: str, block: list[tuple[int, str]], programs: set[str]) -> Iterator[Shown]:
    if block and _first(block[0][1]) in programs:
        for number, line in block:
            yield from _of_line(page, number, line, whole=True)


def _first(line: str) -> str:
    """The program of a line, after the variables that are set for it."""
    words = re.sub(r"^\s*(\w+=\S+ )*", "", line).split()
    return words[0] if words else ""


def _of_line(page: str, number: int, line: str, *, whole: bool) -> Iterator[Shown]:
    for part in re.split(r"&&| \| ", re.sub(r"(^|\s)#.*|>\s*\S+\s*$", "", line)):
        words = shlex.split(part)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[0] != "export":
            yield Shown(page, number, tuple(words), whole)


@cache
def load_table() -> dict[str, dict[str, Any]]:
    """docs/commands.yaml: ``run`` (command: exit status), ``elsewhere`` (command: test), ``not_run`` (command: why)."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def entry_of(shown: Shown) -> tuple[str, str] | None:
    """The part of the table and the entry that a command falls under: itself, or the longest beginning of its words."""
    table = load_table()
    for count in range(len(shown.words), 0, -1):
        for part in ("run", "elsewhere", "not_run"):
            for name in table[part]:
                words = tuple(shlex.split(name))
                if words == shown.words[:count] and (part != "run" or count == len(shown.words)):
                    return part, name
    return None


def problem_of(shown: Shown) -> str:
    """Why the program would refuse the words; empty if it would not."""
    words = list(shown.words)
    if words[0] == "cbi":
        return _problem_of_cbi(words[1:], whole=shown.whole)
    if words[0] == "make":
        return _problem_of_make(words[1:])
    if words[:2] in (["python", "-m"], [".venv/bin/python", "-m"]):
        name = words[2].removesuffix(MARKS)
        places = [PROJECT / Path(*name.split(".")), PROJECT / f"{name.replace('.', '/')}.py"]
        return "" if name in ("pytest", "pip") or any(place.exists() for place in places) else f"no module {name}"
    return ""


def _problem_of_cbi(words: list[str], *, whole: bool) -> str:
    command: Any = get_command(application())
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no command {words[0]!r}; there are {', '.join(command.commands)}"
        command = command.commands[words.pop(0)]
    words = [word for at, word in enumerate(words) if word != MARKS or words[at - 1].startswith("-")]
    if {"--help", "--install-completion"} & {*words} or (hasattr(command, "commands") and not words):
        return ""
    try:
        command.make_context(command.name, [*words])
    except Exception as error:
        kind = type(error).__name__
        placeholder = any(re.fullmatch(r"[A-Z][A-Z_]+|\w+\|\w+", word) for word in words)
        if (kind == "MissingParameter" and not whole) or (kind == "BadParameter" and placeholder):
            return ""
        return f"{kind}: {error}"
    return ""


def _problem_of_make(words: list[str]) -> str:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for word in words:
        name, is_variable, _ = word.partition("=")
        if is_variable:
            if not name.startswith("CBI_") and f"$({name})" not in makefile:
                return f"make reads no variable {name}"
        elif word.endswith(MARKS):
            if not any(target.startswith(word.removesuffix(MARKS)) for target in targets):
                return f"no target begins with {word}"
        elif word not in targets:
            return f"no target {word}"
    return ""
