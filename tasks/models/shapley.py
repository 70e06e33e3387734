"""Shapley values of a model's output, from the `shap` library: one function per kind of model.

The only module that imports `shap`, which takes seconds: each function imports it when it is called. Every function
returns rows x inputs and the value where the inputs are at their reference; the two add up to the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

SEED = 20260101
GRADIENT_SAMPLES = 200
"""Points between reference and row at which a net's gradient is taken; the sum misses by their sampling error."""


def tree_values(booster: Any, inputs: np.ndarray, output: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact values of boosted trees (Lundberg et al. 2020), by the paths that the training rows took.

    Args:
        booster: of LightGBM or XGBoost. inputs: rows x columns; missing values are allowed. output: which one, where
            the booster has several.
    """
    import shap

    explainer = shap.TreeExplainer(booster)
    values = np.asarray(explainer.shap_values(inputs), dtype="float64")
    expected = np.atleast_1d(np.asarray(explainer.expected_value, dtype="float64"))
    one = values if output is None else values[:, :, output]
    return one, np.full(len(inputs), expected[output or 0])


def linear_values(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Exact values of ``inputs @ weights``, rows x columns. The reference is an input of 0, where the output is 0."""
    import shap

    slopes = np.asarray(weights, dtype="float64")
    explainer = shap.LinearExplainer((slopes, 0.0), np.zeros((1, len(slopes))))
    return np.asarray(explainer.shap_values(np.asarray(inputs, dtype="float64")))


def gradient_values(module: torch.nn.Module, window: torch.Tensor, reference: torch.Tensor) -> np.ndarray:
    """Expected gradients (Erion et al. 2021) from one reference to one window, inputs x outputs.

    Args:
        module: from windows to rows x outputs. window, reference: 1 x the inputs' shape.

    They add up to the difference of the outputs only up to the sampling error of ``GRADIENT_SAMPLES`` points.
    """
    import shap

    drawn = np.random.get_state()  # shap seeds numpy's own generator
    try:
        explainer = shap.GradientExplainer(module, reference)
        return np.asarray(explainer.shap_values(window, nsamples=GRADIENT_SAMPLES, rseed=SEED % 2**31))[0]
    finally:
        np.random.set_state(drawn)


def permutation_values(
    output: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values of any function, from random orders in which the inputs leave the reference (Castro et al. 2009).

    Exact sums; the shares are exact where the inputs do not interact. One input needs no order: it has all of the
    difference.
    """
    base = np.full(len(rows), float(output(reference[None, :])[0]))
    if rows.shape[1] == 1:
        return (output(rows) - base)[:, None], base
    import shap

    explainer = shap.PermutationExplainer(output, reference[None, :], seed=SEED)
    orders = 10 * (2 * rows.shape[1] + 1)
    return np.asarray(explainer(rows, max_evals=orders, silent=True).values), base
