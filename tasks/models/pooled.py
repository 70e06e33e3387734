"""No change at the baseline's scale; its shape borrows from weekly returns where the horizon has few outcomes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.models.forecaster import horizon_scale
from tasks.models.scaled import ScaledQuantiles


class Model(ScaledQuantiles):
    """EWMA-scaled quantiles, shrunk to those of weekly returns brought to the horizon."""

    family: ClassVar[str] = "pooled"
    shares_shape: ClassVar[bool] = True

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's."""
        return horizon_scale(features, self.problem.sessions)
