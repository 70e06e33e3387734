"""The flows of the deployments in prefect.yaml: each has a run key, and ends at once if there is nothing to do.

The flows themselves are those of the command line. ``again`` runs even what is done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from prefect import State, flow
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import daily as by_day
from flows import health as by_look
from flows import ingest as by_source
from flows import training as by_week
from flows.runtime import name_run, note_run
from tasks.errors import ManifestMismatch, SourceUnavailable
from tasks.operations.run_key import RunKey, done, local_day, no_session, write_done
from tasks.settings import load_settings
from tasks.sources.ingest import why_disabled
from tasks.sources.pauses import pauses
from tasks.sources.payloads import LIVE

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from tasks.storage.zones import Zones

log = logging.getLogger("tasks.operations.scheduled")
SOURCES_AT_ONCE = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=by_day.SOURCES_AT_ONCE))


@flow(name="daily", flow_run_name="daily", persist_result=False, task_runner=SOURCES_AT_ONCE)
def daily(origin: str = "live", as_of: str | None = None, again: bool = False) -> State[Any]:
    """The daily run of the newest session, once. On a day that is not a session it ends at once."""
    if as_of is None and (why := _no_session_due()):
        return _skipped(why)
    run = by_day.open_daily_run(origin, as_of)
    session = f"{run.as_of:%Y-%m-%d}"
    key = RunKey("daily", session, (run.origin, run.code_version))
    if (reason := done(run.zones, key)) and not again:
        return _skipped(reason)
    summary = by_day.daily.fn(run.origin, session)
    lacking = [result.source for result in summary.ingested if result.status in ("failed", "partial")]
    outcome = f"{len(summary.forecasts)} forecasts as of {session}, {summary.changed_rows} rows changed"
    if lacking:
        return _completed(f"{outcome}; incomplete: {', '.join(lacking)}; the next trigger fetches again")
    return _finished(run.zones, key, outcome)


@flow(name="ingest", flow_run_name="ingest {source}", persist_result=False)
def ingest(
    source: str, origin: str = "live", as_of: str | None = None, spread_s: float = 0.0, again: bool = False
) -> State[Any]:
    """One source, once per day in its own time zone."""
    run = by_source.open_ingest_run(origin, as_of)
    name_run(f"ingest {source} {run.as_of:%Y-%m-%d} · {run.origin_kind}")
    spec = run.sources.source(source)
    due = local_day(spec.schedule.timezone) if as_of is None and run.origin == "live" else f"{run.as_of:%Y-%m-%d}"
    key = RunKey(f"ingest-{source}", due, (run.origin, run.code_version))
    if (reason := done(run.zones, key)) and not again:
        return _skipped(reason)
    by_schedule = _by_schedule()
    if pause := pauses(run.zones).get(source):
        return _disabled(f"{source}: {pause.line}", name="Paused")
    if run.origin == LIVE and (why := why_disabled(spec)):
        return _disabled(f"{source}: disabled: {why}")
    landed, staged = by_source.ingest_flow(source).fn(
        run.origin, f"{run.as_of:%Y-%m-%d}", spread_s=spread_s if by_schedule else 0.0
    )
    if landed.status == "failed":
        raise SourceUnavailable(f"{source}: {landed.message}")
    outcome = f"{landed.status}; {landed.new_payloads} new payloads, {len(staged.observations):,} observations stored"
    if landed.status == "partial":  # the day is not done: the next trigger fetches again
        return _partial(f"{source}: {outcome}; {landed.message}")
    return _finished(run.zones, key, outcome)


@flow(
    name="training", flow_run_name="training {budget}", persist_result=False, task_runner=by_week.training.task_runner
)
def training(budget: str = "full", origin: str = "live", again: bool = False) -> State[Any]:
    """The bake-off on the stored training files, once per session."""
    from tasks.run import code_version
    from tasks.storage.files import read_json
    from tasks.storage.zones import Zones

    settings = load_settings()
    zones = Zones(settings.home)
    manifest = read_json(zones.exports / "manifest.json")
    if manifest is None:
        raise ManifestMismatch("there are no training files yet: the deployment daily/daily creates them")
    name_run(f"training {manifest['as_of']} · {budget}")
    key = RunKey("training", manifest["as_of"], (budget, code_version(settings)))
    if (reason := done(zones, key)) and not again:
        return _skipped(reason)
    with_workers = by_week.task_runner("local", settings.workers)
    board, _ = by_week.training.with_options(task_runner=with_workers)(manifest["as_of"], origin=origin, budget=budget)
    champions = board.loc[board["champion"], ["horizon", "family"]].to_dict("records")
    return _finished(
        zones, key, f"budget {budget}: " + ", ".join(f"{row['horizon']} {row['family']}" for row in champions)
    )


@flow(name="brief", flow_run_name="brief", persist_result=False)
def brief(again: bool = False) -> State[Any]:
    """The brief of the newest published session, sent once by the routes of CBI_NOTIFY; failed if none takes it."""
    from tasks.alerts.routes import UNSET, addresses
    from tasks.reporting.brief_files import send, write
    from tasks.reporting.decision import newest_forecast
    from tasks.run import open_run
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    warehouse = open_warehouse(settings)
    if (newest := newest_forecast(warehouse)) is None:
        return _skipped("nothing is published yet")
    run = note_run(open_run(settings, origin=LIVE, as_of=newest))
    name_run(f"brief {newest}")
    key = RunKey("brief", newest, ("mail",))
    if (reason := done(run.zones, key)) and not again:
        return _skipped(reason)
    files = write(run, warehouse)
    if not addresses():
        return _skipped(f"{UNSET} The brief is in {files.pdf}")
    delivery = send(files)
    if not delivery.sent:
        return Failed(message=f"the brief of {newest} was {delivery.line()}; `cbi brief --mail` tries again")
    return _finished(run.zones, key, f"the brief was {delivery.line()}")


@flow(name="health", flow_run_name="health", persist_result=False)
def health() -> State[Any]:
    """The result of `cbi health` as artifacts; failed if a check fails. Rotates large logs first."""
    from tasks.operations.services import rotate_all
    from tasks.storage.zones import Zones

    rotate_all(Zones(load_settings().home))
    return by_look.health.fn(None)


def _by_schedule() -> bool:
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def _no_session_due() -> str | None:
    """The reason if a scheduled run has nothing to do. (A manual run is as of the newest session on any day.)"""
    import pandas as pd

    context = FlowRunContext.get()
    due = context.flow_run.expected_start_time if _by_schedule() and context and context.flow_run else None
    return None if due is None else no_session(pd.Timestamp(due).tz_convert("UTC"))


def _skipped(why: str) -> State[Any]:
    log.info("nothing to do: %s", why)
    return Completed(name="Skipped", message=why)


def _disabled(why: str, name: str = "Disabled") -> State[Any]:
    """A disabled or paused source is neither done nor broken: the run is shown as cancelled."""
    log.warning("not fetched: %s", why)
    return Cancelled(name=name, message=why)


def _partial(outcome: str) -> State[Any]:
    """Part of the data arrived and is stored, part did not: the run fails."""
    log.warning(outcome)
    return Failed(name="Partial", message=outcome)


def _completed(outcome: str) -> State[Any]:
    log.info(outcome)
    return Completed(message=outcome)


def _finished(zones: Zones, key: RunKey, outcome: str) -> State[Any]:
    write_done(zones, key, outcome)
    return _completed(outcome)
