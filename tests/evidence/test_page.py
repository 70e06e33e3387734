"""One page writer and one stamp: cells that hold anything, and who, when, where and of what."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from evidence.machine import commit, stamp, training_files
from evidence.page import facts, frame_table, shown, table, write_page
from tasks.settings import PROJECT
from tasks.storage.hashes import sha256_of


def test_a_page_is_title_stamp_and_parts_with_blank_lines_between(tmp_path: Path) -> None:
    path = write_page(tmp_path / "page.md", "Title", "the stamp", "A sentence.", facts({"a": 1, "b": "x"}))
    assert path.read_text() == "# Title\n\nthe stamp\n\nA sentence.\n\n- a: 1\n- b: x\n"


def test_a_cell_holds_bars_and_line_breaks_and_a_table_without_rows_says_so() -> None:
    assert table(["a", "b"], [["x|y", "two\nlines"], [1, None]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | two lines |",
        "| 1 | None |",
    ]
    assert table(["a"], []) == frame_table(pd.DataFrame({"a": []})) == "None."


def test_what_was_not_measured_is_none() -> None:
    assert [shown(value, "{:.1f}") for value in (None, float("nan"), 0.25, 3)] == ["none", "none", "0.2", "3.0"]


def test_the_stamp_names_command_date_commit_machine_and_data() -> None:
    line = stamp("make bench")
    assert re.match(r"Written by `make bench` on \d{4}-\d\d-\d\d \d\d:\d\d UTC, commit `[0-9a-z ]+`; ", line)
    assert f"`{commit()}`" in line and " cores, " in line and "load average" in line
    assert f"data: recorded archive `{sha256_of(PROJECT / 'recorded' / 'MANIFEST.csv')[:16]}`" in line
    assert line.endswith("Generated, never edited.")
    other = training_files("2023-12-29", {"1w": "ab" * 32})
    assert other == f"training files of 2023-12-29, 1w `{'ab' * 8}`" and f"data: {other}." in stamp("x", other)
