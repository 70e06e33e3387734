"""No change, plain: quantiles of past returns over the horizon as they were, whatever today's volatility."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.models.scaled import ScaledQuantiles


class Model(ScaledQuantiles):
    """No-change forecast with unscaled empirical quantiles."""

    family: ClassVar[str] = "historical"

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: the past returns are in the model."""
        return ()

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """One, everywhere."""
        return np.ones(len(features))
