"""The curve of soybean oil as known at each session: slope, expected steps at rolls, the roll-free close.

Prices are those of contract pairs and of single contracts (registry/roll_calendar.yaml). A value of a session uses the
first value published of each price, so that it never changes afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.panel.rolls import contracts, roll_ratios, rolls
from tasks.registry import RollRule

PREFIX = "curve."
MOVE, ROLLS_WITHIN = "curve.expected_move_", "curve.rolls_within_"
SLOPE, CURVATURE, KEPT = "curve.slope_pct_month", "curve.curvature_pct_month", "curve.slope_kept_a_month"
STEP, ROLL_FREE, TO_ROLL = "curve.roll_step_log", "curve.roll_free_close", "curve.sessions_to_roll"
OF_THE_QUOTE_ALONE = (ROLL_FREE, TO_ROLL, *(f"{ROLLS_WITHIN}{sessions}d" for sessions in (5, 21, 63, 126, 252)))
"""Series that are known wherever the quote is: without contract prices too."""
MEAN_DAYS = 5
"""A contract that goes off moves the slope by several percent in a day: the mean of five days is used."""
CLIP_LOG_MONTH = 0.04
"""Limit of a day's slope: beyond it the nearer contract is squeezed, and says nothing of the next months."""
LAG_DAYS, LAG_MONTHS = 63, 3
LEARN_DAYS = 2_520
DAYS_A_MONTH = 365.25 / 12


def columns(names: Iterable[str]) -> tuple[str, ...]:
    """The derived series among ``names`` that are computed here."""
    return tuple(name for name in names if name.startswith(PREFIX))


def contract_prices(observations: pd.DataFrame, rule: RollRule) -> pd.DataFrame:
    """Prices of dated contracts, one row per source, day and contract, in the value that was published first.

    Returns:
        ``source, seen_on, contract`` (YYYYMM), ``price`` (in the quote's unit), ``known_at``, ``rank`` (of the source,
        the best first).
    """
    pairs = _first(observations, rule.pairs.source, [rule.pairs.series])
    parts = [_of_pairs(pairs, rule)]
    for rank, single in enumerate(rule.single):
        rows = _first(observations, single.source, list(single.contracts))
        rows = rows[rows["field"] == "close"]
        contract = rows["series"].astype(str).map(single.contracts)
        parts.append(
            pd.DataFrame(
                {
                    "source": single.source,
                    "seen_on": rows["observation_date"],
                    "contract": contract.astype("int64"),
                    "price": rows["value"],
                    "known_at": rows["available_at"],
                    "rank": rank,
                }
            )
        )
    prices = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return prices[prices["price"] > 0].sort_values(["rank", "seen_on", "contract"], ignore_index=True)


def _first(observations: pd.DataFrame, source: str, series: list[str]) -> pd.DataFrame:
    rows = observations[(observations["source"] == source) & observations["series"].isin(series)]
    rows = rows.sort_values(["available_at", "vintage"], kind="stable")
    return rows.drop_duplicates(["series", "observation_date", "field"])


