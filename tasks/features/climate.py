"""El Nino and La Nina (Oceanic Nino index). History is revised with each base period: `revised`."""

from __future__ import annotations

import pandas as pd


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Level, change over about a quarter, and the two phases by NOAA's half-degree threshold."""
    oni = panel["oni_degc"]
    return {
        "oni_degc": oni,
        "oni_change_63d_degc": oni - oni.shift(63),
        "el_nino": (oni >= 0.5).astype(float).where(oni.notna()),
        "la_nina": (oni <= -0.5).astype(float).where(oni.notna()),
    }
