"""What was really bought: cover, open exposure, and the cost against buying evenly and against the signal.

Weights are pounds, prices all-in cents per pound, so with the basis. A month is settled once its due date has a close.
What was not bought by then was bought on the due date, and counts at that price.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.decision.ledger import Purchase
from tasks.decision.needs import PricedNeed

USD_PER_CENT = 0.01


def cover(purchases: Sequence[Purchase], own: PricedNeed, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """One row per month that was bought for or is planned, in order.

    Returns:
        ``month, due_date, needed_pounds`` (the larger of the need and what was bought), ``covered_pounds, open_pounds,
        paid_cents_lb`` (mean of the ledger's pounds; missing without one) and ``paid_usd``.
    """
    mine = [one for one in purchases if one.need == own.name]
    planned = [f"{as_of.replace(day=1) + pd.DateOffset(months=k):%Y-%m}" for k in range(1, own.need.months_ahead + 1)]
    rows = []
    for month in sorted({*planned, *(month for one in mine for month in one.months)}):
        parts = [(one.pounds / len(one.months), one.price_cents_lb) for one in mine if month in one.months]
        pounds = sum(weight for weight, _ in parts)
        spent = sum(weight * price for weight, price in parts)
        earlier = own.need.covered_pounds.get(month, 0.0)
        rows.append(
            {
                "month": month,
                "due_date": due_date(month),
                "needed_pounds": max(own.need.pounds_per_month, pounds + earlier),
                "covered_pounds": pounds + earlier,
                "open_pounds": max(0.0, own.need.pounds_per_month - pounds - earlier),
                "bought_pounds": pounds,
                "paid_cents_lb": spent / pounds if pounds else np.nan,
                "paid_usd": USD_PER_CENT * spent,
            }
        )
    return pd.DataFrame(rows)


def due_date(month: str) -> pd.Timestamp:
    """The first session of a month."""
    start = pd.Timestamp(f"{month}-01")
    return sessions(first=start, last=start + pd.Timedelta(days=20))[0]


def realised(
    purchases: Sequence[Purchase], own: PricedNeed, closes: pd.Series, decisions: pd.DataFrame, *, as_of: pd.Timestamp
) -> pd.DataFrame:
    """The cost of each settled month for which something was bought.

    Args:
        closes: front-month closes by session. decisions: rows of ``forecasts.zl_decisions_daily`` published by
            ``as_of``, of any need.

    Returns:
        ``month, due_date, pounds`` (needed, without what was covered before the ledger), ``paid_usd`` (with what was
        bought on the due date), ``even_usd`` (all on the due date), ``signal_usd`` (as published; missing where no
        decision about the month was published) and ``saved_against_even_usd, saved_against_signal_usd``.
    """
    known = closes.dropna()
    known = known[known.index <= as_of]
    rows = []
    for row in cover(purchases, own, as_of=as_of).to_dict("records"):
        later = known[known.index >= row["due_date"]]
        if later.empty or not row["bought_pounds"]:
            continue
        due_price = float(later.iloc[0]) + own.basis_cents_lb
        pounds = row["bought_pounds"] + row["open_pounds"]
        paid = row["paid_usd"] + USD_PER_CENT * row["open_pounds"] * due_price
        even = USD_PER_CENT * pounds * due_price
        signal = USD_PER_CENT * pounds * signal_price(decisions, own.name, row["month"], due_price)
        rows.append(
            {
                "month": row["month"],
                "due_date": row["due_date"],
                "pounds": pounds,
                "paid_usd": paid,
                "even_usd": even,
                "signal_usd": signal,
                "saved_against_even_usd": even - paid,
                "saved_against_signal_usd": signal - paid,
            }
        )
    return pd.DataFrame(rows)


def signal_price(decisions: pd.DataFrame, need: str, month: str, due_price: float) -> float:
    """Cents per pound of following the first decision published in each calendar month, the rest bought when due.

    Each decision buys its share of what is open at the price that it named. Missing where none was published.
    """
    if decisions.empty:
        return np.nan
    about = decisions[(decisions["need"] == need) & (decisions["month"] == month)].sort_values("as_of")
    about = about[about["as_of"] < about["due_date"]]
    first = about.loc[~pd.to_datetime(about["as_of"]).dt.strftime("%Y-%m").duplicated()]
    if first.empty:
        return np.nan
    still_open, spent = 1.0, 0.0
    for row in first.to_dict("records"):
        if pd.isna(row["now_cents_lb"]):
            continue
        spent += still_open * row["share_now"] * row["now_cents_lb"]
        still_open *= 1 - row["share_now"]
    return spent + still_open * due_price
