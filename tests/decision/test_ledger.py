"""A year of purchases: added, edited, removed, imported with bad rows, and counted; nothing written is ever lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.decision.ledger import Ledger, Purchase, ledger_path, pounds_by_month, purchase, row_identities
from tasks.decision.needs import PricedNeed, priced
from tasks.decision.purchase_file import import_file
from tasks.decision.realised import cover, realised, signal_price
from tasks.errors import PurchaseError, SettingsError
from tasks.operations.backup import back_up
from tasks.operations.restore import restore
from tasks.registry import Need
from tasks.run import open_run
from tasks.settings import PROJECT, Settings
from tasks.storage.files import read_json
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse

TODAY = pd.Timestamp("2023-12-29")
HEAD = "date,pounds,price,months\n"


def bought(**changed) -> Purchase:
    words = {"need": "plant", "date": "2023-01-05", "pounds": "600000", "price": "60", "months": "2023-02"}
    return purchase(**{**words, "unit": "cents/lb", **changed}, needs=["plant", "other"], today=TODAY)


@pytest.fixture
def ledger(zones: Zones) -> Ledger:
    return Ledger(zones)


@pytest.fixture
def own() -> PricedNeed:
    entry = Need(
        title="a plant",
        unit="cents/lb",
        pounds_per_month=600_000,
        months_ahead=2,
        budget_price=55,
        basis=1.0,
        storage_per_month=0.1,
        financing_pct_year=5,
        aversion=0,
        covered_pounds={"2023-03": 100_000},
    )
    found = priced("plant", entry, np.nan)
    assert isinstance(found, PricedNeed)
    return found


def the_year(ledger: Ledger, folder: Path) -> None:
    """Twelve months: the half of each bought a month before at 50, and then changed by every command."""
    for month in range(1, 12):
        ledger.add(bought(date=f"2023-{month:02d}-05", pounds=300_000, price=50, months=f"2023-{month + 1:02d}"))
    ledger.edit(1, {"price_cents_lb": 52.0, "pounds": 400_000.0})  # February
    ledger.remove(2)  # March
    file = folder / "bought.csv"
    file.write_text(HEAD + "2023-03-10,200000,48.5,2023-04;2023-05\n2023-03-10,200000,48.5,2023-04;2023-05\n")
    import_file(ledger, file, needs=["plant"], need=None, today=TODAY)


def test_a_year_of_purchases_equals_the_calculation_by_hand(ledger, own, tmp_path):
    the_year(ledger, tmp_path)
    closes = pd.Series(55.0, index=pd.bdate_range("2022-12-01", "2023-12-29"))
    table = cover(ledger.purchases(), own, as_of=TODAY).set_index("month")
    assert table.loc["2023-02", ["covered_pounds", "open_pounds", "paid_cents_lb"]].tolist() == [400_000, 200_000, 52]
    assert "2023-03" not in table.index, "its purchase was removed, and it is not planned"
    # 300,000 at 50 and twice 100,000 at 48.5
    assert table.at["2023-04", "covered_pounds"] == 500_000
    assert table.at["2023-04", "paid_cents_lb"] == pytest.approx((300 * 50 + 200 * 48.5) / 500)
    assert table.loc[["2024-01", "2024-02"], "open_pounds"].tolist() == [600_000, 600_000]
    settled = realised(ledger.purchases(), own, closes, pd.DataFrame(), as_of=TODAY).set_index("month")
    assert list(settled.index) == ["2023-02", *(f"2023-{m:02d}" for m in range(4, 13))]
    # all on the due date: 600,000 at 55 and a basis of 1
    assert (settled["even_usd"] == 336_000).all() and settled["signal_usd"].isna().all()
    assert settled.at["2023-02", "paid_usd"] == pytest.approx(400_000 * 0.52 + 200_000 * 0.56)
    assert settled.at["2023-04", "paid_usd"] == pytest.approx(300_000 * 0.50 + 200_000 * 0.485 + 100_000 * 0.56)
    assert settled.at["2023-06", "saved_against_even_usd"] == pytest.approx(300_000 * 0.06)
    saved = 400_000 * 0.04 + 2 * (300_000 * 0.06 + 200_000 * 0.075) + 7 * 300_000 * 0.06
    assert settled["saved_against_even_usd"].sum() == pytest.approx(saved)


def test_what_was_covered_before_the_ledger_counts_for_cover_only(ledger, own):
    ledger.add(bought(months="2023-03", pounds=200_000, price=50))
    row = cover(ledger.purchases(), own, as_of=pd.Timestamp("2023-01-31")).set_index("month").loc["2023-03"]
    assert row[["covered_pounds", "open_pounds", "bought_pounds"]].tolist() == [300_000, 300_000, 200_000]
    closes = pd.Series(55.0, index=pd.bdate_range("2023-01-01", "2023-03-31"))
    settled = realised(ledger.purchases(), own, closes, pd.DataFrame(), as_of=pd.Timestamp("2023-03-31")).iloc[0]
    assert settled["pounds"] == 500_000 and settled["paid_usd"] == pytest.approx(200_000 * 0.5 + 300_000 * 0.56)


def test_the_signal_is_followed_once_a_month_at_the_prices_that_it_named():
    rows = pd.DataFrame(
        [
            ("2023-01-03", "plant", "2023-04", 50.0, 0.25),
            ("2023-01-04", "plant", "2023-04", 10.0, 1.0),  # the same month again: a buyer decides once
            ("2023-02-01", "plant", "2023-04", 52.0, 0.5),
            ("2023-03-01", "plant", "2023-04", np.nan, 0.0),
            ("2023-04-03", "plant", "2023-04", 1.0, 1.0),  # it is due
            ("2023-01-03", "other", "2023-04", 1.0, 1.0),
        ],
        columns=["as_of", "need", "month", "now_cents_lb", "share_now"],
    ).assign(due_date=pd.Timestamp("2023-04-03"), as_of=lambda frame: pd.to_datetime(frame["as_of"]))
    # a quarter at 50, half of the other three at 52, the rest at 56
    assert signal_price(rows, "plant", "2023-04", 56.0) == pytest.approx(0.25 * 50 + 0.375 * 52 + 0.375 * 56)
    assert np.isnan(signal_price(rows, "plant", "2023-05", 56.0))
    assert np.isnan(signal_price(pd.DataFrame(), "plant", "2023-04", 56.0))


def test_every_bad_row_is_an_error_with_its_line_and_nothing_is_imported(ledger, tmp_path):
    file = tmp_path / "bought.csv"
    file.write_text(
        HEAD
        + "2023-01-05,600000,60,2023-02\n"
        + "2023-13-05,600000,60,2023-02\n"
        + "2023-01-05,-1,sixty,2023-02\n"
        + "2023-01-05,nan,60,2023-02\n"
        + "\n"
        + "2024-01-05,600000,60,2024-02\n"
        + "2023-01-05,600000,60,2022-12\n"
        + "2023-01-05,600000,60,2023-2\n"
        + "2023-01-05,600000,60,\n"
        + "2023-01-05,600000,60\n"
        + "2023-01-05,600000,60,2023-02;2023-02\n"
    )
    with pytest.raises(PurchaseError, match="9 of 10 rows are invalid, and nothing was imported") as refused:
        import_file(ledger, file, needs=["plant"], need=None, today=TODAY)
    assert refused.value.__notes__ == [
        "line 3: date '2023-13-05' is not a date; write it as 2024-01-05",
        "line 4: pounds '-1' is not a number above zero; write it as 600000 or 47.85; price 'sixty' is not a number "
        "above zero; write it as 600000 or 47.85",
        "line 5: pounds 'nan' is not a number above zero; write it as 600000 or 47.85",
        "line 7: date 2024-01-05 is in the future (today is 2023-12-29)",
        "line 8: month 2022-12 was over on 2023-01-05",
        "line 9: '2023-2' is not a month; write it as 2026-02",
        "line 10: no month is named; write it as 2024-02, several as 2024-02;2024-03",
        "line 11: it does not have as many cells as the head",
        "line 12: month 2023-02 is named twice",
    ]
    assert ledger.purchases() == [] and not ledger.path.exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ("day,pounds,price,months\n", "line 1: no column date"),
        ("date,pounds,price,months,who\n", "line 1: columns who"),
        ("", "line 1: no column date, pounds, price, months"),
        ("date,pounds,price,months,need\n2023-01-05,1,1,2023-02,elsewhere\n", "1 of 1 rows"),
        ("date,pounds,price,months,unit\n2023-01-05,1,1,2023-02,EUR/tonne\n", "1 of 1 rows"),
    ],
)
def test_a_file_with_another_head_or_need_is_refused(content, message, ledger, tmp_path):
    file = tmp_path / "bought.csv"
    file.write_text(content)
    with pytest.raises(PurchaseError, match=message):
        import_file(ledger, file, needs=["plant"], need=None, today=TODAY)


def test_an_import_again_adds_nothing_and_a_file_that_grew_adds_its_new_rows(ledger, tmp_path):
    file, row = tmp_path / "bought.csv", "2023-01-05,600000,60,2023-02\n"
    file.write_text("\ufeff" + HEAD + row + row)  # a spreadsheet's mark; two equal purchases

    def imported() -> int:
        return len(import_file(ledger, file, needs=["plant"], need=None, today=TODAY).added)

    assert (imported(), imported()) == (2, 0)
    ledger.edit(1, {"pounds": 1.0})
    ledger.remove(2)
    file.write_text(HEAD + row + row + row + "2023-01-06,600000,60,2023-02\n")
    assert (imported(), imported()) == (2, 0), "what was edited or removed does not come back"
    assert [one.pounds for one in ledger.purchases()] == [1.0, 600_000, 600_000]


def test_prices_in_other_units_and_months_that_share_a_purchase():
    assert bought(price="1200", unit="USD/short ton").price_cents_lb == pytest.approx(60)
    assert bought(price="1322.772", unit="USD/tonne").price_cents_lb == pytest.approx(60)
    two = bought(months="2023-03, 2023-02")
    assert two.months == ("2023-02", "2023-03")
    assert pounds_by_month([two, bought()]) == {"plant": {"2023-02": 900_000, "2023-03": 300_000}}


def test_every_version_stays_in_the_file_and_the_newest_counts(ledger):
    ledger.add(bought())
    before = ledger.path.read_bytes()
    ledger.edit(1, {"pounds": 5.0})
    ledger.remove(1)
    assert ledger.path.read_bytes().startswith(before)
    assert [(line["version"], line["removed"]) for line in ledger.lines()] == [(1, False), (2, False), (3, True)]
    with pytest.raises(PurchaseError, match="purchase 1 was removed"):
        ledger.get(1)
    with pytest.raises(PurchaseError, match="purchase 7 is not in the ledger"):
        ledger.edit(7, {})
    assert ledger.add(bought()).id == 2, "an id is never given twice"
    unchanged = ledger.path.read_bytes()
    assert ledger.edit(2, {"pounds": 600_000.0}).version == 1 and ledger.path.read_bytes() == unchanged


def test_a_damaged_line_is_named(ledger):
    ledger.add(bought())
    with ledger.path.open("a") as file:
        file.write('{"format": 1, "removed"\n')
    with pytest.raises(PurchaseError, match=r"ledger.jsonl line 2 is damaged"):
        ledger.purchases()
    ledger.path.write_text(json.dumps({**ledger_line(), "months": []}) + "\n")
    with pytest.raises(PurchaseError, match=r"line 1 is damaged .pounds, price or months are missing"):
        ledger.purchases()


def ledger_line() -> dict[str, object]:
    return {"format": 1, "removed": False, "written": "x", **vars(bought()), "id": 1}


def test_two_identical_rows_of_a_file_are_two_rows():
    first, second = row_identities([bought(), bought()])
    assert first.row != second.row and first.row == row_identities([bought()])[0].row


def test_the_ledger_is_backed_up_never_shrinks_and_comes_back(zones, tmp_path):
    place, other = tmp_path / "second", tmp_path / "restored"
    place.mkdir()
    DuckDbWarehouse(zones).publish({}, as_of="2023-12-01", staging=zones.staging)
    run = open_run(Settings(home=zones.home, backup=str(place)), origin="live", as_of="2023-12-01")
    ledger = Ledger(zones)
    ledger.add(bought())
    assert back_up(run) == "" and back_up(run) == ""
    assert len(list((place / "purchases").iterdir())) == 1
    ledger.remove(1)
    ledger.add(bought(pounds=5))
    kept = ledger.path.read_bytes()
    assert back_up(run) == ""
    restore(Settings(home=other), str(place))
    assert ledger_path(Zones(other)).read_bytes() == kept
    ledger.path.unlink()
    assert "has lost lines" in back_up(run)
    ledger.add(bought())
    assert "has lost lines" in back_up(run)
    third = tmp_path / "third"
    restore(Settings(home=third), str(place))
    assert ledger_path(Zones(third)).read_bytes() == kept, "a backup is never replaced by less"
    assert read_json(zones.home / "backup" / "state.json")["failed"].startswith("the purchases are not backed up")
    fourth = Zones(tmp_path / "fourth")
    Ledger(fourth).add(bought())
    with pytest.raises(SettingsError, match="has a ledger of purchases already"):
        restore(Settings(home=fourth.home), str(place))


KILLED = """
import os, signal
from pathlib import Path
from tasks.decision.ledger import Ledger, purchase
from tasks.storage.zones import Zones
import pandas as pd
ledger = Ledger(Zones(Path(os.environ["CBI_HOME"])))
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
words = {"need": "plant", "date": "2023-01-06", "pounds": "1", "price": "1", "months": "2023-02", "unit": "cents/lb"}
ledger.add(purchase(**words, needs=["plant"], today=pd.Timestamp("2023-12-29")))
"""


def test_a_kill_while_it_is_written_leaves_the_purchases_before(ledger, zones):
    ledger.add(bought())
    before = ledger.path.read_bytes()
    environment = {**os.environ, "CBI_HOME": str(zones.home)}
    died = subprocess.run([sys.executable, "-c", KILLED], cwd=PROJECT, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert ledger.path.read_bytes() == before and [one.id for one in ledger.purchases()] == [1]
    assert ledger.add(bought()).id == 2
