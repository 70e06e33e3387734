"""Expectations on labels, the targets of training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.gates.expectations.frame import (
    Finding,
    FrameExpectation,
    rows_at_fault,
)


class ExpectTargetExact(FrameExpectation):
    """The target is ln(target_price / last_price), and known exactly where ``reachable``: never filled."""

    tolerance: float

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("target_log_return", "target_price", "last_price", "reachable")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        log_return, target, last = (
            frame[name].to_numpy(dtype="float64", na_value=np.nan)
            for name in ("target_log_return", "target_price", "last_price")
        )
        reachable = frame["reachable"].to_numpy(dtype=bool, na_value=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            wrong = ~(np.abs(np.log(target / last) - log_return) <= self.tolerance)
        filled = ~np.isnan(log_return) | ~np.isnan(target)
        return rows_at_fault(
            frame,
            np.where(reachable, wrong, filled),
            ["last_price", "target_price", "target_log_return", "reachable"],
        )


class ExpectTargetDateExact(FrameExpectation):
    """``target_date`` is the session ``sessions_ahead`` after ``date``: calendar days on trading rows are a fault.

    It may be missing where the target is not reachable.
    """

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("date", "target_date", "sessions_ahead", "reachable")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        days = sessions()
        dates = pd.DatetimeIndex(frame["date"])
        ahead = days.searchsorted(dates) + frame["sessions_ahead"].to_numpy(dtype="int64")
        expected = days[np.clip(ahead, 0, len(days) - 1)]
        right = dates.isin(days) & (ahead < len(days)) & (pd.DatetimeIndex(frame["target_date"]) == expected)
        excused = frame["target_date"].isna().to_numpy() & ~frame["reachable"].to_numpy(dtype=bool, na_value=False)
        return rows_at_fault(frame, ~right & ~excused, ["target_date", "sessions_ahead"])


class ExpectNoRepeatedTarget(FrameExpectation):
    """No target price (but zero) stands on more than ``max_run`` sessions in a row of a horizon: it was filled.

    ``by``: the columns that tell one run of dates from another.
    """

    max_run: int
    by: tuple[str, ...] = ("horizon",)

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (*self.by, "date", "target_price")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        ordered = frame[[*self.by, "date", "target_price"]].sort_values([*self.by, "date"], kind="stable")
        price = ordered["target_price"].to_numpy(dtype="float64", na_value=np.nan)
        group = ordered.groupby(list(self.by), observed=True, sort=False, dropna=False).ngroup().to_numpy()
        same_horizon = group == np.concatenate([[-1], group[:-1]])[: len(group)]
        starts = ~(same_horizon & (price == np.concatenate([[np.nan], price[:-1]])[: len(price)]))
        run = np.cumsum(starts) - 1
        repeated = (np.bincount(run)[run] > self.max_run) & (price != 0) if len(run) else np.zeros(0, dtype=bool)
        fault = np.zeros(len(frame), dtype=bool)
        fault[ordered.index.to_numpy()[repeated]] = True
        return rows_at_fault(frame, fault, ["target_price"])


class ExpectSessionsAheadOfHorizon(FrameExpectation):
    """``sessions_ahead`` is what ``sessions`` says of the row's horizon."""

    sessions: dict[str, int]

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("horizon", "sessions_ahead")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        expected = frame["horizon"].map(self.sessions)
        fault = ~(frame["sessions_ahead"] == expected).to_numpy(dtype=bool, na_value=False)
        return rows_at_fault(frame, fault, ["sessions_ahead"])


class ExpectTargetAtItsDate(FrameExpectation):
    """``target_price`` is the ``last_price`` of ``target_date``: a label shifted by even one session is another price.

    ``tolerance`` is relative. Where no row of the table knows the price of ``target_date``, there is nothing to
    compare with. All rows of one date must have the same ``last_price``.
    """

    tolerance: float

    def needs(self) -> Iterable[str]:  # noqa: D102
        return ("date", "target_date", "target_price", "last_price")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        settled = frame.dropna(subset=["last_price"]).groupby("date")["last_price"].median()
        due = frame["target_date"].map(settled)
        own_price = frame["date"].map(settled)
        shifted = (frame["target_price"] / due - 1).abs() > self.tolerance
        torn = (frame["last_price"] / own_price - 1).abs() > self.tolerance
        shown = frame.assign(price_on_target_date=due.round(4))
        known = int((frame["target_price"].notna() & due.notna()).sum())
        return rows_at_fault(
            shown,
            (shifted | torn).to_numpy(dtype=bool),
            ["target_date", "last_price", "target_price", "price_on_target_date"],
            elements=known,
        )


class ExpectTargetsKnownButLast(FrameExpectation):
    """Targets are unknown on the last ``sessions_ahead`` rows of each horizon, exactly, and known on those before.

    A session without a bar has no price and is no target: before the end, a target is missing where its own session or
    its target's has none, and nowhere else. A session has a bar where any target of the table says so.
    """

    by: tuple[str, ...] = ("surface", "horizon")

    def needs(self) -> Iterable[str]:  # noqa: D102
        return (*self.by, "date", "target_date", "target_log_return", "sessions_ahead")

    def find(self, frame: pd.DataFrame) -> Finding:  # noqa: D102
        ordered = frame.sort_values([*self.by, "date"], kind="stable")
        groups = ordered.groupby(list(self.by), observed=True, sort=False)
        to_the_end = groups.cumcount(ascending=False).to_numpy()
        known = ordered["target_log_return"].notna().to_numpy()
        days = sessions()
        ahead = ordered["sessions_ahead"].to_numpy(dtype="int64")
        places = np.clip(days.searchsorted(pd.DatetimeIndex(ordered["date"])) + ahead, 0, len(days) - 1)
        target = days[places]
        bars = pd.DatetimeIndex(ordered.loc[known, "date"]).union(pd.DatetimeIndex(target[known]))
        both = ordered["date"].isin(bars).to_numpy() & target.isin(bars)
        tail = to_the_end < ahead
        wrong = np.where(tail, known, known != both)
        fault = pd.Series(wrong, index=ordered.index).reindex(frame.index).to_numpy(dtype=bool)
        shown = frame.assign(
            fault=pd.Series(np.where(known, "known, which cannot be", "not known"), index=ordered.index)
        )
        return rows_at_fault(shown, fault, [*self.by, "target_log_return", "fault"])
