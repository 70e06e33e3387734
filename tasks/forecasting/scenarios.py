"""Scenarios: the served models on a panel in which the days of a past episode came on top of the last ones.

Features are rebuilt from the changed panel by the code of the daily run, and the same model versions forecast from
them. Beside it stands what history did after days alike, because a model that hardly moves its centre says little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.errors import CbiError
from tasks.features.build import build_features
from tasks.features.regimes import regime_name
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.explain import Served, attempt, question_of
from tasks.forecasting.questions import Answer
from tasks.quantiles import column
from tasks.registry.features import FeatureRegistry
from tasks.registry.scenarios import Alike, Scenario, Scenarios

ROLL_FREE = "zl_roll_free"
LOWER, UPPER = 0.1, 0.9
SHOWN_ROWS = 600  # the last sessions, for models that read a window of them
NAMED_MOVES = 6
NAMED_ANALOGUES = 8
CRUSH_OIL_SHARE = 0.185  # of the crush margin in China (tasks/panel/derived.py)


@dataclass(frozen=True)
class Moves:
    """Moves of panel columns over an episode: ``log`` in proportion, ``points`` by the difference.

    One row per session after the first; columns with a value at neither end are absent.
    """

    log: pd.DataFrame
    points: pd.DataFrame
    first: pd.Timestamp
    last: pd.Timestamp

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return len(self.log)


@dataclass(frozen=True)
class State:
    """What the forecasts of one panel are: by horizon the price quantiles; the flags that fire; the regime."""

    last_price: float
    quantiles: Mapping[str, Mapping[float, float]]
    fires: tuple[str, ...]
    regime: str | None
    stopped: Mapping[str, str]


def episode_moves(panel: pd.DataFrame, scenario: Scenario, spec: Scenarios) -> Moves:
    """What each column did in the episode, measured on the panel.

    Invariants: the panel ends at the session of the run, so an episode after it cannot be read.

    Raises:
        CbiError: the episode is not over by the panel's last session, or not in the panel.
    """
    dates = pd.DatetimeIndex(panel["date"])
    first, last = pd.Timestamp(scenario.episode.first), pd.Timestamp(scenario.episode.last)
    if last > dates[-1]:
        raise CbiError(f"its episode ends on {last:%Y-%m-%d}, after this session: it is not known yet")
    if first not in dates or last not in dates:
        raise CbiError(f"{first:%Y-%m-%d} or {last:%Y-%m-%d} is no session of the panel (registry/scenarios.yaml)")
    rows = panel.iloc[int(dates.searchsorted(first)) : int(dates.searchsorted(last)) + 1].reset_index(drop=True)
    log = _known(rows, [*spec.markets.log, ROLL_FREE]).apply(np.log)
    points = _known(rows, [*spec.markets.points, *scenario.also])
    if ROLL_FREE not in log:
        raise CbiError(f"ZL has no price at {first:%Y-%m-%d} or {last:%Y-%m-%d}")
    log, points = (table.sub(table.iloc[0]).iloc[1:].reset_index(drop=True) for table in (log, points))
    return Moves(log, points, first, last)


def _known(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The columns with a value at both ends; in between the last one known."""
    present = [name for name in names if name in rows and rows[name].iloc[[0, -1]].notna().all()]
    return rows[present].ffill()


def with_episode(panel: pd.DataFrame, moves: Moves, spec: Scenarios) -> pd.DataFrame:
    """The panel with the episode's moves on top of its last sessions.

    The last session has the whole move. A value that is missing stays missing.
    """
    changed, rows = panel.copy(), slice(len(panel) - moves.sessions, len(panel))
    for name in dict.fromkeys([*moves.log.columns, *spec.with_zl]):
        path = moves.log[ROLL_FREE if name in spec.with_zl else name]
        if name in changed:
            _write(changed, name, rows, changed[name].to_numpy()[rows] * np.exp(path.to_numpy()))
    for name, path in moves.points.items():
        _write(changed, str(name), rows, changed[name].to_numpy()[rows] + path.to_numpy())
    return changed


def _write(panel: pd.DataFrame, name: str, rows: slice, values: np.ndarray) -> None:
    column_values = panel[name].to_numpy(copy=True)
    column_values[rows] = values
    panel[name] = column_values


