"""Fits of one family in its own process: ``python -m tasks.training.worker WORK.json``.

LightGBM and torch bring two OpenMP runtimes, which can crash one macOS process; and a crash here costs one fit only.
Each fit leaves a folder named by the hash of its inputs, complete or absent: `forecasts.<horizon>.parquet` of its fold,
or the model's files. A stored fit is not fitted again, so that a training that was killed continues.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import TrainingFailed
from tasks.models.catalogue import SCALE, is_joint
from tasks.models.forecaster import Forecaster, JointProblem, Problem, forecaster, joint_forecaster
from tasks.quantiles import column
from tasks.registry import SampleWeights, WalkForwardPlan
from tasks.settings import load_settings
from tasks.storage.files import TEMPORARY, move_folder_into, read_json, read_parquet, write_json, write_parquet
from tasks.training.folds import FINAL, Fold, walk_forward
from tasks.training.multi_horizon import joint_out_of_fold, joint_targets, row_weights

LABELS = ("date", "target_date", "target_price", "target_log_return", "training_weight")


def run_work(work: dict[str, Any]) -> None:
    """Do every fit of ``work`` (tasks/training/plan.py) that is not in its cache yet.

    Raises:
        TrainingFailed: a fit failed. Raised after all others are done, with the first failure and its reason.
    """
    read = list(dict.fromkeys([*LABELS, SCALE, *work["columns"]]))
    tables = {name: read_parquet(Path(path), columns=read) for name, path in work["training_files"].items()}
    plan = WalkForwardPlan.model_validate(work["plan"])
    failed: list[str] = []
    for fit in work["fits"]:
        target = Path(work["cache"]) / fit["identity"]
        if (target / "done.json").exists():
            continue
        out = target.with_name(f"{TEMPORARY}{target.name}")
        try:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            _one(work, tables, plan, fit, out)
        except Exception as error:  # a library may raise anything: the other fits still run
            shutil.rmtree(out, ignore_errors=True)
            failed.append(f"{'+'.join(fit['horizons'])} {fit['year'] or 'final'}: {type(error).__name__}: {error}")
            continue
        write_json(out / "done.json", fit)
        shutil.rmtree(target, ignore_errors=True)
        move_folder_into(out, target)
    if failed:
        raise TrainingFailed(f"{len(failed)} of {len(work['fits'])} fits failed, the first: {failed[0]}")


def _one(
    work: dict[str, Any], tables: Mapping[str, pd.DataFrame], plan: WalkForwardPlan, fit: dict[str, Any], out: Path
) -> None:
    if is_joint(work["family"]):
        _joint(work, tables, plan, fit, out)
        return
    [name] = fit["horizons"]
    sessions = work["horizons"][name]
    problem, columns = Problem(name, sessions, tuple(work["quantiles"])), work["columns"]
    family, table = forecaster(work["family"]), tables[name]
    options, weights = work["options"], SampleWeights.model_validate(work["weights"])
    if fit["year"] == FINAL:
        known = usable(table)
        model = family(problem, options)
        model.fit(
            table.loc[known, columns],
            table.loc[known, "target_log_return"],
            weights=row_weights(table.loc[known], weights),
        )
        (out / name).mkdir()
        model.save(out / name)
        return
    folds = walk_forward(pd.DatetimeIndex(table["date"]), plan, horizon=sessions)
    fold = next(fold for fold in folds if fold.year == fit["year"])
    forecasts = forecast_fold(family, problem, table, columns, fold, options=options, weights=weights)
    write_parquet(out / f"forecasts.{name}.parquet", forecasts)


def _joint(
    work: dict[str, Any], tables: Mapping[str, pd.DataFrame], plan: WalkForwardPlan, fit: dict[str, Any], out: Path
) -> None:
    problem = JointProblem(work["horizons"], tuple(work["quantiles"]))
    family, columns = joint_forecaster(work["family"]), work["columns"]
    options = {**work["options"], "device": load_settings().device}
    weights = SampleWeights.model_validate(work["weights"])
    # outside `out`, which starts empty each time: a training that was killed continues from its last epoch
    checkpoints = Path(work["cache"]) / "checkpoints" / fit["identity"]
    first = next(iter(tables.values()))
    if fit["year"] == FINAL:
        model = family(problem, options)
        model.fit(
            first[columns], joint_targets(problem, tables), weights=row_weights(first, weights), folder=checkpoints
        )
        for name in problem.sessions:
            (out / name).mkdir()
            model.save(out / name)
    else:
        frames = joint_out_of_fold(
            family,
            problem,
            tables,
            columns,
            plan,
            years=[fit["year"]],
            options=options,
            weights=weights,
            folder=checkpoints,
        )
        for name, forecasts in frames.items():
            write_parquet(out / f"forecasts.{name}.parquet", forecasts)
    shutil.rmtree(checkpoints, ignore_errors=True)


def usable(table: pd.DataFrame) -> pd.Series:
    """Rows with a target and the scale that every family needs."""
    return table["target_log_return"].notna() & table[SCALE].notna()


def out_of_fold(
    family: type[Forecaster], problem: Problem, table: pd.DataFrame, columns: list[str], plan: WalkForwardPlan
) -> pd.DataFrame:
    """Forecasts of every fold's origins with a known target, by a model fitted before that fold."""
    folds = walk_forward(pd.DatetimeIndex(table["date"]), plan, horizon=problem.sessions)
    parts = [forecast_fold(family, problem, table, columns, fold) for fold in folds]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def forecast_fold(
    family: type[Forecaster],
    problem: Problem,
    table: pd.DataFrame,
    columns: list[str],
    fold: Fold,
    *,
    options: Mapping[str, Any] | None = None,
    weights: SampleWeights | None = None,
) -> pd.DataFrame:
    """Forecasts of one fold's origins whose target is known; no rows if there is nothing to train on or to test."""
    known = usable(table).to_numpy()
    train, test = fold.train[known[fold.train]], fold.test[known[fold.test]]
    if not len(train) or not len(test):
        return pd.DataFrame()
    model = family(problem, options)
    model.fit(
        table.loc[train, columns],
        table.loc[train, "target_log_return"],
        weights=row_weights(table.loc[train], weights),
    )
    quantiles = model.predict_quantiles(table.loc[test, columns])
    rows = table.loc[test, ["date", "target_date", "target_log_return"]].assign(
        fold=fold.year,
        scored=fold.scored,
        row=test,
        last_price=table.loc[test, "target_price"] / np.exp(table.loc[test, "target_log_return"]),
        direction_probability=model.direction_probability(quantiles),
    )
    return rows.assign(**{column(p): quantiles[:, i] for i, p in enumerate(problem.quantiles)}).reset_index(drop=True)


if __name__ == "__main__":
    run_work(read_json(Path(sys.argv[1])))
