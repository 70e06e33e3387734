"""The soy complex and its substitutes: crush, oil share, and spreads in common units."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import percentile, z_score
from tasks.units import LB_PER_TONNE

# a gallon of biodiesel needs about 7.5 lb of oil: the factor of the BOHO spread (bean oil - heating oil)
LB_OIL_A_GALLON = 7.5


def board_crush_usd_bu(oil_cents_lb: pd.Series, meal_usd_ton: pd.Series, beans_cents_bu: pd.Series) -> pd.Series:
    """Gross crush margin in USD per bushel: 11 lb of oil and 44 lb of meal from a bushel (CME crush)."""
    return 0.11 * oil_cents_lb + 0.022 * meal_usd_ton - beans_cents_bu / 100


def oil_share(oil_cents_lb: pd.Series, meal_usd_ton: pd.Series) -> pd.Series:
    """Oil's share of the value of the products of a bushel, 0 to 1 (CME oil share)."""
    oil, meal = 0.11 * oil_cents_lb, 0.022 * meal_usd_ton
    return oil / (oil + meal)


def boho_usd_gal(oil_cents_lb: pd.Series, heating_oil_usd_gal: pd.Series) -> pd.Series:
    """Bean oil minus heating oil in USD per gallon (BOHO)."""
    return oil_cents_lb * LB_OIL_A_GALLON / 100 - heating_oil_usd_gal


def oil_less_palm_usd_t(oil_cents_lb: pd.Series, palm_usd_t: pd.Series) -> pd.Series:
    """Soybean oil minus palm oil in USD per tonne."""
    return oil_cents_lb / 100 * LB_PER_TONNE - palm_usd_t


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Levels, one-year z-scores and monthly changes."""
    oil, meal, beans = panel["zl_last"], panel["zm_last"], panel["zs_last"]
    crush = board_crush_usd_bu(oil, meal, beans)
    share = oil_share(oil, meal)
    boho = boho_usd_gal(oil, panel["ho_last"])
    palm = oil_less_palm_usd_t(oil, panel["cpo_last"])
    out = {
        "board_crush_usd_bu": crush,
        "board_crush_z_252d": z_score(crush),
        "board_crush_change_21d_usd_bu": crush - crush.shift(21),
        "oil_share": share,
        "oil_share_z_252d": z_score(share),
        "oil_share_change_21d": share - share.shift(21),
        "oil_share_percentile_1260d": percentile(share, 1260),
        "boho_usd_gal": boho,
        "boho_z_252d": z_score(boho),
        "boho_change_21d_usd_gal": boho - boho.shift(21),
        "oil_less_palm_usd_t": palm,
        "oil_less_palm_z_252d": z_score(palm),
        "oil_less_palm_change_21d_usd_t": palm - palm.shift(21),
        "beans_corn_ratio": beans / panel["zc_last"],
        "beans_corn_ratio_z_252d": z_score(beans / panel["zc_last"]),
    }
    for name, column in {"beans": "zs_last", "meal": "zm_last", "corn": "zc_last", "crude": "cl_last"}.items():
        price = panel[column].where(panel[column] > 0)
        out[f"oil_{name}_ratio_z_252d"] = z_score(oil / price)
    out["oil_wheat_ratio_z_252d"] = z_score(oil / panel["zw_last"])
    out["beans_wheat_ratio_z_252d"] = z_score(beans / panel["zw_last"])
    return out | _china(panel)


def _china(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Dalian and Zhengzhou against Chicago and against each other in cents/lb, and China's crush and demand."""
    oil = panel["zl_last"]
    premium, margin = panel["dalian_soyoil_premium_cents_lb"], panel["china_crush_margin_cny_t"]
    spreads = {
        "oil_less_dalian_palm": oil - panel["dalian_palm_cents_lb"],
        "zhengzhou_rapeseed_less_oil": panel["zhengzhou_rapeseed_oil_cents_lb"] - oil,
        "dalian_soyoil_less_palm": panel["dalian_soyoil_less_palm_cents_lb"],
    }
    out = {
        "dalian_soyoil_premium_cents_lb": premium,
        "dalian_soyoil_premium_z_252d": z_score(premium),
        "dalian_soyoil_premium_change_21d_cents_lb": premium - premium.shift(21),
    }
    for name, spread in spreads.items():
        out[f"{name}_cents_lb"] = spread
        out[f"{name}_z_252d"] = z_score(spread)
    out["china_crush_margin_cny_t"] = margin
    out["china_crush_margin_z_252d"] = z_score(margin)
    out["china_crush_margin_change_21d_cny_t"] = margin - margin.shift(21)
    out["china_soybean_imports_growth_pct"] = panel["china_soybean_imports_growth_pct"]
    out["china_demand_composite_z"] = panel["china_demand_composite_z"]
    return out
