"""``cbi daily``: ingest → gate → assemble → features → forecast → publish → report."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if __name__ == "__main__":  # before Prefect is imported, which takes seconds
    from cli.app import main

    sys.exit(main(["daily", *sys.argv[1:]]))

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.ending import NOTHING_PUBLISHED, ends_when_asked
from flows.ingest import ingest
from flows.report import publish_artifacts
from flows.runtime import Steps, as_task, give_back_memory, mark_crashed, note_run, prefect_at_home
from flows.training import task_runner, training
from tasks.errors import (
    CbiError,
    GateFailed,
    ModelStoreError,
    OriginError,
    ReportFailed,
    ServerGone,
    StaleSource,
)
from tasks.network import any_accepts
from tasks.settings import Settings, load_settings
from tasks.storage.zones import Zones

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from tasks.day import Day
    from tasks.forecasting.apart import IsolatedModels
    from tasks.forecasting.forecast import DayForecast
    from tasks.gates.held import Known
    from tasks.gates.quarantine import ColumnsAside
    from tasks.gates.run import GateReport
    from tasks.outcome import DayResult
    from tasks.run import RunContext
    from tasks.sources.ingest import Ingested
    from tasks.staging.stage import Staged

# threads that wait for a server cost nothing; more of them than this wait for each other when they parse
SOURCES_AT_ONCE = 4
# heavy modules that the day needs sooner or later
READ_AHEAD = ("tasks.gates.run", "tasks.forecasting.forecast", "great_expectations", "matplotlib.figure", "duckdb")


@flow(
    name="daily",
    flow_run_name="daily {as_of} {origin}",
    persist_result=False,
    on_completion=[give_back_memory],
    task_runner=cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=SOURCES_AT_ONCE)),
)
def daily(origin: str = "live", as_of: str | None = None) -> DayResult:
    """From payloads to a published forecast, as of one session."""
    from tasks.forecasting.apart import isolated_models

    run = open_daily_run(origin, as_of)
    ingested, staged = ingest_side_by_side(run)
    gates = [as_task(gate_collection, "gate POST_COLLECTION")(run, ingested)]
    known = as_task(gather, "gather")(run, staged)
    gates.append(as_task(gate_staging, "gate POST_STAGING")(run, known))
    assembled = as_task(assemble, "assemble panel")(run, known)
    featured = as_task(build_features, "build features")(run, assembled)
    gates.append(as_task(gate_features, "gate POST_FEATURES")(run, featured, assembled))
    day = as_task(build_labels, "build labels")(run, known, assembled, featured)
    gates.append(as_task(gate_assembly, "gate POST_ASSEMBLY")(run, day))
    data_snapshot = as_task(export, "export training files")(run, day)
    trained = needs_training(run)
    with isolated_models() as models:
        if trained:
            on = training.with_options(task_runner=task_runner("local", run.settings.workers))
            gates.append(on(f"{run.as_of:%Y-%m-%d}", run.origin)[1])
        else:
            models.begin()
            seen = as_task(see_training_files, "gate PRE_TRAINING").submit(run)
        forecasted = as_task(forecast, "forecast")(run, day, data_snapshot, models)
        if not trained:
            gates.append(seen.result())
    result = as_task(publish, "publish")(run, day, forecasted, data_snapshot, ingested, gates, trained)
    if run.settings.backup:
        result = as_task(back_up, "back up")(run, result)
    as_task(publish_artifacts, "report")(result)
    return result


def open_daily_run(origin: str, as_of: str | None) -> RunContext:
    """Settings, registry and session of this run."""
    from tasks.run import open_run

    with Steps("unpack the recorded archive") as progress:
        return note_run(open_run(load_settings(), origin=origin, as_of=as_of, progress=progress))


def open_and_import(origin: str, as_of: str | None) -> RunContext:
    """The run, and what its day imports later on: a Prefect server that starts leaves time for it.

    Raises:
        CbiError: the origin or the session is none.
    """
    run = open_daily_run(origin, as_of)
    for name in READ_AHEAD:
        import_module(name)
    return run


def origin_of(settings: Settings) -> str:
    """Live; in a home that never had live data and without network the recorded archive, which is said.

    Raises:
        OriginError: neither can be reached.
    """
    from tasks.registry import load_sources
    from tasks.sources.payloads import LIVE, RECORDED, has_live_data

    sources = load_sources(settings.registry)
    if has_live_data(Zones(settings.home), sources) or any_accepts(sources.hosts()):
        return LIVE
    if not settings.archive.is_dir():
        raise OriginError(
            f"neither a source nor a recorded archive can be reached: connect to the internet, or restore "
            f"{settings.archive} (`git checkout -- recorded`), then run it again"
        )
    print(
        "No source can be reached, and this home has no live data: this run reads the recorded archive "
        f"({settings.archive}) as of its last session.",
        file=sys.stderr,
    )
    return RECORDED


def ingest_side_by_side(run: RunContext) -> tuple[list[Ingested], list[Staged]]:
    """Every source in a task of its own, a few at once. One that fails leaves what is held of it and is reported.

    A critical series that does not come stops the run: yesterday's price is no price of today.
    """
    from tasks.sources.ingest import require_critical

    asked = {source: as_task(ingest, f"ingest {source}").submit(run, source) for source in run.sources.sources}
    done = [_settle(run, source, future) for source, future in asked.items()]
    require_critical(run.sources, [came for came, _ in done])
    return [came for came, _ in done], [staged for _, staged in done]


def _settle(run: RunContext, source: str, future: PrefectFuture[tuple[Ingested, Staged]]) -> tuple[Ingested, Staged]:
    from flows.ingest import stage
    from tasks.sources.ingest import Ingested

    future.wait()
    outcome = future.result(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        if not isinstance(outcome, CbiError):
            raise outcome
        return Ingested(source, "failed", 0, 0, {source: str(outcome)}), stage(run, source)
    return outcome


def gate_collection(run: RunContext, ingested: list[Ingested]) -> GateReport:
    """POST_COLLECTION: what landed. (A critical series that did not come has stopped the run before.)"""
    from tasks.gates.held import keep_collection
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import collection_tables

    tables = collection_tables(run.zones, run.sources, ingested, as_of=run.as_of)
    keep_collection(run, tables)
    return pass_gate(run, "POST_COLLECTION", tables)


def gather(run: RunContext, staged: list[Staged]) -> Known:
    """What is known at the session, of every source.

    Raises:
        StaleSource: nothing is staged of a critical series.
    """
    from tasks.gates.held import known_at_session

    known = known_at_session(run, staged)
    missing = known.series[known.series["critical"] & (known.series["observations"] == 0)]
    if len(missing):
        raise StaleSource(
            f"nothing is held of {', '.join(missing['series'])}, without which there is no forecast. "
            f"Check the network and run `cbi ingest {missing['source'].iloc[0]}`, or use `make demo`"
        )
    return known


def gate_staging(run: RunContext, known: Known) -> GateReport:
    """POST_STAGING: all cells, all series and their fields, all sources, and each source with a suite of its own."""
    from tasks.gates.held import known_tables
    from tasks.gates.run import pass_gate

    return pass_gate(run, "POST_STAGING", known_tables(run, known), set_aside=known.set_aside)


def assemble(run: RunContext, known: Known) -> ColumnsAside:
    """The point-in-time panel with a line per column; a column that fails its gate is missing in it."""
    from tasks.day import assemble

    return assemble(run, known.observations)


def build_features(run: RunContext, assembled: ColumnsAside) -> ColumnsAside:
    """The feature table with a line per feature; a feature that fails its gate is missing in it."""
    from tasks.day import make_features

    return make_features(run, assembled)


def gate_features(run: RunContext, featured: ColumnsAside, assembled: ColumnsAside) -> GateReport:
    """POST_FEATURES: the features, their order, when they begin, and the crush beside the prices it is made of."""
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import feature_tables

    tables = feature_tables(featured.table, assembled.table, featured.summary, run.features)
    return pass_gate(run, "POST_FEATURES", tables, set_aside=featured.results)


def build_labels(run: RunContext, known: Known, assembled: ColumnsAside, featured: ColumnsAside) -> Day:
    """Targets at every horizon; with them the day's tables are complete."""
    from tasks.day import complete_day

    return complete_day(run, known, assembled, featured)


