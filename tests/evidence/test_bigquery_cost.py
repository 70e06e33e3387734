"""The cost page tells what `cbi project sql-check` tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence import bigquery_cost
from tasks.settings import PROJECT
from tasks.warehouse.prices import query_usd
from tasks.warehouse.sql_check import Checked, Statement, check


def test_bytes_and_usd_stand_beside_each_statement() -> None:
    one, other = (Statement("tasks/warehouse/views/a.sql", name, None) for name in ("api.a", "api.b"))
    page = bigquery_cost.render("the stamp", [Checked(one, "", 2**40), Checked(other, "it does not parse")])
    assert "| tasks/warehouse/views/a.sql | api.a | ok | 1,099,511,627,776 | 6.250000 |" in page
    assert "| tasks/warehouse/views/a.sql | api.b | it does not parse | none | none |" in page
    assert query_usd(2**40) == 6.25


def test_every_statement_of_the_check_is_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CBI_WAREHOUSE", raising=False)
    monkeypatch.setattr(bigquery_cost, "write_bytes", lambda path, content: (tmp_path / "page.md").write_bytes(content))
    assert bigquery_cost.write() == 0
    page = (tmp_path / "page.md").read_text()
    assert "Written by `make cost-report`" in page and "data: warehouse duckdb." in page
    assert page.count(" | ok | none | none |") == len(check(PROJECT / "registry"))
