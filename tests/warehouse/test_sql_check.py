"""`cbi project sql-check`: all statements run but the ones that were broken, which are told by file."""

from __future__ import annotations

import shutil

import pytest

from cli.app import main
from tasks.warehouse import scheduled, sql_check, views
from tasks.warehouse.tables import STATED, tables


@pytest.fixture
def broken_views(tmp_path, monkeypatch):
    """The views' folder with a view of a column that is not there, and a file that does not parse."""
    folder = shutil.copytree(views.VIEWS, tmp_path / "views")
    (folder / "98_column.sql").write_text("CREATE OR REPLACE VIEW api.vw_wrong AS SELECT no_such FROM ops.alerts;")
    (folder / "99_broken.sql").write_text("CREATE OR REPLACE VIEW api.vw_broken AS SELECT FROM WHERE (")
    monkeypatch.setattr(views, "VIEWS", folder)
    return folder


def test_only_what_is_broken_fails_and_is_told_by_file_and_name(broken_views, capsys):
    assert main(["project", "sql-check"]) == 1
    out, err = capsys.readouterr()
    told = err.strip().splitlines()
    assert len(told) == 2, err
    assert told[0].startswith(f"{broken_views}/98_column.sql: api.vw_wrong: DuckDB: ") and "no_such" in told[0]
    assert told[1].startswith(f"{broken_views}/99_broken.sql: 99_broken: does not parse: ")
    for name in tables():
        assert all(f"{what} {name} " in out for what in ("merge", "compare", "keep latest"))
    assert all(f" withdraw {name} " in out for name in STATED)
    for name in ("api.vw_latest_forecast", "refreshed.zl_regimes", "training.vw_zl_12m_v1", "ops.alerts"):
        assert f" {name} " in out
    assert "2 of them fail" in out


def test_a_schema_that_does_not_parse_is_told_alone(tmp_path, monkeypatch, registry):
    (tmp_path / "bad.sql").write_text("CREATE TABLE ops.x (a STRING, PRIMARY KEY (a)")
    monkeypatch.setattr(sql_check.tables, "SCHEMA", tmp_path)
    [outcome] = sql_check.check(registry.folder)
    assert outcome.statement.file == str(tmp_path / "bad.sql") and "does not parse" in outcome.problem


def test_the_scheduled_scripts_are_those_of_the_sql_files():
    """`cbi project scheduled-sql` writes them anew."""
    assert {path.name: path.read_text() for path in scheduled.FOLDER.glob("*.sql")} == scheduled.scripts()
