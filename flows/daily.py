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

from flows.beside import back_up, build_site, decide, explain, report, score_past, tell
from flows.ending import NOTHING_PUBLISHED, ends_on_signal
from flows.ingest import ingest
from flows.runtime import Steps, as_task, give_back_memory, mark_crashed, name_run, note_run, prefect_at_home
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
    from tasks.decision.policy import DayDecisions
    from tasks.forecasting.apart import IsolatedModels
    from tasks.forecasting.day_reasons import DayReasons
    from tasks.forecasting.forecast import DayForecast
    from tasks.gates.quarantine import ColumnsAside
    from tasks.gates.run import GateReport
    from tasks.gates.stored import Known
    from tasks.outcome import DayResult
    from tasks.run import RunContext
    from tasks.sources.ingest import Ingested
    from tasks.staging.stage import Staged

# threads that wait for a server cost nothing; with more threads than this, parsing becomes the bottleneck
SOURCES_AT_ONCE = 4
# heavy modules that the day needs later
READ_AHEAD = ("tasks.gates.run", "tasks.forecasting.forecast", "great_expectations", "altair", "vl_convert", "duckdb")


@flow(
    name="daily",
    flow_run_name="daily {as_of}",
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
            training_gate = as_task(check_training_files, "gate PRE_TRAINING").submit(run, day)
        forecasted = as_task(forecast, "forecast")(run, day, data_snapshot, models)
        reasons = as_task(explain, "explain")(run, day, forecasted, models)
        if not trained:
            gates.append(training_gate.result())
    decided = as_task(decide, "decide")(run, day, forecasted)
    beside = (reasons, decided)
    result = as_task(publish, "publish")(run, day, forecasted, beside, data_snapshot, ingested, gates, trained)
    result = as_task(score_past, "score past forecasts")(run, day, result)
    if run.settings.backup:
        result = as_task(back_up, "back up")(run, result)
    result = as_task(tell, "alerts")(run, result)
    result = as_task(build_site, "build the site")(run, result)
    as_task(report, "report")(run, result)
    return result


def open_daily_run(origin: str, as_of: str | None) -> RunContext:
    """Settings, registry and session of this run."""
    from tasks.run import open_run

    with Steps("unpack the recorded archive") as progress:
        run = note_run(open_run(load_settings(), origin=origin, as_of=as_of, progress=progress))
    name_run(f"daily {run.as_of:%Y-%m-%d} · {run.origin_kind}")
    return run


def open_and_import(origin: str, as_of: str | None) -> RunContext:
    """Open the run, and import modules for later, while the Prefect server starts.

    Raises:
        CbiError: the origin or the session is invalid.
    """
    run = open_daily_run(origin, as_of)
    for name in READ_AHEAD:
        import_module(name)
    return run


def origin_of(settings: Settings) -> str:
    """`live`. Without network, in a home without live data: the recorded archive, with a message.

    Raises:
        OriginError: neither is available.
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
    """Ingest every source in its own task, a few at once. A failing one keeps its stored data and is reported.

    A missing critical series stops the run: yesterday's price is not today's price.
    """
    from tasks.sources.ingest import require_critical

    futures = {source: as_task(ingest, f"ingest {source}").submit(run, source) for source in run.sources.sources}
    done = [_ingested(run, source, future) for source, future in futures.items()]
    require_critical(run.sources, [result for result, _ in done])
    return [result for result, _ in done], [staged for _, staged in done]


def _ingested(run: RunContext, source: str, future: PrefectFuture[tuple[Ingested, Staged]]) -> tuple[Ingested, Staged]:
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
    """POST_COLLECTION: the landed payloads. (A missing critical series has stopped the run before.)"""
    from tasks.gates.run import pass_gate
    from tasks.gates.stored import keep_collection
    from tasks.gates.tables import collection_tables

    tables = collection_tables(run.zones, run.sources, ingested, as_of=run.as_of)
    keep_collection(run, tables)
    return pass_gate(run, "POST_COLLECTION", tables)


def gather(run: RunContext, staged: list[Staged]) -> Known:
    """The values known at the session, of every source.

    Raises:
        StaleSource: a critical series has no staged values.
    """
    from tasks.gates.stored import known_at_session

    known = known_at_session(run, staged)
    missing = known.series[known.series["critical"] & (known.series["observations"] == 0)]
    if len(missing):
        raise StaleSource(
            f"there are no values of {', '.join(missing['series'])}, which every forecast needs. "
            f"Check the network and run `cbi ingest {missing['source'].iloc[0]}`, or use `make demo`"
        )
    return known


def gate_staging(run: RunContext, known: Known) -> GateReport:
    """POST_STAGING: all cells, all series and their fields, all sources, and each source that has its own suite."""
    from tasks.gates.run import pass_gate
    from tasks.gates.stored import known_tables

    return pass_gate(run, "POST_STAGING", known_tables(run, known), set_aside=known.set_aside)


def assemble(run: RunContext, known: Known) -> ColumnsAside:
    """The point-in-time panel with one line per column. A column that fails its gate is set to missing."""
    from tasks.day import assemble

    return assemble(run, known.observations)


def build_features(run: RunContext, assembled: ColumnsAside) -> ColumnsAside:
    """The feature table with one line per feature. A feature that fails its gate is set to missing."""
    from tasks.day import make_features

    return make_features(run, assembled)


def gate_features(run: RunContext, featured: ColumnsAside, assembled: ColumnsAside) -> GateReport:
    """POST_FEATURES: the features, their order, their first dates, and the crush compared with its prices."""
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import feature_tables

    tables = feature_tables(featured.table, assembled.table, featured.summary, run.features)
    return pass_gate(run, "POST_FEATURES", tables, set_aside=featured.results)


def build_labels(run: RunContext, known: Known, assembled: ColumnsAside, featured: ColumnsAside) -> Day:
    """Targets at every horizon; these complete the day's tables."""
    from tasks.day import complete_day

    return complete_day(run, known, assembled, featured)


def gate_assembly(run: RunContext, day: Day) -> GateReport:
    """POST_ASSEMBLY: the panel, one line per column, and the labels."""
    from tasks.gates.run import pass_gate
    from tasks.gates.tables import assembly_tables

    tables = assembly_tables(day.panel, day.panel_summary, day.labels)
    return pass_gate(run, "POST_ASSEMBLY", tables, set_aside=day.set_aside["POST_ASSEMBLY"])


def check_training_files(run: RunContext, day: Day) -> GateReport:
    """PRE_TRAINING on a day without training: a failure stops the next training, not this forecast."""
    from tasks.gates.run import see_gate
    from tasks.gates.tables import training_tables
    from tasks.reporting.preflight import realised_parity

    tables = training_tables(
        run.work.exports, run.features, run.horizons, served=day.features, realised=realised_parity(run)
    )
    return see_gate(run, "PRE_TRAINING", tables)


def export(run: RunContext, day: Day) -> str:
    """Write panel, features, labels and the ten training files; returns their data snapshot."""
    from tasks.exports import write_zone_files

    return write_zone_files(run, day.panel, day.features, day.labels)


def needs_training(run: RunContext) -> bool:
    """Whether a horizon has no champion trained by this session.

    A damaged champion does not count: the baseline is published, with the reason, and the message asks for a training.
    """
    from tasks.model_store.champions import champion_by
    from tasks.model_store.open import open_store

    try:
        history = open_store(run.settings).history()
    except ModelStoreError:
        return False
    return any(champion_by(history, horizon, run.as_of) is None for horizon in run.horizons.horizons)


def forecast(run: RunContext, day: Day, data_snapshot: str, models: IsolatedModels) -> DayForecast:
    """Forecasts of the front month and of each contract, and the measured figures of their models."""
    from tasks.forecasting.by_contract import forecast_contracts
    from tasks.forecasting.forecast import forecast_day
    from tasks.forecasting.shadow import with_unserved
    from tasks.model_store.contest import champions_of, measured_with
    from tasks.model_store.open import open_store
    from tasks.registry import load_quality_gates
    from tasks.reporting.watch import control_alarms

    store = open_store(run.settings)
    alarms, chart_notices = control_alarms(run, store)
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
        alarms=alarms,
    )
    forecasted = with_unserved(run, day, data_snapshot, models, store, forecasted)
    contracts = forecast_contracts(
        day.observations,
        day.features,
        day.panel.set_index("date")["zl_close"],
        run.rolls.rolls["ZL"],
        run.horizons,
        as_of=run.as_of,
    )
    rule = load_quality_gates(run.settings.registry).promotion
    champions = champions_of(store, run.horizons, run.as_of)
    measured = measured_with(store, champions, rule, code_version=run.code_version)
    notices = (*store.notices(), *forecasted.notices, *chart_notices)
    return replace(forecasted, leaderboard=measured, notices=notices, contracts=contracts, alarms=alarms)


