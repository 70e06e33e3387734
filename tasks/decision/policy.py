"""What a buyer should do: the cost of buying now against waiting, and the rule that says buy, wait or ladder.

**Buying now** fixes a month's price today, the cheaper of two ways: the price of the contract that is the front month
when the oil is due (``curve``), or the front month bought today, stored and financed until then (``storage``). A
contract's price that is some days old is moved on with the front month's roll-free moves since.

**Waiting** buys the month's oil on its first session at the front-month price of that day. Both include the basis.

**The rule**, month by month, on the simulated paths (tasks/decision/paths.py). The chance that waiting is cheaper is
the share of paths whose price ends below the price now. A path that ends above it and above the budget counts 1 +
aversion times. Below ``buy_below_chance``: buy all that is open. Above ``wait_above_chance``: wait. In between: a
ladder, which buys equal parts now, on the first session of each month before the oil is due, and on the day it is due.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tasks.decision.needs import PricedNeed, covered_pounds, delivery_months, priced
from tasks.decision.paths import fit_dependence, published_quantiles, simulate
from tasks.decision.protection import protection
from tasks.errors import CbiError, DecisionFailed
from tasks.registry import BuyingRule, DecisionRegistry, Horizons, RollRule
from tasks.storage.hashes import fingerprint

BUY, WAIT, LADDER, COVERED = "buy", "wait", "ladder", "covered"
CURVE, STORAGE = "curve", "storage"
ALL = "all"
"""The row of all months together."""
WORST_SHARE = 0.1  # expected shortfall is the mean of this share of the paths, the dearest
MONTHS_A_YEAR = 12
USD_PER_CENT = 0.01


@dataclass(frozen=True)
class Market:
    """What the decisions of a day read.

    ``forecasts`` and ``contracts``: rows of the day of ``forecasts.zl_forecasts_daily`` and ``zl_contracts_daily``.
    ``prices``: by session to the day, ``close`` (front month, missing where there is none) and ``roll_free``.
    ``eur_usd``: USD per EUR as known on the day, or missing.
    """

    as_of: pd.Timestamp
    forecasts: pd.DataFrame
    contracts: pd.DataFrame
    prices: pd.DataFrame
    eur_usd: float


@dataclass(frozen=True)
class DayDecisions:
    """Rows of ``forecasts.zl_decisions_daily`` without ``origin`` and ``created_at``, and why some are missing."""

    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    problems: tuple[str, ...] = ()


def market_of(forecasts: pd.DataFrame, contracts: pd.DataFrame, panel: pd.DataFrame, *, as_of: pd.Timestamp) -> Market:
    """The market of a day.

    Args:
        panel: with ``date, zl_close, zl_roll_free, eur_last``; rows after ``as_of`` are not read.
    """
    known = panel[panel["date"] <= as_of].set_index("date")
    prices = pd.DataFrame({"close": known["zl_close"], "roll_free": known["zl_roll_free"]})
    return Market(as_of, forecasts, contracts, prices, float(known["eur_last"].iloc[-1]))


def decide(
    market: Market,
    registry: DecisionRegistry,
    horizons: Horizons,
    rule: RollRule,
    *,
    bought: Mapping[str, Mapping[str, float]] | None = None,
) -> DayDecisions:
    """The decisions of a day, one row per need and month and one for all months of a need.

    Args:
        bought: of the ledger, by need and month, pounds.

    Raises:
        DecisionFailed: no decision can be computed for any need. A need that has none of its own is a problem of the
            result.
    """
    levels = tuple(horizons.quantiles)
    counts = {name: horizon.sessions for name, horizon in horizons.horizons.items()}
    published = published_quantiles(market.forecasts, counts, levels)
    power = fit_dependence(market.prices["close"], list(counts.values()))
    last_price = float(market.forecasts["last_price"].iloc[0])
    parts, problems = [], []
    for name, need in registry.needs.items():
        try:
            own = priced(name, need, market.eur_usd)
            if isinstance(own, str):
                raise DecisionFailed(own)
            months = delivery_months(rule, market.as_of, need.months_ahead)
            at = list(months["sessions"])
            drawn = simulate(published, levels, last_price, at, power=power, seed=seed_of(market.as_of))
            now = prices_now(months, market, own)
            open_pounds = need.pounds_per_month - covered_pounds(need, months["month"], (bought or {}).get(name, {}))
            parts.append(
                answer(
                    months, now, drawn + own.basis_cents_lb, own, registry.rule, np.maximum(open_pounds, 0.0)
                ).assign(as_of=market.as_of, need_version=fingerprint(need.model_dump(), registry.rule.model_dump()))
            )
        except CbiError as error:
            problems.append(str(error))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return DayDecisions(table.assign(dependence_power=power) if len(table) else table, tuple(problems))


def seed_of(as_of: pd.Timestamp) -> int:
    """The seed of a day's paths."""
    return int(f"{as_of:%Y%m%d}")


