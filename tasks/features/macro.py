"""Rates, credit, volatility, the dollar and the economy, as known at the session."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import log_return, percentile, z_score


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Levels and changes. Rates change in points, never in percent: they touch zero and spreads go negative."""
    out = {}
    for name in (
        "dff_pct",
        "dgs2_pct",
        "dgs10_pct",
        "dgs30_pct",
        "t10y2y_pct",
        "t10y3m_pct",
        "t5yie_pct",
        "t10yie_pct",
    ):
        out[name] = panel[name]
    for name in ("dff_pct", "dgs2_pct", "dgs10_pct", "t10y2y_pct", "t10yie_pct"):
        out[f"{name.removesuffix('_pct')}_change_63d_points"] = panel[name] - panel[name].shift(63)
    out["real_10y_pct"] = panel["dgs10_pct"] - panel["t10yie_pct"]
    for name in ("hy_oas_pct", "ig_oas_pct"):
        out[name] = panel[name]
        out[f"{name.removesuffix('_pct')}_change_21d_points"] = panel[name] - panel[name].shift(21)
    vix = panel["vix_last"]
    out["vix"] = vix
    out["vix_change_5d"] = vix - vix.shift(5)
    out["vix_z_252d"] = z_score(vix)
    out["vix_percentile_756d"] = percentile(vix, 756)
    out["dollar_broad_return_21d"] = log_return(panel["dtwexbgs"], 21)
    out["dollar_broad_return_63d"] = log_return(panel["dtwexbgs"], 63)
    out["dollar_broad_z_252d"] = z_score(panel["dtwexbgs"])
    out["fed_assets_change_63d"] = log_return(panel["walcl"], 63)
    out["consumer_sentiment"] = panel["umcsent"]
    out["consumer_sentiment_change_252d"] = panel["umcsent"] - panel["umcsent"].shift(252)
    out["palm_imf_return_252d"] = log_return(panel["ppoilusdm"], 252)
    out["soybeans_imf_return_252d"] = log_return(panel["psoybusdm"], 252)
    out["gas_spot_z_252d"] = z_score(panel["dhhngsp"])
    out["nfci"] = panel["nfci"]
    out["stlfsi4"] = panel["stlfsi4"]
    for name, column in {
        "cpi": "cpiaucsl",
        "core_cpi": "cpilfesl",
        "pce_prices": "pcepi",
        "m2": "m2sl",
        "gdp": "gdp",
    }.items():
        out[f"{name}_change_252d"] = log_return(panel[column], 252)
    for name, column in {"payrolls": "payems", "industrial_production": "indpro", "retail_sales": "rsafs"}.items():
        out[f"{name}_change_252d"] = log_return(panel[column], 252)
    out["unemployment_change_252d_points"] = panel["unrate_pct"] - panel["unrate_pct"].shift(252)
    out["jobless_claims_change_63d"] = log_return(panel["icsa"], 63)
    out["housing_starts_change_252d"] = log_return(panel["houst"], 252)
    return out
