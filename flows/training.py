"""``python -m flows.training``: the bake-off on the exported training files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, cast

from prefect import flow
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runtime import Steps, as_task, prefect_at_home
from tasks.errors import CbiError, SettingsError
from tasks.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from prefect.task_runners import TaskRunner

    from tasks.context import Run
    from tasks.evaluation.plan import Plan
    from tasks.gates.run import GateReport
    from tasks.zones import Zones

RUNNERS = ("local", "dask", "ray")
BUDGETS = ("daily", "quick", "full")


def gate_training(run: Run) -> GateReport:
    """PRE_TRAINING: the training files as they are on disk."""
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import training_tables

    return pass_gate(run, "PRE_TRAINING", training_tables(run.work.exports, run.features, run.horizons))


def plan_fits(run: Run, budget: str) -> Plan:
    """Every fit of the budget, from training files that are what their manifest says."""
    from tasks.evaluation.plan import plan_bake_off
    from tasks.exports import check_exports, file_name
    from tasks.registry import load_models, load_surface

    files = cast("dict[str, dict[str, str]]", check_exports(run.work.exports)["files"])
    return plan_bake_off(
        run.work.exports,
        run.horizons,
        load_models(run.settings.registry, run.features),
        run.features,
        load_surface(run.settings.registry, run.features),
        budget=budget,
        data_snapshots={name: files[file_name("prod", name)]["sha256"] for name in run.horizons.horizons},
    )


def fit_side_by_side(run: Run, plan: Plan, *, apart: bool) -> dict[str, str]:
    """Every fit that is not held yet, on the flow's task runner; returns why for each that failed twice.

    ``apart``: each fit a task of its own (other machines may share them); else a task for the folds of one family and
    horizon, which saves starting a process for each.
    """
    from tasks.evaluation.bake_off import fit_held, fit_in_process

    missing = [fit for fit in plan.fits if not fit_held(run.zones, fit)]
    groups = [[fit] for fit in missing] if apart else [missing]
    work = [one for group in groups for one in plan.work(group, run.zones.fits)]
    failed, done = {}, 0
    with Steps("fit") as progress:
        futures = {as_task(fit_in_process, f"fit {_label(one)}", retries=1).submit(one): one for one in work}
        for future in as_completed(list(futures)):
            one = futures[cast("PrefectFuture[Any]", future)]
            outcome = future.result(raise_on_failure=False)
            if isinstance(outcome, BaseException):
                failed[_label(one)] = str(outcome)
            done += len(one["fits"])
            progress(done, len(missing), _label(one))
    return failed


def _label(work: dict[str, Any]) -> str:
    fits = work["fits"]
    return f"{work['family']} {'+'.join(work['horizons'])}" + (
        f" {fits[0]['year'] or 'final'}" if len(fits) == 1 else ""
    )


def judge(run: Run, plan: Plan, failed: dict[str, str]) -> pd.DataFrame:
    """Calibrate, measure, store and promote. Returns the leaderboard."""
    from tasks.evaluation.bake_off import judge_fits
    from tasks.model_store.store import ModelStore
    from tasks.registry import load_quality_gates
    from tasks.zones import exclusive

    with exclusive(run.zones, "models", wait_s=3600):
        return judge_fits(
            plan,
            run.zones,
            ModelStore(run.zones.models),
            as_of=run.as_of,
            gates=load_quality_gates(run.settings.registry),
            code_version=run.code_version,
            failed=failed,
        )


def show(run: Run, board: pd.DataFrame, budget: str) -> Path | None:
    """The leaderboard as an artifact, and its figure under reports/; None where nothing was measured."""
    from flows.report import publish_leaderboard
    from tasks.reporting.evaluation_charts import leaderboard_figure

    figure = None
    if "skill_pct" in board:
        measured = board.dropna(subset=["skill_pct"])
        boards = {str(horizon): part for horizon, part in measured.groupby("horizon", sort=False)}
        figure = leaderboard_figure(leaderboard_path(run.work, f"{run.as_of:%Y-%m-%d}", budget), boards)
    publish_leaderboard(board, figure, title=f"Bake-off `{budget}` as of {run.as_of:%Y-%m-%d}")
    return figure


def leaderboard_path(zones: Zones, as_of: str, budget: str) -> Path:
    """Where the figure of a bake-off lies."""
    return zones.reports / f"leaderboard_{budget}_{as_of}.png"


@flow(
    name="training",
    flow_run_name="training {as_of} {budget}",
    persist_result=False,
    task_runner=cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=2)),
)
def training(
    as_of: str, origin: str = "live", budget: str = "daily", apart: bool = False
) -> tuple[pd.DataFrame, GateReport]:
    """The bake-off as of one session, once its training files have passed the gate: leaderboard and gate."""
    from tasks.context import open_run

    run = open_run(load_settings(), origin=origin, as_of=as_of)
    gate = as_task(gate_training, "gate PRE_TRAINING")(run)
    plan = as_task(plan_fits, "plan")(run, budget)
    failed = fit_side_by_side(run, plan, apart=apart)
    board = as_task(judge, "judge")(run, plan, failed)
    as_task(show, "leaderboard")(run, board, budget)
    return board, gate


def task_runner(name: str, workers: int) -> TaskRunner[PrefectFuture[Any]]:
    """Threads that wait for processes here, or Dask or Ray, which may reach other machines.

    Raises:
        SettingsError: the runner's packages are not installed.
    """
    try:
        if name == "dask":
            from prefect_dask import DaskTaskRunner

            local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
            return cast("TaskRunner[PrefectFuture[Any]]", DaskTaskRunner(cluster_kwargs=local))
        if name == "ray":
            from prefect_ray import RayTaskRunner

            started = {"num_cpus": workers, "include_dashboard": False}
            return cast("TaskRunner[PrefectFuture[Any]]", RayTaskRunner(init_kwargs=started))
    except ModuleNotFoundError as error:
        raise SettingsError(f"--runner {name} needs the package {error.name}: pip install -e '.[scale]'") from None
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=workers))


def main() -> int:
    """Command line."""
    from rich.console import Console

    from tasks.errors import ManifestMismatch
    from tasks.reporting.terminal import board_tables
    from tasks.zones import Zones, read_json

    parser = argparse.ArgumentParser(prog="python -m flows.training", description=__doc__)
    parser.add_argument("--budget", choices=BUDGETS, default="daily", help="how much of registry/models.yaml to run")
    parser.add_argument("--runner", choices=RUNNERS, default="local", help="where fits run")
    given = parser.parse_args()
    try:
        settings = load_settings()
        held = read_json(Zones(settings.home).exports / "manifest.json")
        if held is None:
            raise ManifestMismatch("there are no training files yet; run `make demo` or `make daily` first")
        with prefect_at_home(settings):
            on = training.with_options(task_runner=task_runner(given.runner, settings.workers))
            board, gate = on(held["as_of"], budget=given.budget, apart=given.runner != "local")
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for warned in gate.failed("warn"):
        print(f"{gate.gate}: {warned}", file=sys.stderr)
    for table in board_tables(board):
        Console(width=max(150, Console().width)).print(table)
    for message in board.loc[(board["refusal"] != "") & (board["skill_pct"] > 0), "refusal"]:
        print(message)
    if (figure := leaderboard_path(Zones(settings.home), held["as_of"], given.budget)).exists():
        print(f"Leaderboard: {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