def publish(
    run: RunContext,
    day: Day,
    forecasted: DayForecast,
    beside: tuple[DayReasons, DayDecisions],
    data_snapshot: str,
    ingested: list[Ingested],
    gates: list[GateReport],
    trained: bool,
) -> DayResult:
    """Merge everything into the warehouse in one transaction, draw the charts, and return the result."""
    from tasks.reporting.publication import publish_run, result_of
    from tasks.reporting.watch_session import with_watched

    reasons, decided = beside
    result = result_of(
        run, day, forecasted, reasons, data_snapshot=data_snapshot, ingested=ingested, gates=gates, decided=decided
    )
    return publish_run(run, day, with_watched(run, replace(result, trained=trained)))


def published_state(run: RunContext) -> str:
    """The published state of this run's session, for the last message of a run that is ended early."""
    from tasks.warehouse.open import open_warehouse

    day, warehouse = f"{run.as_of:%Y-%m-%d}", open_warehouse(run.settings)
    if not warehouse.is_published():
        return "Nothing was published yet. The same command continues where this one stopped."
    sql = "SELECT MAX(as_of) AS newest, MAX(IF(as_of = DATE '{day}', created_at, NULL)) AS of_day "
    rows = warehouse.query(sql.format(day=day) + "FROM forecasts.zl_forecasts_daily")
    newest, of_day = rows.iloc[0]
    if of_day is not None and of_day == of_day:  # NaT differs from itself
        return f"The forecast of {day} is published, created {of_day:%Y-%m-%d %H:%M} UTC."
    return (
        f"Nothing was published of {day}; the newest forecast is of {newest:%Y-%m-%d} and stays. "
        "The same command continues where this one stopped."
    )


def run_daily(origin: str | None, as_of: str | None) -> tuple[RunContext, DayResult]:
    """A complete daily run in this process, with its own Prefect server if no other is configured.

    Raises:
        CbiError: the run had to stop; its notes say what is published and what to check.
    """
    run: RunContext | None = None
    try:
        settings = load_settings()
        chosen = origin or origin_of(settings)
        with (
            prefect_at_home(settings, lambda: open_and_import(chosen, as_of)) as run,
            ends_on_signal(lambda: published_state(run), mark_crashed),
        ):
            return run, daily(run.origin, f"{run.as_of:%Y-%m-%d}")
    except CbiError as error:
        if not isinstance(error, (ReportFailed, ServerGone)):  # which may stop a run after its publish
            error.add_note(NOTHING_PUBLISHED)
        if run is not None and isinstance(error, GateFailed):
            error.add_note(f"To check again: `cbi gates --as-of {run.as_of:%Y-%m-%d} --page`")
        raise
