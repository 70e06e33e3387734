"""What the price is of, in words: the contract, its roll, what the next one costs, and what the curve expects."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.forecasting.contract import contract_month

THIN_SHARE = 0.1
"""Share of the usual volume below which a price is called thin."""
USUAL_SESSIONS = 252


def price_notes(forecasts: pd.DataFrame, contracts: pd.DataFrame, panel: pd.DataFrame) -> tuple[str, ...]:
    """Sentences for a buyer.

    Args:
        forecasts: rows of ``forecasts.zl_forecasts_daily``. contracts: rows of ``forecasts.zl_contracts_daily``, or
            none. panel: to the same session.
    """
    row = forecasts.iloc[0]
    first = (
        f"The price is of the {contract_month(row['contract'])} contract ({row['contract']}). From "
        f"{row['roll_date']:%Y-%m-%d} on, the front-month price is of the next one{_next_one(row, contracts)}."
    )
    return first, _curve(forecasts, panel)


def _next_one(row: pd.Series, contracts: pd.DataFrame) -> str:
    """What the next contract costs, if that is known."""
    if contracts.empty:
        return ", whose price is not known"
    now = contracts.drop_duplicates("contract").sort_values("last_trading_day")
    later = now[now["last_trading_day"] >= row["roll_date"]]
    # the next contract, not the one after it
    if later.empty or (later["last_trading_day"].iloc[0] - row["roll_date"]).days > 70:
        return ", whose price is not known"
    one = later.iloc[0]
    return (
        f", {contract_month(one['contract'])} ({one['contract']}), which cost {one['last_price']:.2f} cents/lb on "
        f"{one['price_date']:%Y-%m-%d}"
    )


def _curve(forecasts: pd.DataFrame, panel: pd.DataFrame) -> str:
    slope, far = float(panel["curve_slope_pct_month"].iloc[-1]), forecasts.iloc[-1]
    if np.isnan(slope) or np.isnan(far["curve_centre"]):
        return "The curve is not known today, so forecasts are centered on the price."
    kind = "rises (contango)" if slope > 0 else "falls (backwardation)"
    return (
        f"The curve {kind} by {abs(slope):.1f}% a month at its near end; it puts the front month at "
        f"{far['curve_centre']:.2f} in {far['horizon']}."
    )


def thin_front(panel: pd.DataFrame, forecasts: pd.DataFrame) -> str:
    """Why the front contract's price is thin, or an empty text.

    The bar of a last trading day has the next contract's volume, so that day is not judged; nor is one without volume.
    """
    volume = panel["zl_volume"].where(panel["zl_volume"] > 0)
    usual, last = volume.iloc[:-1].tail(USUAL_SESSIONS).median(), volume.iloc[-1]
    if np.isnan(usual) or np.isnan(last) or last >= THIN_SHARE * usual:
        return ""
    row = forecasts.iloc[0]
    return (
        f"{row['contract']} traded {last:,.0f} lots, {last / usual:.1%} of the usual {usual:,.0f}: its price is thin. "
        f"Most of the market trades the next contract, where the front-month price moves on {row['roll_date']:%Y-%m-%d}"
    )
