"""One family of the product on the folds of a contest: ``python -m evidence.peers.ours FOLDER FAMILY``.

It runs in its own process, like in the bake-off (LightGBM and torch bring two OpenMP runtimes). Seconds are of fitting
and forecasting, without imports, as for the peers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from evidence.inputs import last_run
from evidence.peers.exchange import Contest, write_answer
from evidence.peers.run import OptimizerSteps, cpu_seconds
from tasks.exports import file_name
from tasks.models.catalogue import is_joint
from tasks.models.forecaster import JointProblem, Problem, forecaster, joint_forecaster
from tasks.registry import load_models, load_surface
from tasks.storage.files import read_parquet
from tasks.training.folds import walk_forward
from tasks.training.multi_horizon import joint_out_of_fold
from tasks.training.worker import forecast_fold

YEARS = (2021, 2022)
"""The two newest test years before the last calendar year, which is excluded from every comparison."""


def load_contest(family: str) -> Contest:
    """The exported training files of the home, and the columns that a family reads."""
    run = last_run()
    models = load_models(run.settings.registry, run.features)
    surface = load_surface(run.settings.registry, run.features)
    return Contest(
        {name: read_parquet(run.work.exports / file_name("prod", name)) for name in run.horizons.horizons},
        run.horizons,
        YEARS,
        tuple(models.columns(family, run.features, surface)),
        tuple(name for name, entry in surface.features.items() if entry.category in models.context),
    )


def forecasts_of_year(family: str, contest: Contest, year: int) -> Mapping[str, pd.DataFrame]:
    """One fold at every horizon, fitted like in the bake-off."""
    columns, plan = list(contest.columns), contest.horizons.walk_forward
    if is_joint(family):
        return joint_out_of_fold(
            joint_forecaster(family),
            JointProblem(contest.sessions, contest.levels),
            contest.tables,
            columns,
            plan,
            years=[year],
            options={"other_markets": list(contest.other_markets), "device": "cpu"},
        )
    forecasts = {}
    for name, table in contest.tables.items():
        problem = Problem(name, contest.sessions[name], contest.levels)
        folds = walk_forward(pd.DatetimeIndex(table["date"]), plan, horizon=problem.sessions)
        fold = next(fold for fold in folds if fold.year == year)
        forecasts[name] = forecast_fold(forecaster(family), problem, table, columns, fold)
    return forecasts


def main(folder: Path, family: str) -> None:
    """Write the family's forecasts and seconds."""
    contest = load_contest(family)
    assert joint_forecaster(family) if is_joint(family) else forecaster(family)  # imported before the clock starts
    steps = OptimizerSteps() if is_joint(family) else None
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in contest.tables}
    costs: list[dict[str, Any]] = []
    for year in contest.years:
        wall, cpu = time.perf_counter(), cpu_seconds()
        forecasts = forecasts_of_year(family, contest, year)
        cost = {"year": year, "wall_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}
        costs.append(cost | (steps.taken() if steps else {}))
        for name, frame in forecasts.items():
            parts[name].append(frame)
    joined = {name: pd.concat(folds, ignore_index=True) for name, folds in parts.items()}
    write_answer(folder, family, joined, contest.levels, {"package": "CBI", "folds": costs})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
