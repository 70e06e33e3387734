"""LightGBM quantile regression of the volatility-scaled log return, shrunk towards the no-change quantiles.

Boosted trees alone lose to the no-change forecast at every horizon (their location is mostly noise), so a quarter of
their view is mixed into three quarters of the baseline's, at every horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightgbm
import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models import no_change
from tasks.models.forecaster import SCALE, Problem, horizon_scale, probability_above_zero
from tasks.models.options import mean_one, options_of
from tasks.zones import read_json, write_json

DEFAULTS: Mapping[str, Any] = {
    "own_share": 0.25,  # of the trees in the forecast; the rest is the no-change forecast
    "rounds": 60,
    "every": 3,  # neighbouring sessions share almost all of their target: a third carries the same information
    "num_leaves": 8,
    "learning_rate": 0.05,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "lambda_l2": 10.0,
}
PARAMETERS = {
    "objective": "quantile",
    "bagging_freq": 1,
    "seed": 20260101,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}


class Model:
    """One booster a quantile, and the no-change quantiles they are mixed with."""

    family: ClassVar[str] = "lightgbm"
    history_sessions = 1
    needs: tuple[str, ...] = (SCALE,)
    reads: tuple[str, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        self.problem = problem
        self.options = options_of(self.family, DEFAULTS, options)
        self.baseline = no_change.Model(problem)
        self.boosters: list[lightgbm.Booster] = []
        self.columns: list[str] = []

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Learn the quantiles of return / scale from every third row, or as ``every`` says."""
        self.columns = list(features.columns)
        self.baseline.fit(features, target)
        scaled = target.to_numpy() / horizon_scale(features, self.problem.sessions)
        known = np.flatnonzero(~np.isnan(scaled))[:: self.options["every"]]
        inputs = features.to_numpy(dtype="float32")[known]
        counts = None if weights is None else mean_one(weights, known)
        tuned = {name: value for name, value in self.options.items() if name not in ("own_share", "rounds", "every")}
        self.boosters = [
            lightgbm.train(
                {**PARAMETERS, **tuned, "alpha": level},
                lightgbm.Dataset(
                    inputs, scaled[known], weight=counts, feature_name=self.columns, params={"verbose": -1}
                ),
                self.options["rounds"],
            )
            for level in self.problem.quantiles
        ]

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The mixture's quantiles (averaged quantile by quantile), sorted so that they never cross."""
        inputs = features[self.columns].to_numpy(dtype="float32")
        own = np.column_stack([booster.predict(inputs) for booster in self.boosters])
        own = np.sort(own, axis=1) * horizon_scale(features, self.problem.sessions)[:, None]
        share = self.options["own_share"]
        return share * own + (1 - share) * self.baseline.predict_quantiles(features)

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """From the quantiles themselves."""
        return probability_above_zero(quantiles, self.problem.quantiles)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Exact TreeSHAP of the median booster, as log return after shrinkage; `base` is the expected value."""
        inputs = features[self.columns].to_numpy(dtype="float32")
        median = self.boosters[self.problem.quantiles.index(0.5)]
        contributions = np.asarray(median.predict(inputs, pred_contrib=True))
        scale = self.options["own_share"] * horizon_scale(features, self.problem.sessions)[:, None]
        return pd.DataFrame(contributions * scale, columns=[*self.columns, "base"], index=features.index)

    def save(self, folder: Path) -> None:
        """LightGBM's own text files, and the baseline's JSON."""
        self.baseline.save(folder)
        for level, booster in zip(self.problem.quantiles, self.boosters, strict=True):
            (folder / f"quantile_{level}.txt").write_text(booster.model_to_string(), encoding="utf-8")
        write_json(folder / "columns.json", self.columns)
        write_json(folder / "options.json", self.options)

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Model:
        """Read them back."""
        options = read_json(folder / "options.json")
        model = cls(problem, options)
        model.baseline = no_change.Model.load(folder, problem)
        model.columns = read_json(folder / "columns.json") or []
        paths = [folder / f"quantile_{level}.txt" for level in problem.quantiles]
        if not model.columns or options is None or not all(path.exists() for path in paths):
            raise ModelStoreError(f"{folder} is not complete; delete it and run `python -m flows.training`")
        model.boosters = [lightgbm.Booster(model_str=path.read_text(encoding="utf-8")) for path in paths]
        return model
