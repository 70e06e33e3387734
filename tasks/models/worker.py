"""One family at one horizon, in a process of its own: ``python -m tasks.models.worker JOB.json``.

LightGBM and torch bring two OpenMP runtimes, which can crash one macOS process; and a crash here costs one fit.
The job names a training file; the answer is a folder with the model fitted on all known targets and the forecasts
of every walk-forward fold.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.evaluation.walk_forward import walk_forward
from tasks.models.forecaster import SCALE, Forecaster, Problem, column, forecaster
from tasks.registry import WalkForwardPlan
from tasks.zones import read_json, read_parquet, write_json, write_parquet


def run_job(job: dict[str, object], out: Path) -> None:
    """Fit the folds, then the final model, and write ``oof.parquet``, the model's files and ``done.json``."""
    table = read_parquet(Path(str(job["training_file"])))
    columns = list(job["columns"])  # type: ignore[call-overload]
    problem = Problem(str(job["horizon"]), int(job["sessions"]), tuple(job["quantiles"]))  # type: ignore[call-overload, arg-type]
    plan = WalkForwardPlan.model_validate(job["plan"])
    family = forecaster(str(job["family"]))
    out.mkdir(parents=True, exist_ok=True)
    oof = out_of_fold(family, problem, table, columns, plan)
    write_parquet(out / "oof.parquet", oof)
    model = family(problem)  # type: ignore[call-arg]
    known = usable(table)
    model.fit(table.loc[known, columns], table.loc[known, "target_log_return"])
    model.save(out)
    write_json(out / "done.json", {"rows": int(known.sum()), "origins": len(oof)})


def usable(table: pd.DataFrame) -> pd.Series:
    """Rows with a target and the scale that every family needs."""
    return table["target_log_return"].notna() & table[SCALE].notna()


def out_of_fold(
    family: type[Forecaster], problem: Problem, table: pd.DataFrame, columns: list[str], plan: WalkForwardPlan
) -> pd.DataFrame:
    """Forecasts of every fold's origins whose target is known, by a model fitted before that fold."""
    known = usable(table).to_numpy()
    parts = []
    for fold in walk_forward(pd.DatetimeIndex(table["date"]), plan, horizon=problem.sessions):
        train, test = fold.train[known[fold.train]], fold.test[known[fold.test]]
        if not len(train) or not len(test):
            continue
        model = family(problem)  # type: ignore[call-arg]
        model.fit(table.loc[train, columns], table.loc[train, "target_log_return"])
        quantiles = model.predict_quantiles(table.loc[test, columns])
        rows = table.loc[test, ["date", "target_date", "target_log_return"]].assign(
            fold=fold.year,
            scored=fold.scored,
            row=test,
            last_price=table.loc[test, "target_price"] / np.exp(table.loc[test, "target_log_return"]),
            direction_probability=model.direction_probability(quantiles),
        )
        parts.append(rows.assign(**{column(p): quantiles[:, i] for i, p in enumerate(problem.quantiles)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


if __name__ == "__main__":
    job_path = Path(sys.argv[1])
    run_job(read_json(job_path), job_path.parent)
