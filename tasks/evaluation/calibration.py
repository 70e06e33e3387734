"""Calibration by the misses of past out-of-fold forecasts: static, fold by fold, and adaptive.

Static (``calibrate_out_of_fold``): each quantile is shifted by its misses in earlier folds. Adaptive
(``adapt_out_of_fold``): the bands change from origin to origin, wider after misses and narrower after hits. Coverage
recovers after a break as soon as outcomes are known: at once at one week, a year later at twelve months.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.models.forecaster import horizon_scale
from tasks.quantiles import BANDS, column, coverage, pinball, widened

# Step of the log width per independent outcome: +0.018 if all bands missed, -0.007 if all contained it. Over
# 2010-2018 0.02, 0.05 and 0.1 cost the ensemble 0.1, 0.2 and 0.4% of pinball loss at one week, in that order at most
# horizons; 0.05 is the smallest that brings back most of what one-week coverage loses after a break.
STEP = 0.05
FULL_TRUST = 20  # independent past outcomes at which half of the correction is applied


def corrections(scores: np.ndarray, levels: tuple[float, ...], *, origins_a_horizon: float) -> np.ndarray:
    """Shift of each quantile, in units of the row's scale.

    Args:
        scores: past outcomes less their forecast quantiles, over the scale; outcomes x quantiles.
        origins_a_horizon: origins whose targets overlap; outcomes divided by it count as independent.

    The empirical quantile of the scores is the split-conformal correction of that quantile (Romano, Patterson and
    Candes 2019, one side at a time). It is shrunk by n / (n + 20), n the number of independent outcomes: at twelve
    months three years of weekly origins are three outcomes. The median is left alone.
    """
    if not len(scores):
        return np.zeros(len(levels))
    independent = len(scores) / max(1.0, origins_a_horizon)
    shift = np.array([np.quantile(scores[:, i], level) for i, level in enumerate(levels)])
    shift[[i for i, level in enumerate(levels) if level == 0.5]] = 0.0
    return shift * independent / (independent + FULL_TRUST)


def apply(quantiles: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Shifted quantiles, sorted so that they never cross."""
    return np.sort(quantiles + scale[:, None] * shift, axis=1)


def calibrate_out_of_fold(
    oof: pd.DataFrame, features: pd.DataFrame, levels: tuple[float, ...], *, horizon: int, step: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Calibrate each fold from the folds before it, and the next forecast from all.

    Args:
        oof: out-of-fold forecasts of one family and horizon, warm-up folds included (``fold, date, target_date,
            target_log_return`` and the quantiles). features: the rows of those origins, in the same order.

    Returns:
        the forecasts with calibrated quantiles, and the corrections to apply to a new forecast.

    Invariants: a fold is corrected only by outcomes known before its first origin.
    """
    names = [column(level) for level in levels]
    raw, scale = oof[names].to_numpy(), horizon_scale(features, horizon)
    scores = (oof["target_log_return"].to_numpy()[:, None] - raw) / scale[:, None]
    calibrated = raw.copy()
    for year in sorted(oof["fold"].unique()):
        rows = (oof["fold"] == year).to_numpy()
        known = (oof["target_date"] < oof.loc[rows, "date"].min()).to_numpy()
        shift = corrections(scores[known], levels, origins_a_horizon=horizon / step)
        calibrated[rows] = apply(raw[rows], scale[rows], shift)
    final = corrections(scores, levels, origins_a_horizon=horizon / step)
    return oof.assign(**dict(zip(names, calibrated.T, strict=True))), final


def adapt_out_of_fold(
    oof: pd.DataFrame, levels: tuple[float, ...], *, horizon: int, step: int
) -> tuple[pd.DataFrame, float]:
    """Forecasts with adaptive bands, and the log width for the next forecast after all outcomes of the frame.

    Online conformal calibration (Gibbs and Candes 2021) of one shared log width, moved by the quantiles' gradient
    (the quantile tracker of Angelopoulos, Candes and Tibshirani 2023). An outcome outside a quantile that should have
    contained it widens the bands, one inside narrows them; they balance where each level is met. Outcomes with
    overlapping targets are not independent, so that an outcome counts by its independent share.

    Args:
        oof: out-of-fold forecasts of one family and horizon, warm-up folds included, one row per date.
        horizon: sessions to the target. step: sessions between two origins.

    Invariants: the bands of an origin depend on outcomes whose target date is not after it; the closing price of a
    session is known at its as-of instant.
    """
    ordered = oof.sort_values("date")
    names = [column(level) for level in levels]
    raw, target = ordered[names].to_numpy(dtype="float64"), ordered["target_log_return"].to_numpy()
    side = np.sign(np.asarray(levels) - 0.5)
    rate = STEP * min(1.0, step / horizon)
    issued, log_width = raw.copy(), 0.0
    by_target = np.argsort(ordered["target_date"].to_numpy(), kind="stable")
    known = np.searchsorted(ordered["target_date"].to_numpy()[by_target], ordered["date"].to_numpy(), side="right")
    processed = 0
    for row, until in enumerate([*known, len(ordered)]):
        for past in by_target[processed:until]:
            if not np.isnan(issued[past]).any() and not np.isnan(target[past]):
                missed = np.asarray(levels) - (target[past] <= issued[past])
                log_width += rate * float((side * missed).sum() / np.abs(side).sum())
        processed = max(processed, until)
        if row < len(ordered):
            issued[row] = widened(raw[[row]], levels, np.array([log_width]))[0]
    adapted = ordered.assign(**dict(zip(names, issued.T, strict=True)))
    return adapted.loc[oof.index], log_width


def calibrate(
    oof: pd.DataFrame, levels: tuple[float, ...], *, horizon: int, step: int
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Forecasts with adaptive bands, and what ``calibrated`` needs for a new one. Without rows nothing changes.

    Adaptive alone: static corrections cost the ensemble 0.3 to 2.2% of its pinball loss, adaptive bands 0 to 0.3%
    (docs/decisions/0010-scale-and-ensemble.md).
    """
    adapted, log_width = adapt_out_of_fold(oof, levels, horizon=horizon, step=step) if len(oof) else (oof, 0.0)
    return adapted, {"quantiles": list(levels), "log_width": log_width}


def static_and_adaptive(
    oof: pd.DataFrame,
    features: pd.DataFrame,
    levels: tuple[float, ...],
    *,
    horizon: int,
    step: int,
    first: str,
    last: str,
) -> pd.DataFrame:
    """Coverage and pinball loss of origins from ``first`` to ``last``, one row each: uncalibrated, static, adaptive.

    Args:
        oof, features: as in ``calibrate_out_of_fold``, from the first warm-up fold on.
    """
    static, _ = calibrate_out_of_fold(oof, features, levels, horizon=horizon, step=step)
    adaptive, _ = adapt_out_of_fold(oof, levels, horizon=horizon, step=step)
    rows = []
    for name, frame in {"uncalibrated": oof, "static": static, "adaptive": adaptive}.items():
        part = frame[frame["date"].between(pd.Timestamp(first), pd.Timestamp(last))]
        target = part["target_log_return"].to_numpy()
        quantiles = part[[column(level) for level in levels]].to_numpy()
        covered = {
            f"coverage_{band}": coverage(target, part[low].to_numpy(), part[high].to_numpy())
            for band, (low, high) in BANDS.items()
        }
        loss = float(pinball(target, quantiles, levels).mean())
        rows.append({"calibration": name, "origins": len(part), **covered, "pinball_log_return": loss})
    return pd.DataFrame(rows)
