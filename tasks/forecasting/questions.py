"""What a forecast of a day asks of a model version, and its answer: plain values, which pass between two processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.errors import CbiError
from tasks.models.forecaster import FittedModel, Problem
from tasks.models.loading import load_model
from tasks.quantiles import calibrated, contradiction
from tasks.secrets import quoted
from tasks.storage.files import read_json

EXPLAINED_BY = "lightgbm"
"""Whose drivers are shown where the model that serves gives none."""


@dataclass(frozen=True)
class Question:
    """A model version (its name, family and checked files), and the horizon that it is asked about.

    ``horizons``: sessions by name, of all that the model learnt.
    """

    name: str
    family: str
    folder: str
    horizon: str
    sessions: int
    quantiles: tuple[float, ...]
    horizons: dict[str, int]

    @property
    def problem(self) -> Problem:
        """The forecasting problem."""
        return Problem(self.horizon, self.sessions, tuple(self.quantiles))


@dataclass(frozen=True)
class Answer:
    """Of the newest session. ``error`` says why there is none; all else is empty then.

    ``quantiles``: calibrated log returns, none where ``without`` names what is missing. ``up``: the probability that
    the price is higher. ``reads``: the features the forecast is made of, None for all that the model was trained on.
    ``contributions``: to the median log return, by feature and ``base``; empty where the family gives no reasons.
    """

    error: str = ""
    quantiles: list[float] = field(default_factory=list)
    without: str = ""
    up: float = np.nan
    reads: list[str] | None = None
    contributions: dict[str, float] = field(default_factory=dict)


def answer(question: Question, features: pd.DataFrame) -> Answer:
    """Load the model and forecast from the last row of ``features``. Whatever its files do to a reader is its error."""
    try:
        model = load_model(question.family, Path(question.folder), question.problem, question.horizons)
        seen = features.iloc[-model.history_sessions :]
        raw = model.predict_quantiles(seen)[-1:]
        quantiles = calibrated(raw, question.quantiles, read_json(Path(question.folder) / "calibration.json"))
        if quantiles.shape != (1, len(question.quantiles)) or np.isinf(np.exp(quantiles)).any():
            return Answer(error=f"its quantiles are no forecast: {quantiles.tolist()}")
        if np.isnan(quantiles).any():
            missing = [name for name in model.needs if seen[name].isna().any()]
            return Answer(without=", ".join(missing) or "a session among those that it reads")
        up = float(model.direction_probability(quantiles)[0])
        if wrong := contradiction(up, quantiles[0], question.quantiles):
            return Answer(error=f"{question.name}: {wrong}. Run `cbi train`")
        return Answer(
            quantiles=[float(q) for q in quantiles[0]],
            up=up,
            reads=None if model.reads is None else list(model.reads),
            contributions=_reasons(model, seen),
        )
    except CbiError as error:
        return Answer(error=str(error))
    except Exception as error:  # the files are data: a reader may stumble over them in any way
        return Answer(error=f"{question.folder} cannot be used: {quoted(f'{type(error).__name__}: {error}', most=400)}")


def _reasons(model: FittedModel, seen: pd.DataFrame) -> dict[str, float]:
    told = model.explain(seen)
    return {str(name): float(value) for name, value in told.iloc[-1].items()} if len(told.columns) else {}
