"""Purged walk-forward folds: a model is judged only on what it could not have seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.registry import WalkForwardPlan

FINAL = 0
"""The year of no fold: the model that is served, fitted on every known target and tested on nothing."""


@dataclass(frozen=True)
class Fold:
    """One test year. ``train`` and ``test`` are row numbers of the training table."""

    year: int
    scored: bool
    train: np.ndarray
    test: np.ndarray


def walk_forward(dates: pd.DatetimeIndex, plan: WalkForwardPlan, *, horizon: int) -> Iterator[Fold]:
    """Expanding train windows and yearly tests; test origins every ``origin_step_sessions``.

    Args:
        dates: one session a row, ascending. horizon: sessions to the target.

    Invariants: the ``horizon`` rows before a test year are purged, because their targets lie in it.
    """
    years = dates.year.to_numpy()
    for year in range(plan.first_test_year - plan.warm_up_years, int(years[-1]) + 1):
        test = np.flatnonzero(years == year)
        if len(test):
            train = np.arange(0, max(0, test[0] - horizon))
            yield Fold(year, year >= plan.first_test_year, train, test[:: plan.origin_step_sessions])
