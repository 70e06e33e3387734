"""Quantiles: column names, pinball loss, coverage, widening, and the transform from log returns to prices.

This module lies below models and evaluation, so both use the same definitions. Arrays are rows x quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.errors import ModelStoreError

BANDS = {50: ("p25", "p75"), 80: ("p10", "p90"), 90: ("p05", "p95")}
"""The columns that bound each central band, by its share in percent."""
ROUNDING = 1e-9


def column(level: float) -> str:
    """The name of a quantile's column: 0.05 is `p05`."""
    return f"p{round(level * 100):02d}"


def pinball(target: np.ndarray, quantiles: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Quantile loss of each row, averaged over the levels (Koenker and Bassett 1978)."""
    error = target[:, None] - quantiles
    p = np.asarray(levels)
    return np.maximum(p * error, (p - 1) * error).mean(axis=1)


def coverage(target: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Share of targets inside the band, its ends included."""
    return float(((target >= lower) & (target <= upper)).mean())


def price_quantiles(last_price: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Quantiles of the price in cents/lb from those of the log return, one row per origin.

    Exact: a quantile of an increasing function is the function of the quantile.
    """
    return last_price[:, None] * np.exp(quantiles)


def probability_above_zero(quantiles: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """1 - F(0) for rows of quantiles: linear between them, and beyond the outermost along the last piece's slope."""
    out = np.full(len(quantiles), np.nan)
    p = np.asarray(levels)
    for i, row in enumerate(quantiles):
        if np.isnan(row).any():
            continue
        k = int(np.clip(np.searchsorted(row, 0.0) - 1, 0, len(row) - 2))
        width = row[k + 1] - row[k]
        below = p[k] + (0.0 - row[k]) / width * (p[k + 1] - p[k]) if width > 0 else float(row[k] < 0)
        out[i] = 1 - np.clip(below, 0.0, 1.0)
    return out


def widened(quantiles: np.ndarray, levels: tuple[float, ...], log_width: np.ndarray) -> np.ndarray:
    """Quantiles with their distance from the median multiplied by exp(``log_width``), one per row.

    Invariants: the median does not change, and quantiles that did not cross do not cross.
    """
    median = quantiles[:, [levels.index(0.5)]]
    return median + (quantiles - median) * np.exp(log_width)[:, None]


def calibrated(
    quantiles: np.ndarray, levels: tuple[float, ...], calibration: Mapping[str, object] | None
) -> np.ndarray:
    """A new forecast, widened by a stored calibration (``calibrate``).

    Raises:
        ModelStoreError: there is no calibration, or it is for other quantiles.
    """
    if not calibration or calibration["quantiles"] != list(levels):
        raise ModelStoreError(f"no calibration for quantiles {list(levels)}; run `cbi train`")
    return widened(quantiles, levels, np.full(len(quantiles), float(str(calibration["log_width"]))))


def contradiction(higher: float, quantiles: np.ndarray, levels: tuple[float, ...]) -> str | None:
    """How P(higher) contradicts the quantiles of the log return beside it, or None.

    A quantile above zero means P(higher) >= 1 - level; one below zero means P(higher) <= 1 - level. Nothing else is
    checked, so the interpolation between quantiles does not matter. A median of exactly zero says nothing about the
    direction: there, families report the share of past moves that were up.
    """
    if not 0 <= higher <= 1:
        return f"P(higher) is {higher:g}, which is not a probability"
    if quantiles[levels.index(0.5)] == 0:
        return None
    for level, value in zip(levels, quantiles, strict=True):
        least, most = (1 - level, 1.0) if value > 0 else (0.0, 1 - level) if value < 0 else (0.0, 1.0)
        if not least - ROUNDING <= higher <= most + ROUNDING:
            return (
                f"P(higher) is {higher:.1%}, but its own {level:.0%} quantile is a move of {np.expm1(value):+.2%}, so "
                f"that it is {'at least' if value > 0 else 'at most'} {1 - level:.0%}"
            )
    return None
