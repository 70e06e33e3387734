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

from flows.ending import LANDED_STAYS, ends_when_asked
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
        came = ingest_source(
            run.zones,
            source,
            run.sources.source(source),
            origin=run.payloads or LIVE,
            as_of=run.as_of.date(),
            progress=progress,
            series=series,
            window=window,
        )
        log.info("%s: %s; %d new payloads of %d", source, came.status, came.new_payloads, came.payloads)
        return came


def stage(run: RunContext, source: str) -> Staged:
    """Stage what raw holds of the source."""
    from tasks.staging.stage import stage_source, staging_code

    code = staging_code()
    with about(source=source):
        return stage_source(run.zones, source, run.sources.source(source), as_of=run.as_of, code=code)


def judge(run: RunContext, came: Ingested, staged: Staged) -> Ingested:
    """What the source brought, after its payloads were read: a payload that nobody can read is no success."""
    from tasks.staging.arrivals import judged

    after = judged(came, staged.quarantine, run.sources.source(came.source), lost=staged.lost)
    if after != came:
        with about(source=came.source):
            log.warning("%s: %s; %s", after.source, after.status, after.message)
    return after


def ingest(run: RunContext, source: str) -> tuple[Ingested, Staged]:
    """Land, then stage: what the daily run does of each source, in one task.

    A broken file of the source (one that is a folder, that cannot be read or replaced) costs that source its day.
    """
    from tasks.sources.ingest import Ingested

    try:
        came = land(run, source)
    except (ManifestMismatch, OSError) as error:
        came = Ingested(source, "failed", 0, 0, {source: _told(error)})
    try:
        staged = stage(run, source)
    except (ManifestMismatch, OSError) as error:
        return came.judged({source: _told(error)}, ()), _staged_last(run, source)
    return judge(run, came, staged), staged


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, CbiError) else f"{type(error).__name__}: {error}; mend or remove that file"


def _staged_last(run: RunContext, source: str) -> Staged:
    """What an earlier run staged, where it can be read; else nothing."""
    from tasks.staging.stage import nothing_staged, read_staged

    with suppress(CbiError, OSError):
        if held := read_staged(run.zones, source):
            return held
    return replace(nothing_staged(), source=source)


def ingest_flow(source: str) -> Flow[..., tuple[Ingested, Staged]]:
    """The flow ``ingest-<source>``: land, then stage. Its parameters are plain values, as a deployment gives them."""

    @flow(name=f"ingest-{source}", flow_run_name=f"ingest-{source}", persist_result=False)
    def alone(
        origin: str = "live",
        as_of: str | None = None,
        series: list[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        spread_s: float = 0.0,
    ) -> tuple[Ingested, Staged]:
        time.sleep(random.uniform(0.0, spread_s))  # noqa: S311 so that scheduled runs do not all ask at one second
        run = open_ingest_run(origin, as_of)
        window = window_between(run, start, end)
        came = as_task(land, "land")(run, source, tuple(series or ()), window)
        staged = as_task(stage, "stage")(run, source)
        return judge(run, came, staged), staged

    return alone


def check_names(run: RunContext, source: str, series: Iterable[str] | None, *, live: bool) -> None:
    """Refuse a source or series that there is none of, before Prefect starts.

    Raises:
        RegistryError: with the nearest ones that there are.
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
    """The dates asked for; from ``start`` to the run's session where no end is given, None where neither is.

    Raises:
        OriginError: a date that is none, an end alone, or an end before the start.
    """
    from tasks.sources.payloads import Window

    if start is None and end is None:
        return None
    try:
        window = Window(date.fromisoformat(start or ""), date.fromisoformat(end) if end else run.as_of.date())
    except ValueError:
        raise OriginError(f"--start {start} --end {end}: give dates as YYYY-MM-DD, the start at least") from None
    if window.end < window.start:
        raise OriginError(f"--start {start} is after the end, {window.end}")
    return window


def keep_recorded(run: RunContext, folder: Path) -> None:
    """Copy the live payloads of this home into a folder that serves as ``--origin``."""
    from tasks.sources.archive import record

    folder = folder.expanduser().resolve()
    print(f"{record(run.zones, run.sources, folder)} new payloads recorded in {folder}")


def run_ingest(
    source: str, origin: str, as_of: str | None, series: list[str] | None, start: str | None, end: str | None
) -> tuple[RunContext, Ingested, Staged]:
    """An ingest of this process, with a Prefect server of its own where no other is configured.

    Raises:
        NoNetwork, SourceUnavailable: nothing came.
        CbiError: an argument is wrong; that is said before Prefect starts.
    """
    run = open_ingest_run(origin, as_of)
    check_names(run, source, series, live=run.origin == LIVE)
    window_between(run, start, end)
    with ends_when_asked(lambda: LANDED_STAYS, mark_crashed), prefect_at_home(run.settings):
        came, staged = ingest_flow(source)(run.origin, f"{run.as_of:%Y-%m-%d}", series, start, end)
    if came.status in ("failed", "disabled"):
        if came.no_network:
            raise NoNetwork(next(iter(came.failures.values())))
        raise SourceUnavailable(f"{came.source}: {came.message}")
    return run, came, staged
