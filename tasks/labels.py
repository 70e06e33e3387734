"""What a forecast is measured against: the ZL close ``h`` sessions ahead, and the log return to it.

The close is the front month's, which is what is published. Beside it stands what one contract after another returned,
without the steps of the rolls.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant, sessions
from tasks.panel.join import as_known_at
from tasks.panel.rolls import front_contracts, roll_free_targets, roll_ratios, rolls
from tasks.registry import Horizons, RollRule


def build_labels(panel: pd.DataFrame, horizons: Horizons) -> pd.DataFrame:
    """Targets of every session at every horizon, in long format.

    A target is known if both its own session and the target session have a close. Nothing is filled in: a session
    without a bar has no target and is never a target.

    Returns:
        ``horizon, date, target_date, target_log_return, target_price, last_price, sessions_ahead, reachable``; price in
        cents/lb. ``reachable`` is true if both closes are known.

    Invariants: ``sessions_ahead`` counts CBOT sessions, never calendar days.
    """
    dates = pd.DatetimeIndex(panel["date"])
    close = panel["zl_close"].to_numpy()
    later = sessions(first=dates[0], last=dates[-1] + pd.DateOffset(years=2))
    parts = []
    for name, horizon in horizons.horizons.items():
        h = horizon.sessions
        ahead = np.full(len(close), np.nan)
        if h < len(close):
            ahead[:-h] = close[h:]
        reachable = ~np.isnan(ahead) & ~np.isnan(close)
        parts.append(
            pd.DataFrame(
                {
                    "horizon": name,
                    "date": dates,
                    "target_date": later[h : h + len(dates)],
                    "target_log_return": np.where(reachable, np.log(ahead / close), np.nan),
                    "target_price": np.where(reachable, ahead, np.nan),
                    "last_price": close,
                    "sessions_ahead": h,
                    "reachable": reachable,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def with_rolls(labels: pd.DataFrame, panel: pd.DataFrame, prices: pd.DataFrame, rule: RollRule) -> pd.DataFrame:
    """The labels with the contracts that they start and end on, and their returns without the steps of the rolls.

    Args:
        labels: rows of ``build_labels`` over ``panel``, which has settled closes. prices: rows of
            tasks/panel/curve.py ``contract_prices``.

    Returns:
        the same with ``contract`` and ``target_contract`` (YYYYMM), ``rolls`` in between, and
        ``roll_free_log_return``: ``target_log_return`` less the step of each of them; missing where one is unknown.
    """
    days = pd.DatetimeIndex(panel["date"])
    ahead = sessions(first=days[0], last=max(days[-1], labels["target_date"].max()))
    front = front_contracts(ahead, rule)
    ratios = roll_ratios(rolls(rule, days[0], days[-1]), prices, rule)
    close = panel.set_index("date")["zl_close"]
    parts = []
    for _, part in labels.groupby("horizon", sort=False):
        targets = roll_free_targets(close, ratios, sessions_ahead=int(part["sessions_ahead"].iloc[0]))
        parts.append(
            part.assign(
                contract=front.reindex(part["date"]).to_numpy(),
                target_contract=front.reindex(part["target_date"]).to_numpy(),
                rolls=targets["rolls"].to_numpy(),
                roll_free_log_return=targets["roll_free_log_return"].to_numpy(),
            )
        )
    return pd.concat(parts, ignore_index=True)


def with_settled_closes(panel: pd.DataFrame, observations: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """The panel with each session's ZL close in its newest vintage instead of the one known that evening.

    A forecast starts from the price known at its as_of, but it is scored against the final price. A bar that was wrong
    at 18:00 and corrected the next day must not stay in the targets.
    """
    closes = observations[(observations["series"] == "ZL=F") & (observations["field"] == "close")]
    settled = as_known_at(closes, as_of_instant(as_of)).set_index("observation_date")["value"]
    return panel.assign(zl_close=settled.reindex(panel["date"]).to_numpy())


def target_date(as_of: pd.Timestamp, sessions_ahead: int) -> pd.Timestamp:
    """The session ``sessions_ahead`` after ``as_of``."""
    return sessions(first=as_of)[sessions_ahead]