def gate_assembly(run: RunContext, day: Day) -> GateReport:
    """POST_ASSEMBLY: the panel, a line per column of it, and the labels."""
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import assembly_tables

    tables = assembly_tables(day.panel, day.panel_summary, day.labels)
    return pass_gate(run, "POST_ASSEMBLY", tables, set_aside=day.set_aside["POST_ASSEMBLY"])


def see_training_files(run: RunContext) -> GateReport:
    """PRE_TRAINING on a day that trains nothing: what it finds stops the next training, not this forecast."""
    from tasks.gates.run import see_gate
    from tasks.gates.tables import training_tables

    return see_gate(run, "PRE_TRAINING", training_tables(run.work.exports, run.features, run.horizons))


def export(run: RunContext, day: Day) -> str:
    """Write panel, features, labels and the ten training files; returns the snapshot they were made from."""
    from tasks.exports import write_zone_files

    return write_zone_files(run, day.panel, day.features, day.labels)


def needs_training(run: RunContext) -> bool:
    """Whether some horizon has no champion that was trained by this session.

    A damaged one is no reason: the baseline serves in its place and says so, and a training is asked for.
    """
    from tasks.model_store.champions import champion_by
    from tasks.model_store.open import open_store

    try:
        history = open_store(run.settings).history()
    except ModelStoreError:
        return False
    return any(champion_by(history, horizon, run.as_of) is None for horizon in run.horizons.horizons)


