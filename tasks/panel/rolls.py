"""The contract of a front-month quote, its roll dates, and returns without the jumps of the rolls.

A contract is written YYYYMM, the month of its delivery.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.registry import RollRule

LEGS = (("carry", "price"), ("price", "forward"), ("carry", "forward"))
"""The two prices of a pair, nearer contract first, each with its ``<leg>_contract``."""


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


def with_pair_ratios(table: pd.DataFrame, pairs: pd.DataFrame, rule: RollRule) -> pd.DataFrame:
    """Each roll with the price ratio of new to old contract, from the newest pair of both before it.

    Args:
        table: rows of ``rolls``.
        pairs: one row per day, indexed by its date: ``carry, price, forward`` and their ``…_contract`` (YYYYMM00).

    Returns:
        ``table`` and ``seen_on``, ``age_days`` and ``log_ratio`` (log of new over old price); missing if there is no
        pair of both contracts at most ``rule.pairs.max_age_days`` old.

    Invariants: a pair of the roll's own day or later is never used: the old contract's last trade was before.
    """
    priced = []
    for near, far in LEGS:
        both = pairs[[near, far, f"{near}_contract", f"{far}_contract"]].dropna()
        both = both[(both[near] > 0) & (both[far] > 0)]
        priced.append(
            pd.DataFrame(
                {
                    "seen_on": both.index,
                    "from_contract": (both[f"{near}_contract"] // 100).astype("int64").to_numpy(),
                    "to_contract": (both[f"{far}_contract"] // 100).astype("int64").to_numpy(),
                    "log_ratio": np.log((both[far] / both[near]).to_numpy()),
                }
            )
        )
    known = (
        pd.concat(priced)
        .sort_values("seen_on", kind="stable")
        .drop_duplicates(["seen_on", "from_contract", "to_contract"])
    )
    out = pd.merge_asof(
        table.sort_values("date"),
        known,
        left_on="date",
        right_on="seen_on",
        by=["from_contract", "to_contract"],
        allow_exact_matches=False,
        tolerance=pd.Timedelta(days=rule.pairs.max_age_days),
    )
    return out.assign(age_days=(out["date"] - out["seen_on"]).dt.days.astype("float64"))


def roll_free_returns(close: pd.Series, ratios: pd.DataFrame) -> pd.Series:
    """Log returns per session of a position in one contract from each session to the next.

    At a roll the quote's move includes the step between the two contracts, which is removed.

    Args:
        close: the front-month quote by session; a missing close stays missing.
        ratios: rows of ``with_pair_ratios``.

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
        ratios: rows of ``with_pair_ratios`` over these sessions.

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
