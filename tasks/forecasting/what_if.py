"""What-ifs of one's own: some inputs of the last session moved, features rebuilt, the served models asked again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.command_line import nearest
from tasks.errors import WrongWord
from tasks.features.build import build_features
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.explain import Served
from tasks.forecasting.scenarios import State, compared, state_of, with_dependents
from tasks.panel.join import value_columns
from tasks.registry.features import FeatureRegistry
from tasks.registry.scenarios import Scenarios, WhatIfName

CARRIED_SESSIONS = 21
"""Age up to which the last known value of an input is the starting point, where the last session has none."""
MOVE = re.compile(r"([+-]?)(\d+(?:\.\d+)?|\.\d+)(%?)")


@dataclass(frozen=True)
class Move:
    """One input moved: what it is called, its columns, and the value of the shown one before and after.

    ``known_on``: the session of the value before, if it is not the last one.
    """

    title: str
    unit: str
    columns: tuple[str, ...]
    before: float
    after: float
    known_on: pd.Timestamp | None = None

    def __str__(self) -> str:
        """`palm oil 890.25 to 979.28 USD/t (+10.0%)`."""
        change = f" ({100 * (self.after / self.before - 1):+.1f}%)" if self.before > 0 else ""
        of = f", from the value of {self.known_on:%Y-%m-%d}: there is none since" if self.known_on else ""
        return f"{self.title} {self.before:.4g} to {self.after:.4g}{f' {self.unit}' if self.unit else ''}{change}{of}"


def moves_of(words: Sequence[str], panel: pd.DataFrame, spec: Scenarios) -> list[Move]:
    """The moves that a command line asks for, each as `name=+10%`, `name=-0.5` or `name=40`.

    Raises:
        WrongWord: an unknown name (the nearest one is in the message), a value that is none, a name given twice, or an
            input without a value at the last session.
    """
    found: dict[str, Move] = {}
    for word in words:
        name, _, value = word.partition("=")
        parsed = MOVE.fullmatch(value)
        if parsed is None:
            raise WrongWord(f"{word!r}: write {name or 'palm'}=+10% (percent), =-0.5 (by that much) or =40 (its value)")
        if name in found:
            raise WrongWord(f"{name} is given twice")
        found[name] = _move(name, *parsed.groups(), panel=panel, spec=spec)
    return list(found.values())


def _move(name: str, sign: str, number: str, percent: str, *, panel: pd.DataFrame, spec: Scenarios) -> Move:
    known = spec.names | {c: WhatIfName(title=c, columns=(c,), shows=(c,), unit="") for c in value_columns(panel)}
    if name not in known:
        raise WrongWord(f"there is no input `{name}`.{nearest(name, known)} `cbi what-if --help` lists the names")
    entry = known[name]
    recent = panel.set_index("date")[list(entry.shows)].tail(CARRIED_SESSIONS)
    known_rows = recent.dropna(how="all")
    if known_rows.empty:
        raise WrongWord(
            f"{name}: {' and '.join(entry.shows)} have no value in {CARRIED_SESSIONS} sessions; choose another input"
        )
    newest, seen = known_rows.iloc[-1].dropna().to_numpy(), pd.Timestamp(known_rows.index[-1])
    before = float(newest[0])
    amount = float(number) * (-1 if sign == "-" else 1)
    after = before * (1 + amount / 100) if percent else before + amount if sign else amount
    if len(entry.columns) > 1 and after <= 0:
        raise WrongWord(f"{name}={sign}{number}{percent}: {after:g} is not a price")
    older = seen if seen != panel["date"].iloc[-1] else None
    return Move(entry.title, entry.unit, entry.columns, before, after, older)


def with_starting_points(panel: pd.DataFrame, moves: Sequence[Move]) -> pd.DataFrame:
    """The panel with the last known value of each moved column that has none at the last session.

    The forecasts before and after then differ by the moves alone, not by what is known.
    """
    changed = panel.copy()
    for name in [name for move in moves if move.known_on is not None for name in move.columns]:
        values = changed[name].to_numpy(copy=True)
        values[-1] = changed[name].tail(CARRIED_SESSIONS).ffill().iloc[-1]
        changed[name] = values
    return changed


def with_moves(panel: pd.DataFrame, moves: Sequence[Move]) -> pd.DataFrame:
    """The panel with its last session moved, spreads that follow from the prices included."""
    changed = panel.copy()
    for move in moves:
        for name in move.columns:
            values = changed[name].to_numpy(copy=True)
            values[-1] = move.after if len(move.columns) == 1 else values[-1] * move.after / move.before
            changed[name] = values
    return with_dependents(changed, panel)


def what_if(
    panel: pd.DataFrame,
    features: pd.DataFrame,
    moves: Sequence[Move],
    served: Sequence[Served],
    models: IsolatedModels,
    registry: FeatureRegistry,
) -> tuple[State, State, pd.DataFrame, int]:
    """The state of the forecasts before and after the moves, a row per horizon that compares them, and how many
    features the moves change.

    A horizon that has no forecast on either side has a ``note`` instead of values.
    """
    if any(move.known_on is not None for move in moves):
        panel = with_starting_points(panel, moves)
        features = build_features(panel, registry)
    before = state_of(panel, features, served, models, registry)
    changed = with_moves(panel, moves)
    moved = build_features(changed, registry)
    names = list(registry.features)
    differ = int((~moved[names].iloc[-1].eq(features[names].iloc[-1]) & moved[names].iloc[-1].notna()).sum())
    after = state_of(changed, moved, served, models, registry)
    rows = []
    for one in served:
        horizon = one.problem.horizon
        row: dict[str, object] = {"horizon": horizon, "title": one.title, "model_version": one.version.name}
        ends: list[Mapping[float, float] | None] = [state.quantiles.get(horizon) for state in (before, after)]
        if ends[0] is None or ends[1] is None:
            row["note"] = before.stopped.get(horizon) or after.stopped.get(horizon)
        else:
            row |= compared(before.last_price, ends[0], after.last_price, ends[1])
            row |= {"p10": ends[0][0.1], "p90": ends[0][0.9]}
        rows.append(row)
    return before, after, pd.DataFrame(rows), differ
