"""What a net minimizes, in units of the volatility-scaled log return. An unknown target has no weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch

DIRECTION_SHARPNESS = 2.0  # tanh(2 x): half a standard deviation counts as three quarters of a sure direction


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms beside the quantile loss."""

    huber: float
    direction: float


def horizon_weights(horizons: int, last: float) -> torch.Tensor:
    """1.0 for the shortest horizon, falling evenly to ``last`` for the longest."""
    return torch.linspace(1.0, last, horizons)


def pinball_terms(quantiles: torch.Tensor, target: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Quantile loss (Koenker and Bassett 1978) averaged over the levels, rows x horizons; a NaN target gives 0."""
    error = torch.nan_to_num(target)[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)
    return torch.where(target.isnan(), torch.zeros_like(loss), loss)


def huber_terms(median: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Huber's loss of the median with its corner at one standard deviation; a NaN target gives 0."""
    known = torch.where(target.isnan(), median.detach(), target)
    return torch.nn.functional.huber_loss(median, known, reduction="none", delta=1.0)


def direction_terms(median: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """0 when median and target surely agree in sign, 1 when they surely do not; smooth, unlike the sign itself."""
    agreement = torch.tanh(DIRECTION_SHARPNESS * median) * torch.tanh(DIRECTION_SHARPNESS * torch.nan_to_num(target))
    return torch.where(target.isnan(), torch.zeros_like(median), (1 - agreement) / 2)


def average(terms: torch.Tensor, target: torch.Tensor, rows: torch.Tensor, horizons: torch.Tensor) -> torch.Tensor:
    """Mean over the known targets weighted by ``rows``, then over the horizons that have any, by ``horizons``."""
    weight = rows[:, None] * (~target.isnan()).to(terms.dtype)
    total = weight.sum(dim=0)
    means = (terms * weight).sum(dim=0) / total.clamp_min(torch.finfo(terms.dtype).tiny)
    counted = horizons * (total > 0).to(terms.dtype)
    return (means * counted).sum() / counted.sum().clamp_min(torch.finfo(terms.dtype).tiny)


def training_loss(
    quantiles: torch.Tensor,
    target: torch.Tensor,
    *,
    levels: torch.Tensor,
    rows: torch.Tensor,
    horizons: torch.Tensor,
    weights: LossWeights,
) -> torch.Tensor:
    """Quantile loss of all levels, Huber's of the median, and the direction term.

    Args:
        quantiles: rows x horizons x levels. target: rows x horizons, NaN where not known. rows: one weight per row.
        horizons: one weight per horizon.
    """
    median = quantiles[..., int((levels - 0.5).abs().argmin())]
    terms = (
        pinball_terms(quantiles, target, levels)
        + weights.huber * huber_terms(median, target)
        + weights.direction * direction_terms(median, target)
    )
    return average(terms, target, rows, horizons)
