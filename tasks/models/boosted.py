"""Boosted trees: quantiles of the volatility-scaled log return, shrunk towards the no-change quantiles.

Boosted trees alone lose to the no-change forecast at every horizon, because their location is mostly noise. So the
forecast is one quarter trees and three quarters no change, at every horizon; both are of the move around the curve. One
subclass per library: it names its options and says how the library trains, predicts, explains, writes and reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models.catalogue import SCALE, expected_move
from tasks.models.forecaster import Problem, curve_moves, horizon_scale, without_curve_moves
from tasks.models.naive import NoChange
from tasks.models.options import mean_one, options_of
from tasks.models.shapley import tree_values
from tasks.quantiles import probability_above_zero
from tasks.storage.files import read_json, write_json

if TYPE_CHECKING:
    import lightgbm
    import xgboost

SEED = 20260101
MIXTURE: Mapping[str, Any] = {
    "own_share": 0.25,  # weight of the trees; the rest is the no-change forecast
    "rounds": 60,
    "every": 3,  # neighboring sessions share almost all of their target: a third has the same information
}


class BoostedForecaster:
    """Trees mixed with the no-change quantiles. A subclass supplies the trees of its library."""

    family: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]  # ``MIXTURE`` and the library's own parameters
    history_sessions = 1
    around_curve = True
    needs: tuple[str, ...] = (SCALE,)
    reads: tuple[str, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        self.problem = problem
        self.options = options_of(self.family, self.defaults, options)
        self.baseline = NoChange(problem)
        self.columns: list[str] = []

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Learn the quantiles of return / scale from every ``every``-th row (default 3)."""
        self.columns = without_curve_moves(features.columns)
        self.around_curve = expected_move(self.problem.sessions) in features
        target = target - self._centre(features)
        self.baseline.fit(features, target)
        scaled = target.to_numpy() / horizon_scale(features, self.problem.sessions)
        known = np.flatnonzero(~np.isnan(scaled))[:: self.options["every"]]
        counts = None if weights is None else mean_one(weights, known)
        tuned = {name: value for name, value in self.options.items() if name not in MIXTURE}
        self.train(self._inputs(features)[known], scaled[known], counts, tuned)

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The mixture's quantiles (averaged quantile by quantile), sorted so that they never cross."""
        own = np.sort(self.scaled_quantiles(self._inputs(features)), axis=1)
        own = own * horizon_scale(features, self.problem.sessions)[:, None]
        share = self.options["own_share"]
        around = share * own + (1 - share) * self.baseline.predict_quantiles(features)
        return self._centre(features)[:, None] + around

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Probability implied by the quantiles."""
        return probability_above_zero(quantiles, self.problem.quantiles)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Exact TreeSHAP of the median, as log return after shrinkage; `base` is the expected value.

        Where the trees' quantiles cross, the median after sorting is another quantile's output: it is that one which is
        explained.
        """
        scale = self.options["own_share"] * horizon_scale(features, self.problem.sessions)[:, None]
        inputs = self._inputs(features)
        order = np.argsort(self.scaled_quantiles(inputs), axis=1, kind="stable")
        at_median = order[:, self.problem.quantiles.index(0.5)]
        contributions = np.empty((len(inputs), len(self.columns) + 1))
        for place in np.unique(at_median):
            rows = at_median == place
            contributions[rows] = self.contributions(inputs[rows], int(place))
        contributions *= scale
        table = pd.DataFrame(contributions, columns=[*self.columns, "base"], index=features.index)
        return (
            table.assign(**{expected_move(self.problem.sessions): self._centre(features)})
            if self.around_curve
            else table
        )

    def save(self, folder: Path) -> None:
        """The library's own text or JSON, and the baseline's JSON."""
        self.baseline.save(folder)
        self.write_trees(folder)
        write_json(folder / "columns.json", self.columns)
        write_json(folder / "options.json", self.options)
        write_json(folder / "centre.json", {"around_curve": self.around_curve})

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Self:
        """Read them back."""
        options = read_json(folder / "options.json")
        model = cls(problem, options)
        model.baseline = NoChange.load(folder, problem)
        model.columns = read_json(folder / "columns.json") or []
        model.around_curve = (read_json(folder / "centre.json") or {}).get("around_curve", False)
        if not model.columns or options is None or not model.read_trees(folder):
            raise ModelStoreError(f"{folder} is not complete; delete it and run `cbi train`")
        return model

    def _centre(self, features: pd.DataFrame) -> np.ndarray:
        return curve_moves(features, self.problem.sessions) if self.around_curve else np.zeros(len(features))

    def _inputs(self, features: pd.DataFrame) -> np.ndarray:
        return features[self.columns].to_numpy(dtype="float32")

    def train(
        self, inputs: np.ndarray, scaled: np.ndarray, weights: np.ndarray | None, parameters: Mapping[str, Any]
    ) -> None:
        """Fit the trees to returns in units of the scale."""
        raise NotImplementedError

    def scaled_quantiles(self, inputs: np.ndarray) -> np.ndarray:
        """The trees' quantiles in units of the scale, rows x quantiles; they may cross."""
        raise NotImplementedError

    def contributions(self, inputs: np.ndarray, place: int) -> np.ndarray:
        """SHAP values of one quantile in units of the scale, rows x (columns and the expected value)."""
        raise NotImplementedError

    def write_trees(self, folder: Path) -> None:
        """Write the trees into an existing folder."""
        raise NotImplementedError

    def read_trees(self, folder: Path) -> bool:
        """Read them back; False where a file is missing."""
        raise NotImplementedError


