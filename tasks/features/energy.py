"""Weekly US petroleum data (EIA): stocks and refineries against the same week of five years, and their changes.

These fuels compete or blend with soybean oil, mainly distillate. BOHO is in soy_complex; D4 and LCFS prices have
adapters, but no payload in the archive.
"""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import observed_earlier

# the same week 1 to 5 years before, in whole weeks
SAME_WEEK_DAYS = (364, 728, 1099, 1463, 1827)
STOCKS = ("distillate_stocks", "gasoline_stocks", "jet_stocks", "cushing_crude_stocks", "crude_stocks")
FLOWS = ("distillate_supplied", "gasoline_supplied", "products_supplied", "refinery_crude_input", "ethanol_input")


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Levels over their five-year mean in %, changes over one and four weeks, days of supply."""
    out = {}
    for name in (*STOCKS, *FLOWS):
        unit = "kbbl" if name in STOCKS else "kbd"
        level = panel[f"{name}_{unit}"]
        out[f"{name}_over_5y_pct"] = 100 * (level / five_year_mean(panel, f"{name}_{unit}") - 1)
        if name in STOCKS:
            out[f"{name}_change_1w_kbbl"] = level - observed_earlier(panel, f"{name}_{unit}", days=7)
        out[f"{name}_change_4w_pct"] = 100 * (level / observed_earlier(panel, f"{name}_{unit}", days=28) - 1)
    used = panel["refinery_utilisation_pct"]
    out["refinery_utilisation_pct"] = used
    out["refinery_utilisation_over_5y_points"] = used - five_year_mean(panel, "refinery_utilisation_pct")
    out["refinery_utilisation_change_4w_points"] = used - observed_earlier(panel, "refinery_utilisation_pct", days=28)
    cover = panel["distillate_stocks_kbbl"] / panel["distillate_supplied_kbd"]
    out["distillate_days_of_supply"] = cover
    out["spr_crude_change_4w_kbbl"] = panel["spr_crude_kbbl"] - observed_earlier(panel, "spr_crude_kbbl", days=28)
    return out


def five_year_mean(panel: pd.DataFrame, column: str) -> pd.Series:
    """Mean of the same week's value in each of the five years before, as known then; missing if one is missing."""
    return sum((observed_earlier(panel, column, days=days) for days in SAME_WEEK_DAYS), pd.Series(0.0, panel.index)) / 5
