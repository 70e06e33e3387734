"""The decision as a buyer reads it: a headline, months, plan, protection by a model, and what to keep in mind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.decision.day import decide_day
from tasks.decision.policy import ALL, COVERED, CURVE, WORST_SHARE, DayDecisions
from tasks.errors import NothingStored
from tasks.registry import EXAMPLE_NOTE
from tasks.run import RunContext
from tasks.storage.files import read_parquet
from tasks.warehouse.protocol import Warehouse

RECORD = "What following the rule would have cost since 2010: docs/results/buyer_backtest.md."
CONTRACTS = "SELECT * FROM forecasts.zl_contracts_daily WHERE as_of = DATE '{day}'"
OF_A_DAY = """
SELECT *
FROM (
  SELECT
    *,
    FIRST_VALUE(data_snapshot) OVER (PARTITION BY horizon ORDER BY created_at DESC, model_version DESC)
      AS newest_snapshot
  FROM forecasts.zl_forecasts_daily
  WHERE as_of = DATE '{day}'
) AS of_day
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY horizon
  ORDER BY IF(data_snapshot = newest_snapshot, 0, 1), degraded, created_at DESC, is_baseline, model_version DESC
) = 1
"""


def newest_forecast(warehouse: Warehouse) -> str | None:
    """The session of the newest published forecast, as 2023-12-29."""
    if not warehouse.is_published():
        return None
    newest = warehouse.query("SELECT MAX(as_of) AS newest FROM forecasts.zl_forecasts_daily")["newest"].iloc[0]
    return None if pd.isna(newest) else f"{newest:%Y-%m-%d}"


def published_decision(run: RunContext, warehouse: Warehouse) -> DayDecisions:
    """The decisions of the run's session, from its published forecast and the registry and ledger as they are now.

    Raises:
        NothingStored: no forecast of the session is published, or there is no panel of it.
    """
    day = f"{run.as_of:%Y-%m-%d}"
    forecasts = warehouse.query(OF_A_DAY.format(day=day)) if warehouse.is_published() else pd.DataFrame()
    if forecasts.empty:
        raise NothingStored(f"no forecast of {day} is published; run `cbi daily --as-of {day}`")
    contracts = warehouse.query(CONTRACTS.format(day=day))
    path = run.zones.panel / "panel.parquet"
    if not path.exists():
        raise NothingStored(f"{path} does not exist; run `cbi daily`")
    panel = read_parquet(path, ["date", "zl_close", "zl_roll_free", "eur_last"])
    if panel["date"].max() < run.as_of:
        raise NothingStored(f"{path} ends at {panel['date'].max():%Y-%m-%d}; run `cbi daily --as-of {day}`")
    return decide_day(run, forecasts, contracts, panel)


def headline(rows: pd.DataFrame) -> str:
    """The signal of one need in one line."""
    row = rows[rows["month"] == ALL].iloc[0]
    note = f" ({EXAMPLE_NOTE})" if row["is_example"] else ""
    if row["signal"] == COVERED:
        return f"Decision for {row['need']}{note}: nothing is open."
    if not row["pounds_now"]:
        return f"Decision for {row['need']}{note}: WAIT. Buy nothing now; {row['open_pounds']:,.0f} lb are open."
    return (
        f"Decision for {row['need']}{note}: {row['signal'].upper()}. Buy {row['pounds_now']:,.0f} of "
        f"{row['open_pounds']:,.0f} open lb now."
    )


def explanation(rows: pd.DataFrame) -> list[str]:
    """Sentences about the months together."""
    row = rows[rows["month"] == ALL].iloc[0]
    if row["signal"] == COVERED:
        return []
    lines = []
    if pd.notna(row["wait_mean_usd"]):
        fixed = "" if pd.isna(row["now_usd"]) else f"Fixing every open month today costs {_usd(row['now_usd'])}. "
        lines.append(
            f"{fixed}Waiting for each month costs {_usd(row['wait_mean_usd'])} on average: with 80% probability "
            f"between {_usd(row['wait_p10_usd'])} and {_usd(row['wait_p90_usd'])}, and "
            f"{_usd(row['wait_shortfall_usd'])} in the mean of the worst {WORST_SHARE:.0%} of cases."
        )
        cheaper = (
            ""
            if pd.isna(row["chance_waiting_cheaper"])
            else (f"Waiting is cheaper in {100 * row['chance_waiting_cheaper']:.0f} of 100 cases. ")
        )
        lines.append(
            f"{cheaper}The budget of {_usd(row['budget_usd'])} is exceeded in "
            f"{100 * row['chance_over_budget']:.0f} of 100."
        )
    if row["reason"]:
        lines.append(f"Missing: {row['reason']}.")
    return lines


def month_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per month, formatted, with prices in the buyer's unit."""
    out = []
    for row in rows[rows["month"] != ALL].to_dict("records"):
        per = row["unit_per_cent_lb"]
        out.append(
            {
                "month": row["month"],
                "due": f"{row['due_date']:%Y-%m-%d}",
                "open lb": f"{row['open_pounds']:,.0f}",
                "now": _price(row["now_cents_lb"], per),
                "by": "none" if pd.isna(row["now_source"]) else _way(row),
                "waiting": _price(row["wait_p50_cents_lb"], per),
                "80% range": f"{_price(row['wait_p10_cents_lb'], per)} to {_price(row['wait_p90_cents_lb'], per)}",
                "wait cheaper": _share(row["chance_waiting_cheaper"]),
                "weighted": _share(row["weighted_chance"]),
                "over budget": _share(row["chance_over_budget"]),
                "signal": row["signal"] if row["open_pounds"] else COVERED,
            }
        )
    return pd.DataFrame(out)