def with_dependents(changed: pd.DataFrame, panel: pd.DataFrame) -> pd.DataFrame:
    """The last session of a what-if, with the spreads that follow from its prices by their own formulas.

    Dalian's spreads are differences of prices in cents/lb (tasks/panel/derived.py), so they move by the differences.
    """
    now, was, out = changed.iloc[-1], panel.iloc[-1], changed
    palm, zl = (now[name] - was[name] for name in ("dalian_palm_cents_lb", "zl_last"))
    soyoil = (was["dalian_soyoil_premium_cents_lb"] + was["zl_last"]) * (
        now["dalian_soyoil_cny_t"] / was["dalian_soyoil_cny_t"] * was["cny_last"] / now["cny_last"] - 1
    )
    oil_cny = now["dalian_soyoil_cny_t"] - was["dalian_soyoil_cny_t"]
    adjusted = {
        "dalian_soyoil_less_palm_cents_lb": np.nansum([soyoil, -palm]),
        "dalian_soyoil_premium_cents_lb": np.nansum([soyoil, -zl]),
        "china_crush_margin_cny_t": np.nansum([CRUSH_OIL_SHARE * oil_cny]),
    }
    for name, difference in adjusted.items():
        if now[name] == was[name]:
            values = out[name].to_numpy(copy=True)
            values[-1] += difference
            out = out.assign(**{name: values})
    return out


def state_of(
    panel: pd.DataFrame,
    features: pd.DataFrame,
    served: Sequence[Served],
    models: IsolatedModels,
    registry: FeatureRegistry,
) -> State:
    """The forecasts of the served versions from the last session of ``features``."""
    models.show(features.tail(SHOWN_ROWS).reset_index(drop=True))
    last, row = float(panel["zl_last"].iloc[-1]), features.iloc[-1]
    quantiles, stopped = {}, {}
    for one in served:
        answer: Answer = models.ask(question_of(one.version, one.problem))
        if answer.error or answer.without:
            stopped[one.problem.horizon] = answer.error or f"no forecast without {answer.without}"
            continue
        prices = last * np.exp(np.array(answer.quantiles))
        quantiles[one.problem.horizon] = dict(zip(one.problem.quantiles, map(float, prices), strict=True))
    fires = tuple(name for name in registry.overrides if row.get(name) == 1)
    return State(last, quantiles, fires, regime_name(row), stopped)


def scenario_rows(
    panel: pd.DataFrame,
    labels: pd.DataFrame,
    name: str,
    spec: Scenarios,
    now: State,
    served: Sequence[Served],
    models: IsolatedModels,
    registry: FeatureRegistry,
) -> pd.DataFrame:
    """One row per horizon of ``forecasts.zl_scenarios_daily``.

    Args:
        panel: to the session of the run. labels: of the same sessions. now: the forecasts as published.
    """
    scenario = spec.scenarios[name]
    key = {
        "as_of": panel["date"].iloc[-1],
        "scenario": name,
        "title": scenario.title,
        "story": scenario.story,
        "episode_first": pd.Timestamp(scenario.episode.first),
        "episode_last": pd.Timestamp(scenario.episode.last),
    }
    try:
        moves = episode_moves(panel, scenario, spec)
    except CbiError as error:
        return pd.DataFrame([{**key, "horizon": one.problem.horizon, "note": str(error)} for one in served])
    changed = with_episode(panel, moves, spec)
    then = state_of(changed, build_features(changed, registry), served, models, registry)
    rows = []
    for one in served:
        horizon = one.problem.horizon
        before, after = now.quantiles.get(horizon), then.quantiles.get(horizon)
        row = {
            **key,
            "horizon": horizon,
            "model_version": one.version.name,
            "magnitudes": magnitudes(moves, panel, scenario),
            "overrides": ", ".join(flag for flag in then.fires if flag not in now.fires) or None,
            "overrides_before": ", ".join(now.fires) or None,
            "regime": then.regime,
            "regime_before": now.regime,
            **analogues(panel, labels, moves, scenario.alike, horizon),
            "note": then.stopped.get(horizon) or now.stopped.get(horizon),
        }
        if before is not None and after is not None:
            row |= compared(now.last_price, before, then.last_price, after)
        rows.append(row)
    return pd.DataFrame(rows)


