"""The cost page tells what `cbi project sql-check` tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence import bigquery_cost
from tasks.settings import PROJECT
from tasks.warehouse.sql_check import CheckedStatement, Statement, check


def test_bytes_and_usd_stand_beside_each_statement() -> None:
    one = Statement("tasks/warehouse/views/a.sql", "api.a", None)
    page = bigquery_cost.render("the stamp", [CheckedStatement(one, "", 2**40)])
    assert "| tasks/warehouse/views/a.sql | api.a | 1,099,511,627,776 | 6.250000 |" in page


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page goes that is else written over the committed one."""
    path = tmp_path / "page.md"
    monkeypatch.delenv("CBI_WAREHOUSE", raising=False)
    monkeypatch.setattr(bigquery_cost, "write_bytes", lambda _, content: path.write_bytes(content))
    return path


def test_every_statement_of_the_check_is_on_the_page(written: Path) -> None:
    assert bigquery_cost.write() == 0
    page = written.read_text()
    assert "Written by `make cost-report`" in page and "data: warehouse duckdb." in page
    assert page.count(" | none | none |") == len(check(PROJECT / "registry"))


def test_a_statement_that_fails_leaves_the_page_as_it_was(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = CheckedStatement(Statement("tasks/warehouse/views/a.sql", "api.a", None), "DuckDB: no such column")
    monkeypatch.setattr(bigquery_cost, "check", lambda *_: [failed])
    assert bigquery_cost.write() == 1 and not written.exists()
    assert "tasks/warehouse/views/a.sql: api.a: DuckDB: no such column" in capsys.readouterr().err
