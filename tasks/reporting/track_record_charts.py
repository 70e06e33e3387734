"""Charts of the track record: bands against what happened, and rolling coverage and skill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import SESSIONS_A_YEAR
from tasks.quantiles import BANDS
from tasks.reporting.charts import BAND, PRICE
from tasks.storage.files import write_atomically

MUTED = "#8a8f98"
NORMAL_90 = 1.6449  # 90% of a normal distribution is within so many standard deviations
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = outcomes.sort_values("target_date")
    dates, rolled = ordered["target_date"], rolling_record(outcomes)
    years = window_sessions(int(ordered["sessions_ahead"].iloc[0])) / SESSIONS_A_YEAR
    window = f"{years:.0f} year{'s' if years > 1 else ''}"
    figure = Figure(figsize=(11, 8.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    prices, shares, skills = figure.subplots(3, 1, sharex=True, height_ratios=[2.2, 1, 1])
    for (band, (low, high)), shade in zip(BANDS.items(), (0.4, 0.25, 0.15), strict=True):
        prices.fill_between(
            ordered["target_date"],
            ordered[low],
            ordered[high],
            color=BAND,
            alpha=shade,
            linewidth=0,
            label=f"{band}% band",
        )
    prices.plot(ordered["target_date"], ordered["p50"], color=BAND, linewidth=0.9, linestyle="--", label="median")
    prices.plot(dates, ordered["actual_price"], color=PRICE, linewidth=1.2, label="what happened")
    prices.set_ylabel("CBOT ZL front month,\ncents per pound")
    prices.legend(loc="upper left", frameon=False, ncols=5, fontsize=9)
    prices.set_ylim(top=1.12 * float(max(ordered["p95"].max(), ordered["actual_price"].max())))
    independent = float(rolled["independent"].iloc[0])
    for band, colour in zip(BANDS, (MUTED, BAND, PRICE), strict=True):
        level = band / 100
        chance = NORMAL_90 * np.sqrt(level * (1 - level) / independent)
        if band == 80:
            shares.axhspan(
                100 * (level - chance), min(100, 100 * (level + chance)), color=BAND, alpha=0.12, linewidth=0
            )
        shares.axhline(band, color=colour, linewidth=0.7, linestyle=":")
        shares.plot(rolled.index, 100 * rolled[f"coverage_{band}"], color=colour, linewidth=1.2, label=f"{band}% band")
    shares.set_ylim(0, 102)
    shares.set_ylabel(f"outcomes inside,\n% of {window}")
    shares.legend(loc="lower left", frameon=False, ncols=3, fontsize=9)
    skills.axhline(0, color="black", linewidth=0.8)
    skills.plot(
        rolled.index, rolled["mape_skill_pct"], color=PRICE, linewidth=1.2, label="error, less than no change's"
    )
    if rolled["pinball_skill_pct"].notna().any():
        label = "pinball loss, less than the baseline's"
        skills.plot(rolled.index, rolled["pinball_skill_pct"], color=BAND, linewidth=1.2, label=label)
    lowest, highest = skills.get_ylim()
    skills.set_ylim(lowest - 0.25 * (highest - lowest), highest)  # room for the legend
    skills.set_ylabel(f"skill, %,\nover {window}")
    skills.legend(loc="lower left", frameon=False, ncols=2, fontsize=9)
    for axes in (prices, shares, skills):
        axes.grid(alpha=0.25)
        axes.margins(x=0.01)
    error = float(100 * ordered["absolute_percentage_error"].mean())
    plain = float(100 * ordered["no_change_absolute_percentage_error"].mean())
    figure.suptitle(
        f"{horizon} ahead: the 80% band covered {ordered['inside_80'].mean():.0%} of {len(ordered)} outcomes; "
        f"mean error {error:.1f}%, of no change {plain:.1f}%",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    first, last = ordered["as_of"].min(), ordered["as_of"].max()
    skills.set_xlabel(
        f"date that was forecast; {source}, as of {first:%Y-%m-%d} to {last:%Y-%m-%d}; prices: Yahoo Finance ZL=F.\n"
        "Shaded: where 90% of sound 80% bands are by chance",
        fontsize=9,
    )
    return write_atomically(
        path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None})
    )