def _of_pairs(rows: pd.DataFrame, rule: RollRule) -> pd.DataFrame:
    """The prices of pairs, one row per contract; both contracts of a day are of one moment."""
    parts = []
    for leg in ("carry", "price", "forward"):
        price = rows[rows["field"] == leg].set_index("observation_date")
        contract = rows[rows["field"] == f"{leg}_contract"].set_index("observation_date")["value"]
        both = price[["value", "available_at"]].join(contract.rename("contract"), how="inner").dropna()
        parts.append(
            pd.DataFrame(
                {
                    "source": rule.pairs.source,
                    "seen_on": both.index,
                    "contract": (both["contract"] // 100).astype("int64").to_numpy(),
                    "price": both["value"].to_numpy(),
                    "known_at": both["available_at"].to_numpy(),
                    "rank": len(rule.single),
                }
            )
        )
    return pd.concat(parts, ignore_index=True).drop_duplicates(["seen_on", "contract"])


def months_between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Delivery months from one contract (YYYYMM) to another."""
    return (last // 100 - first // 100) * 12 + (last % 100 - first % 100)


def daily_slopes(prices: pd.DataFrame, rule: RollRule) -> pd.DataFrame:
    """Slope and curvature of each day, from the nearest contracts that still trade.

    The slope is log(next / nearest) per month between the two; the curvature is the slope from the second contract to
    the third, less that.

    Returns:
        by ``seen_on``: ``known_at``, ``slope`` (log per month, mean of five days, each within 4%), ``curvature``
        (missing without a third contract), ``kept`` (the share of a slope that is left a month later: cube root of the
        regression of slopes on those of 63 days before, without a constant, over all days so far).

    Invariants: a row depends on rows known by its ``known_at`` only.
    """
    if prices.empty:
        nothing = pd.DataFrame({name: pd.Series(dtype="float64") for name in ("slope", "curvature", "kept")})
        return nothing.assign(known_at=pd.Series(dtype="datetime64[us, UTC]")).rename_axis("seen_on")
    last_days = last_trading_days(prices["contract"], rule)
    trading = prices[prices["contract"].map(last_days) >= prices["seen_on"]]
    place = trading.groupby(["rank", "seen_on"]).cumcount()
    near = trading[place < 3].assign(place=place[place < 3])
    wide = near.set_index(["rank", "seen_on", "place"])[["contract", "price", "known_at"]].unstack()
    wide = wide[wide["price"][1].notna()]
    contract = [wide["contract"][i].to_numpy(dtype="float64") for i in range(3) if i in wide["contract"]]
    price = [np.log(wide["price"][i].to_numpy(dtype="float64")) for i in range(len(contract))]
    slope = (price[1] - price[0]) / months_between(contract[0], contract[1])
    curvature = np.full(len(slope), np.nan)
    if len(contract) == 3:
        curvature = (price[2] - price[1]) / months_between(contract[1], contract[2]) - slope
    days = pd.DataFrame(
        {
            "rank": wide.index.get_level_values("rank"),
            "seen_on": wide.index.get_level_values("seen_on"),
            "known_at": wide["known_at"][[0, 1]].max(axis=1).to_numpy(),
            "raw": np.clip(slope, -CLIP_LOG_MONTH, CLIP_LOG_MONTH),
            "curvature": curvature,
        }
    )
    # of two sources the one that published first, so that a day's slope does not change when the other arrives
    days = days.sort_values(["seen_on", "known_at", "rank"]).drop_duplicates("seen_on").set_index("seen_on")
    days["known_at"] = pd.to_datetime(days["known_at"], utc=True).cummax()
    smooth = days["raw"].rolling(MEAN_DAYS).mean()
    before = smooth.shift(LAG_DAYS)
    both = smooth.notna() & before.notna()
    ratio = (smooth * before).where(both, 0.0).cumsum() / (before**2).where(both, 0.0).cumsum()
    kept = ratio.clip(0.0, 1.0).where(both.cumsum() >= LEARN_DAYS) ** (1 / LAG_MONTHS)
    return days.assign(slope=smooth, kept=kept)[["known_at", "slope", "curvature", "kept"]]


def last_trading_days(named: pd.Series, rule: RollRule) -> dict[int, pd.Timestamp]:
    """The last trading day of each contract (YYYYMM): the weekday before the rule's day of its month.

    Approximate to a holiday: it decides which of a day's contracts still trade.
    """
    unique = [int(contract) for contract in named.unique()]
    ends = [np.datetime64(f"{c // 100:04d}-{c % 100:02d}-{rule.last_trading_before_day:02d}") for c in unique]
    return dict(zip(unique, pd.DatetimeIndex(np.busday_offset(ends, -1, roll="forward")), strict=True)) if ends else {}


def curve_known(
    observations: pd.DataFrame, rule: RollRule | None, known: pd.DataFrame, names: Iterable[str]
) -> pd.DataFrame:
    """The curve's derived series at each session.

    Args:
        known: one row per session: ``date, as_of_instant, zl`` (the close known) and ``zl__age_days``.
        names: the series wanted; the number in `curve.expected_move_21d` counts sessions ahead.

    Invariants: row t depends on observations with ``available_at`` by its as_of instant only.
    """
    days, wanted = pd.DatetimeIndex(known["date"]), columns(names)
    out = pd.DataFrame(np.nan, index=known.index, columns=list(wanted))
    if rule is None or not len(days):
        return out
    prices = contract_prices(observations, rule)
    slopes = _slopes_at(daily_slopes(prices, rule), rule, days, pd.DatetimeIndex(known["as_of_instant"]))
    ahead = rolls(rule, days[0], days[-1] + pd.DateOffset(months=rule.listed_ahead_months))
    with_steps = roll_ratios(ahead[ahead["date"] <= days[-1]], prices, rule, known_by_roll=True)
    at_roll = np.searchsorted(ahead["date"], days, side="right")
    sessions_ahead = _sessions_ahead(days, rule)
    roll_rows = np.searchsorted(sessions_ahead, pd.DatetimeIndex(ahead["date"]))
    computed: dict[str, np.ndarray] = {
        SLOPE: 100 * slopes["slope"].to_numpy(),
        CURVATURE: 100 * slopes["curvature"].to_numpy(),
        KEPT: slopes["kept"].to_numpy(),
        STEP: _steps(with_steps, days),
        TO_ROLL: (roll_rows[at_roll] - np.arange(len(days))).astype("float64"),
        ROLL_FREE: _roll_free(known, with_steps),
    }
    for name in wanted:
        if found := re.fullmatch(rf"({re.escape(MOVE)}|{re.escape(ROLLS_WITHIN)})(\d+)d", name):
            count = int(found[2])
            until = np.searchsorted(roll_rows, np.arange(len(days)) + count, side="right")
            computed[name] = (
                (until - at_roll).astype("float64")
                if found[1] == ROLLS_WITHIN
                else _expected_moves(slopes, ahead, days, at_roll, until)
            )
    return out.assign(**{name: computed[name] for name in wanted if name in computed})


def _sessions_ahead(days: pd.DatetimeIndex, rule: RollRule) -> pd.DatetimeIndex:
    """The sessions from the first of ``days`` to the last one whose contract is known in advance."""
    return sessions(first=days[0], last=days[-1] + pd.DateOffset(months=rule.listed_ahead_months))


def _slopes_at(
    slopes: pd.DataFrame, rule: RollRule, days: pd.DatetimeIndex, instants: pd.DatetimeIndex
) -> pd.DataFrame:
    """The newest slope known at each session; missing if it is too old."""
    at = pd.DatetimeIndex(slopes["known_at"]).searchsorted(instants, side="right") - 1
    shown = slopes.reset_index().reindex(at).set_axis(days)  # -1 is no row
    fresh = days - pd.DatetimeIndex(shown["seen_on"]) <= pd.Timedelta(days=rule.slope_max_age_days)
    return shown.loc[:, ["slope", "curvature", "kept"]].where(pd.Series(fresh, index=days))


def _steps(with_steps: pd.DataFrame, days: pd.DatetimeIndex) -> np.ndarray:
    """The step of each session: 0 where there is no roll, missing where it is unknown."""
    steps = with_steps.set_index("date")["log_ratio"].reindex(days)
    return steps.where(days.isin(with_steps["date"]), 0.0).to_numpy()


def _roll_free(known: pd.DataFrame, with_steps: pd.DataFrame) -> np.ndarray:
    """The close without the steps of the rolls since the first session; an unknown step stays in it."""
    total = with_steps["log_ratio"].fillna(0.0).cumsum().to_numpy()
    quoted_on = known["date"] - pd.to_timedelta(known["zl__age_days"].fillna(0.0), unit="D")
    at = np.searchsorted(with_steps["date"], quoted_on, side="right")
    return known["zl"].to_numpy(dtype="float64") * np.exp(-np.concatenate([[0.0], total])[at])


def _expected_moves(
    slopes: pd.DataFrame, ahead: pd.DataFrame, days: pd.DatetimeIndex, first: np.ndarray, until: np.ndarray
) -> np.ndarray:
    """The sum of the steps that today's slope expects at the rolls from ``first`` to before ``until``.

    A step is the slope times the months between the two contracts; a slope k months from now is today's times what is
    kept a month, to the power k.
    """
    gap = months_between(ahead["from_contract"].to_numpy(), ahead["to_contract"].to_numpy())
    roll_days = ahead["date"].to_numpy().astype("datetime64[D]").astype("float64")
    today = days.to_numpy().astype("datetime64[D]").astype("float64")
    kept = slopes["kept"].to_numpy()
    moves = np.zeros(len(days))
    for step in range(int((until - first).max(initial=0))):
        roll = np.minimum(first + step, len(ahead) - 1)
        months = (roll_days[roll] - today) / DAYS_A_MONTH
        moves += np.where(first + step < until, gap[roll] * kept**months, 0.0)
    return moves * slopes["slope"].to_numpy()


def listed_contracts(rule: RollRule, day: pd.Timestamp) -> list[int]:
    """The contracts (YYYYMM) that trade on a session and go off within the months that are listed ahead."""
    table = contracts(rule, day, day + pd.DateOffset(months=rule.listed_ahead_months))
    return [int(contract) for contract in table["contract"]]
