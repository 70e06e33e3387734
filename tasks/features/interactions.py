"""Interactions: products of two features of the same session.

sql/interactions.sql is the same in SQL. Missing if either part is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

PRODUCTS = {
    # crude pulls more if oil is already expensive against meal
    "oil_share_z_x_cl_return_21d": ("oil_share_z_252d", "cl_return_21d"),
    # biofuel's margin and what diesel does to it
    "boho_z_x_ho_return_21d": ("boho_z_252d", "ho_return_21d"),
    # the week's crude move times ZL's correlation with crude; palm's move times ZL's beta to palm
    "cl_move_followed_5d": ("zl_cl_correlation_63d", "cl_return_5d"),
    "cpo_move_followed_5d": ("zl_cpo_beta_63d", "cpo_return_5d"),
    # a weaker real makes farmers sell during harvest
    "brazil_harvest_x_brl_return_21d": ("brazil_harvest", "brl_return_21d"),
    # rain counts while pods fill
    "pod_fill_x_midwest_rain_30d_z": ("us_pod_fill", "us_midwest_rain_30d_z"),
    # a wide crush with few beans left
    "crush_z_x_us_soybeans_stocks_to_use": ("board_crush_z_252d", "wasde_us_soybeans_stocks_to_use_pct"),
    # momentum in fear, and flight to the dollar
    "risk_off_x_zl_return_21d": ("regime_risk_off", "zl_return_21d"),
    "vix_z_x_dxy_return_21d": ("vix_z_252d", "dxy_return_21d"),
}


def features(built: Mapping[str, pd.Series | np.ndarray]) -> dict[str, np.ndarray]:
    """Products of the features in ``built``, and ZL's momentum in its own standard deviations."""
    out = {name: np.asarray(built[left]) * np.asarray(built[right]) for name, (left, right) in PRODUCTS.items()}
    volatility = np.asarray(built["zl_volatility_63d_pct"])  # annualised: a quarter's volatility is half of it
    quarterly = np.where(volatility != 0, volatility / 100 / 2, np.nan)
    return out | {"zl_return_63d_per_volatility": np.asarray(built["zl_return_63d"]) / quarterly}
