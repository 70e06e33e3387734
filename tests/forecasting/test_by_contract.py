"""Forecasts of each listed contract, on the recorded archive."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import as_of_instant
from tasks.forecasting.by_contract import LAST, forecast_contracts
from tasks.panel.join import as_known_at

BANDS = ["p05", "p10", "p25", "p50", "p75", "p90", "p95"]


@pytest.fixture(scope="module")
def market(staged, panel, features, registry):
    pairs = staged.observations[staged.observations["source"] == "pysystemtrade"]

    def of(day: str, observations: pd.DataFrame = pairs) -> pd.DataFrame:
        as_of = pd.Timestamp(day)
        known = as_known_at(observations, as_of_instant(as_of))
        quote = panel[panel["date"] <= as_of].set_index("date")["zl_close"]
        past = features[features["date"] <= as_of]
        return forecast_contracts(known, past, quote, registry.derived.roll_rule, registry.horizons, as_of=as_of)

    return of


def test_every_contract_with_a_price_has_bands_until_the_day_before_it_goes_off(market):
    told = market("2023-12-29")
    prices = told.drop_duplicates("contract").set_index("contract")
    assert prices["last_price"].round(2).to_dict() == {"ZLF24": 47.84, "ZLH24": 48.78, "ZLK24": 49.23, "ZLN24": 49.47}
    assert f"{prices['price_date']['ZLF24']:%Y-%m-%d}" == "2023-12-29", "the front month's price is the quote"
    assert f"{prices['price_date']['ZLH24']:%Y-%m-%d}" == "2023-12-27", "a pair is known two sessions later"
    ends = told[told["horizon"] == LAST].set_index("contract")
    assert f"{ends['target_date']['ZLH24']:%Y-%m-%d}" == "2024-03-13" and len(ends) == 4
    assert told[told["contract"] == "ZLF24"]["horizon"].tolist() == ["1w", LAST]
    assert (np.diff(told[BANDS], axis=1) > 0).all() and (told["p50"] == told["last_price"]).all()
    wide = (told["p90"] - told["p10"]) / told["last_price"]
    for _, part in told.assign(wide=wide).groupby("contract"):
        assert part.sort_values("target_date")["wide"].is_monotonic_increasing
    assert told["direction_probability"].between(0.4, 0.55).all()


def test_a_forecast_reads_nothing_that_became_known_later(market, staged):
    pairs = staged.observations[staged.observations["source"] == "pysystemtrade"]
    early = pairs[pairs["available_at"] <= as_of_instant(pd.Timestamp("2015-06-30"))]
    pd.testing.assert_frame_equal(market("2015-06-30"), market("2015-06-30", early))


def test_without_contract_prices_only_the_front_month_is_known(market, staged):
    none = staged.observations.iloc[:0]
    told = market("2023-12-29", none)
    assert set(told["contract"]) == {"ZLF24"}
