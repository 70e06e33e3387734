"""``cbi backfill SOURCE --start DATE``: dates in chunks; a rerun fetches only the missing ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if __name__ == "__main__":  # before Prefect is imported, which takes seconds
    from cli.app import main

    sys.exit(main(["backfill", *sys.argv[1:]]))

from prefect import flow

from flows.ending import LANDED_STAYS, ends_on_signal
from flows.ingest import check_names, open_ingest_run, stage, window_between
from flows.runtime import Steps, as_task, mark_crashed, prefect_at_home

if TYPE_CHECKING:
    from tasks.run import RunContext
    from tasks.sources.ingest import Backfilled
    from tasks.sources.payloads import Window
    from tasks.staging.stage import Staged


@flow(name="backfill", flow_run_name="backfill {source} {start} to {end}", persist_result=False)
def backfill(
    source: str,
    start: str,
    end: str | None = None,
    series: list[str] | None = None,
    chunk_days: int = 366,
) -> tuple[Backfilled, Staged]:
    """Fetch the range, chunk by chunk, then stage all stored payloads of the source."""
    run = open_ingest_run("live", None)
    window = window_between(run, start, end)
    done = as_task(fetch_chunks, "fetch chunks")(run, source, window, tuple(series or ()), chunk_days)
    return done, as_task(stage, "stage")(run, source)


def fetch_chunks(run: RunContext, source: str, window: Window, series: tuple[str, ...], chunk_days: int) -> Backfilled:
    """Land every chunk that no earlier run has finished."""
    from tasks.sources.ingest import backfill_source

    with Steps(f"backfill {source}") as progress:
        return backfill_source(
            run.zones,
            source,
            run.sources.source(source),
            window=window,
            chunk_days=chunk_days,
            series=series,
            progress=progress,
        )


def run_backfill(
    source: str, start: str, end: str | None, series: list[str] | None, chunk_days: int
) -> tuple[Backfilled, Staged]:
    """A backfill in this process, with its own Prefect server if no other is configured.

    Raises:
        CbiError: an argument is wrong; raised before Prefect starts.
    """
    run = open_ingest_run("live", None)
    check_names(run, source, series, live=True)
    window_between(run, start, end)
    with ends_on_signal(lambda: LANDED_STAYS, mark_crashed), prefect_at_home(run.settings):
        return backfill(source, start, end, series, chunk_days)
