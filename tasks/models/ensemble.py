"""The ensemble as published: each member's calibrated quantiles, weighted by today's regime probabilities.

The bake-off builds it from the members' past forecasts (tasks/training/blending.py). It is never fitted itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models.forecaster import FittedModel, Problem
from tasks.quantiles import calibrated, probability_above_zero
from tasks.storage.files import read_json


class Ensemble:
    """Members with their calibrations, and one set of weights per regime."""

    family: ClassVar[str] = "ensemble"

    def __init__(
        self,
        problem: Problem,
        members: Mapping[str, FittedModel],
        calibrations: Mapping[str, Mapping[str, object]],
        weights: Mapping[str, Mapping[str, float]],
    ) -> None:
        """``weights``: regime: family: weight, and ``unknown`` for a row without regime probabilities."""
        self.problem = problem
        self.members, self.calibrations, self.weights = members, calibrations, weights
        self.around_curve = any(member.around_curve for member in members.values())
        self.history_sessions = max(member.history_sessions for member in members.values())

    @property
    def needs(self) -> tuple[str, ...]:
        """The features that every member needs: one member with a forecast is enough."""
        every = [set(member.needs) for member in self.members.values()]
        return tuple(sorted(set.intersection(*every)))

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The features that any member reads."""
        every = [member.reads for member in self.members.values()]
        return None if None in every else tuple(dict.fromkeys(name for reads in every for name in reads or ()))

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The weighted mean, quantile by quantile, of the members that have a forecast; NaN where none has.

        As in the bake-off, a member without a forecast has no weight, and the others' weights are scaled up to one.
        """
        own = np.stack(
            [
                calibrated(member.predict_quantiles(features), self.problem.quantiles, self.calibrations[family])
                for family, member in self.members.items()
            ]
        )
        weights = self._shares(features)[list(self.members)].to_numpy().T * ~np.isnan(own).any(axis=2)
        with np.errstate(invalid="ignore"):
            weights /= weights.sum(axis=0)
        return np.sort((weights[:, :, None] * np.nan_to_num(own)).sum(axis=0), axis=1)

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Probability implied by the quantiles."""
        return probability_above_zero(quantiles, self.problem.quantiles)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """The members' contributions, weighted. A member without contributions adds none."""
        shares = self._shares(features)
        parts = [
            contributions.mul(shares[family].loc[contributions.index], axis=0)
            for family, member in self.members.items()
            if not (contributions := member.explain(features)).empty
        ]
        if not parts:
            return pd.DataFrame(index=features.index)
        return pd.concat(parts).groupby(level=0, sort=False).sum(min_count=1)

    @classmethod
    def load(cls, folder: Path, problem: Problem, load_member: Callable[[str, Path], FittedModel]) -> Ensemble:
        """Read what the bake-off stored; ``load_member`` reads one family from its folder.

        Raises:
            ModelStoreError: the folder is not complete.
        """
        weights = read_json(folder / "weights.json")
        if not weights:
            raise ModelStoreError(f"{folder} is not complete; delete it and run `cbi train`")
        families = list(weights["unknown"])
        folders = {family: folder / "members" / family for family in families}
        calibrations = {family: read_json(path / "calibration.json") for family, path in folders.items()}
        members = {family: load_member(family, path) for family, path in folders.items()}
        return cls(problem, members, calibrations, weights)

    def _shares(self, features: pd.DataFrame) -> pd.DataFrame:
        regimes = [name for name in self.weights if name != "unknown"]
        probabilities = features[regimes]
        by_regime = pd.DataFrame(self.weights).T
        shares = probabilities.fillna(0.0) @ by_regime.loc[regimes]
        unknown = probabilities.isna().any(axis=1)
        shares.loc[unknown] = by_regime.loc["unknown"].to_numpy()
        return shares.div(shares.sum(axis=1), axis=0)
