"""The buyer's account: purchases, cover and open exposure, and the cost of settled months against other ways to buy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from tasks import clock
from tasks.decision.day import known_purchases
from tasks.decision.ledger import Ledger, Purchase
from tasks.decision.needs import priced
from tasks.decision.realised import cover, realised
from tasks.errors import DecisionFailed
from tasks.registry import EXAMPLE_NOTE, load_decision
from tasks.reporting.decision import newest_forecast
from tasks.reporting.terminal import print_table
from tasks.run import RunContext, newest_session, open_run
from tasks.settings import Settings
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import table_named

DECISIONS = "forecasts.zl_decisions_daily"
ACCOUNTS = "forecasts.zl_purchases_daily"
OF_MONTHS = "SELECT * FROM forecasts.zl_decisions_daily WHERE as_of <= DATE '{day}' AND month <> 'all'"


@dataclass(frozen=True)
class Account:
    """Everything of one need. ``cover``, ``settled``: of tasks/decision/realised.py."""

    need: str
    is_example: bool
    as_of: pd.Timestamp
    purchases: tuple[Purchase, ...]
    cover: pd.DataFrame
    settled: pd.DataFrame


def account_of(run: RunContext, need: str) -> Account:
    """The account of a need as of the run's session.

    Raises:
        DecisionFailed: the need's unit has no rate on this day.
    """
    entry = load_decision(run.settings.registry).needs[need]
    path = run.zones.panel / "panel.parquet"
    panel = read_parquet(path, ["date", "zl_close", "eur_last"]) if path.exists() else None
    known = None if panel is None else panel[panel["date"] <= run.as_of].set_index("date")
    own = priced(need, entry, np.nan if known is None or known.empty else float(known["eur_last"].iloc[-1]))
    if isinstance(own, str):
        raise DecisionFailed(own)
    mine = tuple(one for one in known_purchases(run) if one.need == need)
    closes = pd.Series(dtype="float64", index=pd.DatetimeIndex([])) if known is None else known["zl_close"]
    warehouse = open_warehouse(run.settings)
    decisions = pd.DataFrame()
    if warehouse.is_published() and DECISIONS in warehouse.row_counts():
        decisions = warehouse.query(OF_MONTHS.format(day=f"{run.as_of:%Y-%m-%d}"))
    return Account(
        need,
        entry.example,
        run.as_of,
        mine,
        cover(mine, own, as_of=run.as_of),
        realised(mine, own, closes, decisions, as_of=run.as_of),
    )


def account_rows(run: RunContext) -> pd.DataFrame:
    """The rows of ``forecasts.zl_purchases_daily`` without ``created_at``: none before the first purchase.

    Raises:
        PurchaseError: the ledger cannot be read. DecisionFailed: a need's unit has no rate on this day.
    """
    bought = {one.need for one in known_purchases(run)}
    parts = [_rows_of(account_of(run, need)) for need in load_decision(run.settings.registry).needs if need in bought]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _rows_of(account: Account) -> pd.DataFrame:
    columns = {"pounds": "settled_pounds", "paid_usd": "settled_paid_usd"}
    settled = account.settled.drop(columns="due_date", errors="ignore").rename(columns=columns)
    settled = settled if len(settled) else pd.DataFrame({"month": pd.Series(dtype="object")})
    rows = account.cover.drop(columns="paid_usd").merge(settled, on="month", how="left")
    named = table_named(ACCOUNTS).columns
    rows = rows.assign(as_of=account.as_of, need=account.need, is_example=account.is_example)
    return rows.reindex(columns=[name for name in named if name != "created_at"])


def publish_accounts(run: RunContext) -> None:
    """Publish what was bought as of the run's session, so that the site can show it. Without a purchase, nothing.

    Raises:
        CbiError: the ledger cannot be read, or the warehouse not written.
    """
    if not Ledger(run.zones).path.exists():
        return
    rows = account_rows(run)
    rows = rows if rows.empty else rows.assign(created_at=clock.now().floor("s"))
    open_warehouse(run.settings).publish(
        {ACCOUNTS: rows}, as_of=newest_session(run.zones) or run.as_of, staging=run.zones.staging, session=run.as_of
    )


def publish_newest_accounts(settings: Settings) -> None:
    """The same as of the newest published forecast, for a home whose ledger changed since its daily run.

    Raises:
        CbiError: as ``publish_accounts``.
    """
    day = newest_forecast(open_warehouse(settings)) if Ledger(Zones(settings.home)).path.exists() else None
    if day is not None:
        publish_accounts(open_run(settings, origin="live", as_of=day))


def print_account(account: Account) -> None:
    """Print the account."""
    console = Console(width=max(110, Console().width))
    console.print(f"Purchases of {account.need} as of {account.as_of:%Y-%m-%d}", markup=False)
    if account.is_example:
        console.print(EXAMPLE_NOTE, markup=False)
    listed = [
        {
            "id": one.id,
            "date": one.date,
            "pounds": f"{one.pounds:,.0f}",
            "cents/lb": f"{one.price_cents_lb:.2f}",
            "months": ", ".join(one.months),
        }
        for one in account.purchases
    ]
    if listed:
        print_table(console, "Purchases", pd.DataFrame(listed))
    print_table(
        console,
        "Cover",
        pd.DataFrame(
            {
                "month": account.cover["month"],
                "needed lb": [f"{value:,.0f}" for value in account.cover["needed_pounds"]],
                "covered lb": [f"{value:,.0f}" for value in account.cover["covered_pounds"]],
                "open lb": [f"{value:,.0f}" for value in account.cover["open_pounds"]],
                "paid, cents/lb": [
                    "none" if pd.isna(value) else f"{value:.2f}" for value in account.cover["paid_cents_lb"]
                ],
            }
        ),
    )
    if len(account.settled):
        dollars = [str(name) for name in account.settled if str(name).endswith("_usd")]
        shown = {name.removesuffix("_usd").replace("_", " "): account.settled[name] for name in dollars}
        total = account.settled[dollars].sum(min_count=len(account.settled))
        table = pd.DataFrame(
            {
                "month": [*account.settled["month"], "all"],
                **{
                    head: [_figure(value, "{:,.0f}") for value in (*values, total[name])]
                    for (head, values), name in zip(shown.items(), dollars, strict=True)
                },
            }
        )
        print_table(console, "Settled months, USD", table)
        console.print("Pounds not bought before the due date count at that day's price.", markup=False)


def as_plain(account: Account) -> dict[str, Any]:
    """The account for a program."""
    return {
        "need": account.need,
        "note": EXAMPLE_NOTE if account.is_example else None,
        "as_of": f"{account.as_of:%Y-%m-%d}",
        "purchases": [{**vars(one), "months": list(one.months)} for one in account.purchases],
        "cover": _records(account.cover),
        "settled": _records(account.settled),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    dated = frame.assign(due_date=frame["due_date"].dt.strftime("%Y-%m-%d")) if len(frame) else frame
    return [
        {str(k): v for k, v in row.items()}
        for row in dated.astype(object).where(dated.notna(), None).to_dict("records")
    ]


def _figure(value: float, form: str) -> str:
    return "not known" if pd.isna(value) else form.format(value)
