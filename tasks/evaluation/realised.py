"""Realised figures of forecasts whose outcome is known, computed from prices and quantiles alone.

The view ``performance.vw_forecast_performance_tracking`` computes the same in SQL, from the stored errors. The
pre-flight compares both (tasks/gates/parity.py): where they differ, one of them is wrong.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import annual_sharpe, figures, moments
from tasks.quantiles import column

RECORD_OF = ["origin", "replay", "horizon"]


def counted(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes that count: readers were shown the forecast, and a live one was published before its outcome."""
    late = (outcomes["origin"] == "live") & outcomes["published_late"].astype(bool)
    return outcomes[~outcomes["superseded"].astype(bool) & ~late]


def realised_figures(outcomes: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    """One row per origin, replay and horizon: the figures of tasks/evaluation/metrics.py, and the sign's Sharpe ratio.

    Args:
        outcomes: rows of ``performance.forecast_outcomes``.

    Returns:
        ``origin, replay, horizon, forecasts, mape_pct, no_change_mape_pct, mape_skill_pct, bias_cents_lb, coverage_50,
        coverage_80, coverage_90, pinball_log_return, direction_hit_rate, sharpe``.
    """
    rows = []
    for key, part in counted(outcomes).groupby(RECORD_OF, sort=True):
        frame = as_out_of_fold(part, levels)
        means = moments(frame, levels)
        measured = figures(means.mean().to_frame().T, levels).iloc[0]
        # the chance of a higher price is published only where the forecast has a view
        view = frame["direction_probability"].notna().to_numpy()
        moved = float(means.loc[view, "moved"].sum())
        actual = (frame["last_price"] * np.exp(frame["target_log_return"])).to_numpy()
        no_change = 100 * float(np.abs(frame["last_price"].to_numpy() / actual - 1).mean())
        rows.append(
            dict(zip(RECORD_OF, key if isinstance(key, tuple) else (key,), strict=True))
            | {
                "forecasts": len(part),
                "mape_pct": float(measured["mape_pct"]),
                "no_change_mape_pct": no_change,
                "mape_skill_pct": 100 * (1 - float(measured["mape_pct"]) / no_change) if no_change else np.nan,
                "bias_cents_lb": float((frame["last_price"] * np.exp(frame["p50"]) - actual).mean()),
                **{f"coverage_{band}": float(measured[f"coverage_{band}"]) for band in (50, 80, 90)},
                "pinball_log_return": float(measured["pinball_log_return"]),
                "direction_hit_rate": float(means.loc[view, "hit"].sum()) / moved if moved else np.nan,
                "sharpe": phased_sharpe(part),
            }
        )
    return pd.DataFrame(rows, columns=[*RECORD_OF, *FIGURES])


FIGURES = [
    "forecasts",
    "mape_pct",
    "no_change_mape_pct",
    "mape_skill_pct",
    "bias_cents_lb",
    "coverage_50",
    "coverage_80",
    "coverage_90",
    "pinball_log_return",
    "direction_hit_rate",
    "sharpe",
]


def as_out_of_fold(outcomes: pd.DataFrame, levels: tuple[float, ...]) -> pd.DataFrame:
    """Outcomes in the shape of tasks/evaluation/metrics.py, from prices: quantiles and targets are log returns."""
    last = outcomes["last_price"].to_numpy(dtype="float64")
    quantiles = {column(level): np.log(outcomes[column(level)].to_numpy(dtype="float64") / last) for level in levels}
    return pd.DataFrame(
        {
            "date": outcomes["as_of"].to_numpy(),
            "target_date": outcomes["target_date"].to_numpy(),
            "target_log_return": np.log(outcomes["actual_price"].to_numpy(dtype="float64") / last),
            "last_price": last,
            "direction_probability": outcomes["direction_probability"].to_numpy(dtype="float64", na_value=np.nan),
            **quantiles,
        }
    )


def phased_sharpe(outcomes: pd.DataFrame) -> float:
    """The median over start phases of the annual Sharpe ratio of ``sign_return``; one horizon, one origin.

    As many trades as overlap at most are the number of phases; the n-th forecast belongs to phase n modulo it, so that
    the trades of a phase do not overlap. Phases with fewer than two trades, or without any spread, have no ratio.
    """
    ordered = outcomes.sort_values("session_number")
    numbers = ordered["session_number"].to_numpy(dtype="int64")
    ahead = int(ordered["sessions_ahead"].iloc[0])
    overlapping = np.searchsorted(numbers, numbers + ahead, side="left") - np.arange(len(numbers))
    phases = int(overlapping.max())
    returns = ordered["sign_return"].to_numpy(dtype="float64")
    ratios = [float(annual_sharpe(returns[start::phases], sessions=ahead)) for start in range(phases)]
    known = [ratio for ratio in ratios if not np.isnan(ratio)]
    return float(np.median(known)) if known else float("nan")
