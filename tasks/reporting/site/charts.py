"""The charts of the site, drawn with Vega-Altair: static SVG whose colors follow the reader's light or dark scheme.

In the SVG the stand-in colors (tasks/reporting/drawing.py) become CSS variables; the browser puts the variables' values
into the interactive chart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.reporting.drawing import (
    COLORS,
    CONFIG,
    DASHES,
    HEIGHT,
    LINE_COLORS,
    WIDTH,
    dates,
    recolored,
    rule_at,
    specification_of,
)

FOR_FIGURES = 0.12  # of the bars' span: room at the right for the figure behind the longest one
CLIP = re.compile(r"\bclip\d+\b")


@dataclass(frozen=True)
class Chart:
    """One chart of a page.

    ``finding``: what it shows, as a sentence in plain text; the heading and the alternative text. ``unit``, ``source``,
    ``as_of``: the line below it. ``data``: the rows of its CSV.
    """

    name: str
    finding: str
    unit: str
    source: str
    as_of: str
    data: pd.DataFrame
    specification: Mapping[str, Any]


def svg(chart: Chart) -> str:
    """The chart as SVG for a page: no fixed size, CSS variables for colors, the finding as its label."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(json.dumps(chart.specification, default=str))
    drawn = recolored(drawn, lambda name: f"var(--{name})")
    # Vega numbers its clips over all charts of a process: here each chart has its own, from 1
    clips = {clip: f"{chart.name}-{count}" for count, clip in enumerate(dict.fromkeys(CLIP.findall(drawn)), 1)}
    drawn = CLIP.sub(lambda clip: clips[clip.group()], drawn)
    head, _, rest = drawn.partition(">")
    view = re.search(r'viewBox="[^"]*"', head)
    width = re.search(r'width="(\d+)', head)
    size = f'style="max-width:{int(width.group(1))}px"' if width and int(width.group(1)) < WIDTH else ""
    seen = view.group() if view else ""
    return f'<svg xmlns="http://www.w3.org/2000/svg" {seen} {size} aria-hidden="true">{rest}'


def lines(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    *,
    unit: str,
    zero: bool = False,
    height: int = HEIGHT,
    rule: float | None = None,
    step: bool = False,
) -> dict[str, Any]:
    """One line per column over ``date``.

    Args:
        columns: the title of each column. rule: a value with a line of its own, such as 0.
    """
    import altair as alt

    long = frame.melt("date", list(columns), "series", "value").replace({"series": dict(columns)})
    long = long.dropna(subset=["value"])
    titles = list(columns.values())
    y = alt.Y("value:Q", title=unit, scale=alt.Scale(zero=zero))
    base = alt.Chart(long).encode(
        x=dates("date", long["date"]),
        y=y,
        tooltip=["date:T", "series:N", alt.Tooltip("value:Q", format=",.2f")],
    )
    mark = base.mark_line(strokeWidth=1.6, interpolate="step-after" if step else "linear")
    if len(titles) > 1:
        colors = [COLORS[name] for name in LINE_COLORS[: len(titles)]]
        mark = mark.encode(
            color=alt.Color("series:N", scale=alt.Scale(domain=titles, range=colors)),
            strokeDash=alt.StrokeDash("series:N", scale=alt.Scale(domain=titles, range=DASHES[: len(titles)])),
        )
    else:
        mark = mark.encode(color=alt.value(COLORS["price"]))
    layers = [mark]
    if rule is not None:
        layers.insert(0, rule_at(rule))
    return specification_of(alt.layer(*layers), height=height)


def bars(
    frame: pd.DataFrame, label: str, value: str, *, unit: str, form: str = ".2f", panel: str | None = None
) -> dict[str, Any]:
    """Horizontal bars, those below zero in the other color; with ``panel``, one small chart per value of it."""
    import altair as alt

    order = list(dict.fromkeys(frame[label]))
    low, high = min(0.0, float(frame[value].min())), max(0.0, float(frame[value].max()))
    room = alt.Scale(domain=[low, high + (high - low) * FOR_FIGURES], nice=False) if high > low else alt.Scale()
    base = alt.Chart(frame).encode(
        y=alt.Y(f"{label}:N", sort=order, title=None),
        x=alt.X(f"{value}:Q", title=unit, scale=room, axis=alt.Axis(tickCount=5)),
        tooltip=[f"{label}:N", alt.Tooltip(f"{value}:Q", format=form)],
    )
    bar = base.mark_bar(height=14).encode(
        color=alt.condition(f"datum['{value}'] < 0", alt.value(COLORS["price"]), alt.value(COLORS["band"]))
    )
    number = base.mark_text(align="left", dx=4).encode(
        x=alt.X("right:Q", title=unit), text=alt.Text(f"{value}:Q", format=form)
    ).transform_calculate(right=f"max(0, datum['{value}'])")  # fmt: skip
    layer = alt.layer(bar, number)
    if panel is None:
        return specification_of(layer, height=max(60, 24 * len(order)))
    columns = list(dict.fromkeys(frame[panel]))
    faceted = layer.properties(width=WIDTH, height=alt.Step(20)).facet(
        row=alt.Row(
            f"{panel}:N", sort=columns, title=None, header=alt.Header(labelAngle=0, labelAlign="right", labelPadding=14)
        )
    )
    return {**faceted.resolve_scale(y="independent").to_dict(), "config": CONFIG}