def compared(
    last_price: float, before: Mapping[float, float], then_price: float, after: Mapping[float, float]
) -> dict[str, float]:
    """Centre and 80% band in cents/lb before and after, and their changes.

    ``beyond_price_cents_lb`` is what the centre moves beyond the move of the last price itself.
    """
    move = float(np.log(before[0.5] / last_price))
    width, then_width = (float(q[UPPER] - q[LOWER]) for q in (before, after))
    return {
        "last_price": last_price,
        "scenario_price": then_price,
        "centre": before[0.5],
        "scenario_centre": after[0.5],
        "centre_change_cents_lb": after[0.5] - before[0.5],
        "beyond_price_cents_lb": after[0.5] - then_price * float(np.exp(move)),
        **{f"scenario_{column(level)}": after[level] for level in (LOWER, UPPER)},
        "width_cents_lb": width,
        "scenario_width_cents_lb": then_width,
        "width_change_pct": 100 * (then_width / then_price / (width / last_price) - 1),
    }


def magnitudes(moves: Moves, panel: pd.DataFrame, scenario: Scenario) -> str:
    """The moves of ZL, of what makes days alike and of what moves in this scenario only, then the largest others.

    In percent; differences as they are. Largest: in standard deviations of the column's own moves over such a time.
    """
    own = [ROLL_FREE, scenario.alike.column, *scenario.also]
    sizes = {}
    for table, log in ((moves.log, True), (moves.points, False)):
        for name in map(str, table.columns):
            past = (np.log(panel[name].where(panel[name] > 0)) if log else panel[name]).diff(moves.sessions)
            sizes[name] = abs(float(table[name].iloc[-1])) / float(past.std() or np.nan)
    others = sorted((name for name in sizes if name not in own), key=lambda name: -np.nan_to_num(sizes[name]))
    texts = []
    for name in dict.fromkeys([*own, *others[:NAMED_MOVES]]):
        if name in moves.log:
            texts.append(f"{name} {100 * np.expm1(moves.log[name].iloc[-1]):+.1f}%")
        elif name in moves.points:
            texts.append(f"{name} {moves.points[name].iloc[-1]:+.3g}")
    return ", ".join(texts)


def analogues(panel: pd.DataFrame, labels: pd.DataFrame, moves: Moves, alike: Alike, horizon: str) -> dict[str, object]:
    """What ZL did after past sessions alike: number, median and range of its moves, dates and outcomes.

    Invariants: only outcomes that were known by the panel's last session count.
    """
    days = alike_days(panel, moves, alike)
    known = labels[(labels["horizon"] == horizon) & (labels["target_date"] <= panel["date"].iloc[-1])]
    outcomes = 100 * np.expm1(known.set_index("date")["target_log_return"].reindex(days).dropna())
    if outcomes.empty:
        return {"analogues": 0}
    listed = [f"{day:%Y-%m-%d} {move:+.1f}%" for day, move in outcomes.iloc[::-1][:NAMED_ANALOGUES].items()]
    more = len(outcomes) - len(listed)
    return {
        "analogues": len(outcomes),
        "analogue_median_pct": float(outcomes.median()),
        "analogue_low_pct": float(outcomes.min()),
        "analogue_high_pct": float(outcomes.max()),
        "analogue_up_share": float((outcomes > 0).mean()),
        "analogue_outcomes": ", ".join(listed) + (f" and {more} earlier" if more else ""),
    }


def alike_days(panel: pd.DataFrame, moves: Moves, alike: Alike) -> pd.DatetimeIndex:
    """Past sessions at which a column had moved alike, an episode's length apart, the oldest first."""
    values = panel[alike.column]
    source = moves.points if alike.kind == "points" else moves.log
    if alike.column not in source:
        return pd.DatetimeIndex([])
    wanted = float(source[alike.column].iloc[-1]) * alike.share
    past = (values if alike.kind == "points" else np.log(values.where(values > 0))).diff(moves.sessions)
    rows = np.flatnonzero((past * np.sign(wanted) >= abs(wanted)).to_numpy())
    taken: list[int] = []
    for row in rows:
        if not taken or row - taken[-1] >= moves.sessions:
            taken.append(int(row))
    return pd.DatetimeIndex(panel["date"].to_numpy()[taken])


def scenarios_of_day(
    panel: pd.DataFrame,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    spec: Scenarios,
    served: Sequence[Served],
    models: IsolatedModels,
    registry: FeatureRegistry,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Every scenario at every horizon, and notices of those that failed."""
    now = state_of(panel, features, served, models, registry)
    parts = []
    notices: tuple[str, ...] = ()
    for name in spec.scenarios:

        def work(name: str = name) -> pd.DataFrame:
            return scenario_rows(panel, labels, name, spec, now, served, models, registry)

        rows, problem = attempt(f"scenario {name}", work, pd.DataFrame())
        parts.append(rows)
        notices += problem
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True), notices
