"""Text of a source, a payload or a file name is shown as it is: no terminal, table or page obeys it."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from tasks.errors import SourceUnavailable
from tasks.logs import RedactSecrets
from tasks.reporting.terminal import in_markdown, print_health, print_table, shown
from tasks.secrets import quoted

HOSTILE = {
    "a title of the terminal": "\x1b]0;pwned\x07",
    "a colour": "\x1b[31mred\x1b[0m",
    "a cleared screen": "\x9b2J",
    "an overwritten line": "sound\rfalse",
    "a word turned round": "\u202egnp.exe",
    "a style": "[bold red]false[/]",
    "a link of the terminal": "[link=https://evil.test]click[/link]",
    "a script": "<script>alert(1)</script>",
    "a picture": '<img src=x onerror="alert(1)">',
    "a picture of Markdown": "![x](https://evil.test/seen)",
    "a link of Markdown": "[click](javascript:alert(1))",
    "a bare address": "https://evil.test/ www.evil.test",
    "a column more": "| a | b |",
    "a heading": "\n# false",
    "code": "``` `x` ```",
}
OBEYED = ("\x1b", "\x07", "\x9b", "\r", "\u202e")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_terminal_shows_it_and_obeys_no_sign_of_it(text: str) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor", record=True)
    print_table(console, "Quarantine", pd.DataFrame({text: [text]}))
    health = SimpleNamespace(
        as_of=pd.Timestamp("2024-01-02"), dated="", champions=pd.DataFrame(), gates=pd.DataFrame(),
        checks=pd.DataFrame([[text, "failing", text]], columns=["check", "state", "told"]),
        sources=pd.DataFrame([dict.fromkeys(
            ["source", "state", "series", "last", "age_days", "quarantined", "last_success", "next_run"], text)]),
    )  # fmt: skip
    print_health(console, health)
    console.print(shown(text))
    told = console.export_text()
    assert not [sign for sign in OBEYED if sign in told]
    assert "\x1b]" not in console.file.getvalue(), "neither a link nor a title"
    if not any(sign in text for sign in OBEYED):
        assert text.split("\n")[-1][:10] in told


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_errors_logs_and_quotes_hold_no_sign_that_a_terminal_obeys(text: str) -> None:
    record = logging.LogRecord("tasks", logging.WARNING, "x.py", 1, "told %s", (text,), None)
    RedactSecrets().filter(record)
    for told in (str(SourceUnavailable(f"yahoo: {text}")), record.getMessage(), quoted(text.encode())):
        assert not [sign for sign in OBEYED if sign in told]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_page_of_markdown_shows_it_and_makes_nothing_of_it(text: str) -> None:
    from markdown_it import MarkdownIt

    page = MarkdownIt("gfm-like", {"linkify": False}).render(f"| reason |\n| --- |\n| {in_markdown(text)} |\n")
    assert not [tag for tag in ("<script", "<img", "<a ", "<code", "<h1", "<strong") if tag in page], page
    assert page.count("<td>") == 1
    assert not [sign for sign in OBEYED if sign in page]
