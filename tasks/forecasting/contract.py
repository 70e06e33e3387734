"""The contract of a forecast's price: the one quoted now, its roll date, and the one of the target date."""

from __future__ import annotations

import calendar

import pandas as pd

from tasks.calendar import sessions
from tasks.panel.rolls import front_contracts, rolls
from tasks.registry import MONTH_CODES, RollRule


def contract_name(product: str, contract: int) -> str:
    """The exchange's name of a contract: ZLF24 for 202401."""
    year, month = divmod(contract, 100)
    return f"{product}{MONTH_CODES[month - 1]}{year % 100:02d}"


def contract_month(name: str) -> str:
    """The delivery month of a contract's name: January 2024 for ZLF24."""
    return f"{calendar.month_name[MONTH_CODES.index(name[-3]) + 1]} 20{name[-2:]}"


def with_contracts(forecasts: pd.DataFrame, rule: RollRule, product: str = "ZL") -> pd.DataFrame:
    """The forecasts with the contracts of their prices.

    Args:
        forecasts: rows with ``as_of`` and ``target_date``.

    Returns:
        the same with ``contract`` (quoted at ``as_of``), ``roll_date`` (the first session whose quote is of the next
        contract) and ``target_contract`` (quoted on the target date: the forecast is of its price).
    """
    as_of, last = forecasts["as_of"].iloc[0], forecasts["target_date"].max()
    front = front_contracts(sessions(first=as_of, last=last), rule)
    ahead = rolls(rule, as_of, last + pd.DateOffset(months=3))
    return forecasts.assign(
        contract=contract_name(product, int(front.iloc[0])),
        roll_date=ahead["date"].iloc[0],
        target_contract=[contract_name(product, int(front[day])) for day in forecasts["target_date"]],
    )
