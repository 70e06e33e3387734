"""A fitted model of any family, read back from its folder and ready to forecast one horizon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.models.catalogue import ENSEMBLE, SCALE, is_joint
from tasks.models.ensemble import Ensemble
from tasks.models.forecaster import FittedModel, JointForecaster, JointProblem, Problem, forecaster, joint_forecaster


class SingleHorizonModel:
    """A joint model, restricted to one of its horizons."""

    needs = (SCALE,)
    reads = None

    def __init__(self, model: JointForecaster, horizon: str, history_sessions: int) -> None:
        self.family = model.family
        self.around_curve = model.around_curve
        self.history_sessions = history_sessions
        self._model, self._horizon = model, horizon

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """Quantiles of consecutive sessions. NaN for the first ones, which have too little history."""
        return self._model.predict_quantiles(features, np.arange(len(features)))[self._horizon]

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """The joint model's."""
        return self._model.direction_probability(quantiles)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Contributions of the last session only: a path integral per row is slow."""
        return self._model.explain(features, np.array([len(features) - 1]))[self._horizon]


def load_model(family: str, folder: Path, problem: Problem, horizons: Mapping[str, int]) -> FittedModel:
    """A fitted model of any family, ready to forecast. ``horizons``: sessions by name, of all that it learned."""
    if family == ENSEMBLE:
        return Ensemble.load(folder, problem, lambda member, path: load_model(member, path, problem, horizons))
    if is_joint(family):
        model = joint_forecaster(family).load(folder, JointProblem(dict(horizons), problem.quantiles))
        return SingleHorizonModel(model, problem.horizon, model.history_sessions)
    return forecaster(family).load(folder, problem)
