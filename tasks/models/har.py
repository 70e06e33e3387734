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
SPARE = ("vix",)
"""Inputs of one foreign market, which may end: the regression is fitted with and without them."""
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
        """Every input of the regression but those that it can do without."""
        return tuple(name for name in (*self.logs, *self.levels) if name not in SPARE)

    @property
    def reads(self) -> tuple[str, ...]:
        """Those, the others, and that of the centre."""
        return (*self.logs, *self.levels, *self.centre)

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """Ridge of log(realized / baseline volatility) on standardized inputs: on all, and on those without the VIX."""
        inputs = self._inputs(features)
        ahead = np.log(np.maximum(realised_ahead_pct(features, self.problem.sessions), LOWEST_PCT))
        departure = ahead - np.log(features[SCALE].to_numpy(dtype="float64"))
        kept = self._kept()
        self.state = {
            "all": self._regression(inputs, departure, weights),
            "without_spare": self._regression(inputs[:, kept], departure, weights),
        }

    def _regression(
        self, inputs: np.ndarray, departure: np.ndarray, weights: np.ndarray | None
    ) -> dict[str, Any] | None:
        """Mean, spread, weights and intercept; None if no row has all inputs and an outcome."""
        known = ~np.isnan(inputs).any(axis=1) & ~np.isnan(departure)
        if not known.any():
            return None
        counts = mean_one(weights, known)
        mean = np.average(inputs[known], axis=0, weights=counts)
        spread = np.sqrt(np.average((inputs[known] - mean) ** 2, axis=0, weights=counts))
        spread = np.where(spread > 0, spread, 1.0)
        standard, wanted = (inputs[known] - mean) / spread, departure[known]
        intercept = np.average(wanted, weights=counts)
        counted = standard.T * counts
        gram = counted @ standard + self.options["scale_penalty"] * known.sum() * np.eye(inputs.shape[1])
        return {
            "mean": mean.tolist(),
            "spread": spread.tolist(),
            "weights": np.linalg.solve(gram, counted @ (wanted - intercept)).tolist(),
            "intercept": float(intercept),
        }

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's scale times the predicted ratio. Without the VIX, the ratio of the regression without it."""
        inputs = self._inputs(features)
        departure = _predicted(self.state.get("all", self.state), inputs)  # one regression before the second was kept
        reduced = _predicted(self.state.get("without_spare"), inputs[:, self._kept()])
        departure = np.where(np.isnan(departure), reduced, departure)
        annual_pct = features[SCALE].to_numpy(dtype="float64") * np.exp(departure)
        return over_horizon(annual_pct, self.problem.sessions)

    def _kept(self) -> list[int]:
        return [i for i, name in enumerate((*self.logs, *self.levels)) if name not in SPARE]

    def explain_scale(self, features: pd.DataFrame) -> pd.DataFrame:
        """Contributions to the log of the scale, by input; `base` is the log scale where each input is at its mean.

        Exact: the log scale is linear in the standardized inputs, and the baseline's scale is one of them. A row
        without the VIX is explained by the regression without it.
        """
        names, inputs = [*self.logs, *self.levels], self._inputs(features)
        whole, reduced = self.state.get("all", self.state), self.state.get("without_spare")
        table = pd.DataFrame(0.0, columns=names, index=features.index)
        lacks = np.isnan(_predicted(whole, inputs))
        for rows, regression, kept in ((~lacks, whole, range(len(names))), (lacks, reduced, self._kept())):
            if regression is None or not rows.any():
                continue
            read = [names[i] for i in kept]
            slopes = np.asarray(regression["weights"], dtype="float64")
            slopes[read.index(SCALE)] += regression["spread"][read.index(SCALE)]
            standard = (inputs[rows][:, list(kept)] - np.asarray(regression["mean"])) / np.asarray(regression["spread"])
            table.loc[rows, read] = linear_values(slopes, standard)
        return table.assign(base=np.log(self.scale(features)) - table.sum(axis=1))

    def _inputs(self, features: pd.DataFrame) -> np.ndarray:
        logs = np.log(features[list(self.logs)].to_numpy(dtype="float64"))
        return np.column_stack([logs, features[list(self.levels)].to_numpy(dtype="float64")])


def _predicted(regression: Mapping[str, Any] | None, inputs: np.ndarray) -> np.ndarray:
    if regression is None:
        return np.full(len(inputs), np.nan)
    standard = (inputs - np.asarray(regression["mean"])) / np.asarray(regression["spread"])
    return float(regression["intercept"]) + standard @ np.asarray(regression["weights"])


class HarSeasonal(Har):
    """HAR with a year's memory and the season among its inputs."""

    family: ClassVar[str] = "har_seasonal"
    logs: ClassVar[tuple[str, ...]] = (*MEMORIES, "zl_volatility_252d_pct", "vix")
    levels: ClassVar[tuple[str, ...]] = (*LEVELS, *SEASON)
