"""The rule and its costs: by hand, and the whole answer on three recorded days."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import as_of_instant
from tasks.decision.needs import PricedNeed, delivery_months, priced, unit_per_cent_lb
from tasks.decision.policy import (
    ALL,
    Market,
    carried,
    chance_waiting_cheaper,
    cheaper,
    decide,
    market_of,
    moved_on,
    shares_now,
    signals,
    total,
)
from tasks.decision.protection import black_76, protection
from tasks.errors import DecisionFailed, RegistryError
from tasks.forecasting.contract import contract_name
from tasks.panel.curve import contract_prices, listed_contracts
from tasks.panel.join import as_known_at
from tasks.registry import BuyingRule, DecisionRegistry, Need, load_decision
from tasks.reporting.decision import as_json, headline, month_table
from tasks.settings import PROJECT
from tests.decision.published import forecasts_of

RULE = BuyingRule(buy_below_chance=0.35, wait_above_chance=0.45)
KEPT = pd.read_csv(PROJECT / "docs" / "examples" / "forecasts.csv", parse_dates=["as_of"])
"""The forecasts that the kept answers of docs/examples show."""


def need(**changed) -> Need:
    given = {
        "title": "a need",
        "unit": "cents/lb",
        "pounds_per_month": 600_000,
        "months_ahead": 6,
        "budget_price": 55.0,
        "basis": 1.5,
        "storage_per_month": 0.1,
        "financing_pct_year": 5.0,
        "aversion": 1.0,
    }
    return Need(**{**given, **changed})


def own(**changed) -> PricedNeed:
    found = priced("plant", need(**changed), np.nan)
    assert isinstance(found, PricedNeed)
    return found


@pytest.fixture(scope="module")
def rolls(registry):
    return registry.derived.roll_rule


@pytest.fixture(scope="module")
def pairs(staged):
    return staged.observations[staged.observations["source"] == "pysystemtrade"]


@pytest.fixture(scope="module")
def market(pairs, panel, rolls):
    def of(day: str, forecasts: pd.DataFrame | None = None) -> Market:
        as_of = pd.Timestamp(day)
        prices = contract_prices(as_known_at(pairs, as_of_instant(as_of)), rolls)
        recent = prices[prices["seen_on"] >= as_of - pd.Timedelta(days=rolls.slope_max_age_days)]
        newest = recent.sort_values("seen_on").drop_duplicates("contract", keep="last")
        front, *later = listed_contracts(rolls, as_of)
        quote = panel[panel["date"] <= as_of].iloc[-1]
        contracts = newest[newest["contract"].isin(later)].rename(
            columns={"price": "last_price", "seen_on": "price_date"}
        )
        known = pd.concat(
            [
                pd.DataFrame([{"contract": front, "last_price": quote["zl_close"], "price_date": quote["date"]}]),
                contracts[["contract", "last_price", "price_date"]],
            ]
        )
        named = known.assign(contract=[contract_name("ZL", int(c)) for c in known["contract"]])
        return market_of(forecasts_of(day) if forecasts is None else forecasts, named, panel, as_of=as_of)

    return of


def decisions(market: Market, registry, rolls, bought=None, **needs: Need) -> pd.DataFrame:
    entries = DecisionRegistry(rule=RULE, needs=needs or {"plant": need()})
    found = decide(market, entries, registry.horizons, rolls, bought=bought)
    assert not found.problems
    return found.table


# -- units, months, prices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit, rate, factor",
    [
        ("cents/lb", np.nan, 1.0),
        ("USD/short ton", np.nan, 20.0),
        ("USD/tonne", np.nan, 22.0462),
        ("EUR/tonne", 1.1024, 22.0462 / 1.1024),
    ],
)
def test_one_cent_per_pound_in_each_unit(unit, rate, factor):
    assert unit_per_cent_lb(unit, rate) == pytest.approx(factor)


def test_a_need_in_dollars_per_short_ton_is_the_same_need():
    ton = priced("ton", need(unit="USD/short ton", budget_price=1100, basis=30, storage_per_month=2), np.nan)
    assert isinstance(ton, PricedNeed)
    assert (ton.budget_cents_lb, ton.basis_cents_lb, ton.storage_cents_lb_month) == (55.0, 1.5, 0.1)


def test_without_a_rate_a_need_in_euros_has_no_decision_and_the_others_have(market, registry, rolls):
    day = market("2023-12-29")
    entries = DecisionRegistry(rule=RULE, needs={"eu": need(unit="EUR/tonne", budget_price=1100), "us": need()})
    without = Market(day.as_of, day.forecasts, day.contracts, day.prices, np.nan)
    found = decide(without, entries, registry.horizons, rolls)
    assert set(found.table["need"]) == {"us"}
    assert len(found.problems) == 1 and "eu: prices are in EUR/tonne and no EUR/USD rate is known" in found.problems[0]
    with_rate = decide(day, entries, registry.horizons, rolls)
    assert set(with_rate.table["need"]) == {"us", "eu"} and 1.10 < day.eur_usd < 1.12


def test_the_months_after_december_with_their_first_sessions_and_contracts(rolls):
    months = delivery_months(rolls, pd.Timestamp("2023-12-29"), 4)
    assert months["month"].tolist() == ["2024-01", "2024-02", "2024-03", "2024-04"]
    assert [f"{day:%m-%d}" for day in months["due_date"]] == ["01-02", "02-01", "03-01", "04-01"]
    assert months["contract_name"].tolist() == ["ZLF24", "ZLH24", "ZLH24", "ZLK24"]
    assert months["sessions"].tolist()[:2] == [1, 22]
    assert months["years"].iloc[3] == pytest.approx(94 / 365.25)


def test_storage_and_financing_by_hand():
    # 50 cents for half a year at 5%: 1.25; storage 6 x 0.1
    assert carried(50.0, pd.Series([0.5]), own()).iloc[0] == pytest.approx(51.85)
    assert carried(50.0, pd.Series([0.5]), own(storage_per_month=None)).isna().all()


def test_the_cheaper_way_to_fix_a_price_is_named():
    found = cheaper(pd.Series([50.0, 52.0, np.nan, np.nan, 50.0]), pd.Series([51.0, 51.0, 51.0, np.nan, np.nan]))
    assert found["now_source"].tolist()[:3] == ["curve", "storage", "storage"]
    assert found["now_source"].isna().tolist() == [False, False, False, True, False]
    np.testing.assert_array_equal(found["now_cents_lb"], [50.0, 51.0, 51.0, np.nan, 50.0])


def test_an_old_price_moves_on_with_the_roll_free_close():
    closes = pd.Series(
        [50.0, 49.0, np.nan, 51.0], index=pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"])
    )
    assert moved_on(60.0, pd.Timestamp("2024-01-04"), closes) == pytest.approx(60 * 51 / 49)
    assert moved_on(60.0, pd.Timestamp("2024-01-05"), closes) == 60.0


# -- the rule ------------------------------------------------------------------------------------------------------


def test_chances_by_hand_with_and_without_aversion():
    paths = np.array([[45.0], [48.0], [52.0], [58.0], [60.0]])
    now = np.array([50.0])
    assert chance_waiting_cheaper(paths, now, 55.0, 0.0)[0] == pytest.approx(2 / 5)
    # two paths above the budget count twice: 2 of 7
    assert chance_waiting_cheaper(paths, now, 55.0, 1.0)[0] == pytest.approx(2 / 7)
    # a path above the budget that is still cheaper than now counts once
    assert chance_waiting_cheaper(paths, np.array([59.0]), 55.0, 1.0)[0] == pytest.approx(4 / 6)
    assert np.isnan(chance_waiting_cheaper(paths, np.array([np.nan]), 55.0, 1.0)[0])


def test_thresholds_and_the_equal_parts_of_a_ladder():
    found = signals(np.array([0.34, 0.35, 0.45, 0.46, np.nan]), RULE)
    assert found.tolist() == ["buy", "ladder", "ladder", "wait", "wait"]
    left, parts = 1.0, []
    for months_left in (3, 2, 1):  # judged again each month, the ladder buys the same part
        share = shares_now(np.array(["ladder"]), np.array([months_left]))[0]
        parts.append(share * left)
        left -= parts[-1]
    np.testing.assert_allclose([*parts, left], 0.25)
    np.testing.assert_array_equal(shares_now(np.array(["buy", "wait"]), np.array([3, 3])), [1.0, 0.0])


def test_the_sum_of_two_months_by_hand():
    waiting = np.array([[40.0, 50.0], [60.0, 50.0], [50.0, 70.0], [50.0, 30.0]])
    usd = 0.01 * np.array([100_000.0, 200_000.0])  # dollars per cent
    rows = pd.DataFrame(
        {
            "pounds": [100_000.0, 200_000.0],
            "open_pounds": [100_000.0, 200_000.0],
            "now_cents_lb": [50.0, 50.0],
            "pounds_now": [100_000.0, 0.0],
            "cap_usd": [10.0, 20.0],
            "reason": [None, None],
        }
    )
    row = total(rows, waiting, usd, budget=52.0).iloc[0]
    # paths in thousands of dollars: 40 + 100, 60 + 100, 50 + 140, 50 + 60
    assert row["wait_mean_usd"] == pytest.approx(150_000)
    assert row["now_usd"] == 150_000 and row["budget_usd"] == pytest.approx(156_000)
    assert row["chance_waiting_cheaper"] == 0.5  # 140 and 110
    assert row["chance_over_budget"] == 0.5  # 160 and 190
    assert row["wait_shortfall_usd"] == 190_000
    # quantiles of 110, 140, 160, 190: a tenth of the way of three steps is 0.3 of the first
    assert row["wait_p10_usd"] == pytest.approx(119_000) and row["wait_p90_usd"] == pytest.approx(181_000)
    assert (row["signal"], row["share_now"], row["cap_usd"]) == ("ladder", pytest.approx(1 / 3), 30.0)


def test_a_total_is_narrower_than_the_sum_of_its_months(market, registry, rolls):
    rows = decisions(market("2023-12-29"), registry, rolls)
    months, together = rows[rows["month"] != ALL], rows[rows["month"] == ALL].iloc[0]
    assert together["wait_mean_usd"] == pytest.approx(months["wait_mean_usd"].sum())
    assert together["wait_p90_usd"] < 0.99 * months["wait_p90_usd"].sum()
    assert together["wait_p10_usd"] > 1.01 * months["wait_p10_usd"].sum()


def test_what_is_covered_is_not_bought_again(market, registry, rolls):
    day = market("2023-12-29")
    plain = decisions(day, registry, rolls)
    bought = {"plant": {"2024-02": 450_000.0, "2024-03": 700_000.0}, "another": {"2024-04": 1.0}}
    rows = decisions(day, registry, rolls, bought, plant=need(covered_pounds={"2024-02": 50_000})).set_index("month")
    assert rows["open_pounds"].tolist()[:4] == [600_000, 100_000, 0, 600_000]
    assert rows.at["2024-03", "pounds_now"] == 0 and rows.at["2024-03", "plan"] == "nothing is open"
    assert rows.at["2024-02", "pounds_now"] == pytest.approx(plain.set_index("month").at["2024-02", "pounds_now"] / 6)
    done = decisions(day, registry, rolls, plant=need(covered_pounds=dict.fromkeys(plain["month"][:-1], 600_000)))
    assert done[done["month"] == ALL]["signal"].tolist() == ["covered"]
    assert headline(done) == "Decision for plant: nothing is open."


def test_without_storage_a_month_without_a_price_waits_and_says_why(market, registry, rolls):
    rows = decisions(market("2022-03-02"), registry, rolls, plant=need(storage_per_month=None)).set_index("month")
    assert rows.at["2022-09", "signal"] == "wait" and np.isnan(rows.at["2022-09", "now_cents_lb"])
    assert "storage_per_month is empty" in rows.at["2022-09", "reason"]
    assert np.isnan(rows.at[ALL, "now_usd"]) and np.isfinite(rows.at[ALL, "wait_mean_usd"])
    assert "storage_per_month is empty" in rows.at[ALL, "reason"]


def test_months_beyond_the_farthest_horizon_are_missing_with_the_reason(market, registry, rolls):
    day = market("2023-12-29")
    near = Market(day.as_of, day.forecasts[day.forecasts["horizon"].isin(["1w", "1m"])], day.contracts, day.prices, 1.1)
    rows = decisions(near, registry, rolls).set_index("month")
    assert rows["reason"].notna().tolist() == [
        False,
        True,
        True,
        True,
        True,
        True,
        True,
    ]  # February is 22 sessions away
    assert "beyond the farthest horizon" in rows.at["2024-03", "reason"]
    assert np.isnan(rows.at["2024-03", "wait_p50_cents_lb"]) and np.isnan(rows.at[ALL, "wait_mean_usd"])


def test_a_decision_reads_nothing_after_its_day(market, registry, rolls, panel, pairs):
    rows = decisions(market("2021-04-29"), registry, rolls)
    day = market("2021-04-29")
    later = panel["date"] > "2021-04-29"
    changed = panel.assign(
        zl_close=panel["zl_close"].mask(later, 1.0), zl_roll_free=panel["zl_roll_free"].mask(later, 1.0)
    )
    again = market_of(day.forecasts, day.contracts, changed, as_of=day.as_of)
    pd.testing.assert_frame_equal(decisions(again, registry, rolls), rows)


# -- protection ----------------------------------------------------------------------------------------------------


def test_a_call_at_the_money_and_parity_by_hand():
    call, put = black_76(100.0, 100.0, 0.2, 1.0)
    assert call == pytest.approx(7.9656, abs=1e-4) and put == pytest.approx(call)
    call, put = black_76(100.0, 90.0, 0.2, 0.95)
    assert call - put == pytest.approx(0.95 * 10)
    assert black_76(100.0, 90.0, 0.0, 1.0) == (10.0, 0.0)


def test_the_floor_of_a_collar_pays_for_its_cap():
    width = np.exp(0.2 * 1.2815516)
    found = protection(50.0, 50 / width, 50 * width, strike=55.0, financing_pct_year=5.0, years=0.5)
    assert found.cap_cents_lb == pytest.approx(black_76(50.0, 55.0, 0.2, 1 / 1.025)[0])
    assert found.collar_floor_cents_lb < 50
    assert black_76(50.0, found.collar_floor_cents_lb, 0.2, 1 / 1.025)[1] == pytest.approx(found.cap_cents_lb)


def test_below_the_market_no_floor_pays_for_a_cap():
    found = protection(60.0, 50.0, 70.0, strike=55.0, financing_pct_year=5.0, years=0.5)
    assert found.cap_cents_lb > 5 / 1.025 and np.isnan(found.collar_floor_cents_lb)
    assert np.isnan(protection(np.nan, 50.0, 70.0, strike=55.0, financing_pct_year=5.0, years=0.5).cap_cents_lb)


# -- what a buyer reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["2021-04-29", "2022-03-08", "2023-12-29"])
def test_the_kept_answers_are_those_of_their_forecasts(file, market, registry, rolls):
    text = (PROJECT / "docs" / "examples" / f"decision_{file}.txt").read_text(encoding="utf-8")
    rows = KEPT[KEPT["example"] == file]
    day = f"{rows['as_of'].iloc[0]:%Y-%m-%d}"
    assert pd.Timestamp(file) - pd.Timedelta(days=7) < rows["as_of"].iloc[0] <= pd.Timestamp(file)
    found = decide(market(day, rows), load_decision(PROJECT / "registry"), registry.horizons, rolls)
    assert text.splitlines()[:2] == [headline(found.table), f"As of {day}, 18:00 Chicago."]
    assert "example need: edit registry/decision.yaml" in text.splitlines()[0]
    kept = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│ 20")
    ]
    for row, cells in zip(month_table(found.table).astype(str).to_numpy().tolist(), kept, strict=False):
        assert cells == row
    dollars = [int(number.replace(",", "")) for number in re.findall(r"\$([\d,]+)", text)[:5]]
    row = found.table[found.table["month"] == ALL].iloc[0]
    names = ("now_usd", "wait_mean_usd", "wait_p10_usd", "wait_p90_usd", "wait_shortfall_usd")
    np.testing.assert_allclose(dollars, [row[name] for name in names], atol=0.51)


def test_the_answer_for_a_program_has_every_figure_and_no_nan(market, registry, rolls):
    found = decide(
        market("2023-12-29"),
        DecisionRegistry(rule=RULE, needs={"plant": need(example=True, storage_per_month=None)}),
        registry.horizons,
        rolls,
    )
    text = as_json(found)
    answer = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert answer["problems"] == [] and answer["needs"][0]["note"] == "example need: edit registry/decision.yaml"
    assert [row["month"] for row in answer["needs"][0]["months"]][-1] == "2024-06"
    assert answer["needs"][0]["all"]["signal"] == "ladder"


def test_a_typo_of_a_need_is_an_error_that_names_it(tmp_path):
    text = (PROJECT / "registry" / "decision.yaml").read_text()
    for old, new, message in (
        ("aversion: 1.0", "aversoin: 1.0", "needs.example.aversoin"),
        ("covered_pounds: {}", "covered_pounds: {2026-13: 1}", "'2026-13' is not a month"),
        ("unit: cents/lb", "unit: EUR/lb", "needs.example.unit"),
        ("wait_above_chance: 0.40", "wait_above_chance: 0.2", "buy_below_chance 0.3 is above"),
    ):
        assert old in text
        (tmp_path / "decision.yaml").write_text(text.replace(old, new))
        with pytest.raises(RegistryError, match=message):
            load_decision(tmp_path)


def test_no_need_of_a_day_without_quantiles_has_a_decision(market, registry, rolls):
    day = market("2023-12-29")
    blank = Market(day.as_of, day.forecasts.assign(p50=np.nan), day.contracts, day.prices, day.eur_usd)
    with pytest.raises(DecisionFailed, match="no horizon has quantiles"):
        decide(blank, DecisionRegistry(rule=RULE, needs={"plant": need()}), registry.horizons, rolls)
