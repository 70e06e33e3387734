"""A median from ridge regression of the scaled return, shrunk hard, on HAR's scale.

With all features, ridge lost to no change over 2010-2022 at four of five horizons, however hard it was shrunk.
Each group of the registry was tried alone at this strength. The groups in registry/models.yaml lowered the pinball
loss by more than 0.1% at two or more of 1m, 3m and 6m. They were chosen on 2010-2018; 2019-2022 had no part in it
(docs/decisions/0010-scale-and-ensemble.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tasks.models import har
from tasks.models.forecaster import without_curve_moves
from tasks.models.options import mean_one
from tasks.models.shapley import linear_values

NO_DRIVER = (
    *(*har.MEMORIES, *har.LEVELS, "zl_volatility_252d_pct", "vix"),  # inputs of the scale
    *("zl_return_1d", "zl_return_5d"),
    *("big8_coverage", "master_regime_classification"),  # a count of known inputs, and a category's number
)
MEDIAN_PENALTY = (
    10.0  # per standardized input and row; of 1, 3, 10, 30, 100 the least that lost at no horizon in 2010-2018
)
EVERY = 3  # neighboring sessions share almost all of their target
CLIP = 3.0  # standard deviations; an input beyond counts as one at the limit
MOST_MISSING = 0.5  # of the drivers; a forecast with more of them at their mean is no longer this model's
FEWEST_KNOWN = 0.5  # share of training rows with a value; an input with fewer is left out


class Ridge(har.Har):
    """HAR's bands around a median from the drivers of soybean oil."""

    family: ClassVar[str] = "ridge"
    fills_with_mean: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {**har.Har.defaults, "median_penalty": MEDIAN_PENALTY}

    @property
    def reads(self) -> tuple[str, ...]:
        """The scale's inputs, and the drivers of the median."""
        return (*super().reads, *self.state["columns"])

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """The scale, then weights of the standardized drivers for return / scale."""
        super().learn(features, target, weights)
        self.state |= {"columns": []}
        scaled = target.to_numpy() / self.scale(features)
        rows = np.flatnonzero(~np.isnan(scaled))[::EVERY]
        columns = [name for name in without_curve_moves(features.columns) if name not in NO_DRIVER]
        inputs = features[columns].to_numpy(dtype="float64")[rows]
        columns = [
            name
            for i, name in enumerate(columns)
            if np.isfinite(inputs[:, i]).mean() >= FEWEST_KNOWN and np.nanstd(inputs[:, i]) > 0
        ]
        inputs = features[columns].to_numpy(dtype="float64")[rows]
        self.state |= {
            "columns": columns,
            "input_mean": np.nanmean(inputs, axis=0).tolist(),
            "input_spread": np.nanstd(inputs, axis=0).tolist(),
        }
        counts, standard = mean_one(weights, rows), self._standard(features.iloc[rows])
        wanted = scaled[rows] - np.average(scaled[rows], weights=counts)
        counted = standard.T * counts
        gram = counted @ standard + self.options["median_penalty"] * len(rows) * np.eye(len(columns))
        self.state["input_weights"] = np.linalg.solve(gram, counted @ wanted).tolist()

    def location(self, features: pd.DataFrame) -> np.ndarray:
        """The drivers' combined move. It is zero where all are at their mean, and missing where half are unknown."""
        unknown = features[self.state["columns"]].isna().to_numpy()
        few = unknown.sum(axis=1) <= MOST_MISSING * unknown.shape[1]
        moves = self.scale(features) * (self._standard(features) @ np.asarray(self.state["input_weights"]))
        return np.where(few, moves, np.nan)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Exact: each driver's weight times its standardized value, as log return, and the centre; `base` is 0."""
        weighted = linear_values(self.state["input_weights"], self._standard(features))
        contributions = weighted * self.scale(features)[:, None]
        explained = pd.DataFrame(contributions, columns=self.state["columns"], index=features.index)
        moves = dict.fromkeys(self.centre, self.centre_moves(features))
        return explained.assign(**moves, base=0.0)

    def _standard(self, features: pd.DataFrame) -> np.ndarray:
        """Standardised drivers, clipped. A missing one adds nothing: it counts as its training mean, and is counted."""
        values = features[self.state["columns"]].to_numpy(dtype="float64")
        standard = (values - np.asarray(self.state["input_mean"])) / np.asarray(self.state["input_spread"])
        return np.where(np.isnan(standard), 0.0, np.clip(standard, -CLIP, CLIP))
