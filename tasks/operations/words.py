"""``cbi project words``: words that read like a translation, in the pages and in the texts that the program shows.

The list is docs/words.yaml: what to avoid, and what to write instead. It reads the prose of Markdown pages, without
code and link targets, and the texts of Python files that have a blank (names of columns and files have none),
and the reasons of the gates' suites. Docstrings of ``cli`` are its help; others are for developers and are not read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, field_validator

from tasks.registry.entry import Entry, read_entries

PAGES = ("Makefile", "README.md", "CONTRIBUTING.md", "docs/*.md", "docs/decisions/*.md", "docs/results/*.md")
TEMPLATES = ("tasks/**/*.jinja", "tasks/**/*.typ")
SUITES = "expectations/**/*.json"
CODE = ("cli", "flows", "tasks", "evidence")
HELP = "cli"
"""The folder whose docstrings are shown to people."""
NOT_PROSE = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+|\{[^}]*\}|<[^>]*>")
REASON = re.compile(r'"reason": "((?:[^"\\]|\\.)*)"')
INDENTED_CODE = re.compile(r" {4,}(?!([-*]|\d+\.) )")
QUERY = re.compile(r"\s*(SELECT|INSERT|WITH|CREATE|DELETE)\b")


class Avoided(Entry):
    """One entry: a word or phrase, and what to write instead."""

    avoid: str
    write: str = Field(min_length=3)
    unless: tuple[str, ...] = ()

    @field_validator("avoid")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not an expression: {error}") from None
        return pattern


class WordList(Entry):
    """docs/words.yaml."""

    words: tuple[Avoided, ...]
    left_out: dict[str, str] = Field(default_factory=dict, description="pages that are not read, and why")


@dataclass(frozen=True)
class Found:
    """A word to avoid: the file, its line, the words around it, and what to write instead."""

    file: str
    line: int
    words: str
    write: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words!r}: write {self.write}"


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    unless: tuple[re.Pattern[str], ...]
    write: str = field(default="")


def read_words(path: Path) -> WordList:
    """The list.

    Raises:
        RegistryError: a key is unknown, or an expression does not compile.
    """
    return read_entries(path, WordList)


def find_words(project: Path, words: WordList) -> list[Found]:
    """Every word to avoid in the pages and the texts of a checkout, in the order of the files."""
    rules = _rules(words)
    found: list[Found] = []
    for pattern in (*PAGES, *TEMPLATES):
        for path in sorted(project.glob(pattern)):
            name = path.relative_to(project).as_posix()
            if name not in words.left_out:
                found += in_page(name, path.read_text(encoding="utf-8"), rules)
    for path in sorted(project.glob(SUITES)):
        name = path.relative_to(project).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            for reason in REASON.finditer(line):
                found += _in_text(name, number, reason[1], rules)
    for folder in CODE:
        for path in sorted((project / folder).rglob("*.py")):
            name = path.relative_to(project).as_posix()
            found += in_code(name, path.read_text(encoding="utf-8"), rules)
    return found


def in_page(name: str, text: str, rules: tuple[_Rule, ...]) -> Iterator[Found]:
    """The words to avoid in the prose of a page. Blocks of code are left out; a template has none."""
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not (name.endswith(".md") and INDENTED_CODE.match(line)):
            yield from _in_text(name, number, line, rules)


def in_code(name: str, text: str, rules: tuple[_Rule, ...]) -> Iterator[Found]:
    """The words to avoid in the texts of a Python file."""
    tree = ast.parse(text)
    silent = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not name.startswith(f"{HELP}/")
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in silent:
            continue
        if " " in node.value.strip() and not QUERY.match(node.value):
            yield from _in_text(name, node.lineno, node.value, rules)


def _rules(words: WordList) -> tuple[_Rule, ...]:
    return tuple(
        _Rule(
            re.compile(rf"\b(?:{one.avoid})\b", re.I),
            tuple(re.compile(text, re.I) for text in one.unless),
            one.write,
        )
        for one in words.words
    )


def _in_text(name: str, line: int, text: str, rules: tuple[_Rule, ...]) -> Iterator[Found]:
    prose = NOT_PROSE.sub(lambda code: "`" * len(code[0]), text)
    for rule in rules:
        for hit in rule.pattern.finditer(prose):
            around = prose[max(0, hit.start() - 30) : hit.end() + 30]
            if not any(allowed.search(around) for allowed in rule.unless):
                yield Found(name, line, " ".join(hit[0].split()), rule.write)
