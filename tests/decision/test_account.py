"""What was bought, published by month for the site: the account of `cbi purchases list`, no single purchase."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cli.app import main
from tasks.reporting.purchases import account_of, publish_accounts
from tasks.reporting.site import build
from tasks.run import open_run
from tasks.settings import load_settings
from tasks.storage.files import write_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.reporting.site_home import AS_OF, publish_home

TABLE = "forecasts.zl_purchases_daily"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published home of 2024-01-05 with a panel, and without purchases."""
    home = tmp_path / "home"
    publish_home(home, without=(TABLE,))
    days = pd.bdate_range("2023-01-02", AS_OF)
    panel = pd.DataFrame({"date": days, "zl_close": [50 + day / 50 for day in range(len(days))], "eur_last": 1.1})
    write_parquet(home / "panel" / "panel.parquet", panel)
    monkeypatch.setenv("CBI_HOME", str(home))
    return home


def test_the_account_is_published_by_month_and_follows_the_ledger(
    home: Path,
) -> None:
    warehouse = DuckDbWarehouse(Zones(home))
    run = open_run(load_settings(), origin="live", as_of=f"{AS_OF:%Y-%m-%d}")
    publish_accounts(run)
    assert TABLE not in warehouse.row_counts() or warehouse.row_counts()[TABLE] == 0, "no ledger, no account"
    for words in (["2023-08-01", "300000", "64.10", "2023-09"], ["2023-12-01", "100000", "51.20", "2024-02;2024-03"]):
        assert main(["purchases", "add", *words]) == 0
    publish_accounts(run)
    account = account_of(run, "example")
    rows = warehouse.query("SELECT * FROM api.vw_purchases").set_index("month")
    assert list(rows.index) == list(account.cover["month"])
    assert rows["covered_pounds"].tolist() == account.cover["covered_pounds"].tolist()
    (settled,) = account.settled.to_dict("records")
    assert rows.loc["2023-09", "saved_against_even_usd"] == settled["saved_against_even_usd"]
    assert rows.loc["2023-09", "settled_pounds"] == settled["pounds"] > 0
    assert pd.isna(rows.loc["2023-09", "saved_against_signal_usd"]), "no decision was published about it"
    assert rows.loc["2024-02", "bought_pounds"] == 50_000 and pd.isna(rows.loc["2024-02", "settled_pounds"])
    (total,) = warehouse.query("SELECT * FROM api.vw_purchases_settled").to_dict("records")
    assert total["settled_months"] == 1 and total["signal_months"] == 0
    assert total["saved_against_even_usd"] == settled["saved_against_even_usd"]
    for number in ("1", "2"):
        assert main(["purchases", "remove", number]) == 0
    publish_accounts(run)
    assert warehouse.query("SELECT * FROM api.vw_purchases").empty, "what was removed is no longer shown"


def test_a_damaged_ledger_is_named_and_the_site_is_built(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "purchases").mkdir()
    (home / "purchases" / "ledger.jsonl").write_text("no line\n", encoding="utf-8")
    monkeypatch.setattr(build, "PAGES", build.PAGES[-1:])
    assert main(["site"]) == 1
    assert "no account of purchases" in capsys.readouterr().err
    assert (home / "site" / "alerts.html").exists()
