"""The response surface of the served forecasts: their answers to moves of a few inputs, for the sliders of the site.

Each input is moved alone through its levels of registry/scenarios.yaml; two that a forecast reacts to are also moved
together, to the ends of their levels. The answers are those of ``cbi what-if``; features are built many at once.
``surface_answer`` reads between the points, as the browser does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from tasks.errors import WrongWord
from tasks.features.alternatives import alternative_features
from tasks.features.build import build_features
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.explain import Served, question_of
from tasks.forecasting.questions import Answer
from tasks.forecasting.scenarios import LOWER, SHOWN_ROWS, UPPER
from tasks.forecasting.what_if import CARRIED_SESSIONS, Move, moves_of, with_moves, with_starting_points
from tasks.registry.features import FeatureRegistry
from tasks.registry.scenarios import Scenarios, SurfaceAxis
from tasks.storage.hashes import fingerprint

TODAY = "today"
EVERY = "every"
"""The horizon of a row about an input that has no value."""
PRICES = ("p10", "p50", "p90")
Point = tuple[tuple[str, float], ...]
"""Inputs with their moves, none for today. A move is in percent or an amount, as its axis says."""
Answers = Mapping[Point, Mapping[str, float]]
"""Of one horizon: p10, p50 and p90 by point, cents/lb."""


@dataclass(frozen=True)
class Axis:
    """An input with a value today, and the moves at which it is asked. ``start``: one of them, with that value."""

    name: str
    start: Move
    by: SurfaceAxis


def word_of(name: str, by: SurfaceAxis, move: float) -> str:
    """A move as ``cbi what-if`` reads it: `palm=-20%`, `rain=+1`."""
    return f"{name}={move:+.10g}{'%' if by.by == 'percent' else ''}"


@dataclass(frozen=True)
class Asked:
    """A panel with a starting point for every input, its features, and what is served from it."""

    panel: pd.DataFrame
    features: pd.DataFrame
    axes: Mapping[str, Axis]
    missing: Mapping[str, str]
    spec: Scenarios

    def row(self, point: Point) -> pd.DataFrame:
        """The last session of the panel at a point."""
        words = [word_of(name, self.axes[name].by, move) for name, move in point]
        return with_moves(self.panel.tail(1), moves_of(words, self.panel.tail(CARRIED_SESSIONS), self.spec))


def asked_from(panel: pd.DataFrame, features: pd.DataFrame, spec: Scenarios, registry: FeatureRegistry) -> Asked:
    """The starting point of the surface. An input without a value in the last sessions is missing, with the reason."""
    axes, missing = {}, {}
    for name, by in spec.surface.items():
        try:
            axes[name] = Axis(name, moves_of([word_of(name, by, by.moves[-1])], panel, spec)[0], by)
        except WrongWord as error:
            missing[name] = str(error)
    older = [axis.start for axis in axes.values() if axis.start.known_on is not None]
    if older:
        panel = with_starting_points(panel, older)
        features = build_features(panel, registry)
    return Asked(panel, features, axes, missing, spec)


def surface_rows(
    panel: pd.DataFrame,
    features: pd.DataFrame,
    served: Sequence[Served],
    models: IsolatedModels,
    registry: FeatureRegistry,
    spec: Scenarios,
) -> pd.DataFrame:
    """The rows of ``forecasts.zl_surface_daily``.

    A horizon without an answer today has one row, with a note. A point without one has no prices.
    """
    asked = asked_from(panel, features, spec, registry)
    last, as_of = float(panel["zl_last"].iloc[-1]), panel["date"].iloc[-1]
    models.show(asked.features.tail(SHOWN_ROWS).reset_index(drop=True))
    today = {one.problem.horizon: models.ask(question_of(one.version, one.problem)) for one in served}
    able = [one for one in served if not (today[one.problem.horizon].error or today[one.problem.horizon].without)]
    wanted = _read(able, today)
    alone: list[Point] = [(), *(((name, move),) for name, axis in asked.axes.items() for move in axis.by.moves)]
    answers = _answers(asked, alone, able, models, registry, wanted, last)
    moving = [name for name in asked.axes if any(_reacts(answers[one.problem.horizon], name) for one in able)]
    pairs = [
        ((first, one), (second, other))
        for first, second in combinations(moving, 2)
        for one, other in product(*(_ends(asked.axes[name]) for name in (first, second)))
    ]
    both = _answers(asked, pairs, able, models, registry, wanted, last) if pairs else {}
    rows: list[dict[str, object]] = []
    for one in served:
        horizon = one.problem.horizon
        own = {"as_of": as_of, "horizon": horizon, "model_version": one.version.name}
        if one not in able:
            note = today[horizon].error or f"no forecast without {today[horizon].without}"
            rows.append({**own, "point": TODAY, "note": note})
            continue
        found = {**answers[horizon], **both.get(horizon, {})}
        identity = fingerprint(one.version.name, [[point_name(p), *found[p].values()] for p in found])
        rows += [
            {**own, "point": point_name(point), "surface": identity, **_inputs(asked, point), **prices}
            for point, prices in found.items()
        ]
    for name, why in asked.missing.items():
        entry = spec.names[name]
        rows.append(
            {
                "as_of": as_of,
                "horizon": EVERY,
                "point": name,
                "input": name,
                "title": entry.title,
                "unit": entry.unit,
                "note": why,
            }
        )
    return pd.DataFrame(rows)


def _read(able: Sequence[Served], today: Mapping[str, Answer]) -> set[str]:
    """Every feature that a forecast uses."""
    found: set[str] = set()
    for one in able:
        reads = today[one.problem.horizon].reads
        found |= set(one.version.metadata["columns"] if reads is None else reads)
    return found


def _answers(
    asked: Asked,
    points: Sequence[Point],
    served: Sequence[Served],
    models: IsolatedModels,
    registry: FeatureRegistry,
    wanted: Iterable[str],
    last: float,
) -> dict[str, Answers]:
    """By horizon, the prices at each point; missing where the model has none."""
    alternatives = pd.concat([asked.row(point) for point in points])
    rows = alternative_features(asked.panel, asked.features, alternatives, registry, wanted=wanted)
    models.show(pd.concat([asked.features.tail(SHOWN_ROWS), rows], ignore_index=True))
    found: dict[str, Answers] = {}
    for one in served:
        answer = models.ask(question_of(one.version, one.problem, "alternatives", alternatives=len(points)))
        prices = last * np.exp(np.array(answer.alternatives or [[np.nan] * len(one.problem.quantiles)] * len(points)))
        at = [one.problem.quantiles.index(level) for level in (LOWER, 0.5, UPPER)]
        found[one.problem.horizon] = {
            point: dict(zip(PRICES, map(float, values[at]), strict=True))
            for point, values in zip(points, prices, strict=True)
        }
    return found


def _reacts(answers: Answers, name: str) -> bool:
    """Whether a forecast is another at any move of the input."""
    return any(answers[point] != answers[()] for point in answers if point and point[0][0] == name)


def _ends(axis: Axis) -> tuple[float, float]:
    return axis.by.moves[0], axis.by.moves[-1]


def point_name(point: Point) -> str:
    """`today`, `palm -20` or `palm -20, crude +20`."""
    return ", ".join(f"{name} {move:+g}" for name, move in point) or TODAY


def _inputs(asked: Asked, point: Point) -> dict[str, object]:
    """What a point moves, for its row."""
    found: dict[str, object] = {}
    for (name, move), prefix in zip(point, ("", "other_"), strict=False):
        axis = asked.axes[name]
        amount = axis.start.before * (1 + move / 100) if axis.by.by == "percent" else axis.start.before + move
        found |= {f"{prefix}input": name, f"{prefix}move": move, f"{prefix}value": amount}
        if len(point) == 1:
            found |= {
                "title": axis.start.title,
                "unit": axis.start.unit,
                "moved_by": axis.by.by,
                "start_value": axis.start.before,
                "known_on": axis.start.known_on,
            }
    return found


def answers_of(rows: pd.DataFrame) -> Answers:
    """The points of one horizon's rows of ``forecasts.zl_surface_daily``."""
    found: dict[Point, Mapping[str, float]] = {}
    for row in rows.to_dict("records"):
        moved = [(row["input"], row["move"]), (row["other_input"], row["other_move"])]
        point = tuple((str(name), float(move)) for name, move in moved if isinstance(name, str))
        found[point] = {name: float(row[name]) for name in PRICES}
    return found


