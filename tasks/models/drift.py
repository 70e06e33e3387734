"""Random walk with drift: the price goes on by the mean of its past returns over the horizon."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.models.forecaster import horizon_scale
from tasks.models.scaled import ScaledQuantiles


class Model(ScaledQuantiles):
    """The no-change quantiles around the mean past return."""

    family: ClassVar[str] = "drift"

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """The mean log return over the horizon."""
        self.state = {"drift": float(target.mean())}

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's."""
        return horizon_scale(features, self.problem.sessions)

    def location(self, features: pd.DataFrame) -> np.ndarray:
        """The drift, on every row."""
        return np.full(len(features), self.state["drift"])