def prices_now(months: pd.DataFrame, market: Market, own: PricedNeed) -> pd.DataFrame:
    """What each month's oil costs if its price is fixed today, in cents/lb with the basis.

    Returns:
        by month ``now_source`` (``curve`` or ``storage``), ``now_cents_lb``, ``curve_cents_lb``, ``curve_price_date``,
        ``storage_cents_lb``, and ``curve_forward_cents_lb`` without the basis; missing where there is none.
    """
    prices = market.prices
    quoted = {str(row["contract"]): row for row in market.contracts.to_dict("records")}
    found = [quoted.get(name) for name in months["contract_name"]]
    table = pd.DataFrame(
        {
            "curve_forward_cents_lb": [
                moved_on(float(one["last_price"]), one["price_date"], prices["roll_free"]) if one else np.nan
                for one in found
            ],
            "curve_price_date": pd.to_datetime(pd.Series([one["price_date"] if one else pd.NaT for one in found])),
        },
        index=months.index,
    )
    curve = table["curve_forward_cents_lb"] + own.basis_cents_lb
    stored = carried(float(market.forecasts["last_price"].iloc[0]) + own.basis_cents_lb, months["years"], own)
    return table.assign(curve_cents_lb=curve, storage_cents_lb=stored).assign(**cheaper(curve, stored))


def moved_on(price: float, seen_on: pd.Timestamp, roll_free: pd.Series) -> float:
    """A contract's price of an earlier session, moved on with the front month's roll-free moves since."""
    before = roll_free[roll_free.index <= seen_on].dropna()
    last = roll_free.dropna()
    return price if before.empty or last.empty else price * float(last.iloc[-1] / before.iloc[-1])


def carried(price: float | pd.Series, years: pd.Series, own: PricedNeed) -> pd.Series:
    """The cost of oil bought today and kept for some years, in cents/lb; missing if nothing can be stored."""
    if own.storage_cents_lb_month is None:
        return pd.Series(np.nan, index=years.index)
    financed = price * (1 + own.need.financing_pct_year / 100 * years)
    return financed + own.storage_cents_lb_month * MONTHS_A_YEAR * years


def cheaper(curve: pd.Series, stored: pd.Series) -> dict[str, pd.Series]:
    """The cheaper way to fix a price, and its price."""
    both = pd.DataFrame({CURVE: curve, STORAGE: stored})
    by_curve = both[CURVE].notna() & ~(both[STORAGE] < both[CURVE])
    source = pd.Series(np.where(by_curve, CURVE, STORAGE), index=curve.index, dtype="object")
    now = both[CURVE].where(by_curve, both[STORAGE])
    return {"now_source": source.where(now.notna(), None), "now_cents_lb": now}


