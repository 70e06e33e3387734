"""Why a model version forecasts what it does, as it computes this itself: log returns, by feature.

Runs in the process that reads models. tasks/forecasting/explain.py brings the answers to cents and into words.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.models.forecaster import FittedModel
from tasks.models.shapley import permutation_values

BASE = "base"
LOWER, UPPER = 0.1, 0.9
"""The quantiles of the band whose width is explained."""
HISTORY_ROWS, HISTORY_EVERY = 60, 4
"""Earlier sessions whose contributions are shown beside today's: 60 of them, about a year."""
SLOW_HISTORY = 5  # sessions that a model reads at once; one that reads more has no history of contributions


@dataclass(frozen=True)
class Reasons:
    """A model version at one session, uncalibrated.

    ``quantiles``: log returns. ``centre``: contributions to the median; empty if the family has none. ``width``:
    contributions to the log width of the 80% band. Both by feature and ``base``, which add up.
    """

    session: str
    quantiles: list[float]
    centre: dict[str, float]
    width: dict[str, float]


def reasons_of(model: FittedModel, features: pd.DataFrame, levels: tuple[float, ...], sessions: int) -> list[Reasons]:
    """The reasons at the last ``sessions`` sessions, the oldest first; a session without a forecast is left out."""
    found = []
    for back in range(sessions - 1, -1, -1):
        end = len(features) - back
        if end < model.history_sessions:
            continue
        window = features.iloc[end - model.history_sessions : end]
        quantiles = model.predict_quantiles(window)[-1]
        if np.isnan(quantiles).any():
            continue
        found.append(
            Reasons(
                session=f"{window['date'].iloc[-1]:%Y-%m-%d}",
                quantiles=[float(q) for q in quantiles],
                centre=_row(model.explain(window)),
                width=_width(model, features.iloc[:end], quantiles, levels),
            )
        )
    return found


def history_of(model: FittedModel, features: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Contributions to the median at earlier sessions, by session; empty for a model that reads many sessions."""
    if model.history_sessions > SLOW_HISTORY:
        return {}
    rows = features.iloc[::-HISTORY_EVERY].iloc[:HISTORY_ROWS]
    table = model.explain(rows).dropna()
    return {f"{rows['date'].loc[index]:%Y-%m-%d}": _row(table.loc[[index]]) for index in table.index}


def _row(table: pd.DataFrame) -> dict[str, float]:
    return {str(name): float(value) for name, value in table.iloc[-1].items()} if len(table.columns) else {}


def _width(
    model: FittedModel, known: pd.DataFrame, quantiles: np.ndarray, levels: tuple[float, ...]
) -> dict[str, float]:
    """Contributions to the log width of the 80% band; ``base`` is the rest. Empty for a model without that band.

    A family with a linear scale says so itself (``explain_scale``). Any other is asked as a function of the features
    of its scale, from where they are at their mean over all sessions so far.
    """
    if LOWER not in levels or UPPER not in levels:
        return {}
    lower, upper = levels.index(LOWER), levels.index(UPPER)
    total = float(np.log(quantiles[upper] - quantiles[lower]))
    window = known.iloc[-model.history_sessions :]
    own = getattr(model, "explain_scale", None)
    if own is not None:
        parts = _row(own(window).drop(columns=BASE))
    else:
        names = [name for name in model.needs if name in known]
        parts = _by_permutation(model, window, known, names, lower, upper)
    return {**parts, BASE: total - sum(parts.values())}


def _by_permutation(
    model: FittedModel, window: pd.DataFrame, known: pd.DataFrame, names: list[str], lower: int, upper: int
) -> dict[str, float]:
    if not names:
        return {}

    def log_width(rows: np.ndarray) -> np.ndarray:
        widths, changed = [], window.copy()
        for row in rows:
            changed.loc[changed.index[-1], names] = row
            found = model.predict_quantiles(changed)[-1]
            widths.append(np.log(found[upper] - found[lower]))
        return np.array(widths)

    reference = known[names].mean().to_numpy(dtype="float64")
    values, _ = permutation_values(log_width, window[names].iloc[[-1]].to_numpy(dtype="float64"), reference)
    return dict(zip(names, map(float, values[0]), strict=True))


def packed(reasons: list[Reasons]) -> list[dict[str, Any]]:
    """As plain values, for another process."""
    return [asdict(one) for one in reasons]
