"""The curve of soybean oil: its slope, what it expects of the quote, and the rolls ahead (tasks/panel/curve.py)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.features.rolling import z_score

SESSIONS_AHEAD = (5, 21, 63, 126, 252)


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Slope, curvature, expected moves, rolls ahead, and the front contract's volume against its usual one."""
    slope = panel["curve_slope_pct_month"]
    out = {
        "curve_slope_pct_month": slope,
        "curve_slope_z_252d": z_score(slope),
        "curve_slope_change_21d": slope - slope.shift(21),
        "curve_curvature_pct_month": panel["curve_curvature_pct_month"],
        "sessions_to_roll": panel["sessions_to_roll"],
    }
    out |= {
        f"curve_expected_move_{sessions}d": panel[f"curve_expected_move_{sessions}d"] for sessions in SESSIONS_AHEAD
    }
    out |= {f"rolls_within_{sessions}d": panel[f"rolls_within_{sessions}d"] for sessions in SESSIONS_AHEAD}
    volume = panel["zl_volume"].where(panel["zl_volume"] > 0)
    usual = volume.rolling(252, min_periods=168).median()
    return out | {"front_volume_to_usual_log": pd.Series(np.log(volume / usual))}
