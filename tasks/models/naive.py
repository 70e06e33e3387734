"""The naive forecasts: the price goes where the curve says, stays, or drifts by its mean past move.

``Curve`` is the baseline: a full member of the bake-off and the fallback champion. ``NoChange`` is the same around the
price. A model that does not beat the better naive is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models.catalogue import SCALE, expected_move
from tasks.models.forecaster import Problem, curve_moves, horizon_scale
from tasks.models.options import options_of
from tasks.models.volatility_scaled import VolatilityScaledForecaster, over_horizon
from tasks.quantiles import probability_above_zero
from tasks.storage.files import read_json, write_json

PERSISTENCE = 0.99  # of variance from one session to the next: the decay of the volatility feature


class NoChange:
    """No-change forecast with volatility-scaled empirical quantiles."""

    family: ClassVar[str] = "no_change"
    around_curve = False
    history_sessions = 1
    needs: tuple[str, ...] = (SCALE,)
    reads: tuple[str, ...] | None = (SCALE,)

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        options_of(self.family, {}, options)
        self.problem = problem
        self.scaled_quantiles = np.full(len(problem.quantiles), np.nan)
        self.up_share = np.nan

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Empirical quantiles of return / scale, centered on their median: the median forecast is the last price."""
        scaled = target.to_numpy() / horizon_scale(features, self.problem.sessions)
        known = scaled[~np.isnan(scaled)]
        quantiles = np.quantile(known, self.problem.quantiles)
        self.scaled_quantiles = quantiles - np.median(known)
        self.up_share = float((known > 0).mean())

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The learned quantiles times each row's scale."""
        return horizon_scale(features, self.problem.sessions)[:, None] * self.scaled_quantiles

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """The share of past moves over this horizon that were up: the baseline has no other view."""
        return np.full(len(quantiles), self.up_share)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Nothing moves it: the price is expected to stay."""
        return pd.DataFrame({"base": 0.0}, index=features.index)

    def save(self, folder: Path) -> None:
        """One JSON file."""
        content = {
            "quantiles": list(self.problem.quantiles),
            "scaled": self.scaled_quantiles.tolist(),
            "up_share": self.up_share,
        }
        write_json(folder / "model.json", content)

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Self:
        """Read it back."""
        content = read_json(folder / "model.json")
        if not content or content["quantiles"] != list(problem.quantiles):
            raise ModelStoreError(f"{folder}: no model for quantiles {list(problem.quantiles)}; run `cbi train`")
        model = cls(problem)
        model.scaled_quantiles, model.up_share = np.asarray(content["scaled"]), content["up_share"]
        return model


class Curve(NoChange):
    """The quantiles of past moves around what the curve expected, around what it expects now.

    Where the curve is not known the centre is the price.
    """

    family: ClassVar[str] = "curve"
    around_curve = True

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(problem, options)
        self.reads = (SCALE, expected_move(problem.sessions))

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Empirical quantiles of (return - expected move) / scale, centered on their median."""
        super().fit(features, target - curve_moves(features, self.problem.sessions))

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The expected move, and the learned quantiles times each row's scale."""
        return curve_moves(features, self.problem.sessions)[:, None] + super().predict_quantiles(features)

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """From the quantiles; where the curve expects no move, the share of past moves around it that were up."""
        moves = quantiles[:, self.problem.quantiles.index(0.5)] != 0
        return np.where(moves, probability_above_zero(quantiles, self.problem.quantiles), self.up_share)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """The expected move of the curve is the whole median."""
        moves = curve_moves(features, self.problem.sessions)
        return pd.DataFrame({expected_move(self.problem.sessions): moves, "base": 0.0}, index=features.index)


class Historical(VolatilityScaledForecaster):
    """No-change forecast with unscaled empirical quantiles."""

    family: ClassVar[str] = "historical"
    around_curve = False

    @property
    def needs(self) -> tuple[str, ...]:
        """No features: the past returns are in the model."""
        return ()

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """One, everywhere."""
        return np.ones(len(features))


class MeanReverting(VolatilityScaledForecaster):
    """Mean-reverting variance.

    The variance k sessions ahead is today's times p^k plus the long run's times 1 - p^k, with p = PERSISTENCE. Over the
    horizon today's has the weight (1 - p^h) / (h (1 - p)): 0.98 at one week, 0.37 at twelve months.
    """

    family: ClassVar[str] = "long_run"
    around_curve = False

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """The long-run volatility: root of the mean variance of all past sessions."""
        self.state = {"long_run_pct": float(np.sqrt((features[SCALE] ** 2).mean()))}

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """Root of the mean variance that is expected over the horizon."""
        sessions = self.problem.sessions
        weight = (1 - PERSISTENCE**sessions) / (sessions * (1 - PERSISTENCE))
        today = features[SCALE].to_numpy(dtype="float64") ** 2
        mean = weight * today + (1 - weight) * self.state["long_run_pct"] ** 2
        return over_horizon(np.sqrt(mean), sessions)


class Drift(VolatilityScaledForecaster):
    """The no-change quantiles around the mean past return."""

    family: ClassVar[str] = "drift"
    around_curve = False

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """The mean log return over the horizon."""
        self.state = {"drift": float(target.mean())}

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's."""
        return horizon_scale(features, self.problem.sessions)

    def location(self, features: pd.DataFrame) -> np.ndarray:
        """The drift, on every row."""
        return np.full(len(features), self.state["drift"])


class Pooled(VolatilityScaledForecaster):
    """EWMA-scaled quantiles, shrunk to those of weekly returns brought to the horizon."""

    family: ClassVar[str] = "pooled"
    shares_shape: ClassVar[bool] = True

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's."""
        return horizon_scale(features, self.problem.sessions)
