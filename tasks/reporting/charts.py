"""Pictures a buyer reads at a glance."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.zones import write_atomically

PRICE, BAND = "#1b4965", "#c2571a"


def fan_chart(path: Path, prices: pd.DataFrame, forecasts: pd.DataFrame) -> Path:
    """The last two years of ZL and the forecast's 50, 80 and 90% bands to twelve months, as a PNG.

    Args:
        prices: ``date, zl_close`` to the as-of session, cents/lb. forecasts: rows of ``forecasts.zl_forecasts_daily``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    day, last = forecasts["as_of"].iloc[0], float(forecasts["last_price"].iloc[0])
    recent = prices[prices["date"] > day - pd.DateOffset(years=2)]
    start = pd.DataFrame(
        {"target_date": [day], **{name: [last] for name in ("point", "p05", "p10", "p25", "p75", "p90", "p95")}}
    )
    fan = pd.concat([start, forecasts.sort_values("target_date")], ignore_index=True)
    figure = Figure(figsize=(11, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for low, high, shade, label in (
        ("p05", "p95", 0.15, "90%"),
        ("p10", "p90", 0.25, "80%"),
        ("p25", "p75", 0.4, "50%"),
    ):
        axes.fill_between(
            fan["target_date"], fan[low], fan[high], color=BAND, alpha=shade, linewidth=0, label=f"{label} band"
        )
    axes.plot(recent["date"], recent["zl_close"], color=PRICE, linewidth=1.3, label="ZL close")
    axes.plot(
        fan["target_date"],
        fan["point"],
        color=BAND,
        linewidth=1.3,
        linestyle="--",
        marker="o",
        markersize=3.5,
        label="forecast",
    )
    for row in forecasts[forecasts["horizon"].isin(["3m", "6m", "12m"])].to_dict("records"):
        told, at = f"{row['horizon']}: {row['p10']:.0f} to {row['p90']:.0f}", (row["target_date"], row["p90"])
        axes.annotate(told, at, xytext=(-6, 4), textcoords="offset points", ha="right", fontsize=9, color=BAND)
    far = forecasts.sort_values("target_date").iloc[-1]
    axes.set_title(
        f"Soybean oil at {last:.2f} cents/lb on {day:%Y-%m-%d}: "
        f"in {far['horizon']} between {far['p10']:.0f} and {far['p90']:.0f} with 80% probability",
        loc="left",
        fontsize=12,
    )
    axes.set_ylabel("CBOT ZL front month, cents per pound")
    axes.set_xlabel(
        f"as of {day:%Y-%m-%d}; prices: Yahoo Finance ZL=F; model: {', '.join(sorted(forecasts['family'].unique()))}"
    )
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", frameon=False, ncols=5, fontsize=9)
    axes.margins(x=0.02)
    axes.set_ylim(top=max(float(fan["p95"].max()), float(recent["zl_close"].max())) * 1.14)
    return write_atomically(
        path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None})
    )