class LightGbm(BoostedForecaster):
    """LightGBM: one booster per quantile."""

    family: ClassVar[str] = "lightgbm"
    defaults: ClassVar[Mapping[str, Any]] = {
        **MIXTURE,
        "num_leaves": 8,
        "learning_rate": 0.05,
        "min_data_in_leaf": 60,
        "feature_fraction": 0.3,
        "bagging_fraction": 0.7,
        "lambda_l2": 10.0,
    }
    fixed: ClassVar[Mapping[str, Any]] = {
        "objective": "quantile",
        "bagging_freq": 1,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    boosters: tuple[lightgbm.Booster, ...] = ()

    def train(
        self, inputs: np.ndarray, scaled: np.ndarray, weights: np.ndarray | None, parameters: Mapping[str, Any]
    ) -> None:
        """Fit one booster per quantile."""
        import lightgbm

        self.boosters = tuple(
            lightgbm.train(
                {**self.fixed, **parameters, "alpha": level},
                lightgbm.Dataset(inputs, scaled, weight=weights, feature_name=self.columns, params={"verbose": -1}),
                self.options["rounds"],
            )
            for level in self.problem.quantiles
        )

    def scaled_quantiles(self, inputs: np.ndarray) -> np.ndarray:
        """One column per booster."""
        return np.column_stack([booster.predict(inputs) for booster in self.boosters])

    def contributions(self, inputs: np.ndarray, place: int) -> np.ndarray:
        """SHAP values of the quantile's booster."""
        return np.column_stack(tree_values(self.boosters[place], inputs))

    def write_trees(self, folder: Path) -> None:
        """LightGBM's own text files."""
        for level, booster in zip(self.problem.quantiles, self.boosters, strict=True):
            (folder / f"quantile_{level}.txt").write_text(booster.model_to_string(), encoding="utf-8")

    def read_trees(self, folder: Path) -> bool:
        """Read the file of every quantile."""
        import lightgbm

        paths = [folder / f"quantile_{level}.txt" for level in self.problem.quantiles]
        if not all(path.exists() for path in paths):
            return False
        self.boosters = tuple(lightgbm.Booster(model_str=path.read_text(encoding="utf-8")) for path in paths)
        return True


class XGBoost(BoostedForecaster):
    """XGBoost: one booster for all quantiles, with one tree per quantile and round."""

    family: ClassVar[str] = "xgboost"
    defaults: ClassVar[Mapping[str, Any]] = {
        **MIXTURE,
        "max_depth": 3,
        "eta": 0.05,
        "min_child_weight": 60,
        "colsample_bytree": 0.3,
        "subsample": 0.7,
        "lambda": 10.0,
    }
    fixed: ClassVar[Mapping[str, Any]] = {
        "objective": "reg:quantileerror",
        "tree_method": "hist",
        "seed": SEED,
        "nthread": 1,
    }
    booster: xgboost.Booster

    def train(
        self, inputs: np.ndarray, scaled: np.ndarray, weights: np.ndarray | None, parameters: Mapping[str, Any]
    ) -> None:
        """Fit the booster."""
        import xgboost

        rows = xgboost.QuantileDMatrix(inputs, scaled, weight=weights)
        levels = list(self.problem.quantiles)
        self.booster = xgboost.train(
            {**self.fixed, **parameters, "quantile_alpha": levels}, rows, self.options["rounds"]
        )

    def scaled_quantiles(self, inputs: np.ndarray) -> np.ndarray:
        """The booster's output, as it is."""
        import xgboost

        return self.booster.predict(xgboost.DMatrix(inputs))

    def contributions(self, inputs: np.ndarray, place: int) -> np.ndarray:
        """SHAP values of the quantile's trees."""
        return np.column_stack(tree_values(self.booster, inputs, place))

    def write_trees(self, folder: Path) -> None:
        """XGBoost's own JSON."""
        self.booster.save_model(folder / "booster.json")

    def read_trees(self, folder: Path) -> bool:
        """That file."""
        import xgboost

        if not (folder / "booster.json").exists():
            return False
        self.booster = xgboost.Booster()
        self.booster.load_model(folder / "booster.json")
        return True
