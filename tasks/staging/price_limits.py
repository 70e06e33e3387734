"""The exchange's daily limit: how far a price may settle from the previous settlement."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.registry import DailyLimit


def daily_limits(closes: pd.Series, limit: DailyLimit) -> pd.Series:
    """The initial limit of each session, in the series' unit; NaN before the first known limit.

    A reset limit is computed as the exchange does (CME SER-7071): a share of the mean settlement over a number of
    sessions before a day in spring and autumn, rounded, in force from a later day on. The front month's closes are used
    instead of the contract that the exchange uses. Only closes before the day are used.

    Args:
        closes: one close per session, indexed by date in order.
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
                if len(settlements) == reset.sessions:  # with fewer the previous limit stays
                    size = round(settlements.mean() * reset.share_pct / 100 / reset.round_to) * reset.round_to
                    steps.append((begins, max(size, reset.round_to)))
    for begins, size in steps:
        known[dates >= begins] = size
    return known
