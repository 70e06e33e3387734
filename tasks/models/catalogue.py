"""The model families: one line per family. It imports nothing, so that the registry and reports may read it."""

from __future__ import annotations

BASELINE = "curve"
BASELINES = (BASELINE, "no_change")
"""What is served where no family has skill; the second in a home that was trained before the curve was read."""
ENSEMBLE = "ensemble"
SCALE = "zl_ewma_volatility_99_pct"
"""The feature that every family scales by: annual volatility in percent, exponentially weighted."""

EXPECTED_MOVE = "curve_expected_move_"
"""Features that start so are the log move of the quote that the curve expects; their ends are sessions, as in `21d`."""

FAMILIES = {
    "curve": "tasks.models.naive:Curve",
    "no_change": "tasks.models.naive:NoChange",
    "historical": "tasks.models.naive:Historical",
    "long_run": "tasks.models.naive:MeanReverting",
    "drift": "tasks.models.naive:Drift",
    "pooled": "tasks.models.naive:Pooled",
    "garch": "tasks.models.garch:Garch",
    "har": "tasks.models.har:Har",
    "har_seasonal": "tasks.models.har:HarSeasonal",
    "ridge": "tasks.models.ridge:Ridge",
    "lightgbm": "tasks.models.boosted:LightGbm",
    "xgboost": "tasks.models.boosted:XGBoost",
}
"""Families that learn one horizon at a time: module and class."""

JOINT_FAMILIES = {
    "tcn": "tasks.models.neural.families:Tcn",
    "lstm_attention": "tasks.models.neural.families:LstmAttention",
    "nbeatsx": "tasks.models.neural.families:NBeatsX",
    "tft": "tasks.models.neural.families:Tft",
    "dense": "tasks.models.neural.families:Dense",
}
"""Families that learn all horizons at once: module and class."""

LIBRARIES = {"lightgbm": "lightgbm", "xgboost": "xgboost", **dict.fromkeys(JOINT_FAMILIES, "torch")}
"""The library of a family, where it brings an OpenMP runtime of its own: two of these can crash one macOS process."""

WEIGHTED = ("har", "har_seasonal", "ridge", "lightgbm", "xgboost", *JOINT_FAMILIES)
"""Families that accept row weights. The others are the baselines that they are compared with."""


def expected_move(sessions: int) -> str:
    """The feature with the log move that the curve expects over a horizon."""
    return f"{EXPECTED_MOVE}{sessions}d"


def is_joint(family: str) -> bool:
    """Whether a family learns all horizons at once."""
    return family in JOINT_FAMILIES