def forecast(run: RunContext, day: Day, data_snapshot: str, models: IsolatedModels) -> DayForecast:
    """Forecasts, their explanation, and what was measured of the models behind them."""
    from tasks.forecasting.forecast import forecast_day
    from tasks.model_store.contest import champions_of, measured_with
    from tasks.model_store.open import open_store

    store = open_store(run.settings)
    forecasted = forecast_day(
        day.features,
        day.panel,
        store,
        registry=run.features,
        horizons=run.horizons,
        as_of=run.as_of,
        data_snapshot=data_snapshot,
        code_version=run.code_version,
        notes=day.notes,
        models=models,
    )
    measured = measured_with(store, champions_of(store, run.horizons, run.as_of))
    return replace(forecasted, leaderboard=measured, notices=(*store.notices(), *forecasted.notices))


def publish(
    run: RunContext,
    day: Day,
    forecasted: DayForecast,
    data_snapshot: str,
    ingested: list[Ingested],
    gates: list[GateReport],
    trained: bool,
) -> DayResult:
    """Merge everything into the warehouse at once, draw the charts, and say what the run came to."""
    from tasks.reporting.publication import publish_run, result_of

    result = result_of(run, day, forecasted, data_snapshot=data_snapshot, ingested=ingested, gates=gates)
    return publish_run(run, day, replace(result, trained=trained))


def back_up(run: RunContext, result: DayResult) -> DayResult:
    """What cannot be made again, into the second place. A backup that fails is an alert, and stops nothing."""
    from tasks.operations.backup import back_up
    from tasks.reporting.publication import publish_alert

    problem = back_up(run)
    if not problem:
        return result
    return publish_alert(run, result, kind="backup", subject=str(run.settings.backup), message=problem)


def what_stands(run: RunContext) -> str:
    """What readers see of this run's session, for a run that is ended before its own last words."""
    from tasks.warehouse.open import open_warehouse

    day, warehouse = f"{run.as_of:%Y-%m-%d}", open_warehouse(run.settings)
    if not warehouse.is_published():
        return "Nothing was published yet. The same command goes on where this one stopped."
    sql = "SELECT MAX(as_of) AS newest, MAX(IF(as_of = DATE '{day}', created_at, NULL)) AS of_day "
    rows = warehouse.query(sql.format(day=day) + "FROM forecasts.zl_forecasts_daily")
    newest, of_day = rows.iloc[0]
    if of_day is not None and of_day == of_day:  # NaT is not itself
        return f"Published is the forecast of {day}, made {of_day:%Y-%m-%d %H:%M} UTC."
    return (
        f"Nothing was published of {day}; the newest forecast is of {newest:%Y-%m-%d} and stays. "
        "The same command goes on where this one stopped."
    )


def run_daily(origin: str | None, as_of: str | None) -> tuple[RunContext, DayResult]:
    """A whole daily run of this process, with a Prefect server of its own where no other is configured.

    Raises:
        CbiError: the run had to stop; its notes say what readers see now, and what to look at.
    """
    run: RunContext | None = None
    try:
        settings = load_settings()
        chosen = origin or origin_of(settings)
        with (
            prefect_at_home(settings, lambda: open_and_import(chosen, as_of)) as run,
            ends_when_asked(lambda: what_stands(run), mark_crashed),
        ):
            return run, daily(run.origin, f"{run.as_of:%Y-%m-%d}")
    except CbiError as error:
        if not isinstance(error, (ReportFailed, ServerGone)):  # which may stop a run after it has published
            error.add_note(NOTHING_PUBLISHED)
        if run is not None and isinstance(error, GateFailed):
            error.add_note(f"To look again: `cbi gates --as-of {run.as_of:%Y-%m-%d} --page`")
        raise
