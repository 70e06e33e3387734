"""Charts for a buyer, as PNG: the fan of the forecast, and how much of each category of features has values."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.reporting.drawing import COLORS, LIGHT, WIDTH, fan, specification_of, write_picture

PALE, DEEP = "#e3eef4", LIGHT["price"]
YEARS_SHOWN = 2


def fan_chart(
    path: Path, prices: pd.DataFrame, forecasts: pd.DataFrame, contracts: pd.DataFrame, *, origin: str
) -> Path:
    """The last two years of ZL and the forecast's 50, 80 and 90% bands to twelve months, as a PNG.

    Args:
        prices: ``date, zl_close`` to the as-of session, cents/lb. forecasts: rows of ``forecasts.zl_forecasts_daily``.
            contracts: rows of ``forecasts.zl_contracts_daily``, or none: each one's price now, at its last trading
            day. origin: ``live``, ``recorded`` or ``folder``; any but ``live`` is named on the chart.
    """
    day, last = forecasts["as_of"].iloc[0], float(forecasts["last_price"].iloc[0])
    recent = prices[prices["date"] > day - pd.DateOffset(years=YEARS_SHOWN)].rename(
        columns={"zl_close": "close_cents_lb"}
    )
    far = forecasts.sort_values("target_date").iloc[-1]
    named = "" if origin == "live" else f" ({origin} data)"
    families = ", ".join(sorted(forecasts["family"].unique()))
    return write_picture(
        path,
        fan(recent, forecasts, contracts, width=980, height=400),
        f"Soybean oil at {last:.2f} cents/lb on {day:%Y-%m-%d}: "
        f"in {far['horizon']} between {far['p10']:.0f} and {far['p90']:.0f} with 80% probability",
        [
            "Line: close. Shaded: bands of 50, 80 and 90%, with the ends of the 80% band. Dashed: median. "
            "Diamonds: what each contract costs now, at its last trading day.",
            f"As of {day:%Y-%m-%d}{named}, {forecasts['contract'].iloc[0]}; prices: Yahoo Finance ZL=F; "
            f"model: {families}",
        ],
    )


def coverage_chart(path: Path, coverage: pd.DataFrame, *, as_of: pd.Timestamp) -> Path:
    """The share of feature cells with a value, categories by years, as a PNG. Cells without any value are crossed out.

    Args:
        coverage: the result of ``tasks.features.coverage.coverage_by_year``.
    """
    import altair as alt

    counts = coverage.groupby("category", sort=False)["features"].first()
    names = {name: f"{str(name).replace('_', ' ')} ({counts[name]})" for name in counts.index}
    cells = pd.DataFrame(
        {
            "category": coverage["category"].map(names),
            "year": coverage["year"].astype(str),
            "share_pct": 100 * coverage["share"].where(coverage["share"] > 0),
        }
    )
    cells["text"] = [_share_text(share) for share in cells["share_pct"]]
    base = alt.Chart(cells).encode(
        x=alt.X(
            "year:O",
            title=None,
            axis=alt.Axis(labelAngle=0, labelOverlap=False, labelFontSize=11, grid=False, ticks=False, domain=False),
        ),
        y=alt.Y(
            "category:N",
            sort=list(names.values()),
            title="category (number of features)",
            axis=alt.Axis(ticks=False, domain=False, labelLimit=260, titlePadding=12),
        ),
    )
    # the scale starts at a color, not at white: a little is more than nothing
    color = alt.Color(
        "share_pct:Q",
        scale=alt.Scale(domain=[0, 100], range=[PALE, DEEP]),
        legend=alt.Legend(orient="right", title="% of the year's cells", gradientLength=180),
    )
    known = base.transform_filter("isValid(datum.share_pct)")
    boxes = known.mark_rect(stroke="white", strokeWidth=1.2).encode(color=color)
    shares = known.mark_text(fontSize=10).encode(
        text="text:N", color=alt.condition("datum.share_pct > 45", alt.value("white"), alt.value(COLORS["ink"]))
    )
    nothing = base.transform_filter("!isValid(datum.share_pct)").mark_text(text="×", fontSize=13, color="#8a8f98")
    begun = int((coverage.groupby("category")["share"].max() > 0).sum())
    return write_picture(
        path,
        specification_of(
            alt.layer(boxes, shares, nothing), width=max(WIDTH, 34 * cells["year"].nunique()), height=24 * len(counts)
        ),
        f"{counts.sum()} features as of {as_of:%Y-%m-%d}: {begun} of {len(counts)} categories have values",
        ["Share of sessions x features with a value, % of the year's; a full year has no figure. × no value at all"],
    )


def _share_text(share_pct: float) -> str:
    """A share between nothing and everything, never rounded to either."""
    if pd.isna(share_pct) or share_pct >= 100:
        return ""
    return "<1" if share_pct < 1 else ">99" if share_pct > 99 else f"{share_pct:.0f}"
