"""Moving-block bootstrap: intervals for figures of overlapping forecasts.

Blocks wrap from the last origin to the first (circular: Politis and Romano 1992). Otherwise the first and last
origins are in fewer blocks than the others: at twelve months, with twelve blocks, two years would count half.
"""

from __future__ import annotations

import numpy as np

REPLICATES = 2000
SEED = 20260101
INTERVAL = 0.9  # share of replicates between the bounds


def block_length(rows: int, *, overlap: int) -> int:
    """Origins per block: at least the number whose targets overlap, and n^(1/3) for slow swings of volatility."""
    return max(overlap, int(np.ceil(rows ** (1 / 3))))


def resampled_rows(rows: int, *, block: int, replicates: int = REPLICATES, seed: int = SEED) -> np.ndarray:
    """Row numbers, replicates x rows: blocks of ``block`` neighbors from random starts (Kuensch 1989), circular.

    The last block is cut so that each replicate has as many rows as the data.
    """
    starts = _starts(rows, block, replicates, seed)
    return ((starts[:, :, None] + np.arange(block)) % rows).reshape(replicates, -1)[:, :rows]


def resampled_means(values: np.ndarray, *, block: int, replicates: int = REPLICATES, seed: int = SEED) -> np.ndarray:
    """Column means of each replicate of ``resampled_rows``, replicates x columns, from running sums."""
    rows = len(values)
    starts = _starts(rows, block, replicates, seed)
    around = np.concatenate([values, values[:block]])
    sums = np.vstack([np.zeros(values.shape[1]), np.cumsum(around, axis=0)])
    ends = starts + block
    ends[:, -1] -= starts.shape[1] * block - rows
    return (sums[ends] - sums[starts]).sum(axis=1) / rows


def bounds(replicated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 90% percentile interval over the first axis; missing where any replicate is."""
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(replicated, [tail, 1 - tail], axis=0)
    return low, high


def _starts(rows: int, block: int, replicates: int, seed: int) -> np.ndarray:
    block_count = -(-rows // block)
    return np.random.default_rng(seed).integers(0, rows, size=(replicates, block_count))
