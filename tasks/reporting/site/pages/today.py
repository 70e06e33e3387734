"""Today: price, forecast, decision, reasons, what changed, regime, Big 8, how fresh the inputs are, what is due."""

from __future__ import annotations

import pandas as pd

from tasks.forecasting.forecast import NO_VIEW
from tasks.reporting import drawing
from tasks.reporting.site.charts import Chart
from tasks.reporting.site.figures import Row, first_row, grouped, rows_of
from tasks.reporting.site.frames import Content, Frames, sentences_shown
from tasks.reporting.site.words import BIG8, horizon_title

VIEWS = (
    "api.vw_latest_forecast",
    "api.vw_curve",
    "api.vw_price_history",
    "api.vw_price_now",
    "api.vw_lived_skill",
    "api.vw_decision",
    "api.vw_explanations",
    "api.vw_explainer_groups",
    "api.vw_changes",
    "api.vw_big8_composite_signal",
    "api.vw_sources",
    "api.vw_alerts",
    "api.vw_next_due",
)
SPANS = (("day", "one session"), ("week", "a week"), ("month", "a month"), ("year", "a year"))
YEARS_SHOWN = 2


def content(frames: Frames) -> Content:
    """The page as of the newest published session."""
    forecasts = frames["api.vw_latest_forecast"]
    horizons = rows_of("api.vw_latest_forecast", forecasts, "horizon")
    as_of = forecasts["as_of"].iloc[0]
    sources = frames["api.vw_sources"]
    values = {
        "horizons": horizons,
        "now": horizons[0],
        "no_view": NO_VIEW,
        "not_shown": list(grouped([row for row in horizons if _is_refused(row)], "direction_reason")),
        "price": first_row("api.vw_price_now", frames["api.vw_price_now"]),
        "spans": SPANS,
        "sentences": _by_horizon(rows_of("api.vw_explanations", sentences_shown(frames))),
        "skills": _by_horizon(rows_of("api.vw_lived_skill", frames["api.vw_lived_skill"], "horizon")),
        "needs": list(grouped(rows_of("api.vw_decision", frames["api.vw_decision"], "need", "month"), "need")),
        "drivers": _drivers(frames["api.vw_explainer_groups"], as_of, [row["horizon"] for row in horizons]),
        "changes": _changes(frames["api.vw_changes"]),
        "big8": first_row("api.vw_big8_composite_signal", frames["api.vw_big8_composite_signal"]),
        "big8_names": BIG8,
        "due": rows_of("api.vw_next_due", frames["api.vw_next_due"], "report"),
        "sources": rows_of("api.vw_sources", sources, "source"),
        "alerts": [row for row in rows_of("api.vw_alerts", frames["api.vw_alerts"]) if row["is_current"]],
    }
    return Content(values, [_fan(frames)])


def _is_refused(row: Row) -> bool:
    """Whether the model has a chance of a higher price that is not shown."""
    return not row.has("direction_probability") and row.has("direction_reason") and row["direction_reason"] != NO_VIEW


def _fan(frames: Frames) -> Chart:
    forecasts, prices = frames["api.vw_latest_forecast"], frames["api.vw_price_history"]
    far, as_of = forecasts.sort_values("horizon_order").iloc[-1], forecasts["as_of"].iloc[0]
    recent = prices[prices["date"] > as_of - pd.DateOffset(years=YEARS_SHOWN)] if len(prices) else prices
    recent = recent if len(recent) else pd.DataFrame({"date": [as_of], "close_cents_lb": [far["last_price"]]})
    columns = ["as_of", "horizon", "target_date", "last_price", "p05", "p10", "p25", "p50", "p75", "p90", "p95"]
    return Chart(
        name="fan",
        finding=f"In {horizon_title(far['horizon'])}, 4 of 5 outcomes lie between {far['p10']:.2f} and "
        f"{far['p90']:.2f} cents/lb",
        unit="cents/lb; bands of 50, 80 and 90%; diamonds: what each contract costs now",
        source="api.vw_latest_forecast, api.vw_price_history, api.vw_curve",
        as_of=f"{as_of:%Y-%m-%d}",
        data=forecasts[columns],
        specification=drawing.fan(recent, forecasts, frames["api.vw_curve"]),
    )


def _of_day(frame: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    return frame[frame["as_of"] == as_of] if len(frame) else frame


def _by_horizon(rows: list[Row]) -> dict[str, Row]:
    return {row["horizon"]: row for row in rows}


def _drivers(frame: pd.DataFrame, as_of: pd.Timestamp, order: list[str]) -> dict[str, list[Row]]:
    """The groups of each horizon that move its centre or its width, the largest first."""
    if frame.empty:
        return {}
    today = _of_day(frame, as_of).copy()
    today = today[today["served"].astype("boolean").fillna(False)]
    today["size"] = today[["shap_cents_lb", "width_cents_lb"]].abs().max(axis=1)
    today = today[today["size"] > 0].sort_values(["size", "group"], ascending=[False, True])
    found = dict(grouped(rows_of("api.vw_explainer_groups", today, "as_of", "horizon", "group", "family"), "horizon"))
    return {horizon: found[horizon][:5] for horizon in order if horizon in found}


def _changes(frame: pd.DataFrame) -> dict[str, list[Row]]:
    """The parts of the move by horizon; one entry for all where the same note says why nothing is known."""
    if len(frame) and (frame["part"] == "unknown").all() and frame["note"].nunique() == 1:
        frame = frame.head(1).assign(horizon="all horizons")
    return dict(grouped(rows_of("api.vw_changes", frame, "horizon", "part", "subject"), "horizon"))
