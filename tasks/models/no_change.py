"""The baseline: the price stays; its quantiles are those of past returns, scaled to today's volatility.

A full member of the bake-off and the fallback champion. Nothing is served that does not beat it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models.forecaster import SCALE, Problem, horizon_scale
from tasks.models.options import options_of
from tasks.zones import read_json, write_json


class Model:
    """No-change forecast with volatility-scaled empirical quantiles."""

    family: ClassVar[str] = "no_change"
    history_sessions = 1
    needs: tuple[str, ...] = (SCALE,)
    reads: tuple[str, ...] | None = (SCALE,)

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        options_of(self.family, {}, options)
        self.problem = problem
        self.scaled_quantiles = np.full(len(problem.quantiles), np.nan)
        self.up_share = np.nan

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Empirical quantiles of return / scale, centred on their median: the median forecast is the last price."""
        scaled = target.to_numpy() / horizon_scale(features, self.problem.sessions)
        known = scaled[~np.isnan(scaled)]
        quantiles = np.quantile(known, self.problem.quantiles)
        self.scaled_quantiles = quantiles - np.median(known)
        self.up_share = float((known > 0).mean())

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The learnt quantiles times each row's scale."""
        return horizon_scale(features, self.problem.sessions)[:, None] * self.scaled_quantiles

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """The share of past moves over this horizon that were up: the baseline has no other view."""
        return np.full(len(quantiles), self.up_share)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """None: the price is expected to stay."""
        return pd.DataFrame(index=features.index)

    def save(self, folder: Path) -> None:
        """One JSON file."""
        content = {
            "quantiles": list(self.problem.quantiles),
            "scaled": self.scaled_quantiles.tolist(),
            "up_share": self.up_share,
        }
        write_json(folder / "model.json", content)

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Model:
        """Read it back."""
        content = read_json(folder / "model.json")
        if not content or content["quantiles"] != list(problem.quantiles):
            raise ModelStoreError(
                f"{folder}: no model for quantiles {list(problem.quantiles)}; run `python -m flows.training`"
            )
        model = cls(problem)
        model.scaled_quantiles, model.up_share = np.asarray(content["scaled"]), content["up_share"]
        return model