def curve(contracts: pd.DataFrame) -> dict[str, Any]:
    """What each contract costs now, at its last trading day, and the 80% band of its price on that day."""
    import altair as alt

    x = alt.X("last_trading_day:T", title="last trading day")
    y = alt.Y("last_price:Q", title="cents/lb", scale=alt.Scale(zero=False))
    base = alt.Chart(contracts).encode(x=x)
    band = base.mark_bar(width=12, color=COLORS["band"], opacity=0.35).encode(
        y=alt.Y("p10:Q", title="cents/lb", scale=alt.Scale(zero=False)), y2="p90:Q"
    )
    line = base.mark_line(
        color=COLORS["price"], point=alt.OverlayMarkDef(shape="diamond", size=60, color=COLORS["price"])
    ).encode(y=y, tooltip=["contract:N", "last_price:Q", "p10:Q", "p90:Q"])
    name = base.mark_text(dy=-12).encode(y=y, text="contract:N")
    return specification_of(alt.layer(band, line, name))


def snapshots(frame: pd.DataFrame, titles: list[str]) -> dict[str, Any]:
    """The curve at several times: the price of each contract at its month of delivery, one line per time.

    Args:
        frame: ``delivery, price_cents_lb, contract, date`` and ``shown``, one of ``titles``.
    """
    import altair as alt

    colors, dashes = [COLORS[name] for name in LINE_COLORS[: len(titles)]], DASHES[: len(titles)]
    mark = (
        alt.Chart(frame)
        .mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=1.6)
        .encode(
            x=alt.X("delivery:T", title="month of delivery", axis=alt.Axis(format="%b %Y", tickCount=8)),
            y=alt.Y("price_cents_lb:Q", title="cents/lb", scale=alt.Scale(zero=False)),
            color=alt.Color("shown:N", scale=alt.Scale(domain=titles, range=colors)),
            strokeDash=alt.StrokeDash("shown:N", scale=alt.Scale(domain=titles, range=dashes)),
            tooltip=["shown:N", "contract:N", alt.Tooltip("price_cents_lb:Q", format=".2f")],
        )
    )
    return specification_of(mark)


def outcomes(frame: pd.DataFrame) -> dict[str, Any]:
    """Past forecasts at their target dates: the 80% band, the median, and the price that came."""
    import altair as alt

    x = dates("target_date", frame["target_date"])
    y = alt.Y("lower_80:Q", title="cents/lb", scale=alt.Scale(zero=False))
    base = alt.Chart(frame).encode(x=x)
    band = base.mark_area(color=COLORS["band"], opacity=0.28).encode(y=y, y2="upper_80:Q")
    median = base.mark_line(color=COLORS["band"], strokeDash=[5, 3], strokeWidth=1.2).encode(y="predicted_price:Q")
    actual = base.mark_line(color=COLORS["price"], strokeWidth=1.5).encode(y="actual_price:Q")
    return specification_of(alt.layer(band, median, actual))


def by_year(frame: pd.DataFrame, value: str, *, unit: str, rule: float) -> dict[str, Any]:
    """One small chart per horizon: bars by year, and a line at ``rule``."""
    import altair as alt

    order = list(dict.fromkeys(frame.sort_values("horizon_order")["horizon"]))
    base = alt.Chart(frame)
    bar = base.mark_bar().encode(
        x=alt.X("year:O", title=None, axis=alt.Axis(labelAngle=-90)),
        y=alt.Y(f"{value}:Q", title=unit),
        color=alt.condition(f"datum['{value}'] < 0", alt.value(COLORS["price"]), alt.value(COLORS["band"])),
        tooltip=["horizon:N", "year:O", alt.Tooltip(f"{value}:Q", format=".1f"), "forecasts:Q"],
    )
    line = base.mark_rule(color=COLORS["ink"], strokeDash=[4, 3]).encode(y=alt.YDatum(rule))
    panels = alt.layer(bar, line).properties(width=200, height=130)
    facet = panels.facet(facet=alt.Facet("horizon:N", sort=order, title=None), columns=3)
    return {**facet.to_dict(), "config": CONFIG}


