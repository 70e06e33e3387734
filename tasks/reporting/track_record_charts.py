"""Charts of the track record: bands against what happened, and rolling coverage and skill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import SESSIONS_A_YEAR
from tasks.quantiles import BANDS
from tasks.reporting.drawing import COLORS, FAN, bands, dates, rule_at, write_picture

NORMAL_90 = 1.6449  # 90% of a normal distribution is within so many standard deviations
SHARES = ("muted", "band", "price")
"""The colors of the bands' coverage, the narrowest first."""
WINDOW_HORIZONS = 4
"""A window is a year, or so many horizons where that is longer: with fewer outcomes that do not overlap, a share of
them says little."""


def window_sessions(sessions_ahead: int) -> int:
    """The length of a rolling window in CBOT sessions."""
    return max(SESSIONS_A_YEAR, WINDOW_HORIZONS * sessions_ahead)


def rolling_record(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Coverage and skill over the window before each target date; one horizon of one origin.

    Args:
        outcomes: rows of ``performance.forecast_outcomes`` that count (tasks/evaluation/realised.py).

    Returns:
        by ``target_date``: ``coverage_50``, ``coverage_80``, ``coverage_90`` (shares), ``mape_skill_pct`` over no
        change, ``pinball_skill_pct`` over the baseline (of the forecasts that have one), ``independent`` (outcomes of
        the window that do not overlap). Missing until a whole window of outcomes is known.
    """
    ordered = outcomes.sort_values("session_number").reset_index(drop=True)
    numbers = ordered["session_number"].to_numpy(dtype="int64")
    ahead = int(ordered["sessions_ahead"].iloc[0])
    window = window_sessions(ahead)
    first = np.searchsorted(numbers, numbers - window, side="right")
    compared = ordered["baseline_pinball_log_return"].notna()
    columns = {
        **{f"coverage_{band}": ordered[f"inside_{band}"].astype("float64") for band in BANDS},
        "own": ordered["absolute_percentage_error"],
        "other": ordered["no_change_absolute_percentage_error"],
        "own_pinball": ordered["pinball_log_return"].where(compared, 0.0),
        "baseline": ordered["baseline_pinball_log_return"].fillna(0.0),
    }
    sums = {
        name: np.concatenate([[0.0], values.astype("float64").cumsum().to_numpy()]) for name, values in columns.items()
    }
    places = np.arange(len(ordered))
    total = {name: values[places + 1] - values[first] for name, values in sums.items()}
    rows = places + 1 - first
    whole = numbers - numbers[0] >= window - 1
    baseline = np.where(total["baseline"] > 0, total["baseline"], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        rolled = pd.DataFrame(
            {
                **{f"coverage_{band}": total[f"coverage_{band}"] / rows for band in BANDS},
                "mape_skill_pct": 100 * (1 - total["own"] / total["other"]),
                "pinball_skill_pct": 100 * (1 - total["own_pinball"] / baseline),
            }
        )
    rolled.loc[~whole] = np.nan
    return rolled.assign(target_date=ordered["target_date"], independent=window / ahead).set_index("target_date")


def track_record_figure(path: Path, outcomes: pd.DataFrame, *, horizon: str, source: str) -> Path:
    """Bands against outcomes, rolling coverage, and rolling skill of one horizon, as a PNG.

    Args:
        outcomes: as for ``rolling_record``. source: what the forecasts are, for the last line.
    """
    import altair as alt

    ordered = outcomes.sort_values("target_date")
    rolled = rolling_record(outcomes)
    years = window_sessions(int(ordered["sessions_ahead"].iloc[0])) / SESSIONS_A_YEAR
    window = f"{years:.0f} year{'s' if years > 1 else ''}"
    x = dates("target_date", ordered["target_date"])
    x = x.scale(domain=[f"{day:%Y-%m-%d}" for day in (ordered["target_date"].min(), ordered["target_date"].max())])
    base = alt.Chart(ordered[["target_date", "actual_price", *FAN]])
    price = alt.Y("actual_price:Q", scale=alt.Scale(zero=False))
    prices = [
        *bands(ordered[["target_date", *FAN]], x, title="cents/lb"),
        base.mark_line(color=COLORS["band"], strokeWidth=0.9, strokeDash=[5, 3]).encode(x=x, y="p50:Q"),
        base.mark_line(color=COLORS["price"], strokeWidth=1.3).encode(x=x, y=price),
    ]
    independent = float(rolled["independent"].iloc[0])
    around = NORMAL_90 * np.sqrt(0.8 * 0.2 / independent)
    chance = pd.DataFrame({"low": [100 * (0.8 - around)], "high": [min(100.0, 100 * (0.8 + around))]})
    shares = _lines(
        rolled.reset_index(),
        {f"coverage_{band}": (f"{band}% band", color) for band, color in zip(BANDS, SHARES, strict=True)},
        x,
        unit=f"inside, % of {window}",
        factor=100.0,
        scale=alt.Scale(domain=[0, 100]),
    )
    luck = alt.Chart(chance).mark_rect(color=COLORS["band"], opacity=0.12).encode(
        y=alt.Y("low:Q", scale=alt.Scale(domain=[0, 100])), y2="high:Q"
    )  # fmt: skip
    skills = _lines(
        rolled.reset_index(),
        {
            "mape_skill_pct": ("error, less than no change's", "price"),
            "pinball_skill_pct": ("pinball loss, less than the baseline's", "band"),
        },
        x,
        unit=f"skill, %, over {window}",
    )
    error = float(100 * ordered["absolute_percentage_error"].mean())
    plain = float(100 * ordered["no_change_absolute_percentage_error"].mean())
    first, last = ordered["as_of"].min(), ordered["as_of"].max()
    panels = [
        alt.layer(*prices).properties(width=980, height=300),
        alt.layer(luck, *(rule_at(band) for band in BANDS), shares).properties(width=980, height=130),
        alt.layer(rule_at(0), skills).properties(width=980, height=130),
    ]
    return write_picture(
        path,
        alt.vconcat(*panels).resolve_scale(color="independent", strokeDash="independent").to_dict(),
        f"{horizon} ahead: the 80% band covered {ordered['inside_80'].mean():.0%} of {len(ordered)} outcomes; "
        f"mean error {error:.1f}%, of no change {plain:.1f}%",
        [
            "Top: bands of 50, 80 and 90% at the date that was forecast; dashed: median; line: what happened, CBOT ZL "
            "front month. Middle: shaded is where 90% of sound 80% bands are by chance.",
            f"{source}, as of {first:%Y-%m-%d} to {last:%Y-%m-%d}; prices: Yahoo Finance ZL=F",
        ],
    )


def _lines(
    frame: pd.DataFrame,
    columns: dict[str, tuple[str, str]],
    x: Any,
    *,
    unit: str,
    factor: float = 1.0,
    scale: Any = None,
) -> Any:
    """One line per column that has values; ``columns`` gives the title and the color of each."""
    import altair as alt

    columns = {name: named for name, named in columns.items() if frame[name].notna().any()}
    titles = [title for title, _ in columns.values()]
    long = frame.melt("target_date", list(columns), "line", "value").dropna(subset="value")
    long = long.assign(
        value=factor * long["value"], line=long["line"].map({name: t for name, (t, _) in columns.items()})
    )
    colors = alt.Scale(domain=titles, range=[COLORS[color] for _, color in columns.values()])
    return (
        alt.Chart(long)
        .mark_line(strokeWidth=1.3)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=unit, scale=scale or alt.Scale()),
            color=alt.Color("line:N", scale=colors, legend=alt.Legend(orient="top", offset=2)),
        )
    )
