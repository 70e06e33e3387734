"""The record of the buying rule: what following it would have cost, against simple ways to buy.

A buyer needs the same pounds every month and decides once a month about the months ahead. Every decision reads a
forecast, closes and contract prices known at its as_of; every purchase is priced after it: oil for storage at the next
session's close, a contract at its first recorded price stamped after the decision. What no price is recorded for is not
bought, and is counted.

Everything is per pound and without the basis, which is the same for every way to buy. A buyer may decide on the first,
second, third or fourth weekly origin of a month: all four are followed, and their costs averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants
from tasks.decision.needs import PricedNeed, delivery_months
from tasks.decision.paths import fit_dependence, published_quantiles, simulate
from tasks.decision.policy import (
    CURVE,
    carried,
    chance_waiting_cheaper,
    cheaper,
    moved_on,
    seed_of,
    shares_now,
    signals,
)
from tasks.errors import DecisionFailed
from tasks.evaluation.bootstrap import block_length, bounds, resampled_means
from tasks.registry import BuyingRule, Horizons, RollRule

PHASES = 4
"""The weekly origins of a month on which a buyer may decide."""
PATHS = 1_000
BUDGET_SESSIONS = 252
BUDGET_MARGIN = 1.05
"""A month's budget is the mean close of the year before its first decision, and 5%."""
FILL_SESSIONS = 5
"""A contract that has no recorded price within so many sessions after a decision is not bought."""
EVEN, AT_ONCE, COVER, RULE = "buying evenly", "all at once", "covering at the curve", "the rule"
GRID_BUY = (0.0, 0.25, 0.30, 0.35, 0.40, 0.45, 1.0)
GRID_WAIT = (0.0, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 1.0)
NEVER_EARLY, ALWAYS_EARLY = (0.0, 0.0), (1.0, 1.0)
LEAST_GAP = 0.1 - 1e-9
"""Between the two thresholds, so that a small change of the forecast never turns all into nothing."""
CHOSEN_UNTIL = "2015-12"


@dataclass(frozen=True)
class History:
    """What the record is priced with.

    ``prices``: by session ``close`` and ``roll_free``. ``contracts``: rows of tasks/panel/curve.py ``contract_prices``.
    """

    prices: pd.DataFrame
    contracts: pd.DataFrame
    rule: RollRule
    horizons: Horizons


