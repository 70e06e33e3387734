"""Charts for a buyer."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.storage.files import write_atomically

PRICE, BAND = "#1b4965", "#c2571a"
PALE, DEEP = "#e3eef4", "#1b4965"


def fan_chart(
    path: Path, prices: pd.DataFrame, forecasts: pd.DataFrame, contracts: pd.DataFrame, *, origin: str
) -> Path:
    """The last two years of ZL and the forecast's 50, 80 and 90% bands to twelve months, as a PNG.

    Args:
        prices: ``date, zl_close`` to the as-of session, cents/lb. forecasts: rows of ``forecasts.zl_forecasts_daily``.
            contracts: rows of ``forecasts.zl_contracts_daily``, or none: each one's price now, at its last trading
            day. origin: ``live``, ``recorded`` or ``folder``; any but ``live`` is named on the chart.
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
    if len(contracts):
        curve = contracts.drop_duplicates("contract").sort_values("last_trading_day")
        axes.plot(
            curve["last_trading_day"],
            curve["last_price"],
            color=PRICE,
            linestyle="none",
            marker="D",
            markersize=4,
            label="contracts now",
        )
    for row in forecasts[forecasts["horizon"].isin(["3m", "6m", "12m"])].to_dict("records"):
        span, at = f"{row['horizon']}: {row['p10']:.0f} to {row['p90']:.0f}", (row["target_date"], row["p90"])
        axes.annotate(span, at, xytext=(-6, 4), textcoords="offset points", ha="right", fontsize=9, color=BAND)
    far = forecasts.sort_values("target_date").iloc[-1]
    axes.set_title(
        f"Soybean oil at {last:.2f} cents/lb on {day:%Y-%m-%d}: "
        f"in {far['horizon']} between {far['p10']:.0f} and {far['p90']:.0f} with 80% probability",
        loc="left",
        fontsize=12,
    )
    axes.set_ylabel("CBOT ZL front month, cents per pound")
    named = "" if origin == "live" else f" ({origin} data)"
    families = ", ".join(sorted(forecasts["family"].unique()))
    axes.set_xlabel(
        f"as of {day:%Y-%m-%d}{named}, {forecasts['contract'].iloc[0]}; prices: Yahoo Finance ZL=F; model: {families}"
    )
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", frameon=False, ncols=6, fontsize=9)
    axes.margins(x=0.02)
    axes.set_ylim(top=max(float(fan["p95"].max()), float(recent["zl_close"].max())) * 1.14)
    return write_atomically(
        path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None})
    )


def coverage_chart(path: Path, coverage: pd.DataFrame, *, as_of: pd.Timestamp) -> Path:
    """The share of feature cells with a value, categories by years, as a PNG. Cells without any value are hatched.

    Args:
        coverage: the result of ``tasks.features.coverage.coverage_by_year``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    shares = coverage.set_index(["category", "year"])["share"].unstack()[sorted(coverage["year"].unique())]
    counts = coverage.groupby("category", sort=False)["features"].first()
    shares = shares.reindex(counts.index)
    figure = Figure(figsize=(11, 1.5 + 0.32 * len(shares)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # the scale starts at a color, not at white: a little is more than nothing
    scale = LinearSegmentedColormap.from_list("coverage", [PALE, DEEP])
    positive = shares.where(shares > 0)
    image = axes.imshow(100 * positive.to_numpy(), cmap=scale, vmin=0, vmax=100, aspect="auto")
    for row, column in zip(*(positive.isna().to_numpy().nonzero()), strict=True):
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor="#b5b5b5", hatch="////", linewidth=0))
    for row, values in enumerate(positive.to_numpy()):
        for column, share in enumerate(values):
            if 0 < share < 1:
                text = "<1" if share < 0.01 else ">99" if share > 0.99 else f"{100 * share:.0f}"
                colour = "white" if share > 0.45 else "#222222"
                axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(range(shares.shape[1]), [str(year) for year in shares.columns], fontsize=8)
    axes.tick_params(axis="x", rotation=45 if shares.shape[1] > 12 else 0, length=0)
    labels = [f"{name.replace('_', ' ')} ({counts[name]})" for name in shares.index]
    axes.set_yticks(range(len(shares)), labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([edge - 0.5 for edge in range(1, shares.shape[1])], minor=True)
    axes.set_yticks([edge - 0.5 for edge in range(1, len(shares))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    begun = int((coverage.groupby("category")["share"].max() > 0).sum())
    axes.set_title(
        f"{counts.sum()} features as of {as_of:%Y-%m-%d}: {begun} of {len(counts)} categories have values",
        loc="left",
        fontsize=12,
    )
    axes.set_ylabel("category (number of features)")
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01)
    bar.set_label("sessions x features with a value, % of the year's")
    bar.outline.set_visible(False)
    nothing = Patch(facecolor="white", edgecolor="#b5b5b5", hatch="////", linewidth=0, label="no value")
    figure.legend(handles=[nothing], loc="outside lower right", frameon=False, fontsize=9)
    return write_atomically(
        path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None})
    )
