"""Names for readers: of horizons, columns and classes."""

from __future__ import annotations

HORIZONS = {"1w": "1 week", "1m": "1 month", "3m": "3 months", "6m": "6 months", "12m": "12 months"}
BIG8 = {
    "big8_vix_stress": "VIX stress",
    "big8_harvest_pace": "harvest pace",
    "big8_china_relations": "China relations",
    "big8_tariff_threat": "tariff threat",
    "big8_geopolitical_volatility": "geopolitical volatility",
    "big8_biofuel_cascade": "biofuel cascade",
    "big8_hidden_correlation": "hidden correlation",
    "big8_biofuel_margin": "biofuel margin",
}
GROUPS = {
    "big8": "Big 8",
    "calibration": "usual width",
    "overrides": "event flags",
    "technical": "own moves",
}
"""Groups of inputs whose name in the registry says little to a buyer."""
NOT_MEASURED = "not measured"


def horizon_title(name: str) -> str:
    """`3 months` for `3m`; a horizon without a title keeps its name."""
    return HORIZONS.get(name, name)


def group_title(name: str) -> str:
    """A group of inputs as a buyer reads it; a group without a title keeps its name."""
    return GROUPS.get(name, name.replace("_", " "))
