"""How a chart looks, wherever it is shown: colors, fonts, the fan, and a PNG of a specification.

A chart is a Vega-Altair specification whose colors are stand-ins (``COLORS``). A page of the site turns them into CSS
variables, which follow the reader's light or dark scheme. A picture gets the light scheme's colors.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.storage.files import write_bytes

COLORS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "price": "#040404",
    "band": "#050505",
    "third": "#060606",
    "fourth": "#070707",
}
LIGHT = {
    "ink": "#16202a",
    "muted": "#525d68",
    "grid": "#d5dade",
    "price": "#1b4965",
    "band": "#ad480e",
    "third": "#00684f",
    "fourth": "#6d3f98",
}
"""The light scheme of static/site.css; a test compares the two."""
LINE_COLORS = ("price", "band", "third", "fourth", "muted")
"""The colors of lines, in order; each also has a dash pattern of its own, for readers who do not see colors."""
DASHES: list[list[int]] = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3]]
WIDTH, HEIGHT = 700, 260
PICTURE_FONT = "Liberation Sans"
"""Part of vl-convert, so that a picture is the same on every machine."""
SCALE = 1.5  # pixels per unit of a picture
CONFIG: dict[str, Any] = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": COLORS["muted"],
        "titleColor": COLORS["muted"],
        "gridColor": COLORS["grid"],
        "domainColor": COLORS["grid"],
        "tickColor": COLORS["grid"],
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "axisX": {"labelOverlap": "greedy", "labelSeparation": 14, "labelBound": True},
    "legend": {
        "columnPadding": 40,
        "labelColor": COLORS["ink"],
        "titleColor": COLORS["muted"],
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "symbolStrokeWidth": 2,
        "labelLimit": 300,
    },
    "text": {"color": COLORS["ink"], "fontSize": 12},
    "header": {"labelColor": COLORS["ink"], "titleColor": COLORS["muted"]},
}
PICTURE_CONFIG: dict[str, Any] = {
    **CONFIG,
    "background": "white",
    "padding": 12,
    "title": {
        "anchor": "start",
        "color": COLORS["ink"],
        "fontSize": 15,
        "offset": 12,
        "subtitleColor": COLORS["muted"],
        "subtitleFontSize": 12,
        "subtitlePadding": 5,
    },
}
TOKEN = re.compile("|".join(COLORS.values()))
NAMES = {color: name for name, color in COLORS.items()}
BANDS = (("90% of outcomes", "p05", "p95", 0.16), ("80%", "p10", "p90", 0.24), ("50%", "p25", "p75", 0.36))
FAN = ("p05", "p10", "p25", "p50", "p75", "p90", "p95")


def recolored(text: str, color: Callable[[str], str]) -> str:
    """The text with each stand-in color replaced by ``color(name)``."""
    return TOKEN.sub(lambda found: color(NAMES[found.group()]), text)


def specification_of(chart: Any, *, width: int = WIDTH, height: int | None = HEIGHT) -> dict[str, Any]:
    """A Vega-Altair chart as its specification, with the site's look."""
    size: dict[str, Any] = {"width": width} | ({"height": height} if height else {})
    return {**chart.properties(**size).to_dict(), "config": CONFIG}


def as_picture(
    specification: Mapping[str, Any], title: str = "", lines: Sequence[str] = (), *, font: str = PICTURE_FONT
) -> str:
    """A specification as the JSON of a picture: light colors, one font, a title that says the finding, and notes.

    Args:
        specification: of a chart or of several side by side. lines: below the title: unit, as-of, source.
    """
    named = {**specification, "config": {**PICTURE_CONFIG, "font": font}}
    if title:
        named["title"] = {"text": title, **({"subtitle": list(lines)} if lines else {})}
    return recolored(json.dumps(named, default=str), LIGHT.__getitem__)


