"""What a run has to say, gathered once: the terminal, the artifacts and the chart show the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.sources.ingest import Ingested


@dataclass(frozen=True)
class RunSummary:
    """The outcome of one daily run. Prices in cents/lb."""

    as_of: pd.Timestamp
    origin: str
    forecasts: pd.DataFrame
    explainers: pd.DataFrame
    leaderboard: pd.DataFrame
    series: pd.DataFrame
    quarantine: pd.DataFrame
    gates: pd.DataFrame
    ingested: list[Ingested]
    alerts: pd.DataFrame
    trained: bool
    changed_rows: int
    chart: Path

    def forecast_table(self) -> pd.DataFrame:
        """One row a horizon, as a reader wants it."""
        rows = []
        for row in self.forecasts.to_dict("records"):
            rows.append(
                {
                    "horizon": row["horizon"],
                    "target date": f"{row['target_date']:%Y-%m-%d}",
                    "forecast": f"{row['point']:.2f}",
                    "80% band": f"{row['p10']:.2f} to {row['p90']:.2f}",
                    "P(higher)": f"{row['direction_probability']:.0%}",
                    "model": row["family"] + (" (degraded)" if row["degraded"] else ""),
                }
            )
        return pd.DataFrame(rows)

    def skill_table(self) -> pd.DataFrame:
        """How the served model and its best rival did on origins they had not seen."""
        rows = []
        for row in self.forecasts.to_dict("records"):
            board = self.leaderboard[self.leaderboard["horizon"] == row["horizon"]].set_index("family")
            served, rivals = board.loc[row["family"]], board.drop(index=row["family"])
            best = rivals["skill_over_no_change_pct"].dropna().sort_values().tail(1)
            rows.append(
                {
                    "horizon": row["horizon"],
                    "80% band held": _told(served.get("coverage_80"), "{:.0%}"),
                    "MAPE": _told(served.get("mape_pct"), "{:.1f}%"),
                    "skill over no-change": _told(served.get("skill_over_no_change_pct"), "{:+.1f}%"),
                    "best rival": ", ".join(f"{name} {skill:+.1f}%" for name, skill in best.items()) or "not measured",
                    "origins": _told(served.get("origins"), "{:.0f}"),
                }
            )
        return pd.DataFrame(rows)

    def driver_table(self, groups: int = 4) -> pd.DataFrame:
        """The largest contributions by group at each horizon, in cents/lb."""
        if self.explainers.empty:
            return pd.DataFrame()
        by_group = self.explainers.groupby(["horizon", "group"])["shap_cents_lb"].sum().reset_index()
        rows = []
        for horizon in self.forecasts["horizon"]:
            part = by_group[by_group["horizon"] == horizon]
            top = part.reindex(part["shap_cents_lb"].abs().sort_values(ascending=False).index).head(groups)
            told = ", ".join(f"{r['group']} {r['shap_cents_lb']:+.2f}" for r in top.to_dict("records"))
            rows.append({"horizon": horizon, "drivers, cents/lb": told})
        return pd.DataFrame(rows)

    @property
    def drivers_are_served(self) -> bool:
        """Whether the drivers explain the served forecasts, not a challenger that lost to the baseline."""
        return bool(len(self.explainers)) and bool(self.explainers["served"].all())

    def freshness_table(self) -> pd.DataFrame:
        """One row a source: what came, how new it is, what is stale, what was refused."""
        refused = self.quarantine.groupby("source")["cells"].sum() if len(self.quarantine) else pd.Series(dtype="int64")
        rows = []
        for source, part in self.series.groupby("source", sort=False):
            came = next((i for i in self.ingested if i.source == source), None)
            stale = part[(part["age_days"] > part["stale_limit_days"]) | part["age_days"].isna()]
            ended = int(part["ended"].sum())
            rows.append(
                {
                    "source": source,
                    "status": (came.message if came.disabled else came.status) if came else "not asked",
                    "payloads": came.payloads if came else 0,
                    "observations": f"{part['observations'].sum():,}",
                    "newest value": f"{part['last_date'].max():%Y-%m-%d}"
                    if part["last_date"].notna().any()
                    else "none",
                    "stale series": f"{len(stale)} of {len(part)}" + (f", {ended} ended" if ended else ""),
                    "cells refused": f"{refused.get(source, 0):,}",
                }
            )
        return pd.DataFrame(rows)

    def quarantine_table(self) -> pd.DataFrame:
        """Refused cells by rule."""
        if self.quarantine.empty:
            return pd.DataFrame(columns=["rule", "cells", "series", "why"])
        by_rule = self.quarantine.groupby("rule").agg(
            cells=("cells", "sum"), series=("series", "nunique"), why=("reason", "first")
        )
        return by_rule.sort_values("cells", ascending=False).reset_index()

    def gate_table(self) -> pd.DataFrame:
        """Each gate with the number of its expectations that were met."""
        rows = []
        for gate, part in self.gates.groupby("gate", sort=False):
            warned = part[~part["success"]].to_dict("records")
            told = [
                f"{r['expectation']} ({r['suite']}: {r['unexpected_count']} of {r['element_count']})" for r in warned
            ]
            met = f"{len(part) - len(warned)} of {len(part)}"
            rows.append({"gate": gate, "met": met, "warnings": "; ".join(told) or "none"})
        return pd.DataFrame(rows)


def _told(value: object, form: str) -> str:
    return "not measured" if value is None or pd.isna(value) else form.format(value)  # type: ignore[call-overload]
