"""What every model family is: it learns quantiles of the log return to a horizon, and can be saved as plain files.

Model files are text and JSON, never pickles: a file from the store is data, not code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from tasks.errors import RegistryError
from tasks.models.catalogue import FAMILIES, JOINT_FAMILIES, SCALE


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


class Served(Protocol):
    """What a forecast of a day needs of a model at one horizon."""

    @property
    def family(self) -> str:
        """Its name."""

    history_sessions: int
    """How many consecutive sessions, the last of them the one to forecast from, the model must be shown."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The features without which it has no forecast."""

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The features that its forecast is made of; None for all that it was trained on."""

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """Log-return quantiles, rows x quantiles, never crossing; NaN where a vital input is missing."""

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Probability that the price is higher at the horizon, for rows of (calibrated) quantiles."""

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """Contributions to the median log return, rows x features; empty when the family has no reasons to give."""


class Forecaster(Served, Protocol):
    """One family at one horizon, fitted on rows that stand for themselves."""

    problem: Problem

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        """``options``: those of the family that differ from its module's defaults; an unknown one is refused."""

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Learn from rows whose target (log return) is known. Every row is in the past of what will be forecast.

        ``weights``: of the rows, relative; given to families in ``WEIGHTED`` only. They weigh what a family learns,
        not the no-change quantiles that it is mixed with or shaped by.
        """

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing folder."""

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Forecaster:
        """Read what ``save`` wrote."""


class JointForecaster(Protocol):
    """One family at all horizons, which sees the sessions before a row as well as the row."""

    family: ClassVar[str]
    problem: JointProblem

    @property
    def history_sessions(self) -> int:
        """Sessions that a forecast looks at, its own the last."""

    def __init__(self, problem: JointProblem, options: Mapping[str, Any] | None = None) -> None:
        """``options``: those of the family that differ from their defaults."""

    def fit(
        self,
        features: pd.DataFrame,
        targets: pd.DataFrame,
        *,
        weights: np.ndarray | None = None,
        folder: Path | None = None,
        progress: Callable[[int, int, str], None] = ...,
    ) -> None:
        """Learn from every session's features and log returns (a column a horizon, NaN where not known or purged)."""

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
        """Read what ``save`` wrote."""


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


def horizon_scale(features: pd.DataFrame, sessions: int) -> np.ndarray:
    """Standard deviation of the log return over ``sessions``, from the exponentially weighted daily volatility.

    Square-root-of-time scaling of the RiskMetrics volatility with decay 0.99, which of the decays 0.94, 0.97, 0.99 and
    their mixtures with the long run served every horizon best (docs/decisions/0004-baseline.md).
    """
    return features[SCALE].to_numpy(dtype="float64") / 100 * np.sqrt(sessions / 252)
