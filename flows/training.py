"""``cbi train``: the bake-off on the exported training files; ``--search``: a family's options."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, cast

if __name__ == "__main__":  # before Prefect is imported, which takes seconds
    from cli.app import main

    sys.exit(main(["train", *sys.argv[1:]]))

from prefect import flow
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.ending import FITS_STAY, ends_on_signal
from flows.runtime import Steps, as_task, mark_crashed, note_run, prefect_at_home
from tasks.errors import SettingsError
from tasks.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from prefect.task_runners import TaskRunner

    from tasks.gates.run import GateReport
    from tasks.run import RunContext
    from tasks.settings import Settings
    from tasks.storage.zones import Zones
    from tasks.training.plan import Plan
    from tasks.training.search import SearchBudget, StudyResult


def gate_training(run: RunContext) -> GateReport:
    """PRE_TRAINING: the training files as they are on disk, beside what is served and what was measured."""
    from tasks.reporting.preflight import preflight

    return preflight(run)


def plan_fits(run: RunContext, budget: str) -> Plan:
    """Every fit of the budget, after a check of the training files and of the model store."""
    from tasks.errors import ManifestMismatch
    from tasks.exports import check_exports, file_name
    from tasks.model_store.open import open_store
    from tasks.registry import load_models, load_surface
    from tasks.training.plan import plan_bake_off

    open_store(run.settings).require_writable()
    manifest = check_exports(run.work.exports)
    if manifest["as_of"] != f"{run.as_of:%Y-%m-%d}":
        raise ManifestMismatch(
            f"{run.work.exports} is of {manifest['as_of']}, and this is a training as of {run.as_of:%Y-%m-%d}: another "
            "run has exported meanwhile; run `cbi train` again"
        )
    files = cast("dict[str, dict[str, str]]", manifest["files"])
    return plan_bake_off(
        run.work.exports,
        run.horizons,
        load_models(run.settings.registry, run.features),
        run.features,
        load_surface(run.settings.registry, run.features),
        budget=budget,
        data_snapshots={name: files[file_name("prod", name)]["sha256"] for name in run.horizons.horizons},
    )


def fit_side_by_side(run: RunContext, plan: Plan, *, apart: bool) -> dict[str, str]:
    """Run every missing fit on the flow's task runner. Returns the reason of each that failed twice.

    ``apart``: one task per family and horizon with its folds, in the worker's own process (for other machines); else
    one process per family.
    """
    from tasks.training.bake_off import fit_in_process, fit_on_worker, is_fitted

    fit = fit_on_worker if apart else fit_in_process
    missing = [one for one in plan.fits if not is_fitted(run.zones, one)]
    work = [one for unit in plan.units(missing, apart=apart) for one in plan.work(unit, run.zones.fits)]
    work.reverse()  # cheap families are listed first; the most expensive starts first, not last on one core
    failed, done = {}, 0
    with Steps("fit") as progress:
        futures = {as_task(fit, f"fit {_label(one)}", retries=1).submit(one): one for one in work}
        for future in as_completed(list(futures)):
            one = futures[future]
            if reason := _failure(future):
                failed[_label(one)] = reason
            done += len(one["fits"])
            progress(done, len(missing), _label(one))
    return failed


def _failure(future: PrefectFuture[Any]) -> str:
    """The reason of a failed fit, else empty. A Dask or Ray worker that died raises any exception of its library."""
    try:
        outcome = future.result(raise_on_failure=False)
    except Exception as lost:
        return f"its worker was lost: {type(lost).__name__}: {lost}"
    return str(outcome) or type(outcome).__name__ if isinstance(outcome, BaseException) else ""


def _label(work: dict[str, Any]) -> str:
    fits = work["fits"]
    return f"{work['family']} {'+'.join(work['horizons'])}" + (
        f" {fits[0]['year'] or 'final'}" if len(fits) == 1 else ""
    )


def judge(run: RunContext, plan: Plan, failed: dict[str, str]) -> pd.DataFrame:
    """Calibrate, measure, store and promote. Returns the leaderboard."""
    from tasks.model_store.contest import store_and_promote
    from tasks.model_store.open import open_store
    from tasks.registry import load_quality_gates
    from tasks.storage.locks import exclusive
    from tasks.training.bake_off import evaluate_fits

    gates = load_quality_gates(run.settings.registry)
    with exclusive(run.zones, "models", wait_s=3600):
        return store_and_promote(
            evaluate_fits(plan, run.zones, as_of=run.as_of, gates=gates),
            open_store(run.settings),
            plan,
            rule=gates.promotion,
            code_version=run.code_version,
            failed=failed,
        )


def show(run: RunContext, board: pd.DataFrame, budget: str) -> Path | None:
    """The leaderboard as an artifact, and its figure under reports/; None if nothing was measured."""
    from flows.report import publish_leaderboard
    from tasks.reporting.evaluation_charts import leaderboard_figure

    figure, measured = None, board.dropna(subset=["skill_pct"])
    if len(measured):
        boards = {str(horizon): part for horizon, part in measured.groupby("horizon", sort=False)}
        figure = leaderboard_figure(leaderboard_path(run.work, f"{run.as_of:%Y-%m-%d}", budget), boards)
    publish_leaderboard(board, figure, title=f"Bake-off `{budget}` as of {run.as_of:%Y-%m-%d}")
    return figure


def leaderboard_path(zones: Zones, as_of: str, budget: str) -> Path:
    """The path of a bake-off's figure."""
    return zones.reports / f"leaderboard_{budget}_{as_of}.png"


