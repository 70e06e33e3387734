"""Pages and messages are in plain words: docs/words.yaml says which are not, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.app import main
from tasks.errors import RegistryError
from tasks.operations.words import find_words, read_words
from tasks.settings import PROJECT

LIST = """
words:
  - {avoid: told, write: "reported (a fact), notified (a person)"}
  - {avoid: held, write: stored, unless: ["lock held"]}
  - {avoid: centre, write: center}
left_out: {docs/old.md: a record of its day}
"""


def found_in(folder: Path, files: dict[str, str], words: str = LIST) -> list[str]:
    for name, text in {"docs/words.yaml": words, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [f"{one.file}:{one.line} {one.words}" for one in find_words(folder, read_words(folder / "docs/words.yaml"))]


def test_the_pages_and_messages_of_the_product_have_none_of_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["project", "words"]) == 0, capsys.readouterr().err


def test_a_page_that_is_left_out_exists_and_says_why() -> None:
    for name, why in read_words(PROJECT / "docs" / "words.yaml").left_out.items():
        assert (PROJECT / name).exists() and why, name


def test_prose_is_read_and_code_and_links_are_not(tmp_path: Path) -> None:
    page = "\n".join(
        [
            "Nobody is Told of it.",
            "The column `told` and [a page](told.md) are names; so is a lock held by a run.",
            "```",
            "told",
            "```",
            "The centre is held.",
            "",
            "    told: a block of code",
            "    - told: an item of a list",
        ]
    )
    assert found_in(tmp_path, {"docs/page.md": page, "docs/old.md": "told"}) == [
        "docs/page.md:1 Told",
        "docs/page.md:6 held",
        "docs/page.md:6 centre",
        "docs/page.md:9 told",
    ]


def test_texts_of_the_code_are_read_and_names_and_queries_are_not(tmp_path: Path) -> None:
    code = "\n".join(
        [
            '"""What is told to developers."""',
            'NAME, QUERY = "held", "SELECT held FROM t"',
            'raise ValueError(f"nobody was told: {NAME}")',
        ]
    )
    files = {"tasks/a.py": code, "cli/b.py": '"""The help: who is told."""\n', "tests/c.py": 'X = "told of it"\n'}
    files["expectations/assembly/panel.json"] = '[\n {"type": "held", "meta": {"reason": "Nothing is held of it"}}\n]'
    files["tasks/page.html.jinja"] = "<p>\n      Nobody is told.</p>"
    assert found_in(tmp_path, files) == [
        "tasks/page.html.jinja:2 told",
        "expectations/assembly/panel.json:2 held",
        "cli/b.py:1 told",
        "tasks/a.py:3 told",
    ]


def test_a_list_with_a_typo_or_a_broken_expression_is_refused(tmp_path: Path) -> None:
    for words in ("words:\n  - {avoid: told, writ: reported}\n", "words:\n  - {avoid: '(told', write: reported}\n"):
        with pytest.raises(RegistryError):
            found_in(tmp_path, {}, words)
