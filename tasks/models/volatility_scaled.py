"""Base class of the volatility families: quantiles of past returns in units of a predicted scale, times today's scale.

A family says what the scale is (``learn``, ``scale``), and may say where the median is (``location``); learning
quantiles, saving and loading are here. Rows of features are sessions in ascending order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError
from tasks.models.catalogue import SCALE, expected_move
from tasks.models.forecaster import Problem, curve_moves
from tasks.models.options import options_of
from tasks.quantiles import probability_above_zero
from tasks.storage.files import read_json, write_json

SESSIONS_A_YEAR = 252
DAILY_RETURN = "zl_return_1d"
SHORT_RETURN, SHORT_SESSIONS = "zl_return_5d", 5
FULL_TRUST = 20  # independent outcomes at which the horizon's own shape has the same weight as the weekly one


class VolatilityScaledForecaster:
    """A forecaster whose quantiles are ``location + scale x shape``; what it learned is in ``state``, as JSON."""

    family: ClassVar[str]
    history_sessions = 1
    around_curve: bool = True
    fills_with_mean: ClassVar[bool] = False  # whether an input that is missing counts as its training mean
    shares_shape: ClassVar[bool] = False  # whether the shape is shrunk toward that of weekly returns
    defaults: ClassVar[Mapping[str, Any]] = {}  # options of learning only; not saved

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        self.problem = problem
        self.options = options_of(self.family, self.defaults, options)
        self.shape = np.full(len(problem.quantiles), np.nan)
        self.up_share = np.nan
        self.state: dict[str, Any] = {}

    @property
    def needs(self) -> tuple[str, ...]:
        """The features of the scale. If one is missing, there is no forecast."""
        return (SCALE,)

    @property
    def reads(self) -> tuple[str, ...]:
        """Those of the scale, of the location and of the centre."""
        return self.needs + self.centre

    @property
    def centre(self) -> tuple[str, ...]:
        """The feature of the centre, where it is not the price."""
        return (expected_move(self.problem.sessions),) if self.around_curve else ()

    def centre_moves(self, features: pd.DataFrame) -> np.ndarray:
        """The log move to the centre of each row's forecast: what the curve expects, or 0."""
        return curve_moves(features, self.problem.sessions) if self.around_curve else np.zeros(len(features))

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """Fit what ``scale`` and ``location`` need into ``state``; nothing by default."""

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """Predicted standard deviation of the log return over the horizon, up to a constant."""
        raise NotImplementedError

    def location(self, features: pd.DataFrame) -> np.ndarray:
        """Median log return; 0 by default."""
        return np.zeros(len(features))

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Learn scale and location, then the quantiles of return / scale, centered on their median.

        The location is not subtracted first: on its training rows it explains more than it will later, and the
        bands would be too narrow. What is learned is the move around the centre.
        """
        self.around_curve = self.around_curve and expected_move(self.problem.sessions) in features
        target = target - self.centre_moves(features)
        self.learn(features, target, weights)
        scale = self.scale(features)
        scaled = target.to_numpy() / scale
        known = scaled[~np.isnan(scaled)]
        self.shape = _centred(np.quantile(known, self.problem.quantiles), self.problem)
        if self.shares_shape:
            weekly = self._weekly_shape(features, scale)
            independent = len(known) / self.problem.sessions
            own = independent / (independent + FULL_TRUST)
            self.shape = own * self.shape + (1 - own) * weekly
        outcomes = target.dropna()
        self.up_share = float((outcomes > 0).mean())

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """Quantiles of the log return; missing where an input is missing."""
        median = self.centre_moves(features) + self.location(features)
        return median[:, None] + self.scale(features)[:, None] * self.shape

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """The share of past moves that were up where the median is zero; else from the quantiles."""
        view = quantiles[:, self.problem.quantiles.index(0.5)] != 0
        return np.where(view, probability_above_zero(quantiles, self.problem.quantiles), self.up_share)

    def explain(self, features: pd.DataFrame) -> pd.DataFrame:
        """The centre, and in `base` what the family adds to it on every row: nothing, or a drift."""
        moves = dict.fromkeys(self.centre, self.centre_moves(features))
        return pd.DataFrame({**moves, "base": self.location(features)}, index=features.index)

    def save(self, folder: Path) -> None:
        """One JSON file."""
        content = {
            "quantiles": list(self.problem.quantiles),
            "shape": self.shape.tolist(),
            "up_share": self.up_share,
            "around_curve": self.around_curve,
            "state": self.state,
        }
        write_json(folder / f"{self.family}.json", content)

    @classmethod
    def load(cls, folder: Path, problem: Problem) -> Self:
        """Read it back."""
        content = read_json(folder / f"{cls.family}.json")
        if not content or content["quantiles"] != list(problem.quantiles):
            raise ModelStoreError(
                f"{folder}: no {cls.family} model for quantiles {list(problem.quantiles)}; run `cbi train`"
            )
        model = cls(problem)
        model.shape, model.up_share = np.asarray(content["shape"]), content["up_share"]
        model.state = content["state"]
        model.around_curve = bool(content.get("around_curve", False))  # trained before the curve was read
        return model

    def _weekly_shape(self, features: pd.DataFrame, scale: np.ndarray) -> np.ndarray:
        """Quantiles of weekly returns in units of the scale of their origin, brought to the horizon as a random walk.

        A horizon of twelve months has one independent outcome per year; weekly returns have fifty times more,
        and the same shape to the extent that returns add up without memory.
        """
        later = features[SHORT_RETURN].to_numpy(dtype="float64")[SHORT_SESSIONS:]
        scaled = later / (scale[:-SHORT_SESSIONS] * np.sqrt(SHORT_SESSIONS / self.problem.sessions))
        known = scaled[~np.isnan(scaled)]
        return _centred(np.quantile(known, self.problem.quantiles), self.problem)


def over_horizon(annual_pct: np.ndarray, sessions: int) -> np.ndarray:
    """Standard deviation of the log return over ``sessions`` from annual volatility in percent, by root of time."""
    return annual_pct / 100 * np.sqrt(sessions / SESSIONS_A_YEAR)


def realised_ahead_pct(features: pd.DataFrame, sessions: int) -> np.ndarray:
    """Volatility of the next ``sessions`` daily returns after each row, annual percent; missing past the last rows.

    Invariants: it reads only the rows given for fitting. A window with more than three in ten
    returns missing is missing.
    """
    squared = features[DAILY_RETURN].pow(2)
    mean = squared.rolling(sessions, min_periods=int(np.ceil(0.7 * sessions))).mean().shift(-sessions)
    return 100 * np.sqrt(SESSIONS_A_YEAR * mean.to_numpy(dtype="float64"))


def _centred(quantiles: np.ndarray, problem: Problem) -> np.ndarray:
    return quantiles - quantiles[problem.quantiles.index(0.5)]
