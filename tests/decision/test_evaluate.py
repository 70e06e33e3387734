"""The record of the rule: costs by hand, and no decision that knows what came after it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.decision.evaluate import (
    History,
    bought_at_once,
    bought_evenly,
    choose,
    complete_months,
    covered_at_the_curve,
    decision_days,
    followed,
    judged_months,
    measured,
    paired,
)
from tasks.decision.needs import PricedNeed, priced
from tasks.errors import DecisionFailed
from tasks.panel.curve import contract_prices
from tasks.registry import BuyingRule, load_decision
from tasks.settings import PROJECT
from tests.decision.published import forecasts_of

RULE = BuyingRule(buy_below_chance=0.35, wait_above_chance=0.45)


def judged(chances: list[list[float]], **columns: object) -> pd.DataFrame:
    """Decisions about months, three before each: by month the weighted chance, first decision first."""
    rows = []
    for place, month in enumerate(chances):
        for left, chance in zip((3, 2, 1), month, strict=True):
            rows.append(
                {
                    "as_of": pd.Timestamp("2020-01-02") + pd.DateOffset(months=place + 3 - left),
                    "phase": 0,
                    "month": f"2020-{place + 4:02d}",
                    "months_left": left,
                    "weighted_chance": chance,
                    "now_source": "storage",
                    "storage_fill": 50.0 + left,
                    "curve_fill": np.nan,
                    "curve_known": False,
                    "due_price": 60.0,
                    "forecast": True,
                    "budget": 55.0,
                }
            )
    return pd.DataFrame(rows).assign(**columns)


def test_what_following_the_rule_costs_by_hand():
    table = judged([[0.9, 0.2, 0.2], [0.4, 0.4, 0.4], [0.9, 0.9, 0.9], [0.4, 0.2, 0.9]])
    found = followed(table, RULE)
    assert found["cost"].tolist() == [
        52.0,  # waits, then buys all two months before
        pytest.approx((53 + 52 + 51 + 60) / 4),  # a ladder of four equal parts
        60.0,  # waits until it is due
        pytest.approx(53 / 4 + 52 * 3 / 4),
    ]
    np.testing.assert_allclose(found["early_share"], [1, 0.75, 0, 1])
    assert (found["unfilled"] == 0).all()


def test_a_purchase_without_a_recorded_price_is_not_made_and_is_counted():
    table = judged([[0.2, 0.2, 0.2]], now_source="curve")
    assert followed(table, RULE).loc["2020-04"].tolist() == [60.0, 0.0, 3.0]
    table["curve_fill"] = [np.nan, 48.0, 47.0]
    assert followed(table, RULE).loc["2020-04"].tolist() == [48.0, 1.0, 1.0]


def test_phases_are_averaged():
    two = pd.concat([judged([[0.2, 0.2, 0.2]]), judged([[0.9, 0.9, 0.9]], phase=1)])
    assert followed(two, RULE)["cost"].tolist() == [(53 + 60) / 2]


def test_the_simple_ways_by_hand():
    table = judged([[0.5, 0.5, 0.5]] * 3)
    assert bought_evenly(table).tolist() == [60.0] * 3
    # windows of three months begin in January, April: April is one month from its purchase, June three
    assert bought_at_once(table, 3).tolist() == [51.0, 52.0, 53.0]
    table.loc[table["months_left"] == 2, ["curve_known", "curve_fill"]] = [True, 49.5]
    assert covered_at_the_curve(table)["cost"].tolist() == [49.5] * 3
    assert covered_at_the_curve(judged([[0.5, 0.5, 0.5]]))["early_share"].tolist() == [0.0]


def test_thresholds_are_those_of_the_lowest_loss_and_of_equal_ones_the_latest_purchase():
    dear_later = judged([[0.26, 0.9, 0.9], [0.26, 0.9, 0.9]])
    budget = pd.Series(55.0, index=["2020-04", "2020-05"])
    rule, grid = choose(dear_later, ["2020-04", "2020-05"], budget, 1.0)
    assert rule.buy_below_chance == 0.30, "the lowest threshold that buys at 53 in place of 60"
    assert grid["loss_cents_lb"].max() == pytest.approx(65.0)  # 60, and 5 above the budget once more
    cheap_later = dear_later.assign(due_price=40.0)
    rule, _ = choose(cheap_later, ["2020-04", "2020-05"], budget, 1.0)
    assert followed(cheap_later, rule)["early_share"].tolist() == [0, 0]
    gaps = grid["wait_above_chance"] - grid["buy_below_chance"]
    assert (gaps[~grid["buy_below_chance"].eq(grid["wait_above_chance"])] > 0.0999).all()
    with pytest.raises(DecisionFailed, match="no month with every decision"):
        choose(dear_later, [], budget, 1.0)


def test_only_months_with_every_decision_and_a_forecast_count():
    table = judged([[0.4] * 3, [0.4] * 3, [0.4] * 3])
    table.loc[(table["month"] == "2020-05") & (table["months_left"] == 2), "forecast"] = False
    assert complete_months(table, months_ahead=3) == ["2020-04", "2020-06"]
    assert complete_months(table, table[table["month"] != "2020-06"], months_ahead=3) == ["2020-04"]


def test_figures_and_paired_differences_by_hand():
    months = [f"20{10 + k // 12}-{k % 12 + 1:02d}" for k in range(24)]
    even = pd.Series(np.linspace(40, 63, 24), index=months)
    costs = {"even": even, "rule": even - 1.5}
    found = measured(costs, pd.Series(50.0, index=months), against="even", months_ahead=6).set_index("way")
    assert found.at["even", "cost"] == pytest.approx(51.5) and found.at["even", "worst_quarter"] == pytest.approx(62.0)
    assert found["over_budget"].tolist() == [13, 12]
    assert found.loc["rule", ["difference", "low", "high"]].tolist() == pytest.approx([-1.5] * 3)
    assert np.isnan(paired(even[:11], even[:11], 6)["low"]), "too few months for an interval"


def test_a_buyer_decides_on_the_first_four_origins_of_a_month():
    days = pd.date_range("2020-01-02", "2020-02-29", freq="5D")
    found = list(decision_days(days))
    assert [phase for day, phase in found if day.month == 1] == [0, 1, 2, 3] and (days[4], 4) not in found


@pytest.fixture(scope="module")
def history(panel, staged, registry) -> History:
    prices = panel.set_index("date")[["zl_close", "zl_roll_free"]].set_axis(["close", "roll_free"], axis=1)
    pairs = staged.observations[staged.observations["source"] == "pysystemtrade"]
    rule = registry.derived.roll_rule
    known = contract_prices(pairs, rule)
    return History(prices, known[known["seen_on"] >= "2020-01-01"], rule, registry.horizons)


@pytest.fixture(scope="module")
def own() -> PricedNeed:
    found = priced("example", load_decision(PROJECT / "registry").needs["example"], np.nan)
    assert isinstance(found, PricedNeed)
    return found


KNOWN = ["as_of", "month", "months_left", "chance", "weighted_chance", "now_source", "now", "budget", "curve_known"]


def test_no_decision_knows_a_later_close_or_a_contract_price_published_later(history, own):
    day = "2021-04-29"
    whole = judged_months(history, forecasts_of(day), own)
    assert len(whole) == 6 and whole["curve_known"].tolist() == [True] * 5 + [False]
    later = history.prices.index > day
    closes = history.prices.assign(**{name: history.prices[name].mask(later, 1.0) for name in history.prices})
    unpublished = history.contracts["known_at"] > pd.Timestamp("2021-04-29T23:00", tz="UTC")
    contracts = history.contracts.assign(price=history.contracts["price"].mask(unpublished, 1.0))
    again = judged_months(History(closes, contracts, history.rule, history.horizons), forecasts_of(day), own)
    pd.testing.assert_frame_equal(again[KNOWN], whole[KNOWN])
    assert (again["due_price"] == 1.0).all(), "what it costs is known later"


def test_a_purchase_is_priced_after_its_decision(history, own):
    found = judged_months(history, forecasts_of("2021-04-29"), own).set_index("month")
    closes = history.prices["close"]
    years = (pd.Timestamp("2021-10-01") - pd.Timestamp("2021-04-29")).days / 365.25
    spot = closes["2021-04-30"]
    assert found.at["2021-10", "storage_fill"] == pytest.approx(spot * (1 + 0.05 * years) + 0.1 * 12 * years)
    stamped = history.contracts[
        (history.contracts["contract"] == 202107) & (history.contracts["seen_on"] > "2021-04-29")
    ].sort_values("seen_on")
    assert found.at["2021-06", "curve_fill"] == stamped["price"].iloc[0]
    assert found.at["2021-06", "due_price"] == closes["2021-06-01"]
    assert found.at["2021-06", "budget"] == pytest.approx(1.05 * closes[:"2021-04-29"].dropna().iloc[-252:].mean())
