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


def with_contracts(
    forecasts: pd.DataFrame, rule: RollRule, *, priced_on: pd.Timestamp, product: str = "ZL"
) -> pd.DataFrame:
    """The forecasts with the contracts of their prices.

    Args:
        forecasts: rows with ``target_date``.
        priced_on: the session of the last price, where the forecasts start.

    Returns:
        the same with ``contract`` (of the last price), ``roll_date`` (the first session after it whose front-month
        price is of the next contract) and ``target_contract`` (of the front-month price on the target date).
    """
    last = forecasts["target_date"].max()
    front = front_contracts(sessions(first=priced_on, last=last), rule)
    ahead = rolls(rule, priced_on, last + pd.DateOffset(months=3))
    return forecasts.assign(
        contract=contract_name(product, int(front.iloc[0])),
        roll_date=ahead["date"].iloc[0],
        target_contract=[contract_name(product, int(front[day])) for day in forecasts["target_date"]],
    )