def judged_months(history: History, forecasts: pd.DataFrame, own: PricedNeed) -> pd.DataFrame:
    """Every decision about every month ahead, with what was known: before any threshold.

    Args:
        forecasts: rows as of ``forecasts.zl_forecasts_daily``, weekly, as they would have been published.

    Returns:
        one row per decision and month: ``as_of, phase, month, due_date, months_left, chance`` (that waiting is
        cheaper), ``weighted_chance, now_source, now`` (as the buyer saw it), ``budget, curve_known``, and what a
        purchase costs: ``curve_fill, storage_fill`` (missing where no price is recorded), ``due_price``. Prices in
        cents/lb.

    Invariants: ``chance``, ``now`` and ``budget`` depend on what was known at 18:00 Chicago of ``as_of``.
    """
    known_until = history.prices["close"].last_valid_index()
    by_day = dict(iter(forecasts.groupby("as_of")))
    levels = tuple(history.horizons.quantiles)
    counts = {name: horizon.sessions for name, horizon in history.horizons.horizons.items()}
    powers: dict[int, float] = {}
    parts = []
    for day, phase in decision_days(pd.DatetimeIndex(sorted(by_day))):
        months = delivery_months(history.rule, day, own.need.months_ahead)
        months = months[months["due_date"] <= known_until].reset_index(drop=True)
        if months.empty:
            continue
        past = history.prices.loc[:day]
        if day.year not in powers:  # once a year, on what was known by then
            powers[day.year] = fit_dependence(past["close"], list(counts.values()))
        published = published_quantiles(by_day[day], counts, levels)
        last_price = float(by_day[day]["last_price"].iloc[0])
        waiting = simulate(
            published,
            levels,
            last_price,
            list(months["sessions"]),
            power=powers[day.year],
            seed=seed_of(day),
            count=PATHS,
        )
        forward = curve_known(history, day, months["contract"], past["roll_free"])
        stored = carried(last_price, months["years"], own)
        now = cheaper(forward, stored)
        price = now["now_cents_lb"].to_numpy(dtype="float64")
        budget = BUDGET_MARGIN * float(past["close"].dropna().iloc[-BUDGET_SESSIONS:].mean())
        parts.append(
            pd.DataFrame(
                {
                    "as_of": day,
                    "phase": phase,
                    "month": months["month"],
                    "due_date": months["due_date"],
                    "months_left": np.arange(1, len(months) + 1),
                    "chance": chance_waiting_cheaper(waiting, price, budget, 0.0),
                    "weighted_chance": chance_waiting_cheaper(waiting, price, budget, own.need.aversion),
                    "forecast": ~np.isnan(waiting).any(axis=0),
                    "now_source": now["now_source"],
                    "now": now["now_cents_lb"],
                    "budget": budget,
                    "curve_known": forward.notna(),
                    "curve_fill": curve_fills(history, day, months["contract"]),
                    "storage_fill": carried(close_after(history.prices["close"], day), months["years"], own),
                    "due_price": close_from(history.prices["close"], months["due_date"]),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def decision_days(days: pd.DatetimeIndex) -> Iterable[tuple[pd.Timestamp, int]]:
    """The first four origins of each month, with their number."""
    order = pd.Series(days, index=days).groupby([days.year, days.month]).cumcount()
    return [(day, int(place)) for day, place in zip(days, order, strict=True) if place < PHASES]


def curve_known(history: History, day: pd.Timestamp, contracts: pd.Series, roll_free: pd.Series) -> pd.Series:
    """The newest price of each contract known at a session, moved on to it; missing if older than the rule allows."""
    known = newest_known(history, day).to_dict("records")
    moved = {row["contract"]: moved_on(row["price"], row["seen_on"], roll_free) for row in known}
    return contracts.map(moved).astype("float64")


def newest_known(history: History, day: pd.Timestamp) -> pd.DataFrame:
    """The newest price of each contract known at a session; none that is older than the rule allows."""
    table = history.contracts
    oldest = day - pd.Timedelta(days=history.rule.slope_max_age_days)
    known = table[
        (table["known_at"] <= as_of_instants(pd.DatetimeIndex([day]))[0]) & (table["seen_on"] >= oldest)
    ].sort_values(["seen_on", "rank"], ascending=[True, False])
    return known.drop_duplicates("contract", keep="last")


def curve_fills(history: History, day: pd.Timestamp, contracts: pd.Series) -> pd.Series:
    """The first recorded price of each contract stamped after a session; missing if there is none within five."""
    days = pd.DatetimeIndex(history.prices.index)
    after = days[days > day][:FILL_SESSIONS]
    if after.empty:
        return pd.Series(np.nan, index=contracts.index)
    table = history.contracts
    later = table[(table["seen_on"] > day) & (table["seen_on"] <= after[-1])].sort_values(["seen_on", "rank"])
    first = later.drop_duplicates("contract").set_index("contract")["price"]
    return contracts.map(first)


def close_after(closes: pd.Series, day: pd.Timestamp) -> float:
    """The close of the next session that has one."""
    later = closes[closes.index > day].dropna()
    return float(later.iloc[0]) if len(later) else np.nan


def close_from(closes: pd.Series, days: pd.Series) -> np.ndarray:
    """The close of each day, or of the next session that has one."""
    known = closes.dropna()
    at = known.index.searchsorted(pd.DatetimeIndex(days))
    return np.append(known.to_numpy(), np.nan)[np.minimum(at, len(known))]


def complete_months(*judged: pd.DataFrame, months_ahead: int) -> list[str]:
    """The months about which every decision was made, with a forecast, in every frame."""
    whole: set[str] | None = None
    for frame in judged:
        count = frame[frame["forecast"]].groupby("month").size()
        possible = frame.groupby("month")["as_of"].size()
        # a calendar month may have fewer than four origins: what counts is that no decision lacks a forecast
        every = set(count.index[(count == possible[count.index])]) & set(
            frame.loc[frame["months_left"] == months_ahead, "month"]
        )
        whole = every if whole is None else whole & every
    first = min(frame["as_of"].min() for frame in judged)
    reached = f"{first + pd.DateOffset(months=months_ahead):%Y-%m}"
    return sorted(month for month in whole or () if month >= reached)


def followed(judged: pd.DataFrame, rule: BuyingRule) -> pd.DataFrame:
    """What following the rule cost: by month, mean of the phases.

    Returns:
        by month ``cost`` (cents/lb), ``early_share`` (bought before the due date), ``unfilled`` (decisions to buy for
        which no price is recorded).
    """
    table = judged.assign(signal=signals(judged["weighted_chance"].to_numpy(), rule))
    table["share"] = shares_now(table["signal"].to_numpy(), table["months_left"].to_numpy())
    table["fill"] = table["curve_fill"].where(table["now_source"] == CURVE, table["storage_fill"])
    return _filled(table)


def covered_at_the_curve(judged: pd.DataFrame) -> pd.DataFrame:
    """Each month covered at the first decision at which a price of its contract is known; otherwise when it is due."""
    table = judged.assign(share=judged["curve_known"].astype("float64"), fill=judged["curve_fill"])
    return _filled(table)


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """The cost of each month from ``share`` (of what is open) and ``fill`` (its price) of each decision."""
    ordered = table.sort_values(["phase", "month", "as_of"])
    month = [ordered["phase"], ordered["month"]]
    share = ordered["share"].where(ordered["fill"].notna(), 0.0)
    open_before = (1 - share).groupby(month).cumprod().groupby(month).shift(fill_value=1.0)
    bought = open_before * share
    sums = (
        ordered.assign(
            bought=bought,
            spent=bought * ordered["fill"].fillna(0.0),
            unfilled=(ordered["share"] > 0) & (open_before > 0) & ordered["fill"].isna(),
        )
        .groupby(["phase", "month"])
        .agg(bought=("bought", "sum"), spent=("spent", "sum"), due=("due_price", "last"), unfilled=("unfilled", "sum"))
    )
    found = pd.DataFrame(
        {
            "cost": sums["spent"] + (1 - sums["bought"]) * sums["due"],
            "early_share": sums["bought"],
            "unfilled": sums["unfilled"],
        }
    )
    return found.groupby("month").mean()


def bought_evenly(judged: pd.DataFrame) -> pd.Series:
    """Each month's oil at the close of its due date."""
    return judged.groupby("month")["due_price"].last()


def bought_at_once(judged: pd.DataFrame, months_ahead: int) -> pd.Series:
    """The whole window at once, then nothing until it is used up, at the price of storage; mean of phases.

    Windows of six months begin in January and July, others so that one begins in January.
    """
    place = (pd.PeriodIndex(judged["month"], freq="M").month - 1) % months_ahead + 1
    return judged[judged["months_left"] == place].groupby("month")["storage_fill"].mean()


def budgets(judged: pd.DataFrame, months_ahead: int) -> pd.Series:
    """Each month's budget, as it was set at its first decision; mean of phases."""
    return judged[judged["months_left"] == months_ahead].groupby("month")["budget"].mean()


def choose(
    judged: pd.DataFrame, months: Iterable[str], budget: pd.Series, aversion: float
) -> tuple[BuyingRule, pd.DataFrame]:
    """The thresholds with the lowest mean cost on some months, and what every pair of the grid cost.

    What counts is the price, and for the part above the budget 1 + aversion times the price: as the need says. Of equal
    ones the pair that buys earlier least counts.

    Raises:
        DecisionFailed: no month is given.
    """
    chosen_on = list(months)
    if not chosen_on:
        raise DecisionFailed("no month with every decision lies in the years on which thresholds are chosen")
    part = judged[judged["month"].isin(chosen_on)]
    rows = []
    for buy in GRID_BUY:
        for wait in GRID_WAIT:
            if wait - buy < LEAST_GAP and (buy, wait) not in (NEVER_EARLY, ALWAYS_EARLY):
                continue
            cost = followed(part, BuyingRule(buy_below_chance=buy, wait_above_chance=wait))
            over = (cost["cost"] - budget.reindex(cost.index)).clip(lower=0)
            rows.append(
                {
                    "buy_below_chance": buy,
                    "wait_above_chance": wait,
                    "loss_cents_lb": float((cost["cost"] + aversion * over).mean()),
                    "cost_cents_lb": float(cost["cost"].mean()),
                    "early_share": float(cost["early_share"].mean()),
                }
            )
    grid = pd.DataFrame(rows).sort_values(["loss_cents_lb", "early_share"], kind="stable", ignore_index=True)
    best = grid.iloc[0]
    return BuyingRule(buy_below_chance=best["buy_below_chance"], wait_above_chance=best["wait_above_chance"]), grid


def measured(costs: Mapping[str, pd.Series], budget: pd.Series, *, against: str, months_ahead: int) -> pd.DataFrame:
    """The figures of each way to buy over the months of ``costs``, and the paired difference from one of them.

    Returns:
        one row per way: ``cost`` (mean, cents/lb), ``spread`` (standard deviation of months), ``worst_quarter`` (the
        dearest three months of a calendar quarter, mean), ``over_budget`` (months), ``difference`` with its 90%
        interval ``low, high`` (paired moving blocks of the window's length).
    """
    base = costs[against]
    rows = []
    for name, cost in costs.items():
        quarters = cost.groupby(pd.PeriodIndex(cost.index, freq="M").asfreq("Q")).agg(["mean", "size"])
        found = paired(cost, base, months_ahead)
        rows.append(
            {
                "way": name,
                "months": len(cost),
                "cost": float(cost.mean()),
                "spread": float(cost.std()),
                "worst_quarter": float(quarters.loc[quarters["size"] == 3, "mean"].max()),
                "over_budget": int((cost > budget.reindex(cost.index)).sum()),
                **found,
            }
        )
    return pd.DataFrame(rows)


def paired(cost: pd.Series, base: pd.Series, months_ahead: int) -> dict[str, float]:
    """The mean difference of two ways over the same months, and its 90% interval."""
    difference = (cost - base).to_numpy(dtype="float64")
    if len(difference) < 2 * months_ahead:
        return {"difference": float(difference.mean()), "low": np.nan, "high": np.nan}
    block = block_length(len(difference), overlap=months_ahead)
    low, high = bounds(resampled_means(difference[:, None], block=block))
    return {"difference": float(difference.mean()), "low": float(low[0]), "high": float(high[0])}