def write_picture(path: Path, specification: Mapping[str, Any], title: str, lines: Sequence[str] = ()) -> Path:
    """Write a specification as a PNG, atomically; the same specification gives the same bytes.

    Raises:
        StorageFailed: the file cannot be written.
    """
    import vl_convert
    from PIL import Image

    drawn = vl_convert.vegalite_to_png(as_picture(specification, title, lines), scale=SCALE)
    small = io.BytesIO()
    # a chart has few colors: with a palette it takes a seventh of the bytes, in Prefect's database too
    image = Image.open(io.BytesIO(drawn)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(small, "PNG", optimize=True)
    return write_bytes(path, small.getvalue())


def dates(field: str, days: pd.Series, *, title: str | None = None) -> Any:
    """A time axis whose labels name the year, with room between them."""
    import altair as alt

    years = (days.max() - days.min()).days / 365 if len(days) else 0
    if years > 4:
        every: dict[str, Any] = {"interval": "year", "step": 2 if years > 16 else 1}
        axis = alt.Axis(format="%Y", tickCount=every)
    else:
        axis = alt.Axis(format="%b %Y", tickCount=8)
    return alt.X(f"{field}:T", title=title, axis=axis)


def rule_at(value: float, *, vertical: bool = False) -> Any:
    """A dashed line at a value of the y axis, or of the x axis."""
    import altair as alt

    mark = alt.Chart(pd.DataFrame({"at": [value]})).mark_rule(color=COLORS["muted"], strokeDash=[4, 3])
    return mark.encode(x="at:Q") if vertical else mark.encode(y="at:Q")


def bands(frame: pd.DataFrame, x: Any, *, title: str) -> list[Any]:
    """The 90, 80 and 50% bands as areas, the widest first.

    Args:
        frame: ``p05`` to ``p95``. x: the encoding of its dates. title: of the y axis.
    """
    import altair as alt

    return [
        alt.Chart(frame)
        .mark_area(color=COLORS["band"], opacity=shade)
        .encode(x=x, y=alt.Y(f"{low}:Q", title=title, scale=alt.Scale(zero=False)), y2=f"{high}:Q")
        for _, low, high, shade in BANDS
    ]


def fan(
    prices: pd.DataFrame, forecasts: pd.DataFrame, contracts: pd.DataFrame, *, width: int = WIDTH, height: int = 330
) -> dict[str, Any]:
    """Closes, the 50, 80 and 90% bands ahead, the median, and what each contract costs now.

    Args:
        prices: ``date, close_cents_lb``. forecasts: one row per horizon: ``as_of, horizon, target_date, last_price``
            and ``p05`` to ``p95``. contracts: ``contract, last_trading_day, last_price``, or none.
    """
    import altair as alt

    first = forecasts.iloc[0]
    start = pd.DataFrame([{"target_date": first["as_of"], **dict.fromkeys(FAN, first["last_price"])}])
    ahead = pd.concat([start, forecasts[["target_date", *FAN]]]).sort_values("target_date")
    x = dates("target_date", pd.concat([prices["date"], forecasts["target_date"]]))
    history = (
        alt.Chart(prices.rename(columns={"date": "target_date"}))
        .mark_line(color=COLORS["price"], strokeWidth=1.6)
        .encode(x=x, y="close_cents_lb:Q", tooltip=["target_date:T", alt.Tooltip("close_cents_lb:Q", format=".2f")])
    )
    median = (
        alt.Chart(ahead)
        .mark_line(color=COLORS["band"], strokeDash=[5, 3], point=alt.OverlayMarkDef(color=COLORS["band"], size=35))
        .encode(
            x=x,
            y="p50:Q",
            tooltip=["target_date:T", *(alt.Tooltip(f"{n}:Q", format=".2f") for n in ("p10", "p50", "p90"))],
        )
    )
    layers = [*bands(ahead, x, title="front-month ZL, cents/lb"), history, median]
    if len(contracts):
        now = contracts.drop_duplicates("contract").assign(target_date=contracts["last_trading_day"])
        layers.append(
            alt.Chart(now)
            .mark_point(shape="diamond", filled=True, size=55, color=COLORS["price"], opacity=1)
            .encode(x=x, y="last_price:Q", tooltip=["contract:N", alt.Tooltip("last_price:Q", format=".2f")])
        )
    ends = forecasts[forecasts["horizon"].isin(["3m", "6m", "12m"])].assign(
        low=forecasts["p10"].map("{:.0f}".format), high=forecasts["p90"].map("{:.0f}".format)
    )
    for column, text, shift in (("p90", "high", -8), ("p10", "low", 9)):
        layers.append(
            alt.Chart(ends).mark_text(align="right", dx=-4, dy=shift).encode(x=x, y=f"{column}:Q", text=f"{text}:N")
        )
    return specification_of(alt.layer(*layers), width=width, height=height)
