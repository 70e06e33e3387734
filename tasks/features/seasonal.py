"""The session's place in the year. Known in advance, so it cannot leak."""

from __future__ import annotations

import numpy as np
import pandas as pd


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Two harmonics of the year and the crop windows."""
    date = panel["date"]
    angle = 2 * np.pi * (date.dt.dayofyear - 1) / 365.25
    month = date.dt.month
    return {
        "year_sin": np.sin(angle),
        "year_cos": np.cos(angle),
        "half_year_sin": np.sin(2 * angle),
        "half_year_cos": np.cos(2 * angle),
        "us_planting": month.isin([4, 5, 6]).astype(float),
        "us_pod_fill": month.isin([7, 8]).astype(float),
        "us_harvest": month.isin([9, 10, 11]).astype(float),
        "brazil_planting": month.isin([9, 10, 11, 12]).astype(float),
        "brazil_harvest": month.isin([1, 2, 3, 4]).astype(float),
    }