def reliability(frame: pd.DataFrame) -> dict[str, Any]:
    """The chance that was published against how often the price was higher; the size is how many forecasts."""
    import altair as alt

    domain = alt.Scale(domain=[0, 1])
    order = list(dict.fromkeys(frame.sort_values("horizon_order")["horizon"]))
    diagonal = (
        alt.Chart(pd.DataFrame({"x": [0, 1], "y": [0, 1]}))
        .mark_line(color=COLORS["muted"], strokeDash=[4, 3])
        .encode(x="x:Q", y="y:Q")
    )
    dots = (
        alt.Chart(frame)
        .mark_point(filled=True, opacity=0.75)
        .encode(
            x=alt.X("mean_chance:Q", title="published chance of a higher price", scale=domain),
            y=alt.Y("share_higher:Q", title="share that was higher", scale=domain),
            size=alt.Size("forecasts:Q", legend=None),
            color=alt.Color("horizon:N", scale=alt.Scale(domain=order, range=[COLORS[name] for name in LINE_COLORS])),
            shape=alt.Shape("horizon:N", scale=alt.Scale(domain=order)),
            tooltip=["horizon:N", "mean_chance:Q", "share_higher:Q", "forecasts:Q"],
        )
    )
    return specification_of(alt.layer(diagonal, dots), width=420, height=300)


def events(frame: pd.DataFrame, x: str, y: str, color: str | None = None) -> dict[str, Any]:
    """Events on a time axis, one line per kind."""
    import altair as alt

    encoding: dict[str, Any] = {
        "x": dates(x, frame[x]),
        "y": alt.Y(f"{y}:N", title=None, sort=list(dict.fromkeys(frame[y]))),
        "tooltip": [f"{x}:T", f"{y}:N"],
    }
    if color:
        kinds = sorted(frame[color].unique())
        colors = [COLORS[name] for name in LINE_COLORS[: len(kinds)]]
        encoding["color"] = alt.Color(f"{color}:N", scale=alt.Scale(domain=kinds, range=colors))
        encoding["shape"] = alt.Shape(f"{color}:N", scale=alt.Scale(domain=kinds))
    else:
        encoding["color"] = alt.value(COLORS["price"])
    mark = alt.Chart(frame).mark_point(filled=True, size=70, opacity=0.85).encode(**encoding)
    return specification_of(mark, height=max(80, 30 * frame[y].nunique()))


def _land(*points: tuple[float, float]) -> dict[str, Any]:
    ring = [list(point) for point in (*points, points[0])]
    return {"type": "Feature", "geometry": {"type": "LineString", "coordinates": ring}}


AMERICAS = [
    _land(
        (-125, 49), (-124, 43), (-121, 35), (-117, 32), (-110, 23), (-113, 31), (-105, 21), (-96, 16), (-92, 14.5),
        (-86, 11.5), (-80, 7.5), (-77.5, 8.5), (-83, 10), (-83.5, 15), (-88, 16), (-87, 21.5), (-91, 18.5), (-96, 19),
        (-97.5, 25), (-94, 29.5), (-89, 29.5), (-84, 30), (-81, 25.5), (-81, 31), (-76, 35), (-74, 40), (-70, 42),
        (-67, 45), (-64, 49), (-95, 49),
    ),
    _land(
        (-77.5, 8.5), (-72, 12), (-62, 10.5), (-52, 5), (-50, 0), (-44, -2.5), (-35, -6), (-39, -13), (-41, -22),
        (-48.5, -26), (-53.5, -34), (-58, -38), (-65, -43), (-68, -52), (-74, -50), (-73, -37), (-71, -30),
        (-70.5, -18), (-76, -14), (-81, -5), (-80, 1), (-77.5, 7),
    ),
]  # fmt: skip
"""Coarse outlines of the mainland from the US to Argentina, degrees: to find a region by, not to measure."""


SIDES = ("drier than normal", "wetter than normal", "normal not known")


def weather_map(frame: pd.DataFrame) -> dict[str, Any]:
    """The growing regions on a coarse map, with how far the last 30 days' rain is from normal.

    Args:
        frame: ``latitude, longitude``, ``side`` (one of ``SIDES``) and ``label``: what stands beside the point.
    """
    import altair as alt

    land = alt.Chart(alt.InlineData(values=AMERICAS)).mark_geoshape(stroke=COLORS["muted"], fill=COLORS["grid"])
    places = alt.Chart(frame).encode(longitude="longitude:Q", latitude="latitude:Q")
    dots = places.mark_point(filled=True, size=260, opacity=1).encode(
        color=alt.Color(
            "side:N",
            scale=alt.Scale(domain=list(SIDES), range=[COLORS["band"], COLORS["price"], COLORS["muted"]]),
        ),
        shape=alt.Shape(
            "side:N", scale=alt.Scale(domain=list(SIDES), range=["triangle-down", "triangle-up", "circle"])
        ),
    )
    names = places.mark_text(align="left", dx=14).encode(text="label:N")
    world = alt.layer(land, dots, names).project("equirectangular", scale=250, center=[-52, 8])
    return specification_of(world, height=440)


def steps_of(frame: pd.DataFrame, columns: Sequence[str], *, every: str) -> pd.DataFrame:
    """The last row of each period (``W``, ``ME``) of a frame with ``date``: enough for a chart of many years."""
    thinned = frame.set_index(pd.DatetimeIndex(frame["date"]))[list(columns)].resample(every).last()
    return thinned.dropna(how="all").reset_index(names="date")
