"""``python -m flows.backfill SOURCE --start DATE``: dates in chunks; a rerun asks only for those missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flows import arguments

if __name__ == "__main__":
    arguments.begin(arguments.backfill(), arguments.LANDED_STAYS)

from prefect import flow

from flows.ending import ends_when_asked
from flows.ingest import check_names, open_ingest_run, stage, window_between
from flows.runtime import Steps, as_task, mark_crashed, prefect_at_home
from tasks.errors import CbiError, OriginError, SourceUnavailable

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
    chunk_days: int = arguments.CHUNK_DAYS,
) -> tuple[Backfilled, Staged]:
    """Fetch the range, chunk by chunk, then stage all that is held of the source."""
    run = open_ingest_run("live", None)
    window = window_between(run, start, end)
    done = as_task(fetch_chunks, "fetch chunks")(run, source, window, tuple(series or ()), chunk_days)
    return done, as_task(stage, "stage")(run, source)


def fetch_chunks(run: RunContext, source: str, window: Window, series: tuple[str, ...], chunk_days: int) -> Backfilled:
    """Land every chunk that no earlier try has finished."""
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


def main() -> int:
    """Command line. Ends with 1 when a chunk did not come; the same command again asks for that one only."""

    given = arguments.backfill().parse_args()
    try:
        run = open_ingest_run("live", None)
        check_names(run, given.source, given.series, live=True)
        window_between(run, given.start, given.end)
        if given.chunk_days < 1:
            raise OriginError(f"--chunk-days {given.chunk_days}: at least 1")
        with ends_when_asked(lambda: arguments.LANDED_STAYS, mark_crashed), prefect_at_home(run.settings):
            done, staged = backfill(given.source, given.start, given.end, given.series, given.chunk_days)
        print(
            f"{done.source}: {done.chunks} chunks, {done.done_before} done before, {len(done.failures)} failed; "
            f"{len(staged.observations):,} observations held"
        )
        if done.failures:
            first, why = next(iter(done.failures.items()))
            raise SourceUnavailable(f"{len(done.failures)} chunks did not come; run it again. First: {first}: {why}")
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
