"""The contract of a front-month quote, its roll dates, and returns without the jumps of the rolls.

A contract is written YYYYMM, the month of its delivery.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.registry import RollRule

MEDIAN_OF = 3
"""Days whose pairs a step is the median of: one stale price must not become a step."""


def contracts(rule: RollRule, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
    """Every contract with a last trading day from ``first`` on, to the one that trades on ``last``.

    Returns:
        ``contract`` (YYYYMM) and ``last_trading_day``, in order.
    """
    months = [(year, month) for year in range(first.year, last.year + 2) for month in rule.months]
    known = sessions(first=pd.Timestamp(first.year, 1, 1) - pd.DateOffset(months=1))
    ends = pd.DatetimeIndex([pd.Timestamp(year, month, rule.last_trading_before_day) for year, month in months])
    at = known.searchsorted(ends, side="left") - 1
    table = pd.DataFrame({"contract": [100 * year + month for year, month in months], "last_trading_day": known[at]})
    # the session calendar ends in two years, and so does the list
    table = table[(ends <= known[-1]) & (table["last_trading_day"] >= first)]
    return table[: int((table["last_trading_day"] < last).sum()) + 1].reset_index(drop=True)


def front_contracts(days: pd.DatetimeIndex, rule: RollRule) -> pd.Series:
    """The contract of each session's front-month price: the first one that still trades on that session.

    Args:
        days: sessions, in order.
    """
    listed = contracts(rule, days[0], days[-1])
    at = listed["last_trading_day"].searchsorted(days, side="left")
    return pd.Series(listed["contract"].to_numpy()[at], index=days, name="contract")


def rolls(rule: RollRule, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
    """The rolls on sessions after ``first`` and up to ``last``.

    Returns:
        ``date`` (the first session whose price is of the new contract), ``from_contract``, ``to_contract``, in order.
    """
    front = front_contracts(sessions(first=first, last=last), rule)
    moved = front.ne(front.shift()) & front.shift().notna()
    return pd.DataFrame(
        {
            "date": front.index[moved],
            "from_contract": front.shift()[moved].astype("int64").to_numpy(),
            "to_contract": front[moved].to_numpy(),
        }
    )


def roll_ratios(
    table: pd.DataFrame, prices: pd.DataFrame, rule: RollRule, *, known_by_roll: bool = False
) -> pd.DataFrame:
    """Each roll with the price ratio of new to old contract, from the newest days before it on which both have a price.

    It is the median of three days: the nearer price of a day may be hours older than the other one (on 2020-03-09 it
    stood 1.9% above the quote), and one such day must not become a step.

    Args:
        table: rows of ``rolls``.
        prices: rows of tasks/panel/curve.py ``contract_prices``.
        known_by_roll: use only prices that were known at the as_of of the roll's own session.

    Returns:
        ``table`` and ``seen_on`` (the newest of the days), ``age_days`` and ``log_ratio`` (log of new over old price);
        missing if there is no pair of both contracts at most ``rule.pairs.max_age_days`` old.

    Invariants: prices of the roll's own day or later are never used: the old contract's last trade was before.
    """
    key = ["rank", "seen_on"]
    followers = table[["from_contract", "to_contract"]].drop_duplicates()
    old = followers.merge(prices, left_on="from_contract", right_on="contract")
    both = old.merge(prices, left_on=[*key, "to_contract"], right_on=[*key, "contract"], suffixes=("", "_new"))
    pairs = pd.DataFrame(
        {
            "seen_on": both["seen_on"],
            "rank": both["rank"],
            "known_at": both[["known_at", "known_at_new"]].max(axis=1),
            "from_contract": both["from_contract"],
            "to_contract": both["to_contract"],
            "log_ratio": np.log(both["price_new"] / both["price"]),
        }
    )
    oldest = pd.Timedelta(days=rule.pairs.max_age_days)
    found = table.merge(pairs, on=["from_contract", "to_contract"], how="left")
    usable = (found["seen_on"] < found["date"]) & (found["date"] - found["seen_on"] <= oldest)
    if known_by_roll:
        usable &= found["known_at"] <= pd.Series(as_of_instants(pd.DatetimeIndex(found["date"])), index=found.index)
    ordered = found[usable].sort_values(["seen_on", "rank"], ascending=[True, False])
    best = ordered.drop_duplicates(["date", "seen_on"], keep="last").groupby("date").tail(MEDIAN_OF)
    steps = best.groupby("date").agg(seen_on=("seen_on", "max"), log_ratio=("log_ratio", "median"))
    out = table.merge(steps.reset_index(), on="date", how="left")
    return out.assign(age_days=(out["date"] - out["seen_on"]).dt.days.astype("float64"))


def roll_free_returns(close: pd.Series, ratios: pd.DataFrame) -> pd.Series:
    """Log returns per session of a position in one contract from each session to the next.

    At a roll the quote's move includes the step between the two contracts, which is removed.

    Args:
        close: the front-month quote by session; a missing close stays missing.
        ratios: rows of ``roll_ratios``.

    Returns:
        log returns by session; missing where a close is missing, and at a roll with an unknown ratio.
    """
    steps = ratios.set_index("date")["log_ratio"].reindex(close.index)
    rolled = close.index.isin(ratios["date"])
    return np.log(close).diff() - steps.where(rolled, 0.0)


def roll_free_targets(close: pd.Series, ratios: pd.DataFrame, *, sessions_ahead: int) -> pd.DataFrame:
    """What the front month did from each session on, as it is quoted and without the steps of its rolls.

    Args:
        close: the front-month quote by session, one row per session.
        ratios: rows of ``roll_ratios`` over these sessions.

    Returns:
        by session ``rolls`` (how many lie between), ``log_return`` and ``roll_free_log_return``; missing where the
        target session or a close is, the last one also where the step of a roll in between is unknown.
    """
    steps = ratios.set_index("date")["log_ratio"].reindex(close.index)
    rolled = pd.Series(close.index.isin(ratios["date"]), index=close.index)

    def over(values: pd.Series) -> pd.Series:
        total = values.cumsum()
        return total.shift(-sessions_ahead) - total

    moved = np.log(close.shift(-sessions_ahead) / close)
    known = over((rolled & steps.isna()).astype("int64")).eq(0)
    return pd.DataFrame(
        {
            "rolls": over(rolled.astype("int64")),
            "log_return": moved,
            "roll_free_log_return": (moved - over(steps.fillna(0.0))).where(known),
        }
    )
