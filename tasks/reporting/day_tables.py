"""The tables of a day's result. The terminal and the artifacts show the same ones."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from tasks.outcome import DayResult
from tasks.units import signed


def forecast_table(result: DayResult) -> pd.DataFrame:
    """The forecast, one row per horizon, formatted for readers."""
    rows = []
    for row in result.forecasts.to_dict("records"):
        rows.append(
            {
                "horizon": row["horizon"],
                "target date": f"{row['target_date']:%Y-%m-%d}",
                "contract": row["target_contract"],
                "curve": "not known" if pd.isna(row["curve_centre"]) else f"{row['curve_centre']:.2f}",
                "forecast": f"{row['point']:.2f}",
                "80% band": f"{row['p10']:.2f} to {row['p90']:.2f}",
                "P(higher)": "none" if pd.isna(row["direction_probability"]) else f"{row['direction_probability']:.0%}",
                "model": row["family"] + (" (degraded)" if row["degraded"] else ""),
            }
        )
    return pd.DataFrame(rows)


def contract_table(result: DayResult) -> pd.DataFrame:
    """Each listed contract: its price, and the band of it on the day before it goes off."""
    return pd.DataFrame(
        [
            {
                "contract": row["contract"],
                "goes off": f"{row['last_trading_day']:%Y-%m-%d}",
                "price": f"{row['last_price']:.2f}",
                "of": f"{row['price_date']:%Y-%m-%d}",
                "80% band before it goes off": f"{row['p10']:.2f} to {row['p90']:.2f}",
                "past moves that were up": f"{row['direction_probability']:.0%}",
            }
            for row in result.contracts.drop_duplicates("contract", keep="last").to_dict("records")
        ]
    )


def skill_table(result: DayResult) -> pd.DataFrame:
    """Figures of the published model and its best rival on out-of-fold origins."""
    rows = []
    for row in result.forecasts.to_dict("records"):
        board = result.leaderboard[result.leaderboard["horizon"] == row["horizon"]].set_index("family")
        # with a damaged model store no figures are known
        served = board.loc[row["family"]] if row["family"] in board.index else pd.Series(dtype="object")
        rivals = board.drop(index=row["family"], errors="ignore")
        best = rivals["skill_pct"].dropna().sort_values().tail(1)
        rows.append(
            {
                "horizon": row["horizon"],
                "80% band covered": _formatted(served.get("coverage_80"), "{:.0%}"),
                "MAPE": _formatted(served.get("mape_pct"), "{:.1f}%"),
                "skill over the better naive": _skill(served),
                "best rival": ", ".join(f"{name} {signed(skill, 1)}%" for name, skill in best.items())
                or "not measured",
                "origins": _formatted(served.get("origins"), "{:.0f}"),
            }
        )
    return pd.DataFrame(rows)


def _skill(measured: pd.Series) -> str:
    """Skill with its 90% interval, if there are enough origins for one."""
    skill = measured.get("skill_pct")
    estimate = "not measured" if skill is None or pd.isna(skill) else f"{signed(skill, 1)}%"
    low, high = measured.get("skill_pct_low"), measured.get("skill_pct_high")
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return estimate
    return f"{estimate} ({signed(low, 1)} to {signed(high, 1)})"


def driver_table(result: DayResult, groups: int = 4) -> pd.DataFrame:
    """The largest contributions by group at each horizon, in cents/lb; all of them add up to the forecast's move."""
    if result.explainers.empty:
        return pd.DataFrame()
    by_group = result.explainers.groupby(["horizon", "group"])["shap_cents_lb"].sum().reset_index()
    rows = []
    for horizon in result.forecasts["horizon"]:
        part = by_group[by_group["horizon"] == horizon]
        top = part.reindex(part["shap_cents_lb"].abs().sort_values(ascending=False).index).head(groups)
        largest = ", ".join(f"{r['group']} {signed(r['shap_cents_lb'])}" for r in top.to_dict("records"))
        first = result.explainers[result.explainers["horizon"] == horizon].iloc[:1]
        family = "".join(first["family"])
        rows.append({"horizon": horizon, "drivers, cents/lb": largest or "none", "model": family or "none"})
    return pd.DataFrame(rows)


def freshness_table(result: DayResult) -> pd.DataFrame:
    """One row per source: its last fetch, its stored data, and how recent it is."""
    status = {one.source: one.status for one in result.ingested}
    payloads = {one.source: one.payloads for one in result.ingested}
    names = dict.fromkeys([*status, *result.series["source"]])
    table = source_table(result.series, names)
    table.insert(1, "status", table["source"].map(status).fillna("computed"))
    table.insert(2, "payloads", table["source"].map(payloads).fillna(0).astype(int))
    return table


def disabled_table(result: DayResult) -> pd.DataFrame:
    """Sources that cannot be fetched live, with the reason."""
    rows = [{"source": fetched.source, "cannot be fetched live": fetched.disabled} for fetched in result.ingested]
    return pd.DataFrame([row for row in rows if row["cannot be fetched live"]])


def paused_table(result: DayResult) -> pd.DataFrame:
    """Sources that a person has paused: since when, and why."""
    return pd.DataFrame([{"source": one.source, "paused": one.paused} for one in result.ingested if one.paused])


