"""Walk-forward forecasts of a family that learns all horizons at once, in the form of those that learn one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import TrainingFailed
from tasks.models.catalogue import SCALE
from tasks.models.forecaster import JointForecaster, JointProblem
from tasks.quantiles import column
from tasks.registry import SampleWeights, WalkForwardPlan
from tasks.training.folds import walk_forward


def joint_out_of_fold(
    family: type[JointForecaster],
    problem: JointProblem,
    tables: Mapping[str, pd.DataFrame],
    columns: list[str],
    plan: WalkForwardPlan,
    *,
    years: Collection[int],
    options: Mapping[str, Any] | None = None,
    weights: SampleWeights | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, of, what: None,
) -> dict[str, pd.DataFrame]:
    """Forecasts of the folds of ``years``, one frame per horizon, as ``worker.out_of_fold`` returns them.

    Args:
        tables: training table per horizon (date, columns, target_log_return, target_date, target_price); all have the
            same sessions. weights: settings of row weights. folder: checkpoints, one subfolder per fold; what is
            finished there is not fitted again.

    Invariants: each head learns only targets known before the fold, so each is purged by its own horizon.
    """
    targets = joint_targets(problem, tables)
    first = tables[next(iter(problem.sessions))]
    dates, features = pd.DatetimeIndex(first["date"]), first[columns]
    folds = {name: list(walk_forward(dates, plan, horizon=h)) for name, h in problem.sessions.items()}
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in problem.sessions}
    chosen = [i for i, fold in enumerate(next(iter(folds.values()))) if fold.year in years]
    for number, i in enumerate(chosen):
        learned = pd.DataFrame(np.nan, index=targets.index, columns=targets.columns)
        for name, of_horizon in folds.items():
            learned.loc[of_horizon[i].train, name] = targets.loc[of_horizon[i].train, name]
        fold = next(iter(folds.values()))[i]
        known = int(np.flatnonzero(learned.notna().any(axis=1))[-1]) + 1
        model = family(problem, options)
        model.fit(
            features.iloc[:known],
            learned.iloc[:known],
            weights=row_weights(first.iloc[:known], weights),
            folder=None if folder is None else folder / str(fold.year),
            progress=progress,
        )
        quantiles = model.predict_quantiles(features.iloc[: fold.test[-1] + 1], fold.test)
        for name in problem.sessions:
            table = tables[name]
            able = targets[name].notna().to_numpy()[fold.test] & ~np.isnan(quantiles[name]).any(axis=1)
            rows, forecast = fold.test[able], quantiles[name][able]
            if not len(rows):
                continue
            part = table.loc[rows, ["date", "target_date", "target_log_return"]].assign(
                fold=fold.year,
                scored=fold.scored,
                row=rows,
                last_price=table.loc[rows, "target_price"] / np.exp(table.loc[rows, "target_log_return"]),
                direction_probability=model.direction_probability(forecast),
            )
            parts[name].append(part.assign(**{column(p): forecast[:, j] for j, p in enumerate(problem.quantiles)}))
        progress(number + 1, len(chosen), f"{family.family}: fold {fold.year}")
    return {name: pd.concat(frames, ignore_index=True) if frames else pd.DataFrame() for name, frames in parts.items()}


def joint_targets(problem: JointProblem, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The log returns of every horizon, one column each; NaN where unknown or without the scale that all need.

    Raises:
        TrainingFailed: the tables do not have the same sessions.
    """
    dates, targets = None, {}
    for name in problem.sessions:
        table = tables[name]
        if dates is not None and not dates.equals(pd.DatetimeIndex(table["date"])):
            raise TrainingFailed(f"the training table of {name} has other sessions; run `cbi daily` again")
        dates = pd.DatetimeIndex(table["date"])
        targets[name] = table["target_log_return"].where(table[SCALE].notna()).to_numpy()
    return pd.DataFrame(targets)


def row_weights(table: pd.DataFrame, setting: SampleWeights | None) -> np.ndarray | None:
    """``sample_weights`` of the training rows, or None if the setting is off.

    Raises:
        TrainingFailed: a row lies outside of the regime calendar.
    """
    if setting is None or not setting.on:
        return None
    weights = sample_weights(table, regimes=setting.regimes, half_life_sessions=setting.half_life_sessions)
    if len(outside := table.loc[np.isnan(weights), "date"]):
        raise TrainingFailed(
            f"{len(outside)} rows to learn from, {outside.min():%Y-%m-%d} to {outside.max():%Y-%m-%d}, are outside of "
            f"registry/regime_calendar.csv and have no weight; extend it, or set weights.regimes to false"
        )
    return weights


def sample_weights(table: pd.DataFrame, *, regimes: bool, half_life_sessions: float | None) -> np.ndarray:
    """The weight of each row: the regime calendar's weight, times recency that halves every ``half_life_sessions``.

    Only the ratios matter; None: old rows count as much as new ones.
    """
    weights = table["training_weight"].to_numpy(dtype="float64") if regimes else np.ones(len(table))
    if half_life_sessions is not None:
        weights = weights * 0.5 ** (np.arange(len(table))[::-1] / half_life_sessions)
    return weights
