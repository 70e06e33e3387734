"""Purged walk-forward folds: a model is tested only on data that it could not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.registry import WalkForwardPlan

FINAL = 0
"""Stands for no fold: the model to publish, fitted on every known target, without a test."""


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
        dates: one session per row, ascending. horizon: sessions to the target.

    Invariants: the ``horizon`` rows before a test year are purged, because their targets reach into it.
    """
    years = dates.year.to_numpy()
    for year in range(plan.first_test_year - plan.warm_up_years, int(years[-1]) + 1):
        test = np.flatnonzero(years == year)
        if len(test):
            train = np.arange(0, max(0, test[0] - horizon))
            yield Fold(year, year >= plan.first_test_year, train, test[:: plan.origin_step_sessions])
