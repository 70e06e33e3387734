"""Override flags: one factor dominates the price. The registry has the thresholds and dated example episodes."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.features import big8
from tasks.features.rolling import percentile
from tasks.registry import Override


def features(panel: pd.DataFrame, overrides: Mapping[str, Override]) -> dict[str, pd.Series]:
    """1 where the signal of registry/override_thresholds.yaml is at least its threshold; missing if the signal is."""
    out = {}
    for name, entry in overrides.items():
        signal = signal_of(panel, entry.signal)
        out[name] = (signal >= entry.at_least).astype(float).where(signal.notna())
    return out


def signal_of(panel: pd.DataFrame, name: str) -> pd.Series:
    """The signal that a threshold is applied to."""
    if name.startswith("big8."):
        return big8.signal(panel, name.removeprefix("big8."))
    if name == "palm_percentile_756d":
        return percentile(panel["cpo_last"], 756)
    return panel[name]
