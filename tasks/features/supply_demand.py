"""WASDE balances, the revisions of the last report, and US crop progress against its five-year average."""

from __future__ import annotations

import pandas as pd

from tasks.features.rolling import YEAR_OF_WEEKS, observed_earlier
from tasks.panel.wasde import QUANTITIES, RATIOS

STAGES = ("planted", "emerged", "blooming", "setting_pods", "dropping_leaves", "harvested")


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Ratios in %, their changes in points, changes of quantities in %; progress in points above the average."""
    out = {"wasde_days_since_report": panel["wasde_days_since_report"]}
    for name in RATIOS:
        stem = wasde_stem(name)
        out[f"{stem}_pct"] = panel[f"{stem}_pct"]
        for kind in ("revision", "year_change"):
            out[f"{stem}_{kind}_points"] = panel[f"{stem}_{kind}_points"]
    for name in QUANTITIES:
        for kind in ("revision", "year_change"):
            out[f"{wasde_stem(name)}_{kind}_pct"] = panel[f"{wasde_stem(name)}_{kind}_pct"]
    for stage in STAGES:
        done, usual = panel[f"us_soybeans_{stage}_pct"], panel[f"us_soybeans_{stage}_5y_pct"]
        out[f"us_soybeans_{stage}_over_5y_points"] = done - usual
    return out


def wasde_stem(name: str) -> str:
    """``soybean_oil.us.stocks_to_use`` as ``wasde_us_soybean_oil_stocks_to_use``."""
    product, region, what = name.split(".")
    return f"wasde_{region}_{product}_{what}"


def export_pace(panel: pd.DataFrame, product: str) -> dict[str, pd.Series]:
    """Export commitments (shipped and sold) in their marketing year against the same week of the year before.

    Not among ``features``: the archive has weeks of 2026 only. Columns ``us_<product>_commitment_kt`` and
    ``us_<product>_china_commitment_kt`` are joined from usda_fas's ``total_commitment``.
    """
    total, china = f"us_{product}_commitment_kt", f"us_{product}_china_commitment_kt"
    before = observed_earlier(panel, total, days=YEAR_OF_WEEKS)
    return {
        f"us_{product}_export_pace_pct": 100 * (panel[total] / before.where(before > 0) - 1),
        f"us_{product}_china_share_of_commitment": panel[china] / panel[total].where(panel[total] > 0),
    }
