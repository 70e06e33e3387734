"""The question that the daily forecast asks a model version, and its answer: plain values, sent between processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tasks.errors import CbiError
from tasks.forecasting.attribution import Reasons, history_of, packed, reasons_of
from tasks.models.forecaster import FittedModel, Problem
from tasks.models.loading import load_model
from tasks.quantiles import calibrated, contradiction
from tasks.secrets import quoted
from tasks.storage.files import read_json

NAMED = 5  # at most so many missing inputs are named in a message
SESSIONS_EXPLAINED = 2
"""The last session and the one before, for what changed between them."""


@dataclass(frozen=True)
class Question:
    """A model version (name, family and checked files), and the horizon of the question.

    ``horizons``: sessions by name, of all horizons that the model learned. ``wanted``: a forecast, or the reasons of
    the last two sessions, with those of earlier ones (``history``). Reasons are a question of their own: a model that
    fails on them has answered for its forecast before. ``alternatives``: a forecast for each of that many last rows of
    the features, each of which takes the place of the session before them.
    """

    name: str
    family: str
    folder: str
    horizon: str
    sessions: int
    quantiles: tuple[float, ...]
    horizons: dict[str, int]
    wanted: Literal["forecast", "reasons", "history", "alternatives"] = "forecast"
    alternatives: int = 0

    @property
    def problem(self) -> Problem:
        """The forecasting problem."""
        return Problem(self.horizon, self.sessions, tuple(self.quantiles))


@dataclass(frozen=True)
class Answer:
    """The answer for the newest session. If ``error`` says why there is none, all other fields are empty.

    ``quantiles``: calibrated log returns, empty if ``without`` names the missing inputs. ``up``: the probability that
    the price is higher. ``around_curve``: whether its centre is the curve's, where that is known. ``reads``: the
    features that the forecast uses, None for all that the model was trained on. ``at_mean``: of these, the missing ones
    that count as their training mean. ``explained`` and ``history``: if the question wants reasons. ``alternatives``:
    the calibrated log returns of each, NaN where the model has none.
    """

    error: str = ""
    quantiles: list[float] = field(default_factory=list)
    without: str = ""
    up: float = np.nan
    around_curve: bool = False
    reads: list[str] | None = None
    at_mean: list[str] = field(default_factory=list)
    explained: list[dict[str, Any]] = field(default_factory=list)
    history: dict[str, dict[str, float]] = field(default_factory=dict)
    alternatives: list[list[float]] = field(default_factory=list)

    @property
    def reasons(self) -> list[Reasons]:
        """The reasons of each session, the oldest first."""
        return [Reasons(**one) for one in self.explained]


def answer(question: Question, features: pd.DataFrame) -> Answer:
    """Load the model and forecast from the last row of ``features``. Exceptions become the answer's error.

    An answer about reasons has no quantiles.
    """
    try:
        model = load_model(question.family, Path(question.folder), question.problem, question.horizons)
        if question.wanted == "alternatives":
            return Answer(alternatives=_of_alternatives(model, features, question).tolist())
        if question.wanted != "forecast":
            return Answer(
                explained=packed(reasons_of(model, features, question.quantiles, SESSIONS_EXPLAINED)),
                history=history_of(model, features) if question.wanted == "history" else {},
            )
        window = features.iloc[-model.history_sessions :]
        raw = model.predict_quantiles(window)[-1:]
        quantiles = calibrated(raw, question.quantiles, read_json(Path(question.folder) / "calibration.json"))
        if quantiles.shape != (1, len(question.quantiles)) or np.isinf(np.exp(quantiles)).any():
            return Answer(error=f"its quantiles are no forecast: {quantiles.tolist()}")
        if np.isnan(quantiles).any():
            empty = set(window.columns[window.isna().any()])
            missing = [name for name in model.needs if name in empty]
            missing = missing or [name for name in model.reads or () if name in empty]
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            return Answer(without=", ".join(missing[:NAMED]) + more or "a session among those that it reads")
        up = float(model.direction_probability(quantiles)[0])
        if wrong := contradiction(up, quantiles[0], question.quantiles):
            return Answer(error=f"{question.name}: {wrong}. Run `cbi train`")
        reads = None if model.reads is None else list(model.reads)
        filled = reads if reads and getattr(model, "fills_with_mean", False) else []
        return Answer(
            quantiles=[float(q) for q in quantiles[0]],
            up=up,
            around_curve=bool(model.around_curve),
            reads=reads,
            at_mean=[name for name in filled if window[name].isna().iloc[-1]],
        )
    except CbiError as error:
        return Answer(error=str(error))
    except Exception as error:  # the files are data: a reader may fail on them in any way
        return Answer(error=f"{question.folder} cannot be used: {quoted(f'{type(error).__name__}: {error}', most=400)}")


def _of_alternatives(model: FittedModel, features: pd.DataFrame, question: Question) -> np.ndarray:
    """Calibrated log returns, one row per alternative."""
    before, rows = features.iloc[: -question.alternatives - 1], features.iloc[-question.alternatives :]
    if model.history_sessions == 1:
        raw = model.predict_quantiles(rows)
    else:
        earlier = before.iloc[max(0, len(before) - model.history_sessions + 1) :]
        windows = (pd.concat([earlier, rows.iloc[[place]]], ignore_index=True) for place in range(len(rows)))
        raw = np.vstack([model.predict_quantiles(window)[-1:] for window in windows])
    quantiles = calibrated(raw, question.quantiles, read_json(Path(question.folder) / "calibration.json"))
    return np.where(np.isinf(np.exp(quantiles)), np.nan, quantiles)
