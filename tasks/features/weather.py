"""Weather of the soy belts by region, from the calendar-day figures of tasks/panel/weather.py.

Crop figures (growing degree days, heat, dry spells, the season's rain) exist only from planting to harvest and are
missing out of season. Open-Meteo's points are regions of their own (``*_model``), not mixed with stations.
"""

from __future__ import annotations

import pandas as pd

# figure: unit in the feature's name
FIGURES = {
    "stations": "stations",
    "rain_7d": "rain_7d_mm",
    "rain_30d": "rain_30d_mm",
    "rain_7d_z": "rain_7d_z",
    "rain_30d_z": "rain_30d_z",
    "temperature_30d": "temperature_30d_c",
    "temperature_7d_anomaly": "temperature_7d_anomaly_c",
    "temperature_30d_anomaly": "temperature_30d_anomaly_c",
    "season_rain_z": "season_rain_z",
    "growing_degree_days": "growing_degree_days_c",
    "growing_degree_days_z": "growing_degree_days_z",
    "heat_days": "heat_days",
    "dry_spell": "dry_spell_days",
}
# Curitiba rarely reaches 35 degC, the archive has one Midwest station, Mato Grosso's stations begin in 2020
REGISTERED = {
    "parana": tuple(f for f in FIGURES if f != "heat_days"),
    "brazil_center_west": (
        "stations",
        "rain_7d",
        "rain_30d",
        "rain_7d_z",
        "rain_30d_z",
        "temperature_30d",
        "temperature_30d_anomaly",
        "growing_degree_days",
        "heat_days",
        "dry_spell",
    ),
    "us_midwest": tuple(f for f in FIGURES if f != "stations"),
}


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Rain, temperature, heat and dry spells of each region that has payloads."""
    return {
        f"{region}_{FIGURES[figure]}": panel[f"weather_{region}_{FIGURES[figure]}"]
        for region, figures in REGISTERED.items()
        for figure in figures
    }
