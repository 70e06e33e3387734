"""HAR: log of future realized volatility, regressed on volatility of several memories, the VIX and the price level.

After Corsi (2009), with exponentially weighted components in place of daily, weekly and monthly ones, and shrunk: it
learns the departure from the baseline's scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tasks.models.catalogue import SCALE
from tasks.models.options import mean_one
from tasks.models.shapley import linear_values
from tasks.models.volatility_scaled import VolatilityScaledForecaster, over_horizon, realised_ahead_pct

MEMORIES = ("zl_ewma_volatility_94_pct", "zl_ewma_volatility_97_pct", SCALE)
LEVELS = ("zl_percentile_1260d",)
SEASON = ("year_sin", "year_cos", "half_year_sin", "half_year_cos")
SCALE_PENALTY = (
    0.1  # ridge penalty per standardized input and row; 0.1 and 0.3 differed by at most 0.1% of pinball over 2010-2018
)
LOWEST_PCT = 3.0  # floor: the log of five nearly equal closes would have none


class Har(VolatilityScaledForecaster):
    """Regressed scale; quantiles shrunk to those of weekly returns."""

    family: ClassVar[str] = "har"
    shares_shape: ClassVar[bool] = True
    logs: ClassVar[tuple[str, ...]] = (*MEMORIES, "vix")
    levels: ClassVar[tuple[str, ...]] = LEVELS
    defaults: ClassVar[Mapping[str, Any]] = {"scale_penalty": SCALE_PENALTY}

    @property
    def needs(self) -> tuple[str, ...]:
        """Every input of the regression, the VIX among them."""
        return (*self.logs, *self.levels)

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """Ridge of log(realized / baseline volatility) on standardized inputs."""
        inputs = self._inputs(features)
        ahead = np.log(np.maximum(realised_ahead_pct(features, self.problem.sessions), LOWEST_PCT))
        departure = ahead - np.log(features[SCALE].to_numpy(dtype="float64"))
        known = ~np.isnan(inputs).any(axis=1) & ~np.isnan(departure)
        counts = mean_one(weights, known)
        mean = np.average(inputs[known], axis=0, weights=counts)
        spread = np.sqrt(np.average((inputs[known] - mean) ** 2, axis=0, weights=counts))
        spread = np.where(spread > 0, spread, 1.0)
        standard, wanted = (inputs[known] - mean) / spread, departure[known]
        intercept = np.average(wanted, weights=counts)
        counted = standard.T * counts
        gram = counted @ standard + self.options["scale_penalty"] * known.sum() * np.eye(inputs.shape[1])
        self.state = {
            "mean": mean.tolist(),
            "spread": spread.tolist(),
            "weights": np.linalg.solve(gram, counted @ (wanted - intercept)).tolist(),
            "intercept": float(intercept),
        }

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's scale times the predicted ratio; missing where an input is missing."""
        standard = (self._inputs(features) - np.asarray(self.state["mean"])) / np.asarray(self.state["spread"])
        departure = self.state["intercept"] + standard @ np.asarray(self.state["weights"])
        annual_pct = features[SCALE].to_numpy(dtype="float64") * np.exp(departure)
        return over_horizon(annual_pct, self.problem.sessions)

    def explain_scale(self, features: pd.DataFrame) -> pd.DataFrame:
        """Contributions to the log of the scale, by input; `base` is the log scale where each input is at its mean.

        Exact: the log scale is linear in the standardized inputs, and the baseline's scale is one of them.
        """
        standard = (self._inputs(features) - np.asarray(self.state["mean"])) / np.asarray(self.state["spread"])
        slopes, names = np.asarray(self.state["weights"], dtype="float64"), [*self.logs, *self.levels]
        slopes[names.index(SCALE)] += self.state["spread"][names.index(SCALE)]
        table = pd.DataFrame(linear_values(slopes, standard), columns=names, index=features.index)
        return table.assign(base=np.log(self.scale(features)) - standard @ slopes)

    def _inputs(self, features: pd.DataFrame) -> np.ndarray:
        logs = np.log(features[list(self.logs)].to_numpy(dtype="float64"))
        return np.column_stack([logs, features[list(self.levels)].to_numpy(dtype="float64")])


class HarSeasonal(Har):
    """HAR with a year's memory and the season among its inputs."""

    family: ClassVar[str] = "har_seasonal"
    logs: ClassVar[tuple[str, ...]] = (*MEMORIES, "zl_volatility_252d_pct", "vix")
    levels: ClassVar[tuple[str, ...]] = (*LEVELS, *SEASON)
