"""Charts of out-of-fold forecasts: reliability, forecast and outcome, the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tasks.quantiles import BANDS, column, price_quantiles
from tasks.reporting.charts import BAND, PRICE
from tasks.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MUTED = "#8a8f98"
NORMAL_90 = 1.6449  # 90% of a normal distribution is within so many standard deviations


def reliability_figure(
    path: Path, oofs: Mapping[str, pd.DataFrame], levels: tuple[float, ...], sessions: Mapping[str, int], *, step: int
) -> Path:
    """Observed share at or below each quantile against its level, one panel per horizon, as a PNG.

    Args:
        oofs: horizon: scored out-of-fold forecasts of the published model. sessions: horizon: its length. step:
        sessions
            between two origins.

    The gray band shows the range that perfectly calibrated forecasts reach by chance in 90% of cases, for the number of
    independent outcomes (normal approximation of the binomial).
    """
    figure = _figure(width=2.75 * len(oofs), height=3.4)
    grid = np.linspace(0, 1, 101)
    worst = 0.0
    for at, (horizon, oof) in enumerate(oofs.items(), start=1):
        axes = figure.add_subplot(1, len(oofs), at)
        target = oof["target_log_return"].to_numpy()
        observed = np.array([(target <= oof[column(level)].to_numpy()).mean() for level in levels])
        independent = len(oof) / max(1.0, sessions[horizon] / step)
        around = NORMAL_90 * np.sqrt(grid * (1 - grid) / independent)
        axes.fill_between(grid, grid - around, grid + around, color=MUTED, alpha=0.25, linewidth=0, label="chance, 90%")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        axes.plot(levels, observed, color=BAND, linewidth=1.3, marker="o", markersize=4, label="observed")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="level of the quantile")
        axes.set_title(f"{horizon}: {independent:.0f} independent outcomes", fontsize=10)
        axes.grid(alpha=0.25)
        if at == 1:
            axes.set_ylabel("share of outcomes at or below it")
            axes.legend(loc="upper left", frameon=False, fontsize=8)
        worst = max(worst, float(np.abs(observed - np.asarray(levels)).max()))
    first, last = _span(oofs)
    figure.suptitle(
        f"Quantiles were accurate to within {100 * worst:.0f} points, "
        f"{first:%Y-%m} to {last:%Y-%m} (origins not seen in training)",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    return _written(path, figure)


def direction_figure(path: Path, views: Mapping[str, pd.DataFrame], sessions: Mapping[str, int], *, step: int) -> Path:
    """How often the price was higher against the chance that was given, one panel per horizon, as a PNG.

    Args:
        views: horizon: ``chance`` and ``higher`` (0 or 1) of the origins with a view. sessions, step: as above.

    Each dot is a fifth of the origins; its bar is the range of chance in 90% of cases, for independent outcomes.
    """
    figure = _figure(width=2.75 * len(views), height=3.4)
    for at, (horizon, view) in enumerate(views.items(), start=1):
        axes = figure.add_subplot(1, len(views), at)
        fifths = view.sort_values("chance").reset_index(drop=True)
        fifths = fifths.groupby(np.minimum(4, fifths.index * 5 // max(1, len(fifths)))).agg(
            chance=("chance", "mean"), higher=("higher", "mean"), origins=("higher", "size")
        )
        independent = np.maximum(1.0, fifths["origins"] / max(1.0, sessions[horizon] / step))
        around = NORMAL_90 * np.sqrt(fifths["chance"] * (1 - fifths["chance"]) / independent)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        axes.errorbar(
            fifths["chance"], fifths["chance"], yerr=around, fmt="none", ecolor=MUTED, alpha=0.6, label="chance, 90%"
        )
        axes.plot(fifths["chance"], fifths["higher"], color=BAND, marker="o", markersize=4, label="observed")
        axes.set(xlim=(0.2, 0.8), ylim=(0, 1), xlabel="chance that the price is higher")
        axes.set_title(f"{horizon}: {len(view)} origins with a view", fontsize=10)
        axes.grid(alpha=0.25)
        if at == 1:
            axes.set_ylabel("share that was higher")
            axes.legend(loc="upper left", frameon=False, fontsize=8)
    return _written(path, figure)


def forecast_and_outcome_figure(path: Path, oofs: Mapping[str, pd.DataFrame], levels: tuple[float, ...]) -> Path:
    """The forecast bands of each date and the actual price, one panel per horizon, as a PNG."""
    figure = _figure(width=11, height=2.25 * len(oofs) + 0.6)
    names = [column(level) for level in levels]
    for at, (horizon, oof) in enumerate(oofs.items(), start=1):
        axes = figure.add_subplot(len(oofs), 1, at)
        ordered = oof.sort_values("target_date")
        last = ordered["last_price"].to_numpy()
        prices = pd.DataFrame(price_quantiles(last, ordered[names].to_numpy()), columns=names)
        actual = last * np.exp(ordered["target_log_return"].to_numpy())
        dates = ordered["target_date"].to_numpy()
        for (band, (low, high)), shade in zip(BANDS.items(), (0.4, 0.25, 0.15), strict=True):
            axes.fill_between(
                dates, prices[low], prices[high], color=BAND, alpha=shade, linewidth=0, label=f"{band}% band"
            )
        axes.plot(dates, actual, color=PRICE, linewidth=1.1, label="actual ZL close")
        low, high = BANDS[80]
        covered = ((actual >= prices[low]) & (actual <= prices[high])).mean()
        axes.set_title(
            f"{horizon} ahead: the 80% band covered {covered:.0%} of {len(ordered)} outcomes", loc="left", fontsize=10
        )
        axes.set_ylabel("cents per pound")
        axes.grid(alpha=0.25)
        axes.margins(x=0.01)
        if at == 1:
            axes.legend(loc="upper left", frameon=False, ncols=4, fontsize=8)
    axes.set_xlabel("date that was forecast; CBOT ZL front month, prices: Yahoo Finance ZL=F")
    return _written(path, figure)


def leaderboard_figure(path: Path, boards: Mapping[str, pd.DataFrame]) -> Path:
    """Skill over the better naive with its 90% interval, one panel per horizon and one row per family, as a PNG.

    Args:
        boards: horizon: tasks.evaluation.comparison.leaderboard. A family with an interval above zero is colored.
            A value far below zero is cut off at the left, with its figure as text.
    """
    families = list(pd.concat(list(boards.values())).groupby("family")["skill_pct"].median().sort_values().index)
    figure = _figure(width=2.6 * len(boards) + 1.2, height=0.36 * len(families) + 1.7)
    certain = 0
    for at, (horizon, board) in enumerate(boards.items(), start=1):
        axes = figure.add_subplot(1, len(boards), at)
        rows = board.set_index("family").reindex(families)
        highest = np.nanmax([1.0, *rows["skill_pct_high"].dropna(), *rows["skill_pct"].dropna()])
        left = -1.2 * highest
        for y, (_, row) in enumerate(rows.iterrows()):
            if pd.isna(row["skill_pct"]):
                continue
            sure = bool(row["skill_pct_low"] > 0)
            certain += sure
            colour = BAND if sure else PRICE if row["skill_pct"] >= 0 else MUTED
            if row["skill_pct"] < left:
                axes.text(left, y, f"◂ {row['skill_pct']:.0f}%", va="center", fontsize=8, color=colour)
                continue
            axes.plot([row["skill_pct_low"], row["skill_pct_high"]], [y, y], color=colour, linewidth=1.6)
            axes.plot(row["skill_pct"], y, marker="o", markersize=4.5, color=colour)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(left * 1.05, highest * 1.1)
        axes.set_ylim(-0.6, len(families) - 0.4)  # the same in every panel: one row per family
        axes.set_yticks(range(len(families)), families if at == 1 else [""] * len(families), fontsize=9)
        naive = board["better_naive"].mode().iloc[0]
        axes.set_title(f"{horizon}, over {naive}", fontsize=10)
        axes.set_xlabel("lower pinball loss, %", fontsize=9)
        axes.grid(axis="x", alpha=0.25)
    first = min(board["first_origin"].min() for board in boards.values())
    last = max(board["last_origin"].max() for board in boards.values())
    figure.suptitle(
        f"Skill over the better naive: its 90% interval lies above zero in {certain} of "
        f"{sum(len(board) for board in boards.values())} cases, origins {first} to {last}",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    return _written(path, figure)


def group_importance_figure(path: Path, importance: pd.DataFrame) -> Path:
    """Increase of pinball loss with a permuted feature group, one panel per horizon and one bar per family, as a PNG.

    Args:
        importance: rows of tasks.training.importance.grouped_permutation with ``horizon`` and ``family``. A bar is
            the mean over the folds, its whisker two standard errors; a far longer one is cut off, with
            its figure as text.
    """
    horizons, families = list(dict.fromkeys(importance["horizon"])), list(dict.fromkeys(importance["family"]))
    groups = list(importance.groupby("group")["increase_pct"].median().sort_values().index)
    figure = _figure(width=2.6 * len(horizons) + 1.4, height=0.42 * len(groups) + 1.9)
    certain = 0
    for at, horizon in enumerate(horizons, start=1):
        axes = figure.add_subplot(1, len(horizons), at)
        part = importance[importance["horizon"] == horizon]
        right = max(0.1, 2.5 * float(np.nanquantile(part["increase_pct"].abs(), 0.85)))
        for nth, family in enumerate(families):
            colour = (BAND, PRICE, MUTED)[nth % 3]
            for _, row in part[part["family"] == family].iterrows():
                y = groups.index(row["group"]) + 0.2 - 0.4 * nth / max(1, len(families) - 1)
                error = 2 * row["spread_pct"] / np.sqrt(row["folds"])
                certain += bool(row["increase_pct"] - error > 0)
                label = family if row["group"] == part[part["family"] == family]["group"].iloc[0] else None
                axes.barh(y, min(row["increase_pct"], right), height=0.34, color=colour, alpha=0.85, label=label)
                if row["increase_pct"] > right:
                    axes.text(
                        right, y, f"{row['increase_pct']:.1f}% ▸", va="center", ha="right", fontsize=8, color="white"
                    )
                    continue
                axes.plot(
                    np.clip([row["increase_pct"] - error, row["increase_pct"] + error], -0.75 * right, right),
                    [y, y],
                    color="black",
                    linewidth=0.8,
                )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(-0.8 * right, 1.05 * right)
        axes.set_ylim(-0.6, len(groups) - 0.4)
        axes.set_yticks(range(len(groups)), groups if at == 1 else [""] * len(groups), fontsize=9)
        axes.set_title(horizon, fontsize=10)
        axes.set_xlabel("higher pinball loss, %", fontsize=9)
        axes.grid(axis="x", alpha=0.25)
        if at == 1:
            axes.legend(loc="lower right", frameon=False, fontsize=8)
    figure.suptitle(
        f"What a forecast loses without what a group of features says: above zero by two standard errors in {certain} "
        f"of {len(importance)} cases",
        x=0.01,
        ha="left",
        fontsize=12,
    )
    return _written(path, figure)


def _figure(*, width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _span(oofs: Mapping[str, pd.DataFrame]) -> tuple[pd.Timestamp, pd.Timestamp]:
    return min(oof["date"].min() for oof in oofs.values()), max(oof["date"].max() for oof in oofs.values())


def _written(path: Path, figure: Figure) -> Path:
    return write_atomically(
        path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None})
    )
