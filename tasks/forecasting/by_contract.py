"""Forecasts of each listed contract: its price now, and the range of its price until the day before it goes off.

A buyer can lock in a dated contract, never the front-month series. The centre is the contract's own price. The width is
today's volatility, times a ratio by the months to its expiry, times quantiles of past moves of single contracts; all
three are measured on the recorded pairs and on the front-month quote, which is the nearest contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.forecasting.contract import contract_name
from tasks.models.catalogue import SCALE
from tasks.panel.curve import contract_prices, listed_contracts, months_between
from tasks.panel.rolls import contracts, front_contracts
from tasks.quantiles import column
from tasks.registry import Horizons, RollRule

LAST = "last"
"""The horizon that ends on the day before the last trading day of a contract."""
FITTED_SESSIONS = (5, 21, 63)
FEWEST_INDEPENDENT = 20  # outcomes that do not overlap, for the quantiles of a number of sessions
FEWEST_MOVES = 250  # daily moves, for the ratio of a month to expiry
MOST_MONTHS = 24


@dataclass(frozen=True)
class ContractMoves:
    """What past moves of single contracts say.

    ``ratios``: volatility by months to expiry, against that of the front month; beyond the last known month, that of
    the last. ``quantiles`` and ``up_share``: by number of sessions, of moves in units of their volatility.
    """

    ratios: np.ndarray
    quantiles: Mapping[int, np.ndarray]
    up_share: Mapping[int, float]

    def nearest(self, count: int) -> int:
        """The fitted number of sessions nearest to ``count``, by ratio."""
        return min(self.quantiles, key=lambda fitted: abs(np.log(fitted / count)))


@dataclass(frozen=True)
class ContractHistory:
    """Prices of single contracts by session (rows) and contract (columns, YYYYMM), and when each one goes off.

    ``last_rows``: the row of each contract's last trading day among ``days``, which reach beyond the prices.
    """

    days: pd.DatetimeIndex
    prices: pd.DataFrame
    last_rows: Mapping[int, int]


def contract_history(
    observations: pd.DataFrame, quote: pd.Series, rule: RollRule, *, as_of: pd.Timestamp
) -> ContractHistory:
    """The prices of single contracts known at ``as_of``.

    Args:
        quote: the front month's close by session, to ``as_of``; it is the price of the contract that it quotes.
    """
    prices = contract_prices(observations, rule).drop_duplicates(["seen_on", "contract"])  # of the best source
    wide = prices.pivot_table(index="seen_on", columns="contract", values="price").reindex(quote.index)
    front = front_contracts(pd.DatetimeIndex(quote.index), rule)
    quoted = pd.DataFrame({"contract": front, "price": quote}).dropna()
    own = quoted.set_index("contract", append=True)["price"].unstack().reindex(quote.index)
    table = own.combine_first(wide)
    days = sessions(first=quote.index[0], last=as_of + pd.DateOffset(months=rule.listed_ahead_months + 1))
    listed = contracts(rule, quote.index[0], days[-1])
    rows = days.searchsorted(pd.DatetimeIndex(listed["last_trading_day"]))
    last_rows = {int(name): int(row) for name, row in zip(listed["contract"], rows, strict=True)}
    return ContractHistory(days, table[[name for name in table.columns if int(str(name)) in last_rows]], last_rows)


def contract_moves(
    history: ContractHistory, daily_volatility: pd.Series, levels: tuple[float, ...]
) -> ContractMoves | None:
    """Ratios and quantiles of the moves in ``history``; None with too few of them.

    Args:
        daily_volatility: standard deviation of the front month's daily log return, by session.
    """
    logs = np.log(history.prices.to_numpy())
    names = [int(str(name)) for name in history.prices.columns]
    scale = daily_volatility.reindex(history.prices.index).to_numpy(dtype="float64")[:, None]
    months = _months_to_expiry(history, names)[: len(logs)]
    daily = (logs[1:] - logs[:-1]) / scale[:-1]
    known = ~np.isnan(daily)
    of_month = months[1:]
    ratios, last = np.full(MOST_MONTHS + 1, np.nan), np.nan
    for month in range(MOST_MONTHS + 1):
        moves = daily[known & (of_month == month)]
        last = float(np.sqrt(np.mean(moves**2))) if len(moves) >= FEWEST_MOVES else last
        ratios[month] = last
    if np.isnan(ratios).any():
        return None
    quantiles, up_share = {}, {}
    for count in FITTED_SESSIONS:
        spread = _spreads(history, names, ratios, np.arange(len(logs) - count), count)
        moves = ((logs[count:] - logs[:-count]) / (scale[:-count] * spread)).ravel()
        moves = moves[np.isfinite(moves)]
        if len(moves) < FEWEST_INDEPENDENT * count:
            continue
        quantiles[count] = np.quantile(moves, levels) - np.median(moves)
        up_share[count] = float((moves > 0).mean())
    return ContractMoves(ratios, quantiles, up_share) if quantiles else None


def _months_to_expiry(history: ContractHistory, names: list[int]) -> np.ndarray:
    """Calendar months from each session to each contract's month, 0 to ``MOST_MONTHS``; sessions x contracts."""
    current = (history.days.year * 100 + history.days.month).to_numpy()
    ahead = np.stack([months_between(current, np.full(len(current), name)) for name in names], axis=1)
    return np.clip(ahead, 0, MOST_MONTHS)


