"""`cbi query`, as a person runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cli.app import main
from tasks.warehouse.tables import tables

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ask(zones):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CBI_") or k == "CBI_WAREHOUSE"}
        environment = kept | {"CBI_HOME": str(zones.home)}
        command = [sys.executable, "-m", "cli", "query", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)

    return run


def test_rows_are_shown_and_a_cut_is_said(ask, publish, features):
    publish({"features.zl_daily_v1": features.assign(**{f"feature_number_{i}": 1.0 for i in range(20)})})
    answer = ask("SELECT * FROM features.zl_daily_v1 ORDER BY date", "--rows", "2")
    assert answer.returncode == 0, answer.stderr
    assert "2023-12-29" in answer.stdout
    assert "2024-01-02" not in answer.stdout
    assert "feature_number_19" in answer.stdout
    assert "NULL" in answer.stdout
    assert "the first 2 of 3 rows (--rows N shows more). --csv gives everything." in answer.stdout


def test_csv_is_everything(publish, zones, monkeypatch, capsys):
    dates = pd.date_range("2023-01-01", periods=80)
    publish({"features.zl_daily_v1": pd.DataFrame({"date": dates, "close": range(80)})})
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    assert main(["query", "SELECT * FROM features.zl_daily_v1 ORDER BY date", "--csv"]) == 0
    held = pd.read_csv(io.StringIO(capsys.readouterr().out), parse_dates=["date"])
    assert held["close"].tolist() == list(range(80))
    assert held["date"].tolist() == dates.tolist()


TITLES = ["=HYPERLINK(0)", "+1", "-1", "@SUM(A1)", "\tx", "soybean oil = up", "\x1b]0;owned\x07 red \x1b[31m"]


@pytest.fixture
def titled(publish, zones, monkeypatch, rows_of):
    """Documents whose titles were chosen by somebody else."""
    table = "raw_intelligence.documents"
    some = {"STRING": "x", "INT64": 1, "FLOAT64": 1.0, "BOOL": True}
    some |= {"DATE": pd.Timestamp("2024-01-02"), "TIMESTAMP": pd.Timestamp("2024-01-02", tz="UTC")}
    row = {name: some[kind] for name, kind in tables()[table].columns.items()}
    known = [{**row, "document_id": f"{number}", "title": title} for number, title in enumerate(TITLES)]
    publish({table: rows_of(table, *known)})
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    return f"SELECT title FROM {table} ORDER BY document_id"


def test_a_text_that_a_spreadsheet_would_compute_has_a_sign_before_it(titled, capsys):
    assert main(["query", titled, "--csv"]) == 0
    held = pd.read_csv(io.StringIO(capsys.readouterr().out))["title"].tolist()
    assert held == [*(f"'{title}" for title in TITLES[:5]), *TITLES[5:]]
    assert main(["query", titled, "--csv", "--raw"]) == 0
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))["title"].tolist() == TITLES


def test_what_a_terminal_would_obey_is_shown_as_its_escape(titled, capsys):
    assert main(["query", titled]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told and "\x07" not in told and r"\x1b]0;owned\x07 red \x1b[31m" in told


def test_without_sql_tables_and_views_are_listed(ask, publish, features):
    publish({"features.zl_daily_v1": features})
    lines = [[cell.strip() for cell in line.split("│")] for line in ask().stdout.splitlines()]
    assert ["", "features.zl_daily_v1", "table", "3", ""] in lines
    assert ["", "api.vw_alerts", "view", "0", ""] in lines


def test_without_a_snapshot_one_line_says_what_to_run(ask):
    answer = ask()
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("nothing is published under")
    assert answer.stderr.endswith("run `make demo`\n")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "sql, said", [("SELEC 1", "SQL does not parse as BigQuery's"), ("SELECT nope FROM ops.alerts", '"nope" not found')]
)
def test_an_sql_error_is_one_line_and_exit_2(sql, said, publish, zones, monkeypatch, capsys):
    publish({})
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    assert main(["query", sql]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1
