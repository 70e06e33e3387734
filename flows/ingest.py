"""``cbi ingest SOURCE``: one source, landed and staged. Each source is a flow of its own name."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # before Prefect is imported, which takes seconds
    from cli.app import main

    sys.exit(main(["ingest", *sys.argv[1:]]))

from prefect import Flow, flow

from flows.ending import LANDED_STAYS, ends_on_signal
from flows.runtime import Steps, as_task, mark_crashed, note_run, prefect_at_home
from tasks.errors import CbiError, ManifestMismatch, NoNetwork, OriginError, SourceUnavailable
from tasks.logs import about
from tasks.settings import load_settings
from tasks.sources.payloads import LIVE

if TYPE_CHECKING:
    from tasks.run import RunContext
    from tasks.sources.ingest import Ingested
    from tasks.sources.payloads import Window
    from tasks.staging.stage import Staged

log = logging.getLogger(__name__)


def land(run: RunContext, source: str, series: tuple[str, ...] = (), window: Window | None = None) -> Ingested:
    """Land the source's payloads, or only those of some series or dates."""
    from tasks.sources.ingest import ingest_source

    with about(source=source), Steps(f"land {source}") as progress:
        landed = ingest_source(
            run.zones,
            source,
            run.sources.source(source),
            origin=run.payloads or LIVE,
            as_of=run.as_of.date(),
            progress=progress,
            series=series,
            window=window,
        )
        log.info("%s: %s; %d new payloads of %d", source, landed.status, landed.new_payloads, landed.payloads)
        return landed


def stage(run: RunContext, source: str) -> Staged:
    """Stage all landed payloads of the source."""
    from tasks.staging.stage import stage_source, staging_code

    code = staging_code()
    with about(source=source):
        return stage_source(run.zones, source, run.sources.source(source), as_of=run.as_of, code=code)


def judge(run: RunContext, landed: Ingested, staged: Staged) -> Ingested:
    """The result of the ingest, after its payloads were parsed: an unreadable payload is not a success."""
    from tasks.staging.arrivals import judged

    after = judged(landed, staged.quarantine, run.sources.source(landed.source), lost=staged.lost)
    if after != landed:
        with about(source=landed.source):
            log.warning("%s: %s; %s", after.source, after.status, after.message)
    return after


def ingest(run: RunContext, source: str) -> tuple[Ingested, Staged]:
    """Land, then stage: the daily run's task per source.

    A broken file of the source (a folder in its place, or unreadable) fails this source only.
    """
    from tasks.sources.ingest import Ingested

    try:
        landed = land(run, source)
    except (ManifestMismatch, OSError) as error:
        landed = Ingested(source, "failed", 0, 0, {source: _reason(error)})
    try:
        staged = stage(run, source)
    except (ManifestMismatch, OSError) as error:
        return landed.judged({source: _reason(error)}, ()), _staged_last(run, source)
    return judge(run, landed, staged), staged


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CbiError) else f"{type(error).__name__}: {error}; repair or remove that file"


def _staged_last(run: RunContext, source: str) -> Staged:
    """The stage of an earlier run if it is readable, else an empty one."""
    from tasks.staging.stage import nothing_staged, read_staged

    with suppress(CbiError, OSError):
        if stored := read_staged(run.zones, source):
            return stored
    return replace(nothing_staged(), source=source)


def ingest_flow(source: str) -> Flow[..., tuple[Ingested, Staged]]:
    """The flow ``ingest-<source>``: land, then stage. Its parameters are plain values, for deployments."""

    @flow(name=f"ingest-{source}", flow_run_name=f"ingest-{source}", persist_result=False)
    def alone(
        origin: str = "live",
        as_of: str | None = None,
        series: list[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        spread_s: float = 0.0,
    ) -> tuple[Ingested, Staged]:
        time.sleep(random.uniform(0.0, spread_s))  # noqa: S311 spreads scheduled runs over time
        run = open_ingest_run(origin, as_of)
        window = window_between(run, start, end)
        landed = as_task(land, "land")(run, source, tuple(series or ()), window)
        staged = as_task(stage, "stage")(run, source)
        return judge(run, landed, staged), staged

    return alone


def check_names(run: RunContext, source: str, series: Iterable[str] | None, *, live: bool) -> None:
    """Refuse an unknown source or series, before Prefect starts.

    Raises:
        RegistryError: the name is unknown; the message suggests the nearest ones.
    """
    from tasks.sources.ingest import which

    spec = run.sources.source(source)
    folder = None if live or run.payloads is None else run.payloads / (spec.folder or source)
    which(spec, source, series or (), recorded=folder)


def open_ingest_run(origin: str, as_of: str | None) -> RunContext:
    """Settings, registry and session of an ingest."""
    from tasks.run import open_run

    with Steps("unpack the recorded archive") as progress:
        return note_run(open_run(load_settings(), origin=origin, as_of=as_of, progress=progress))


def window_between(run: RunContext, start: str | None, end: str | None) -> Window | None:
    """The requested dates; from ``start`` to the run's session without an end, None without both.

    Raises:
        OriginError: an invalid date, an end without a start, or an end before the start.
    """
    from tasks.sources.payloads import Window

    if start is None and end is None:
        return None
    try:
        window = Window(date.fromisoformat(start or ""), date.fromisoformat(end) if end else run.as_of.date())
    except ValueError:
        raise OriginError(f"--start {start} --end {end}: give dates as YYYY-MM-DD, at least the start") from None
    if window.end < window.start:
        raise OriginError(f"--start {start} is after the end, {window.end}")
    return window


def keep_recorded(run: RunContext, folder: Path) -> None:
    """Copy the live payloads of this home into a folder for ``--origin``."""
    from tasks.sources.archive import record

    folder = folder.expanduser().resolve()
    print(f"{record(run.zones, run.sources, folder)} new payloads recorded in {folder}")


def run_ingest(
    source: str, origin: str, as_of: str | None, series: list[str] | None, start: str | None, end: str | None
) -> tuple[RunContext, Ingested, Staged]:
    """An ingest in this process, with its own Prefect server if no other is configured.

    Raises:
        NoNetwork, SourceUnavailable: nothing arrived.
        CbiError: an argument is wrong; raised before Prefect starts.
    """
    run = open_ingest_run(origin, as_of)
    check_names(run, source, series, live=run.origin == LIVE)
    window_between(run, start, end)
    with ends_on_signal(lambda: LANDED_STAYS, mark_crashed), prefect_at_home(run.settings):
        landed, staged = ingest_flow(source)(run.origin, f"{run.as_of:%Y-%m-%d}", series, start, end)
    if landed.status in ("failed", "disabled", "paused"):
        if landed.no_network:
            raise NoNetwork(next(iter(landed.failures.values())))
        raise SourceUnavailable(f"{landed.source}: {landed.message}")
    return run, landed, staged
