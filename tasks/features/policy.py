"""Policy: announced events, measures in force, and the number of Federal Register documents about them.

The direction of an event for ZL was judged afterwards and is not a feature. The selection of events was also made
afterwards, so trust their counts less than the tariff and the mandate, which are facts of their day.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

FEED_GAP_DAYS = 35  # the recorded feed has gaps of up to 32 days; its holes last eight months
KINDS = ("tariff", "mandate", "tax", "lcfs", "export_ban", "conflict", "trade_deal")
TOPICS = ("renewable_fuel_standard", "biodiesel", "section_301", "soybeans", "vegetable_oils", "trade_remedies")


def change_over_days(total: pd.Series, date: pd.Series, days: int) -> pd.Series:
    """The increase of a running total since the last session at least ``days`` calendar days ago; else missing."""
    at = np.searchsorted(date.to_numpy(), (date - pd.Timedelta(days=days)).to_numpy(), side="right") - 1
    before = np.where(at >= 0, total.to_numpy()[np.maximum(at, 0)], np.nan)
    return total - before


def feed_alive(panel: pd.DataFrame, days: int) -> pd.Series:
    """Whether the Federal Register feed had no hole in the past ``days``: its newest document was never too old."""
    silent = (~(panel["register_age_days"] <= FEED_GAP_DAYS)).astype(float).cumsum()
    return change_over_days(silent, panel["date"], days) == 0


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Days since events, events and documents of past windows, tariff and mandate in force."""
    date = panel["date"]
    out = {f"policy_days_since_{kind}": panel[f"event_{kind}__age_days"] for kind in KINDS}
    out["policy_events_90d"] = change_over_days(panel["policy_events_total"], date, 90)
    out["policy_events_365d"] = change_over_days(panel["policy_events_total"], date, 365)
    out["policy_events_tariff_180d"] = change_over_days(panel["policy_events_tariff_total"], date, 180)
    out["china_added_tariff_pct"] = panel["china_added_tariff_pct"]
    out["china_added_tariff_age_days"] = panel["china_added_tariff_pct__age_days"].where(
        panel["china_added_tariff_pct"].notna()
    )
    for name in ("biomass_mandate_billion_gal", "biomass_mandate_ahead_billion_gal"):
        out[name] = panel[name]
    for topic in TOPICS:
        gained = change_over_days(panel[f"register_{topic}_total"], date, 90)
        out[f"register_{topic}_90d"] = gained.where(feed_alive(panel, 90))
    for topic in ("renewable_fuel_standard", "section_301"):
        gained = change_over_days(panel[f"register_{topic}_total"], date, 30)
        out[f"register_{topic}_30d"] = gained.where(feed_alive(panel, 30))
    return out
