"""Calibration from out-of-fold forecasts: each quantile is moved by what past forecasts missed it by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.models.forecaster import column, horizon_scale

FULL_TRUST = 20  # independent past outcomes at which half of the measured correction is applied


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
