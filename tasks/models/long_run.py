"""No change with a scale that is shrunk to the long-run volatility, more so with the horizon."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.models.forecaster import SCALE
from tasks.models.scaled import ScaledQuantiles, over_horizon

PERSISTENCE = 0.99  # of variance from one session to the next: the decay of the volatility that is shrunk


class Model(ScaledQuantiles):
    """The variance of each coming session is that of today, PERSISTENCE to the power of its distance, and the rest long
    run: over the horizon today's weighs (1 - p^h) / (h (1 - p)), from 0.98 at a week to 0.37 at twelve months.
    """

    family: ClassVar[str] = "long_run"

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """The long-run volatility: root of the mean variance of all past sessions."""
        self.state = {"long_run_pct": float(np.sqrt((features[SCALE] ** 2).mean()))}

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """Root of the mean variance that is expected over the horizon."""
        sessions = self.problem.sessions
        weight = (1 - PERSISTENCE**sessions) / (sessions * (1 - PERSISTENCE))
        today = features[SCALE].to_numpy(dtype="float64") ** 2
        mean = weight * today + (1 - weight) * self.state["long_run_pct"] ** 2
        return over_horizon(np.sqrt(mean), sessions)
