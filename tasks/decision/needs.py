"""A need in cents per pound: units of the buyer, delivery months with their contracts, and what is covered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.forecasting.contract import contract_name
from tasks.panel.rolls import front_contracts
from tasks.registry import Need, RollRule
from tasks.units import LB_PER_SHORT_TON, LB_PER_TONNE

PRODUCT = "ZL"


@dataclass(frozen=True)
class PricedNeed:
    """A need with all prices in cents/lb. ``storage_cents_lb_month`` is None if nothing can be stored."""

    name: str
    need: Need
    unit_per_cent_lb: float
    budget_cents_lb: float
    basis_cents_lb: float
    storage_cents_lb_month: float | None


def unit_per_cent_lb(unit: str, eur_usd: float) -> float:
    """How much of the unit one cent per pound is; missing for EUR without a rate of USD per EUR."""
    usd_per_lb = 0.01
    return {
        "cents/lb": 1.0,
        "USD/short ton": usd_per_lb * LB_PER_SHORT_TON,
        "USD/tonne": usd_per_lb * LB_PER_TONNE,
        "EUR/tonne": usd_per_lb * LB_PER_TONNE / eur_usd,
    }[unit]


def priced(name: str, need: Need, eur_usd: float) -> PricedNeed | str:
    """The need in cents/lb, or the reason why that cannot be said.

    Args:
        eur_usd: USD per EUR as known on the day; missing where it is not known.
    """
    factor = unit_per_cent_lb(need.unit, eur_usd)
    if np.isnan(factor):
        return (
            f"{name}: prices are in {need.unit} and no EUR/USD rate is known on this day (panel column eur_last, "
            "yahoo EURUSD=X). Run `cbi ingest yahoo`, or write the need in USD"
        )
    storage = need.storage_per_month
    return PricedNeed(
        name,
        need,
        factor,
        need.budget_price / factor,
        need.basis / factor,
        None if storage is None else storage / factor,
    )


def delivery_months(rule: RollRule, as_of: pd.Timestamp, months_ahead: int) -> pd.DataFrame:
    """The calendar months after that of ``as_of``.

    A month's oil is bought on its first session at the latest.

    Returns:
        ``month`` (2024-02), ``due_date``, ``sessions`` from ``as_of`` to it, ``years`` (calendar), ``contract`` (YYYYMM
        of the front month then) and ``contract_name``.
    """
    last = as_of + pd.DateOffset(months=months_ahead + 1)
    days = sessions(first=as_of, last=last)
    starts = pd.DatetimeIndex([as_of.replace(day=1) + pd.DateOffset(months=k) for k in range(1, months_ahead + 1)])
    at = days.searchsorted(starts)
    due, front = days[at], front_contracts(days, rule)
    count = at - (0 if days[0] == as_of else -1)
    return pd.DataFrame(
        {
            "month": [f"{day:%Y-%m}" for day in starts],
            "due_date": due,
            "sessions": count,
            "years": (due - as_of).days / 365.25,
            "contract": front.loc[due].to_numpy(),
            "contract_name": [contract_name(PRODUCT, int(front[day])) for day in due],
        }
    )


def covered_pounds(need: Need, months: pd.Series, bought: Mapping[str, float]) -> np.ndarray:
    """Pounds covered in each month: what the need says, and what the ledger has."""
    return np.array([need.covered_pounds.get(month, 0.0) + bought.get(month, 0.0) for month in months])