def surface_answer(answers: Answers, moves: Mapping[str, float]) -> dict[str, float]:
    """p10, p50 and p90 in cents/lb at moves of several inputs, NaN where a point that is needed has none.

    In logs of the median and of both sides of the band: today's, what each input changes alone (linear between its
    levels), and what each pair changes beyond that (bilinear from today to the ends).
    """
    shapes = {point: _shape(prices) for point, prices in answers.items()}
    today, total = shapes[()], shapes[()].copy()
    moved = {name: move for name, move in moves.items() if move != 0}
    for name, move in moved.items():
        levels = sorted({0.0, *(point[0][1] for point in shapes if len(point) == 1 and point[0][0] == name)})
        high = min(max(int(np.searchsorted(levels, move)), 1), len(levels) - 1)
        share = (move - levels[high - 1]) / (levels[high] - levels[high - 1])
        below, above = (shapes[((name, level),) if level else ()] - today for level in levels[high - 1 : high + 1])
        total += below if share == 0 else above if share == 1 else below + share * (above - below)
    for first, second in combinations(moved, 2):
        ends = [
            point
            for point in shapes
            if len(point) == 2
            and {point[0][0], point[1][0]} == {first, second}
            and all(moved[name] * end > 0 for name, end in point)
        ]
        for point in ends:
            alone = sum((shapes[(one,)] - today for one in point), np.zeros(3))
            total += (shapes[point] - today - alone) * np.prod([moved[name] / end for name, end in point])
    median = float(np.exp(total[0]))
    down, up = (float(np.maximum(side, 0)) for side in total[1:])
    return {"p10": median * float(np.exp(-down)), "p50": median, "p90": median * float(np.exp(up))}


def _shape(prices: Mapping[str, float]) -> np.ndarray:
    """ln p50, and how far the band reaches below and above it, in logs."""
    low, median, high = (np.log(prices[name]) for name in PRICES)
    return np.array([median, median - low, high - median])
