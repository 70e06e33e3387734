"""Charts of out-of-fold forecasts, as PNG: reliability, forecast and outcome, the leaderboard, groups of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.quantiles import BANDS, column, price_quantiles
from tasks.reporting.drawing import COLORS, LINE_COLORS, bands, dates, rule_at, write_picture

NORMAL_90 = 1.6449  # 90% of a normal distribution is within so many standard deviations
PANEL = 190  # the side of a panel, where several stand side by side


def reliability_figure(
    path: Path, oofs: Mapping[str, pd.DataFrame], levels: tuple[float, ...], sessions: Mapping[str, int], *, step: int
) -> Path:
    """Observed share at or below each quantile against its level, one panel per horizon, as a PNG.

    Args:
        oofs: horizon: scored out-of-fold forecasts of the published model. sessions: horizon: its length. step:
            sessions between two origins.

    The gray band shows the range that perfectly calibrated forecasts reach by chance in 90% of cases, for the number of
    independent outcomes (normal approximation of the binomial).
    """
    grid = np.linspace(0, 1, 101)
    panels: list[Any] = []
    worst = 0.0
    for horizon, oof in oofs.items():
        target = oof["target_log_return"].to_numpy()
        observed = np.array([(target <= oof[column(level)].to_numpy()).mean() for level in levels])
        independent = len(oof) / max(1.0, sessions[horizon] / step)
        around = NORMAL_90 * np.sqrt(grid * (1 - grid) / independent)
        chance = pd.DataFrame({"level": grid, "low": grid - around, "high": grid + around})
        points = pd.DataFrame({"level": levels, "share": observed})
        title = f"{horizon}: {independent:.0f} independent outcomes"
        panels.append(_calibration(chance, points, title, first=not panels, domain=(0, 1), of="level of the quantile"))
        worst = max(worst, float(np.abs(observed - np.asarray(levels)).max()))
    first, last = _span(oofs)
    return _side_by_side(
        path,
        panels,
        f"Quantiles were accurate to within {100 * worst:.0f} points, "
        f"{first:%Y-%m} to {last:%Y-%m} (origins not seen in training)",
        ["Upward: share of outcomes at or below the quantile. Shaded: where 90% of sound forecasts are by chance."],
    )


def direction_figure(path: Path, views: Mapping[str, pd.DataFrame], sessions: Mapping[str, int], *, step: int) -> Path:
    """How often the price was higher against the chance that was given, one panel per horizon, as a PNG.

    Args:
        views: horizon: ``chance`` and ``higher`` (0 or 1) of the origins with a view. sessions, step: as above.

    Each dot is a fifth of the origins; the band is the range of chance in 90% of cases, for independent outcomes.
    """
    panels: list[Any] = []
    for horizon, view in views.items():
        fifths = view.sort_values("chance").reset_index(drop=True)
        fifths = fifths.groupby(np.minimum(4, fifths.index * 5 // max(1, len(fifths)))).agg(
            level=("chance", "mean"), share=("higher", "mean"), origins=("higher", "size")
        )
        independent = np.maximum(1.0, fifths["origins"] / max(1.0, sessions[horizon] / step))
        around = NORMAL_90 * np.sqrt(fifths["level"] * (1 - fifths["level"]) / independent)
        chance = fifths[["level"]].assign(low=fifths["level"] - around, high=fifths["level"] + around)
        title = f"{horizon}: {len(view)} origins with a view"
        panels.append(
            _calibration(
                chance, fifths, title, first=not panels, domain=(0.2, 0.8), of="chance that the price is higher"
            )
        )
    return _side_by_side(
        path,
        panels,
        "How often the price was higher, against the chance that was given",
        ["Each dot is a fifth of the origins. Shaded: where 90% of sound chances are by luck."],
    )


def _calibration(
    chance: pd.DataFrame, points: pd.DataFrame, title: str, *, first: bool, domain: tuple[float, float], of: str
) -> Any:
    """One panel: ``share`` against ``level``, over the diagonal and what chance allows (``low`` to ``high``)."""
    import altair as alt

    x = alt.X(
        "level:Q",
        title=of,
        scale=alt.Scale(domain=list(domain), nice=False),
        axis=alt.Axis(values=[domain[0], 0.5, domain[1]]),
    )
    up = alt.Scale(domain=[0, 1], nice=False, clamp=True)
    y = "share that was at or below" if domain == (0, 1) else "share that was higher"
    title_y = y if first else None
    around = (
        alt.Chart(chance)
        .mark_area(color=COLORS["muted"], opacity=0.22, clip=True)
        .encode(x=x, y=alt.Y("low:Q", scale=up, title=title_y), y2="high:Q")
    )
    diagonal = (
        alt.Chart(pd.DataFrame({"level": [0.0, 1.0], "share": [0.0, 1.0]}))
        .mark_line(color=COLORS["muted"], strokeWidth=1, clip=True)
        .encode(x=x, y=alt.Y("share:Q", scale=up, title=title_y))
    )
    observed = (
        alt.Chart(points)
        .mark_line(color=COLORS["band"], point=alt.OverlayMarkDef(color=COLORS["band"], size=30), clip=True)
        .encode(x=x, y=alt.Y("share:Q", scale=up, title=title_y))
    )
    return alt.layer(around, diagonal, observed).properties(width=PANEL, height=PANEL, title=_panel_title(title))


def forecast_and_outcome_figure(path: Path, oofs: Mapping[str, pd.DataFrame], levels: tuple[float, ...]) -> Path:
    """The forecast bands of each date and the actual price, one panel per horizon, as a PNG."""
    import altair as alt

    names = [column(level) for level in levels]
    panels: list[Any] = []
    for horizon, oof in oofs.items():
        ordered = oof.sort_values("target_date")
        last = ordered["last_price"].to_numpy()
        frame = pd.DataFrame(price_quantiles(last, ordered[names].to_numpy()), columns=names).assign(
            target_date=ordered["target_date"].to_numpy(),
            actual=last * np.exp(ordered["target_log_return"].to_numpy()),
        )
        x = dates("target_date", frame["target_date"])
        actual = alt.Chart(frame).mark_line(color=COLORS["price"], strokeWidth=1.1).encode(x=x, y="actual:Q")
        low, high = BANDS[80]
        covered = ((frame["actual"] >= frame[low]) & (frame["actual"] <= frame[high])).mean()
        title = f"{horizon} ahead: the 80% band covered {covered:.0%} of {len(frame)} outcomes"
        panels.append(
            alt.layer(*bands(frame, x, title="cents per pound"), actual).properties(
                width=980, height=190, title=_panel_title(title)
            )
        )
    return write_picture(
        path,
        alt.vconcat(*panels).to_dict(),
        "Forecasts at the date that was forecast, and what happened",
        ["Shaded: bands of 50, 80 and 90%. Line: actual close of the CBOT ZL front month; prices: Yahoo Finance ZL=F"],
    )


def leaderboard_figure(path: Path, boards: Mapping[str, pd.DataFrame]) -> Path:
    """Skill over the better naive with its 90% interval, one panel per horizon and one row per family, as a PNG.

    Args:
        boards: horizon: tasks.evaluation.comparison.leaderboard. A family with an interval above zero is colored.
            A value far below zero is cut off at the left, with its figure as text.
    """
    import altair as alt

    families = list(pd.concat(list(boards.values())).groupby("family")["skill_pct"].median().sort_values().index)[::-1]
    panels: list[Any] = []
    certain = 0
    for horizon, board in boards.items():
        rows = board.dropna(subset="skill_pct")
        right = float(np.nanmax([1.0, *rows["skill_pct_high"], *rows["skill_pct"]]))
        left = -1.2 * right
        sure = rows["skill_pct_low"] > 0
        certain += int(sure.sum())
        rows = rows.assign(
            color=np.select([sure, rows["skill_pct"] >= 0], [COLORS["band"], COLORS["price"]], COLORS["muted"]),
            off=rows["skill_pct"] < left,
            left=left,
            text=rows["skill_pct"].map("◄ {:.0f}%".format),
        )
        scale = alt.Scale(domain=[1.05 * left, 1.1 * right], nice=False)
        x = alt.X("skill_pct:Q", title="lower pinball loss, %", scale=scale, axis=alt.Axis(tickCount=5))
        base = alt.Chart(rows).encode(
            y=_rows("family", families, named=not panels), color=alt.Color("color:N", scale=None)
        )
        inside = base.transform_filter("!datum.off")
        interval = inside.mark_rule(strokeWidth=2, clip=True).encode(
            x=alt.X("skill_pct_low:Q", scale=scale, title="lower pinball loss, %"), x2="skill_pct_high:Q"
        )
        dot = inside.mark_circle(size=55, opacity=1).encode(x=x)
        cut = (
            base.transform_filter("datum.off")
            .mark_text(align="left")
            .encode(x=alt.X("left:Q", scale=scale), text="text:N")
        )
        naive = board["better_naive"].mode().iloc[0]
        panels.append(
            alt.layer(rule_at(0, vertical=True), interval, dot, cut).properties(
                width=PANEL, height=24 * len(families), title=_panel_title(f"{horizon}, over {naive}")
            )
        )
    first = min(board["first_origin"].min() for board in boards.values())
    last = max(board["last_origin"].max() for board in boards.values())
    return _side_by_side(
        path,
        panels,
        f"Skill over the better naive: its 90% interval lies above zero in {certain} of "
        f"{sum(len(board) for board in boards.values())} cases, origins {first} to {last}",
        ["Dot: skill. Line: its 90% interval. Orange: the interval lies above zero. ◄ lies further left than shown."],
    )


def group_importance_figure(path: Path, importance: pd.DataFrame) -> Path:
    """Increase of pinball loss with a permuted feature group, one panel per horizon and one bar per family, as a PNG.

    Args:
        importance: rows of tasks.training.importance.grouped_permutation with ``horizon`` and ``family``. A bar is
            the mean over the folds, its whisker two standard errors; a far longer one is cut off, with
            its figure as text.
    """
    import altair as alt

    figures = ["increase_pct", "spread_pct", "folds"]
    importance = importance.astype(dict.fromkeys(figures, "float64"))  # a family without a figure makes them objects
    families = list(dict.fromkeys(importance["family"]))
    groups = list(importance.groupby("group")["increase_pct"].median().sort_values(ascending=False).index)
    error = 2 * importance["spread_pct"] / np.sqrt(importance["folds"])
    rows = importance.assign(low=importance["increase_pct"] - error, high=importance["increase_pct"] + error, zero=0.0)
    certain = int((rows["low"] > 0).sum())
    colors = alt.Scale(domain=families, range=[COLORS[name] for name in (*LINE_COLORS, *LINE_COLORS)[: len(families)]])
    panels: list[Any] = []
    for horizon in dict.fromkeys(importance["horizon"]):
        part = rows[rows["horizon"] == horizon]
        right = max(0.1, 2.5 * float(np.nanquantile(part["increase_pct"].abs(), 0.85)))
        part = part.assign(
            off=part["increase_pct"] > right,
            shown=part["increase_pct"].clip(upper=right),
            low=part["low"].clip(-0.75 * right, right),
            high=part["high"].clip(-0.75 * right, right),
            text=part["increase_pct"].map("{:.1f}% ►".format),
        )
        scale = alt.Scale(domain=[-0.8 * right, 1.05 * right], nice=False)
        x = alt.X("shown:Q", title="higher pinball loss, %", scale=scale, axis=alt.Axis(tickCount=5))
        base = alt.Chart(part).encode(
            y=_rows("group", groups, named=not panels), yOffset=alt.YOffset("family:N", sort=families)
        )
        bar = base.mark_bar(opacity=0.85).encode(
            x=x,
            x2="zero:Q",
            color=alt.Color("family:N", scale=colors, legend=None if panels else alt.Legend(orient="top")),
        )
        whisker = base.transform_filter("!datum.off").mark_rule(color=COLORS["ink"]).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q"
        )  # fmt: skip
        cut = base.transform_filter("datum.off").mark_text(align="right", color="white", fontSize=9).encode(
            x=alt.X("shown:Q", scale=scale), text="text:N"
        )  # fmt: skip
        panels.append(
            alt.layer(rule_at(0, vertical=True), bar, whisker, cut).properties(
                width=PANEL, height=30 * len(groups), title=_panel_title(horizon)
            )
        )
    return _side_by_side(
        path,
        panels,
        f"What a forecast loses without what a group of features says: above zero by two standard errors in {certain} "
        f"of {len(importance)} cases",
        ["Bar: mean over the folds. Line: two standard errors. ► is longer than shown."],
    )


def _rows(field: str, order: Sequence[str], *, named: bool) -> Any:
    """A row per name, the same in every panel; the names stand at the first."""
    import altair as alt

    axis = alt.Axis(grid=True, labelLimit=240, labels=named, ticks=False, domain=False)
    return alt.Y(f"{field}:N", sort=list(order), title=None, scale=alt.Scale(domain=list(order)), axis=axis)


def _panel_title(text: str) -> dict[str, Any]:
    return {"text": text, "fontSize": 12, "offset": 6, "anchor": "start"}


def _side_by_side(path: Path, panels: Sequence[Any], title: str, lines: Sequence[str]) -> Path:
    import altair as alt

    return write_picture(path, alt.hconcat(*panels).to_dict(), title, lines)


def _span(oofs: Mapping[str, pd.DataFrame]) -> tuple[pd.Timestamp, pd.Timestamp]:
    return min(oof["date"].min() for oof in oofs.values()), max(oof["date"].max() for oof in oofs.values())