def _spreads(
    history: ContractHistory, names: list[int], ratios: np.ndarray, rows: np.ndarray, count: int | np.ndarray
) -> np.ndarray:
    """Root of the summed squared ratios of the ``count`` sessions after each row; rows x contracts."""
    total = np.cumsum(ratios[_months_to_expiry(history, names)] ** 2, axis=0)
    return np.sqrt(total[rows + count] - total[rows])


def contract_bands(
    history: ContractHistory,
    moves: ContractMoves,
    contract: int,
    first_row: int,
    last_row: int,
    price: float,
    daily_volatility: float,
) -> tuple[np.ndarray, float]:
    """Quantiles of a contract's price from one row of ``history.days`` to a later one, and its chance to be higher."""
    spread = _spreads(history, [contract], moves.ratios, np.array([first_row]), last_row - first_row)[0, 0]
    fitted = moves.nearest(last_row - first_row)
    return price * np.exp(daily_volatility * spread * moves.quantiles[fitted]), moves.up_share[fitted]


def forecast_contracts(
    observations: pd.DataFrame,
    features: pd.DataFrame,
    quote: pd.Series,
    rule: RollRule,
    horizons: Horizons,
    *,
    as_of: pd.Timestamp,
    product: str = "ZL",
) -> pd.DataFrame:
    """One row per listed contract and horizon, for the contracts whose price is known.

    Args:
        observations: known at ``as_of``. features: with ``SCALE``, to ``as_of``. quote: the front month's close by
            session, to ``as_of``.

    Returns:
        ``as_of, contract, horizon`` (``last`` is the day before the last trading day), ``target_date,
        last_trading_day, price_date, last_price, p05 ... p95, direction_probability`` (to end above ``last_price``);
        prices in cents/lb. Empty if there are too few past moves of contracts.
    """
    history = contract_history(observations, quote, rule, as_of=as_of)
    volatility = features.set_index("date")[SCALE] / 100 / np.sqrt(252)
    levels = tuple(horizons.quantiles)
    moves, today = contract_moves(history, volatility, levels), volatility.iloc[-1]
    if moves is None or np.isnan(today):
        return pd.DataFrame()
    row_now = int(history.days.searchsorted(as_of))
    counts = {name: horizon.sessions for name, horizon in horizons.horizons.items()}
    rows = []
    for contract in listed_contracts(rule, as_of):
        seen = history.prices[contract].dropna() if contract in history.prices else pd.Series(dtype="float64")
        if seen.empty or as_of - seen.index[-1] > pd.Timedelta(days=rule.slope_max_age_days):
            continue
        price, seen_on = float(seen.iloc[-1]), seen.index[-1]
        row_seen, before_last = int(history.days.searchsorted(seen_on)), history.last_rows[contract] - 1
        for horizon, count in {**counts, LAST: before_last - row_now}.items():
            target = row_now + count
            if count <= 0 or target > before_last:
                continue
            bands, up_share = contract_bands(history, moves, contract, row_seen, target, price, float(today))
            rows.append(
                {
                    "as_of": as_of,
                    "contract": contract_name(product, contract),
                    "horizon": horizon,
                    "target_date": history.days[target],
                    "last_trading_day": history.days[before_last + 1],
                    "price_date": seen_on,
                    "last_price": price,
                    **{column(level): float(band) for level, band in zip(levels, bands, strict=True)},
                    "direction_probability": up_share,
                }
            )
    return pd.DataFrame(rows)