def chance_waiting_cheaper(
    waiting: np.ndarray, now: np.ndarray, budget: np.ndarray | float, aversion: float
) -> np.ndarray:
    """The chance that waiting is cheaper by month, paths above the budget counted 1 + aversion times.

    Args:
        waiting: prices on the due date, paths x months. now: prices now, by month. All with or all without the basis.
    """
    below = waiting < now
    weight = np.where(~below & (waiting > budget), 1 + aversion, 1.0)
    chance = below.sum(axis=0) / weight.sum(axis=0)
    return np.where(np.isnan(now) | np.isnan(waiting).any(axis=0), np.nan, chance)


def signals(chance: np.ndarray, rule: BuyingRule) -> np.ndarray:
    """``buy``, ``wait`` or ``ladder`` by chance; where no chance is known, ``wait``."""
    found = np.where(chance < rule.buy_below_chance, BUY, np.where(chance > rule.wait_above_chance, WAIT, LADDER))
    return np.where(np.isnan(chance), WAIT, found)


def shares_now(signal: np.ndarray, months_left: np.ndarray) -> np.ndarray:
    """The share of the open pounds to buy now: all, none, or one of the ladder's months-left-plus-one parts."""
    return np.select([signal == BUY, signal == LADDER], [np.ones(len(signal)), 1 / (months_left + 1)], 0.0)


def answer(
    months: pd.DataFrame,
    now: pd.DataFrame,
    waiting: np.ndarray,
    own: PricedNeed,
    rule: BuyingRule,
    open_pounds: np.ndarray,
) -> pd.DataFrame:
    """The rows of one need, the last one of all months together.

    Args:
        now: of ``prices_now``. waiting: prices on the due dates with the basis, paths x months, cents/lb.
    """
    need, budget = own.need, own.budget_cents_lb
    price = now["now_cents_lb"].to_numpy(dtype="float64")
    chance = chance_waiting_cheaper(waiting, price, budget, 0.0)
    weighted = chance_waiting_cheaper(waiting, price, budget, need.aversion)
    signal = signals(weighted, rule)
    share = shares_now(signal, np.arange(1, len(months) + 1))
    usd = USD_PER_CENT * open_pounds
    quantiles = np.quantile(waiting, [0.1, 0.5, 0.9], axis=0)  # missing where a price is
    premiums = [
        protection(
            forward if np.isfinite(forward) else float(waiting[:, k].mean()) - own.basis_cents_lb,
            quantiles[0, k] - own.basis_cents_lb,
            quantiles[2, k] - own.basis_cents_lb,
            strike=budget - own.basis_cents_lb,
            financing_pct_year=need.financing_pct_year,
            years=float(months["years"].iloc[k]),
        )
        for k, forward in enumerate(now["curve_forward_cents_lb"])
    ]
    cap = np.array([one.cap_cents_lb for one in premiums])
    by_month = pd.DataFrame(
        {
            "month": months["month"],
            "due_date": months["due_date"],
            "contract": months["contract_name"],
            "pounds": need.pounds_per_month,
            "open_pounds": open_pounds,
            **{name: now[name] for name in ("now_source", "now_cents_lb", "curve_cents_lb", "curve_price_date")},
            "storage_cents_lb": now["storage_cents_lb"],
            "wait_p10_cents_lb": quantiles[0],
            "wait_p50_cents_lb": quantiles[1],
            "wait_p90_cents_lb": quantiles[2],
            "wait_mean_cents_lb": waiting.mean(axis=0),
            **in_dollars(waiting * usd, price * usd, budget * usd),
            "chance_waiting_cheaper": chance,
            "weighted_chance": weighted,
            "chance_over_budget": np.where(np.isnan(waiting).any(axis=0), np.nan, (waiting > budget).mean(axis=0)),
            "signal": signal,
            "share_now": share,
            "pounds_now": share * open_pounds,
            "plan": [plan(signal[k], k, open_pounds[k], months) for k in range(len(months))],
            "cap_cents_lb": cap,
            "cap_usd": cap * usd,
            "collar_floor_cents_lb": [one.collar_floor_cents_lb + own.basis_cents_lb for one in premiums],
            "reason": [why_missing(row, own) for row in now.assign(beyond=np.isnan(waiting[0])).to_dict("records")],
        }
    )
    return pd.concat([by_month, total(by_month, waiting, usd, budget)], ignore_index=True).assign(
        need=own.name,
        is_example=need.example,
        unit=need.unit,
        unit_per_cent_lb=own.unit_per_cent_lb,
        budget_cents_lb=budget,
    )


