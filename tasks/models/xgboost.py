"""XGBoost quantile regression of the volatility-scaled log return, shrunk towards the no-change quantiles.

One booster for all quantiles (a tree a quantile and round), and the shrinkage of tasks/models/lightgbm.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xgboost

from tasks.errors import ModelStoreError
from tasks.models import no_change
from tasks.models.forecaster import SCALE, Problem, horizon_scale, probability_above_zero
from tasks.models.options import mean_one, options_of
from tasks.zones import read_json, write_json

DEFAULTS: Mapping[str, Any] = {
    "own_share": 0.25,  # of the trees in the forecast; the rest is the no-change forecast
    "rounds": 60,
    "every": 3,  # neighbouring sessions share almost all of their target: a third carries the same information
    "max_depth": 3,
    "eta": 0.05,
    "min_child_weight": 60,
    "colsample_bytree": 0.3,
    "subsample": 0.7,
    "lambda": 10.0,
}
PARAMETERS = {
    "objective": "reg:quantileerror",
    "tree_method": "hist",
    "seed": 20260101,
    "nthread": 1,
}


class Model:
    """One booster, and the no-change quantiles that it is mixed with."""

    family: ClassVar[str] = "xgboost"
    history_sessions = 1
    needs: tuple[str, ...] = (SCALE,)
    reads: tuple[str, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        self.problem = problem
        self.options = options_of(self.family, DEFAULTS, options)
        self.baseline = no_change.Model(problem)
        self.booster = xgboost.Booster()
        self.columns: list[str] = []

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Learn the quantiles of return / scale from every third row, or as ``every`` says."""
        self.columns = list(features.columns)
        self.baseline.fit(features, target)
        scaled = target.to_numpy() / horizon_scale(features, self.problem.sessions)
        known = np.flatnonzero(~np.isnan(scaled))[:: self.options["every"]]
        counts = None if weights is None else mean_one(weights, known)
        rows = xgboost.QuantileDMatrix(features.to_numpy(dtype="float32")[known], scaled[known], weight=counts)
        tuned = {name: value for name, value in self.options.items() if name not in ("own_share", "rounds", "every")}
        parameters = {**PARAMETERS, **tuned, "quantile_alpha": list(self.problem.quantiles)}
        self.booster = xgboost.train(parameters, rows, self.options["rounds"])

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The mixture's quantiles (averaged quantile by quantile), sorted so that they never cross."""
        own = np.sort(self.booster.predict(self._rows(features)), axis=1)
        own = own * horizon_scale(features, self.problem.sessions)[:, None]
        share = self.options["own_share"]
        return share * own + (1 - share) * self.baseline.predict_quantiles(features)

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """From the quantiles themselves."""
        return probability_above_zero(quantiles, self.problem.quantiles)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Exact TreeSHAP of the median, as log return after shrinkage; `base` is the expected value."""
        told = self.booster.predict(self._rows(features), pred_contribs=True)
        median = told[:, self.problem.quantiles.index(0.5)]
        scale = self.options["own_share"] * horizon_scale(features, self.problem.sessions)[:, None]
        return pd.DataFrame(median * scale, columns=[*self.columns, "base"], index=features.index)

    def save(self, folder: Path) -> None:
        """XGBoost's own JSON, and the baseline's."""
        self.baseline.save(folder)
        self.booster.save_model(folder / "booster.json")
        write_json(folder / "columns.json", self.columns)
        write_json(folder / "options.json", self.options)

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Model:
        """Read them back."""
        options = read_json(folder / "options.json")
        model = cls(problem, options)
        model.baseline = no_change.Model.load(folder, problem)
        model.columns = read_json(folder / "columns.json") or []
        path = folder / "booster.json"
        if not model.columns or options is None or not path.exists():
            raise ModelStoreError(f"{folder} is not complete; delete it and run `python -m flows.training`")
        model.booster.load_model(path)
        return model

    def _rows(self, features: pd.DataFrame) -> xgboost.DMatrix:
        return xgboost.DMatrix(features[self.columns].to_numpy(dtype="float32"))
