"""What the price is of, in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.reporting.price_words import price_notes, thin_front

FORECASTS = pd.DataFrame(
    {
        "horizon": ["1w", "12m"],
        "contract": "ZLF24",
        "roll_date": pd.Timestamp("2024-01-16"),
        "curve_centre": [47.84, 48.94],
    }
)
CONTRACTS = pd.DataFrame(
    {
        "contract": ["ZLF24", "ZLH24", "ZLH24", "ZLK24"],
        "last_trading_day": pd.to_datetime(["2024-01-12", "2024-03-14", "2024-03-14", "2024-05-14"]),
        "last_price": [47.84, 48.78, 48.78, 49.23],
        "price_date": pd.to_datetime(["2023-12-29", "2023-12-27", "2023-12-27", "2023-12-27"]),
    }
)


def panel(slope: float, volumes: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"curve_slope_pct_month": slope, "zl_volume": volumes})


def test_the_contract_its_roll_the_next_price_and_the_curve():
    first, curve = price_notes(FORECASTS, CONTRACTS, panel(0.38, [1.0]))
    assert first == (
        "The price is of the January 2024 contract (ZLF24). From 2024-01-16 on, the front-month price is of the next "
        "one, March 2024 (ZLH24), which cost 48.78 cents/lb on 2023-12-27."
    )
    assert (
        curve == "The curve rises (contango) by 0.4% a month at its near end; it puts the front month at 48.94 in 12m."
    )
    assert "falls (backwardation) by 4.0%" in price_notes(FORECASTS, CONTRACTS, panel(-4.0, [1.0]))[1]


def test_what_is_not_known_is_said():
    first, curve = price_notes(FORECASTS.assign(curve_centre=np.nan), CONTRACTS.iloc[:0], panel(np.nan, [1.0]))
    assert first.endswith("of the next one, whose price is not known.")
    assert curve == "The curve is not known today, so forecasts are centered on the price."
    # the next contract's price is missing: the one after it is not named in its place
    assert price_notes(FORECASTS, CONTRACTS[CONTRACTS["contract"] == "ZLK24"], panel(0.4, [1.0]))[0].endswith(
        "whose price is not known."
    )


def test_a_collapse_of_the_fronts_volume_is_a_warning():
    usual = [60_000.0] * 252
    told = thin_front(panel(0.4, [*usual, 1_179.0]), FORECASTS)
    assert told.startswith("ZLF24 traded 1,179 lots, 2.0% of the usual 60,000: its price is thin.")
    assert "2024-01-16" in told
    for quiet in (6_000.0, 0.0, np.nan):
        assert thin_front(panel(0.4, [*usual, quiet]), FORECASTS) == ""
