"""The exchange's own limit on how far a price may settle from the settlement before."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.registry import DailyLimit


def daily_limits(closes: pd.Series, limit: DailyLimit) -> pd.Series:
    """The initial limit of each session, in the series' unit; NaN before the first one that is known.

    A limit that is reset is computed as the exchange does (CME SER-7071): a share of the mean settlement of so many
    sessions that end before a day of spring or autumn, rounded, in force from a later day on. The front month's closes
    stand in for the contract that the exchange takes. Only closes before a day are used for it.

    Args:
        closes: one close a session, indexed by date in order.
        limit: the registry's entry of the series.
    """
    dates = pd.DatetimeIndex(closes.index)
    known = pd.Series(np.nan, index=dates)
    steps = [(pd.Timestamp(day), size) for day, size in sorted(limit.fixed.items())]
    if limit.reset is not None and len(dates):
        reset = limit.reset
        for year in range(max(reset.first.year, dates[0].year), dates[-1].year + 1):
            for observed, effective in zip(reset.observed_before, reset.effective, strict=True):
                begins = pd.Timestamp(f"{year}-{effective}")
                if begins < pd.Timestamp(reset.first):
                    continue
                settlements = closes[dates < pd.Timestamp(f"{year}-{observed}")].dropna().tail(reset.sessions)
                if len(settlements) == reset.sessions:  # with fewer the limit before stays
                    size = round(settlements.mean() * reset.share_pct / 100 / reset.round_to) * reset.round_to
                    steps.append((begins, max(size, reset.round_to)))
    for begins, size in steps:
        known[dates >= begins] = size
    return known
