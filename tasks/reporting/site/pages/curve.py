"""Curve: what each contract costs now, its band, and how steep the curve has been."""

from __future__ import annotations

import pandas as pd

from tasks.reporting.site import charts
from tasks.reporting.site.charts import Chart
from tasks.reporting.site.figures import grouped, rows_of
from tasks.reporting.site.frames import Content, Frames, newest_day

VIEWS = ("api.vw_curve", "api.vw_latest_forecast", "api.vw_market_history", "api.vw_curve_snapshots")
SPANS = {0: "now", 1: "a month before", 3: "three months before", 12: "a year before"}
WAYS = {True: ("falls", "rises"), False: ("fell", "rose")}
LAST = "last"
"""The horizon of a contract's own end: its last trading day, or the farthest session that is forecast."""


def content(frames: Frames) -> Content:
    """One row per contract and horizon; the chart shows each contract at its end."""
    contracts, history = frames["api.vw_curve"], frames["api.vw_market_history"]
    drawn = []
    if len(contracts):
        at_end = contracts.sort_values("target_date").drop_duplicates("contract", keep="last")
        at_end = at_end.sort_values("last_trading_day")
        near, far = at_end.iloc[0], at_end.iloc[-1]
        way = "above" if far["last_price"] > near["last_price"] else "below"
        drawn.append(
            Chart(
                name="curve",
                finding=f"{far['contract']} costs {far['last_price']:.2f}, {way} {near['contract']} at "
                f"{near['last_price']:.2f} cents/lb",
                unit="cents/lb; bars: 80% band of the contract's price at its last trading day or the farthest horizon",
                source="api.vw_curve",
                as_of=newest_day(contracts, "as_of"),
                data=contracts,
                specification=charts.curve(at_end[["contract", "last_trading_day", "last_price", "p10", "p50", "p90"]]),
            )
        )
    known = history.dropna(subset=["curve_slope_pct_month"]) if len(history) else history
    if len(known):
        slope = float(known["curve_slope_pct_month"].iloc[-1])
        rising = 100 * float((known["curve_slope_pct_month"] > 0).mean())
        thinned = charts.steps_of(known, ["curve_slope_pct_month"], every="W")
        drawn.append(
            Chart(
                name="slope",
                finding=f"The curve {'rises' if slope > 0 else 'falls'} by {abs(slope):.2f}% a month; it rose on "
                f"{rising:.0f}% of all sessions",
                unit="% per month at the near end, week ends; above 0: contango",
                source="api.vw_market_history",
                as_of=newest_day(known),
                data=thinned,
                specification=charts.lines(thinned, {"curve_slope_pct_month": "slope"}, unit="% per month", rule=0),
            )
        )
    past = frames["api.vw_curve_snapshots"]
    if len(past):
        drawn.append(_snapshots(past))
    rows = rows_of("api.vw_curve_snapshots", past, "months_before", "contract")
    values = {
        "contracts": rows_of("api.vw_curve", contracts, "contract", "horizon"),
        "snapshots": [(SPANS[months], own) for months, own in grouped(rows, "months_before")],
        "no_snapshot": [
            title for months, title in SPANS.items() if months not in {row["months_before"] for row in rows}
        ],
    }
    return Content(values, drawn)


def _snapshots(past: pd.DataFrame) -> Chart:
    shown = past.assign(shown=past["months_before"].map(SPANS))
    ends = past.sort_values("delivery").groupby("months_before")["price_cents_lb"].agg(["first", "last"])
    ways = zip(ends.index.astype(int), ends["last"] > ends["first"], strict=True)
    spoken = [f"{SPANS[months]} it {WAYS[months == 0][bool(rising)]}" for months, rising in ways]
    return Chart(
        name="snapshots",
        finding=f"The curve from its nearest to its farthest known contract: {', '.join(spoken)}",
        unit="cents/lb by month of delivery; the contracts whose prices are stored",
        source="api.vw_curve_snapshots",
        as_of=newest_day(past),
        data=past,
        specification=charts.snapshots(shown, list(dict.fromkeys(shown["shown"]))),
    )
