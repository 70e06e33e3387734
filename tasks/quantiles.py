"""Quantiles: their columns, their loss, bands around the median, and the way from log returns to prices.

Below models and evaluation, so that both speak of the same quantiles. Arrays are rows x quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.errors import ModelStoreError

BANDS = {50: ("p25", "p75"), 80: ("p10", "p90"), 90: ("p05", "p95")}
"""The columns that bound each central band, by its share in percent."""


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
    """Quantiles of the price in cents/lb from those of the log return, a row an origin.

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
    """Quantiles with their distance from the median multiplied by exp(``log_width``, a row each).

    Invariants: the median stays, and quantiles that did not cross do not cross.
    """
    median = quantiles[:, [levels.index(0.5)]]
    return median + (quantiles - median) * np.exp(log_width)[:, None]


def calibrated(quantiles: np.ndarray, levels: tuple[float, ...], held: Mapping[str, object] | None) -> np.ndarray:
    """A new forecast moved by a stored calibration (``calibrate``).

    Raises:
        ModelStoreError: there is none, or it is of other quantiles.
    """
    if not held or held["quantiles"] != list(levels):
        raise ModelStoreError(f"no calibration for quantiles {list(levels)}; run `python -m flows.training`")
    return widened(quantiles, levels, np.full(len(quantiles), float(str(held["log_width"]))))
