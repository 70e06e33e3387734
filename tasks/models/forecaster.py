"""The protocols of a model family. It learns quantiles of the log return to a horizon and is saved as plain files.

Model files are text and JSON, never pickles: a file from the store is data, not code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from tasks.errors import RegistryError
from tasks.models.catalogue import EXPECTED_MOVE, FAMILIES, JOINT_FAMILIES, SCALE, expected_move


@dataclass(frozen=True)
class Problem:
    """What is to be forecast: quantiles of the log return ``sessions`` ahead."""

    horizon: str
    sessions: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class JointProblem:
    """Every horizon at once: their sessions by name, shortest first."""

    sessions: Mapping[str, int]
    quantiles: tuple[float, ...]

    @property
    def median(self) -> int:
        """The place of the median among the quantiles."""
        return self.quantiles.index(0.5)


class FittedModel(Protocol):
    """A fitted model at one horizon: what the daily forecast calls."""

    @property
    def family(self) -> str:
        """Its name."""

    history_sessions: int
    """Consecutive sessions that the model needs as input. The last one is the origin."""

    around_curve: bool
    """Whether its forecast is the move that the curve expects, and a move around it. If not, it is around the price."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The features that it cannot forecast without."""

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The features that its forecast uses. None means all that it was trained on."""

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """Log-return quantiles, rows x quantiles, never crossing; NaN where a vital input is missing."""

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Probability that the price is higher at the horizon, for rows of (calibrated) quantiles."""

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Contributions to the median log return, rows x features; empty when the family has no contributions."""


class Forecaster(FittedModel, Protocol):
    """One family at one horizon, fitted on independent rows."""

    problem: Problem

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        """``options``: overrides of the module's defaults. An unknown option is refused."""

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Learn from rows whose target (log return) is known. Every row is before the rows to forecast.

        ``weights``: relative row weights, for families in ``WEIGHTED`` only. They weigh what a family learns,
        not the no-change quantiles that it is mixed with or takes its shape from.
        """

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing folder."""

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Forecaster:
        """Read the files of ``save``."""


class JointForecaster(Protocol):
    """One family at all horizons. It reads the sessions before a row as well as the row."""

    family: ClassVar[str]
    around_curve: bool
    problem: JointProblem

    @property
    def history_sessions(self) -> int:
        """Sessions that a forecast reads. The last one is its origin."""

    def __init__(self, problem: JointProblem, options: Mapping[str, Any] | None = None) -> None:
        """``options``: overrides of the family's defaults."""

    def fit(
        self,
        features: pd.DataFrame,
        targets: pd.DataFrame,
        *,
        weights: np.ndarray | None = None,
        folder: Path | None = None,
        progress: Callable[[int, int, str], None] = ...,
    ) -> None:
        """Learn from features and log returns (one column per horizon, NaN where unknown or purged)."""

    def predict_quantiles(self, features: pd.DataFrame, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Log-return quantiles of each horizon, rows x quantiles, never crossing; NaN where a vital input is missing.

        ``features`` hold every session up to the last of ``rows`` (row numbers).
        """

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Probability that the price is higher at the horizon, for rows of (calibrated) quantiles."""

    def explain(self, features: pd.DataFrame, rows: np.ndarray) -> dict[str, pd.DataFrame]:
        """Contributions to each horizon's median log return, rows x features."""

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing folder."""

    @classmethod
    def load(cls, folder: Path, problem: JointProblem) -> JointForecaster:
        """Read the files of ``save``."""


def joint_forecaster(family: str) -> type[JointForecaster]:
    """The class of a family that forecasts all horizons at once.

    Raises:
        RegistryError: no such family.
    """
    if family not in JOINT_FAMILIES:
        raise RegistryError(f"unknown joint family `{family}`; known: {', '.join(JOINT_FAMILIES)}")
    return _class_at(JOINT_FAMILIES[family])


def forecaster(family: str) -> type[Forecaster]:
    """The class of a family.

    Raises:
        RegistryError: no such family.
    """
    if family not in FAMILIES:
        raise RegistryError(f"unknown model family `{family}`; known: {', '.join(FAMILIES)}")
    return _class_at(FAMILIES[family])


def _class_at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def curve_moves(features: pd.DataFrame, sessions: int) -> np.ndarray:
    """The log move that the curve expects over ``sessions``; 0 where it is not known: the centre is the price there."""
    if (name := expected_move(sessions)) not in features:
        return np.zeros(len(features))
    return features[name].fillna(0.0).to_numpy(dtype="float64")


def without_curve_moves(names: Iterable[str]) -> list[str]:
    """The features that a family learns from. The expected moves are the centre of its target."""
    return [name for name in names if not name.startswith(EXPECTED_MOVE)]


def horizon_scale(features: pd.DataFrame, sessions: int) -> np.ndarray:
    """Standard deviation of the log return over ``sessions``, from the exponentially weighted daily volatility.

    Square-root-of-time scaling of the RiskMetrics volatility with decay 0.99. Of the decays 0.94, 0.97, 0.99 and
    their mixtures with the long run, it was best at every horizon (docs/decisions/0004-baseline.md).
    """
    return features[SCALE].to_numpy(dtype="float64") / 100 * np.sqrt(sessions / 252)