def quarantine_table(result: DayResult) -> pd.DataFrame:
    """Refused cells by source and rule."""
    if result.quarantine.empty:
        return pd.DataFrame(columns=["source", "rule", "cells", "series", "why, for example"])
    by_rule = result.quarantine.groupby(["source", "rule"], sort=False).agg(
        cells=("cells", "sum"), series=("series", "nunique"), why=("reason", "first")
    )
    ordered = by_rule.reset_index().sort_values(["source", "cells"], ascending=[True, False])
    return ordered.rename(columns={"why": "why, for example"})


def refused_table(result: DayResult) -> pd.DataFrame:
    """One row per source: the share of served data without an accepted value, by dates and by cells.

    A date is accepted if its key field is accepted. A cell is one field of one date. Both are shown: a source
    may lose a third of its highs and no date.
    """
    rows = []
    for source, part in result.series.groupby("source", sort=False):
        counts = ["recent_dates", "recent_refused", "cells", "refused_cells", "year_cells", "year_refused"]
        totals = part[counts].astype("int64").sum()
        if not totals["refused_cells"]:
            continue
        worst = part.sort_values("worst_refused_share").dropna(subset="worst_field").tail(1)
        most = [
            f"{row['series']} {row['worst_field']}: {share_text(row['worst_refused_share'])}"
            for row in worst.to_dict("records")
        ]
        rows.append(
            {
                "source": source,
                "by dates, newest 63": _share(totals["recent_refused"], totals["recent_dates"]),
                "by cells, last year": _share(totals["year_refused"], totals["year_cells"]),
                "by cells, ever": _share(totals["refused_cells"], totals["cells"]),
                "most of, last year": most[0] if most else "none",
            }
        )
    return pd.DataFrame(rows)


def coverage_table(result: DayResult, years: int = 5) -> pd.DataFrame:
    """One row per category: its features, the first date, and the share of cells with a value by years."""
    cells = result.coverage.assign(
        cells=result.coverage["features"] * result.coverage["sessions"],
        block=result.coverage["year"] // years * years,
    )
    cells["known"] = cells["share"] * cells["cells"]
    rows = []
    for category, part in cells.groupby("category", sort=False):
        begun = part["first_date"].iloc[0]
        row: dict[str, object] = {
            "category": category,
            "features": int(part["features"].iloc[0]),
            "first": f"{begun:%Y-%m-%d}" if pd.notna(begun) else "none",
        }
        for _, years_of in part.groupby("block"):
            share = years_of["known"].sum() / years_of["cells"].sum()
            row[f"{years_of['year'].iloc[0]}-{years_of['year'].iloc[-1] % 100:02d}"] = share_text(float(share))
        rows.append(row)
    return pd.DataFrame(rows)


def gate_table(result: DayResult) -> pd.DataFrame:
    """Each gate with the number of expectations met, the rows set aside, and its warnings."""
    rows = []
    for gate, part in result.gates.groupby("gate", sort=False):
        failed = part[~part["success"]]
        lost = failed[failed["on_fail"] == "quarantine"]
        warnings = [
            f"{r['expectation']} ({r['suite']}: {r['unexpected_count']} of {r['element_count']})"
            + (f", {r['reason'].split('. ')[0]}" if r["reason"].startswith("waived until") else "")
            for r in failed[failed["on_fail"] != "quarantine"].to_dict("records")
        ]
        rows.append(
            {
                "gate": gate,
                "met": f"{len(part) - len(failed)} of {len(part)}",
                "rows set aside": int(lost["unexpected_count"].sum()),
                "warnings": "; ".join(warnings) or "none",
            }
        )
    return pd.DataFrame(rows)


def source_table(series: pd.DataFrame, sources: Iterable[str]) -> pd.DataFrame:
    """One row per source, also without data: number of observations, first and last date, stale series."""
    rows = []
    for source in sources:
        part = series[series["source"] == source]
        stored = part[part["observations"] > 0]
        stale = stored[stored["age_days"] > stored["stale_limit_days"]]
        rows.append(
            {
                "source": source,
                "observations": f"{part['observations'].sum():,}",
                "series": f"{len(stored)} of {len(part)}",
                "first": f"{stored['first_date'].min():%Y-%m-%d}" if len(stored) else "none",
                "last": f"{stored['last_date'].max():%Y-%m-%d}" if len(stored) else "none",
                "stale": len(stale),
                "ended": int(stored["ended"].sum()),
            }
        )
    return pd.DataFrame(rows)


def share_text(share: float) -> str:
    """A share in percent. Only exactly none is 0%, and only exactly all is 100%."""
    percent = 100 * share
    if 0 < percent < 1:
        return "<1%"
    return ">99%" if 99 < percent < 100 else f"{percent:.0f}%"


def _share(part: int, whole: int) -> str:
    return f"{share_text(part / whole)} ({part:,} of {whole:,})" if whole else "none served"


def _formatted(value: object, form: str) -> str:
    return "not measured" if value is None or pd.isna(value) else form.format(value)  # type: ignore[call-overload]