@flow(
    name="training",
    flow_run_name="training {as_of} · {budget}",
    persist_result=False,
    task_runner=cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=2)),
)
def training(
    as_of: str, origin: str = "live", budget: str = "daily", apart: bool = False
) -> tuple[pd.DataFrame, GateReport]:
    """The bake-off as of one session, after its training files passed the gate: leaderboard and gate."""
    from tasks.run import open_run

    run = note_run(open_run(load_settings(), origin=origin, as_of=as_of))
    gate = as_task(gate_training, "gate PRE_TRAINING")(run)
    plan = as_task(plan_fits, "plan")(run, budget)
    failed = fit_side_by_side(run, plan, apart=apart)
    board = as_task(judge, "judge")(run, plan, failed)
    as_task(show, "leaderboard")(run, board, budget)
    return board, gate


def search_options(settings: Settings, family: str, budget: SearchBudget) -> list[StudyResult]:
    """A family's options on the training window of the exported files; the result is a file under CBI_HOME/search."""
    from tasks.exports import check_exports, file_name
    from tasks.storage.files import read_parquet
    from tasks.storage.locks import exclusive
    from tasks.storage.zones import Zones
    from tasks.training.search import search, subject_of

    zones, subject = Zones(settings.home), subject_of(family, settings.registry)
    check_exports(zones.exports)
    tables = {name: read_parquet(zones.exports / file_name("prod", name)) for name in subject.sessions}
    with exclusive(zones, f"search-{family}", wait_s=0), Steps("search") as progress:
        return search(
            subject,
            tables,
            budget,
            zones.search,
            device=settings.device,
            progress=lambda done, what: progress(done, max(done, budget.trials or 0), what),
        )


def task_runner(name: str, workers: int) -> TaskRunner[PrefectFuture[Any]]:
    """Threads that wait for local processes, or Dask or Ray, which may use other machines.

    Raises:
        SettingsError: the runner's packages are not installed.
    """
    try:
        if name == "dask":
            from prefect_dask import DaskTaskRunner

            local = {
                "n_workers": workers,
                "threads_per_worker": 1,
                "dashboard_address": None,
                "silence_logs": logging.ERROR,  # the scheduler's log says of each worker that it came and went
            }
            return cast("TaskRunner[PrefectFuture[Any]]", DaskTaskRunner(cluster_kwargs=local))
        if name == "ray":
            from prefect_ray import RayTaskRunner

            started = {"num_cpus": workers, "include_dashboard": False}
            return cast("TaskRunner[PrefectFuture[Any]]", RayTaskRunner(init_kwargs=started))
    except ModuleNotFoundError as error:
        raise SettingsError(f"--runner {name} needs the package {error.name}: pip install -e '.[scale]'") from None
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=workers))


def run_training(budget: str, runner: str) -> tuple[pd.DataFrame, GateReport, Path]:
    """A bake-off in this process on the exported training files: leaderboard, gate, and the path of its figure.

    Raises:
        ManifestMismatch: there are no training files yet.
    """
    from tasks.errors import ManifestMismatch
    from tasks.storage.files import read_json
    from tasks.storage.zones import Zones

    settings = load_settings()
    manifest = read_json(Zones(settings.home).exports / "manifest.json")
    if manifest is None:
        raise ManifestMismatch("there are no training files yet; run `make demo` or `make daily` first")
    with ends_on_signal(lambda: FITS_STAY, mark_crashed), prefect_at_home(settings):
        on = training.with_options(task_runner=task_runner(runner, settings.workers))
        board, gate = on(manifest["as_of"], budget=budget, apart=runner != "local")
    return board, gate, leaderboard_path(Zones(settings.home), manifest["as_of"], budget)
