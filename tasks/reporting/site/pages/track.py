"""Track record: past forecasts against what happened, coverage and skill by year, reliability, versions, the record."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.reporting.site import charts
from tasks.reporting.site.charts import Chart
from tasks.reporting.site.figures import Row, grouped, rows_of
from tasks.reporting.site.frames import Content, Frames, newest_day
from tasks.reporting.site.words import horizon_title

VIEWS = (
    "performance.vw_forecast_performance_tracking",
    "api.vw_prediction_accuracy",
    "api.vw_outcomes_by_year",
    "api.vw_reliability",
    "api.vw_versions",
    "api.vw_decision_history",
    "api.vw_record",
    "api.vw_lived_skill",
    "api.vw_purchases",
    "api.vw_purchases_settled",
    "forecasts.zl_forecasts_daily",
)
DAYS_SHOWN = 30
DECISIONS_SHOWN = 60
POINTS = 400  # of a chart: more are not seen
LEAST_POINTS = 2  # a line or a band of one point is not seen either; the tables have it


def content(frames: Frames) -> Content:
    """Published forecasts first; where none is due yet, the largest replay, and it is called a replay."""
    measured = frames["performance.vw_forecast_performance_tracking"]
    which = _counted(measured)
    totals = measured[measured["sliced_by"] == "all"] if len(measured) else measured
    totals = totals.sort_values(["replay", "origin", "horizon_order"]) if len(totals) else totals
    decisions = frames["api.vw_decision_history"].head(DECISIONS_SHOWN)
    values = {
        "which": which,
        "totals": rows_of(
            "performance.vw_forecast_performance_tracking", totals, "origin", "replay", "sliced_by", "slice", "horizon"
        ),
        "recent": _recent(frames["api.vw_prediction_accuracy"], which),
        "versions": rows_of("api.vw_versions", frames["api.vw_versions"], "counts_from", "horizon", "model_version"),
        "decisions": rows_of("api.vw_decision_history", decisions, "as_of", "need"),
        "chains": rows_of("api.vw_record", frames["api.vw_record"], "chain"),
        "years": _years(frames["api.vw_outcomes_by_year"]),
        "purchases": list(grouped(rows_of("api.vw_purchases", frames["api.vw_purchases"], "need", "month"), "need")),
        "settled": {
            row["need"]: row for row in rows_of("api.vw_purchases_settled", frames["api.vw_purchases_settled"], "need")
        },
        "skills": rows_of("api.vw_lived_skill", frames["api.vw_lived_skill"], "horizon"),
        "first_due": _first_due(frames["forecasts.zl_forecasts_daily"], measured),
    }
    drawn = _charts(frames, which) if which else []
    if len(versions := frames["api.vw_versions"]):
        drawn.append(_switches(versions))
    return Content(values, drawn)


def _first_due(published: pd.DataFrame, measured: pd.DataFrame) -> list[Row]:
    """For each horizon that has no outcome of a published forecast yet, the published forecast that is due first."""
    if published.empty:
        return []
    origin = published.sort_values("as_of")["origin"].iloc[-1]
    waiting = published[published["origin"] == origin]
    if len(measured):
        known = measured[(measured["replay"] == "") & (measured["origin"] == origin)]
        waiting = waiting[~waiting["horizon"].isin(known["horizon"])]
    first = waiting.sort_values(["target_date", "as_of", "model_version"]).drop_duplicates("horizon")
    return rows_of("forecasts.zl_forecasts_daily", first, "as_of", "horizon", "model_version")


Years = list[tuple[Any, dict[str, Row]]]
"""By year, the newest first, the row of each horizon."""


def _years(frame: pd.DataFrame) -> list[tuple[str, str, list[str], Years]]:
    """Skill by year: origin, replay, the horizons, the years. Published forecasts first, then the largest replay."""
    if frame.empty:
        return []
    found = []
    sizes = frame[frame["replay"] != ""].groupby("replay")["forecasts"].sum()
    largest = "" if sizes.empty else sizes.idxmax()
    shown = frame[frame["replay"].isin(["", largest])]
    shown = shown.assign(is_replay=shown["replay"] != "").sort_values(
        ["is_replay", "replay", "origin", "year", "horizon_order"], ascending=[True, True, True, False, True]
    )
    for (origin, replay), part in shown.groupby(["origin", "replay"], sort=False):
        rows = rows_of("api.vw_outcomes_by_year", part, "origin", "replay", "horizon", "year")
        horizons = list(part.sort_values("horizon_order")["horizon"].unique())
        years = [(year, {row["horizon"]: row for row in own}) for year, own in grouped(rows, "year")]
        found.append((str(origin), str(replay), horizons, years))
    return found


def _counted(measured: pd.DataFrame) -> tuple[str, str] | None:
    """Origin and replay of the forecasts that the charts show."""
    if measured.empty:
        return None
    sizes = measured[measured["sliced_by"] == "all"].groupby(["origin", "replay"], dropna=False)["forecasts"].sum()
    best = sizes.reset_index().assign(is_replay=lambda part: part["replay"] != "")
    first = best.sort_values(["is_replay", "forecasts"], ascending=[True, False]).iloc[0]
    return str(first["origin"]), str(first["replay"])


def _of(frame: pd.DataFrame, which: tuple[str, str]) -> pd.DataFrame:
    return frame[(frame["origin"] == which[0]) & (frame["replay"] == which[1])]


def _recent(frame: pd.DataFrame, which: tuple[str, str] | None) -> list[object]:
    if frame.empty or which is None:
        return []
    part = (
        _of(frame, which)
        .sort_values(["target_date", "horizon_order", "as_of"], ascending=[False, True, False])
        .head(DAYS_SHOWN)
    )
    return list(rows_of("api.vw_prediction_accuracy", part, "origin", "replay", "as_of", "horizon", "model_version"))


def _charts(frames: Frames, which: tuple[str, str]) -> list[Chart]:
    drawn, past = [], _of(frames["api.vw_prediction_accuracy"], which)
    title = f"replay {which[1]}" if which[1] else f"published, {which[0]}"
    for horizon, part in past.sort_values(["horizon_order", "target_date", "as_of"]).groupby("horizon", sort=False):
        if len(part) < LEAST_POINTS:
            continue
        share = 100 * part["inside_80"].astype("boolean").fillna(False).mean()
        thinned = part.iloc[:: max(1, len(part) // POINTS)]
        drawn.append(
            Chart(
                name=f"outcomes_{horizon}",
                finding=f"{horizon_title(str(horizon))} ahead: {share:.0f}% of {len(part):,} outcomes fell in the 80% "
                "band",
                unit=f"cents/lb; band: 80%, dashed: median, line: what happened ({title})",
                source="api.vw_prediction_accuracy",
                as_of=newest_day(part, "target_date"),
                data=part.drop(columns=["horizon_order"]),
                specification=charts.outcomes(thinned),
            )
        )
    years = _of(frames["api.vw_outcomes_by_year"], which)
    if len(years):
        drawn += [_by_year(years, title, *one) for one in BY_YEAR]
    sure = frames["api.vw_reliability"]
    sure = _of(sure, which) if len(sure) else sure
    if len(sure):
        drawn.append(
            Chart(
                name="reliability",
                finding="The chance of a higher price that was published, against how often it was higher",
                unit=f"shares; on the dashed line a chance is right ({title})",
                source="api.vw_reliability",
                as_of=newest_day(past, "target_date"),
                data=sure,
                specification=charts.reliability(sure),
            )
        )
    return drawn


BY_YEAR = (
    ("coverage", "coverage_80_pct", "% of outcomes in the 80% band", 80.0),
    ("skill", "pinball_skill_pct", "% of the baseline's error saved; below 0 the error is larger", 0.0),
)


def _by_year(years: pd.DataFrame, title: str, name: str, column: str, unit: str, rule: float) -> Chart:
    by_horizon = years.groupby("horizon")[column].agg(["min", "max"])
    known = by_horizon.dropna()
    if name == "coverage":
        finding = (
            f"By year, between {known['min'].min():.0f}% and {known['max'].max():.0f}% of outcomes fell in the 80% band"
        )
    elif known.empty:
        finding = "No baseline's forecast stands beside these: the error saved is not measured"
    else:
        finding = f"Error saved by year lies between {known['min'].min():+.1f}% and {known['max'].max():+.1f}%"
    return Chart(
        name=f"{name}_by_year",
        finding=finding,
        unit=f"{unit} ({title})",
        source="api.vw_outcomes_by_year",
        as_of=f"{int(years['year'].max())}",
        data=years,
        specification=charts.by_year(years, column, unit="%", rule=rule),
    )


def _switches(versions: pd.DataFrame) -> Chart:
    shown = versions.sort_values(["horizon_order", "counts_from"]).assign(
        by=versions["promoted_by"].fillna("training"), title=versions["horizon"].map(horizon_title)
    )
    return Chart(
        name="switches",
        finding=f"{len(shown)} models were put in service so far, the newest on {newest_day(shown, 'counts_from')}",
        unit="date from which a model is in service",
        source="api.vw_versions",
        as_of=newest_day(shown, "counts_from"),
        data=versions,
        specification=charts.events(
            shown[["counts_from", "title", "by", "model_version"]], "counts_from", "title", "by"
        ),
    )
