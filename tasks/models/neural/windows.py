"""From a training table to a net's inputs: scaled columns, a mask of missing values, windows of sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from tasks.errors import ModelStoreError, TrainingFailed

CLIP = 5.0  # interquartile ranges: a value beyond says only "extreme"
DTYPE = "float32"


@dataclass(frozen=True)
class Layout:
    """The input columns in their locked order: those of the market itself, then those of other markets."""

    own: tuple[str, ...]
    other: tuple[str, ...]

    @classmethod
    def of(cls, columns: list[str], other_markets: tuple[str, ...]) -> Layout:
        """Split ``columns`` and keep their order; a listed column that is not an input is an error.

        Raises:
            TrainingFailed: an unknown column is listed, or no column of the market itself is left.
        """
        unknown = sorted(set(other_markets) - set(columns))
        own = tuple(name for name in columns if name not in set(other_markets))
        if unknown or not own:
            raise TrainingFailed(
                f"other_markets lists {unknown or 'every column'}; it must name input columns and leave some. "
                f"Inputs: {len(columns)} columns, first {columns[:3]}"
            )
        return cls(own, tuple(name for name in columns if name in set(other_markets)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column, in the order of the net's inputs."""
        return self.own + self.other


@dataclass(frozen=True)
class RobustScaler:
    """Median and interquartile range of each column over the sessions it was fitted on."""

    columns: tuple[str, ...]
    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, features: pd.DataFrame, columns: tuple[str, ...]) -> RobustScaler:
        """Learn both from ``features``, which must be training sessions only.

        A flag that is rarely set has no interquartile range: its standard deviation is used. A column without values
        stays NaN: the net has not learned it, so it always counts as missing.

        Invariants: other rows cannot change a forecast through the scaling (prevents look-ahead).
        """
        values = features[list(columns)].to_numpy(dtype="float64")
        observed = pd.DataFrame(values)
        centre = observed.median().to_numpy()
        spread = (observed.quantile(0.75) - observed.quantile(0.25)).to_numpy()
        deviation = observed.std(ddof=0).to_numpy()
        spread = np.where(spread > 0, spread, deviation)
        return cls(columns, centre, np.where(spread > 0, spread, np.where(np.isnan(centre), np.nan, 1.0)))

    def transform(self, features: pd.DataFrame) -> np.ndarray:
        """Scaled and clipped values, rows x columns; NaN where missing.

        Raises:
            ModelStoreError: ``features`` lack a column that the model was fitted on.
        """
        absent = [name for name in self.columns if name not in features.columns]
        if absent:
            raise ModelStoreError(f"the features lack {absent}, which the model was fitted on; train it again")
        values = features[list(self.columns)].to_numpy(dtype="float64")
        values = np.where(np.isfinite(values), values, np.nan)
        return np.clip((values - self.centre) / self.spread, -CLIP, CLIP).astype(DTYPE)


def net_inputs(features: pd.DataFrame, scaler: RobustScaler, layout: Layout) -> torch.Tensor:
    """Sessions x channels: own values, own missing, other markets' values, their missing.

    A missing value is 0 in its own channel (the training median) and 1 in its `missing` channel, so that the net can
    tell it from a value that is the median.
    """
    scaled = scaler.transform(features)
    missing = np.isnan(scaled)
    filled = np.where(missing, np.float32(0), scaled)
    cut = len(layout.own)
    parts = [filled[:, :cut], missing[:, :cut], filled[:, cut:], missing[:, cut:]]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(DTYPE))


def windows(inputs: torch.Tensor, rows: torch.Tensor, sessions: int) -> torch.Tensor:
    """The ``sessions`` that end at each row: rows x channels x sessions. Only the requested rows are built.

    By row numbers, not through a strided view: some devices copy all of a view before they index it.

    Invariants: the window of row t has no session after t.
    """
    back = torch.arange(1 - sessions, 1, device=rows.device)
    return inputs[rows[:, None] + back].transpose(1, 2).contiguous()
