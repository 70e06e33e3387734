"""Pictures of the reasons of a forecast, drawn with Vega-Altair from Shapley values: a waterfall and a beeswarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.reporting.drawing import COLORS, write_picture
from tasks.units import signed

UP, DOWN, TOTAL = COLORS["band"], COLORS["price"], COLORS["muted"]
FEWEST_FEATURES = 3  # with contributions to the centre, for a beeswarm
SHOWN_FEATURES = 12
BINS = 40  # of the axis: points within one bin are spread out


def waterfall(path: Path, forecasts: pd.DataFrame, drivers: pd.DataFrame, sentences: pd.DataFrame) -> Path:
    """From the last price to the centre, by group, one panel per horizon, as a PNG.

    Args:
        forecasts, drivers, sentences: rows of ``forecasts.zl_forecasts_daily``, ``zl_explainers_daily`` and
            ``zl_explanations_daily``.
    """
    import altair as alt

    titles = sentences.set_index("horizon")["centre_sentence"]
    colors = alt.Scale(domain=["up", "down", "price"], range=[UP, DOWN, TOTAL])
    panels = []
    for row in forecasts.to_dict("records"):
        part = drivers[drivers["horizon"] == row["horizon"]]
        if part.empty:
            continue
        steps = waterfall_steps(float(row["last_price"]), float(row["point"]), part)
        order = steps["step"].tolist()
        bars = (
            alt.Chart(steps)
            .mark_bar(height=12)
            .encode(
                x=alt.X("start:Q", scale=alt.Scale(zero=False), title="front-month ZL, cents/lb"),
                x2="end:Q",
                y=alt.Y("step:N", sort=order, title=None),
                color=alt.Color("way:N", scale=colors, legend=None),
            )
        )
        numbers = (
            alt.Chart(steps)
            .mark_text(align="left", dx=4)
            .encode(x="right:Q", y=alt.Y("step:N", sort=order), text="shown:N", color=alt.value(COLORS["ink"]))
        )
        title = alt.Title(str(titles[row["horizon"]]), anchor="start", fontSize=11)
        panels.append((bars + numbers).properties(width=620, height=18 * len(steps), title=title))
    return _write(path, alt.vconcat(*panels), forecasts, "Why the center is where it is")


def waterfall_steps(last_price: float, point: float, drivers: pd.DataFrame) -> pd.DataFrame:
    """The bars of one waterfall: ``step, start, end, right, way, shown``; the last step ends at ``point``."""
    sums = drivers.groupby("group")["shap_cents_lb"].sum(min_count=1).dropna()
    sums = sums[sums != 0]
    sums = sums.reindex(sums.abs().sort_values(ascending=False, kind="stable").index)
    ends = last_price + sums.cumsum()
    starts = ends - sums
    rows = [("last price", last_price, last_price, "price", f"{last_price:.2f}")]
    rows += [
        (str(group), float(start), float(end), "up" if end > start else "down", signed(end - start))
        for group, start, end in zip(sums.index, starts, ends, strict=True)
    ]
    rows.append(("forecast", point, point, "price", f"{point:.2f}"))
    steps = pd.DataFrame(rows, columns=["step", "start", "end", "way", "shown"])
    return steps.assign(right=steps[["start", "end"]].max(axis=1))


def beeswarm(path: Path, forecasts: pd.DataFrame, history: pd.DataFrame) -> Path | None:
    """Contributions of the past year by feature, one dot per session, as a PNG.

    Shown for the horizon whose model reads most; None where no model has contributions of enough features.

    Args:
        history: ``horizon, date, feature, shap_cents_lb, feature_value``.
    """
    import altair as alt

    if history.empty:
        return None
    moving = history[history["shap_cents_lb"] != 0].groupby("horizon")["feature"].nunique()
    if moving.max() < FEWEST_FEATURES:
        return None
    horizon = str(moving.idxmax())
    points = beeswarm_points(history[history["horizon"] == horizon])
    chart = (
        alt.Chart(points)
        .mark_circle(size=22, opacity=0.85)
        .encode(
            x=alt.X("shap_cents_lb:Q", title="contribution to the center, cents/lb"),
            y=alt.Y("feature:N", sort=list(dict.fromkeys(points["feature"])), title=None),
            yOffset=alt.YOffset("place:Q", scale=alt.Scale(domain=[-8, 8])),
            color=alt.Color(
                "rank:Q",
                scale=alt.Scale(range=[DOWN, COLORS["grid"], UP], domain=[0, 0.5, 1]),
                title="value, low to high",
            ),
        )
        .properties(width=620, height=alt.Step(34))
    )
    return _write(path, chart, forecasts, f"What moved the center at {horizon} over the past year")


def beeswarm_points(history: pd.DataFrame) -> pd.DataFrame:
    """The dots of the features with the largest contributions, the largest first.

    ``rank``: of the feature's value among those shown, 0 to 1; missing where the value is. ``place``: how far a dot is
    from its line, so that dots of one size do not cover each other.
    """
    size = history.groupby("feature")["shap_cents_lb"].agg(lambda values: values.abs().mean())
    names = size.sort_values(ascending=False, kind="stable").head(SHOWN_FEATURES).index
    points = history[history["feature"].isin(names)].copy()
    points["feature"] = pd.Categorical(points["feature"], list(names), ordered=True)
    points = points.sort_values(["feature", "shap_cents_lb", "date"], kind="stable")
    points["rank"] = points.groupby("feature", observed=True)["feature_value"].rank(pct=True)
    span = float(np.ptp(points["shap_cents_lb"])) or 1.0
    bins = np.floor(points["shap_cents_lb"] / span * BINS)
    number = points.groupby(["feature", bins], observed=True).cumcount()
    points["place"] = np.where(number % 2 == 1, (number + 1) // 2, -(number // 2)).clip(-8, 8)
    return points.astype({"feature": "str"})


def _write(path: Path, chart: Any, forecasts: pd.DataFrame, finding: str) -> Path:
    as_of = forecasts["as_of"].iloc[0]
    lines = [f"As of {as_of:%Y-%m-%d}, 18:00 Chicago; Shapley values of the served models"]
    return write_picture(path, chart.to_dict(), finding, lines)