def plan_table(rows: pd.DataFrame) -> pd.DataFrame:
    """How much now, and how much when."""
    months = rows[(rows["month"] != ALL) & (rows["open_pounds"] > 0)]
    return pd.DataFrame({"month": months["month"], "plan": months["plan"]})


def protection_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Model prices of a cap at the budget, and of the floor that pays for it, in the buyer's unit."""
    out = []
    for row in rows[(rows["month"] != ALL) & (rows["open_pounds"] > 0)].to_dict("records"):
        per = row["unit_per_cent_lb"]
        out.append(
            {
                "month": row["month"],
                "cap at": _price(row["budget_cents_lb"], per),
                "premium": _price(row["cap_cents_lb"], per),
                "premium in all": _usd(row["cap_usd"]),
                "or a floor at": _price(row["collar_floor_cents_lb"], per),
            }
        )
    return pd.DataFrame(out)


def remarks(rows: pd.DataFrame) -> list[str]:
    """What to keep in mind."""
    row = rows.iloc[0]
    months = rows[rows["month"] != ALL]
    lines = [
        f"Prices are in {row['unit']} and include your basis. The rule reads the weighted chance, in which cases above "
        f"the budget count more often; decide once a month, as the record did. {RECORD}",
        "Protection is a model price (Black 1976, with the width of the forecast): no market quotes it here.",
    ]
    old = months[(months["now_source"] == CURVE) & (months["curve_price_date"] < row["as_of"])]
    if len(old):
        lines.append(
            f"Contract prices are of {old['curve_price_date'].min():%Y-%m-%d}, moved on with the front month since: "
            "ask for a quote before you buy."
        )
    lines += [f"{month}: {why}." for month, why in zip(months["month"], months["reason"], strict=True) if why]
    return lines


def as_json(decided: DayDecisions) -> str:
    """The decisions for a program: a list of needs, each with its row of all months and one per month."""
    needs = []
    for name, rows in decided.table.groupby("need", sort=False) if len(decided.table) else ():
        records = [_plain(row) for row in rows.to_dict("records")]
        together = next(row for row in records if row["month"] == ALL)
        note = EXAMPLE_NOTE if together["is_example"] else None
        months = [row for row in records if row["month"] != ALL]
        needs.append({"need": name, "note": note, "all": together, "months": months})
    return json.dumps({"needs": needs, "problems": list(decided.problems)}, indent=1, ensure_ascii=False)


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, str | bool) or (value is not None and not pd.isna(value)):
            out[str(name)] = f"{value:%Y-%m-%d}" if isinstance(value, pd.Timestamp) else value
        else:
            out[str(name)] = None
    return out


def _way(row: Mapping[Any, Any]) -> str:
    return f"{row['contract']}" if row["now_source"] == CURVE else "storage"


def _price(cents_lb: float, per: float) -> str:
    return "none" if pd.isna(cents_lb) else f"{cents_lb * per:,.2f}"


def _share(value: float) -> str:
    return "not known" if pd.isna(value) else f"{value:.0%}"


def _usd(value: float) -> str:
    return "not known" if pd.isna(value) else f"${value:,.0f}"