def in_dollars(waiting: np.ndarray, now: np.ndarray, budget: np.ndarray) -> dict[str, np.ndarray]:
    """Dollars of each column of paths: now, at the budget, and waiting with its 80% range and expected shortfall."""
    low, high = np.quantile(waiting, [0.1, 0.9], axis=0)
    dearest = np.sort(waiting, axis=0)[-max(1, round(WORST_SHARE * len(waiting))) :]
    return {
        "now_usd": now,
        "budget_usd": budget,
        "wait_mean_usd": waiting.mean(axis=0),
        "wait_p10_usd": low,
        "wait_p90_usd": high,
        "wait_shortfall_usd": dearest.mean(axis=0),
    }


def total(by_month: pd.DataFrame, waiting: np.ndarray, usd: np.ndarray, budget: float) -> pd.DataFrame:
    """The row of all months: sums on each path, then their quantiles. Missing if a month with open pounds is."""
    open_now = usd > 0
    paths = waiting[:, open_now] @ usd[open_now]
    now = float((by_month["now_cents_lb"].to_numpy() * usd)[open_now].sum())
    dollars = in_dollars(paths[:, None], np.array([now]), np.array([budget * usd.sum()]))
    known = bool(open_now.any()) and not np.isnan(paths).any()
    pounds, part = by_month["open_pounds"].sum(), by_month["pounds_now"].sum()
    signal = COVERED if not pounds else BUY if part == pounds else WAIT if part == 0 else LADDER
    lacking = "; ".join(dict.fromkeys(by_month.loc[open_now, "reason"].dropna()))
    return pd.DataFrame(
        [
            {
                "month": ALL,
                "due_date": pd.NaT,
                "pounds": by_month["pounds"].sum(),
                "open_pounds": pounds,
                **{name: float(values[0]) for name, values in dollars.items()},
                "chance_waiting_cheaper": float((paths < now).mean()) if known and not np.isnan(now) else np.nan,
                "chance_over_budget": float((paths > budget * usd.sum()).mean()) if known else np.nan,
                "signal": signal,
                "share_now": part / pounds if pounds else np.nan,
                "pounds_now": part,
                "cap_usd": float(by_month.loc[open_now, "cap_usd"].sum(min_count=int(open_now.sum()))),
                "reason": lacking or None,
            }
        ]
    )


def plan(signal: str, place: int, pounds: float, months: pd.DataFrame) -> str:
    """How much now, and how much when, in words.

    >>> days = pd.DataFrame({"due_date": pd.to_datetime(["2024-02-01", "2024-03-01"])})
    >>> plan("ladder", 1, 600_000, days)
    '200,000 lb now and on 2024-02-01, 2024-03-01'
    """
    due = [f"{day:%Y-%m-%d}" for day in months["due_date"].iloc[: place + 1]]
    if not pounds:
        return "nothing is open"
    if signal == BUY:
        return f"{pounds:,.0f} lb now"
    if signal == WAIT:
        return f"nothing now; {pounds:,.0f} lb by {due[-1]}"
    return f"{pounds / (len(due) + 1):,.0f} lb now and on {', '.join(due)}"


def why_missing(row: Mapping[Hashable, object], own: PricedNeed) -> str | None:
    """Why a month has no price now or no forecast."""
    if row["beyond"]:
        return "the month is beyond the farthest horizon that is forecast"
    if row["now_source"] is None:
        why = "storage_per_month is empty" if own.storage_cents_lb_month is None else "the price is missing"
        return f"no price can be fixed today: {why}, and the contract's price is not known"
    return None
