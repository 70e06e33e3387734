"""The report says what was measured, in the words the measurements have. Nothing is timed here."""

from __future__ import annotations

import pandas as pd
import pytest

from evidence.__main__ import main, render
from evidence.measurement import Measurement, ReportTable


def lines(*results: Measurement | ReportTable) -> list[str]:
    return render("the stamp", results, took_s=61.4).splitlines()


def test_a_row_has_figure_limit_peer_and_ratio():
    page = lines(Measurement("panel", 1.234, "s", 5, peer="the other way, 2.5 s", ratio=0.4936, note="median of 3"))
    assert "| measure | figure | limit | met? | peer | ratio |" in page
    assert "| panel | 1.23 s | 5 s | yes | the other way, 2.5 s | 0.494 |" in page
    assert "- panel: median of 3" in page


@pytest.mark.parametrize(
    ("figure", "limit", "said"),
    [
        (2049.0, 2048, "| memory | 2,049 MB | 2,048 MB | **not met** |  |  |"),
        (2048.0, 2048, "| memory | 2,048 MB | 2,048 MB | yes |  |  |"),
        (2049.0, None, "| memory | 2,049 MB | none |  |  |  |"),
    ],
    ids=["above the limit", "at the limit", "without a limit"],
)
def test_a_limit_is_met_not_met_or_none(figure, limit, said):
    assert said in lines(Measurement("memory", figure, "MB", limit))


def test_a_figure_just_above_its_limit_does_not_look_like_it():
    (row,) = [line for line in lines(Measurement("import", 2.502, "s", 2.5)) if line.startswith("| import ")]
    assert row == "| import | 2.502 s | 2.5 s | **not met** |  |  |"


def test_the_page_begins_with_its_stamp_and_how_long_the_run_took():
    assert lines()[:5] == ["# Benchmarks", "", "the stamp", "", "The load was read before the run, which took 61 s."]


def test_a_table_of_its_own_stands_below_the_measurements():
    accuracy = ReportTable("Accuracy", pd.DataFrame({"horizon": ["1w"], "pinball": ["0.00812"]}), "Lower is better.")
    page = lines(accuracy, Measurement("panel", 1.0, "s"))
    assert page.index("| 1w | 0.00812 |") > page.index("| panel | 1 s | none |  |  |  |")
    assert page[-1] == "Lower is better."


def test_without_an_archive_one_clear_line_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("CBI_ARCHIVE", str(tmp_path / "empty"))
    assert main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith(f"BenchError: {tmp_path / 'empty'} has neither packed sources") and line.endswith(
        "Nothing was measured"
    )
