"""``cbi daily``, ``ingest``, ``backfill``, ``restore`` and ``pack``: commands that fetch or restore data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.words import AsOf, Origin, Record, Series, SourceName, examples
from flows.ending import LANDED_STAYS, NOTHING_PUBLISHED, Ending, end_on_signal


@examples(
    "daily                                        # today, from the live sources",
    "daily --origin recorded                      # the archive's last session",
    "daily --origin recorded --as-of 2019-06-28   # with what was known then",
    "daily --details                              # every table, then the screen",
    "daily --quiet                                # one line, for schedules",
    "daily --record ~/my-archive                  # keep what sources served",
)
def daily(
    origin: Origin = None,
    as_of: AsOf = None,
    record: Record = None,
    details: Annotated[bool, typer.Option("--details", help="Print every table before the screen.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One line and no progress: for schedules.")] = False,
) -> None:
    """Compute the forecast of one session: ingest, gates, panel, features, forecast, publish.

    Without network, a home without live data reads the recorded archive, and says so.
    """
    end_on_signal(Ending(lambda: NOTHING_PUBLISHED))
    from rich.console import Console

    from flows.daily import run_daily
    from flows.ingest import keep_recorded
    from flows.runtime import without_progress
    from tasks.reporting.screen import print_screen, summary_line
    from tasks.reporting.terminal import print_result

    with without_progress(quiet):
        run, summary = run_daily(origin, as_of)
    if record:
        keep_recorded(run, record)
    if details:
        print_result(summary, Console(width=max(120, Console().width)))
    if quiet:
        print(summary_line(summary))
    else:
        print_screen(summary, Console(width=min(max(80, Console().width), 120)))


@examples(
    "ingest fred                                       # what is missing",
    "ingest fred --series DGS10 --series DFF           # of two series",
    "ingest fred --start 2020-01-01 --end 2020-12-31   # these dates",
    "ingest mei --origin recorded                      # from the archive",
)
def ingest(
    source: SourceName,
    origin: Origin = "live",
    as_of: AsOf = None,
    series: Series = None,
    start: Annotated[
        str | None, typer.Option(metavar="DATE", help="Exactly these dates. Default: what is missing.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="DATE", help="Default: the newest session.")] = None,
    record: Record = None,
) -> int:
    """Land and stage one source."""
    end_on_signal(Ending(lambda: LANDED_STAYS))
    from flows.ingest import keep_recorded, run_ingest

    run, landed, staged = run_ingest(source, origin or "live", as_of, series, start, end)
    if record:
        keep_recorded(run, record)
    print(
        f"{landed.source}: {landed.status}; {landed.payloads} payloads ({landed.new_payloads} new), "
        f"{len(staged.observations):,} observations, {len(staged.quarantine):,} cells refused"
        + (f"; {landed.message}" if landed.message else "")
        + (f"; never recorded: {', '.join(landed.not_recorded)}" if landed.not_recorded else "")
    )
    return 1 if landed.status == "partial" else 0


@examples(
    "backfill fred --start 1990-01-01",
    "backfill gdelt --start 2017-01-01 --end 2019-12-31 --chunk-days 31",
)
def backfill(
    source: SourceName,
    start: Annotated[str, typer.Option(metavar="DATE", help="First date, YYYY-MM-DD.")],
    end: Annotated[str | None, typer.Option(metavar="DATE", help="Last date. Default: the newest session.")] = None,
    series: Series = None,
    chunk_days: Annotated[int, typer.Option(min=1, metavar="N", help="Days per request.")] = 366,
) -> None:
    """Fetch a range of dates of one source in chunks; a rerun fetches only the missing ones."""
    end_on_signal(Ending(lambda: LANDED_STAYS))
    from flows.backfill import run_backfill

    done, staged = run_backfill(source, start, end, series, chunk_days)
    print(
        f"{done.source}: {done.chunks} chunks, {done.done_before} done before, {len(done.failures)} failed; "
        f"{len(staged.observations):,} observations staged"
    )
    done.require_complete()


@examples(
    "restore --from /Volumes/Second/cbi    # into an empty CBI_HOME",
    "restore --from gs://BUCKET/PREFIX",
)
def restore(
    place: Annotated[
        str | None, typer.Option("--from", metavar="PLACE", help="A folder or gs://BUCKET/PREFIX. Default: CBI_BACKUP.")
    ] = None,
) -> None:
    """Fill an empty CBI_HOME from a backup: forecasts and their history, models, live payloads.

    The next daily run builds the rest.
    """
    from tasks.errors import SettingsError
    from tasks.operations.restore import restore as bring_back
    from tasks.settings import load_settings

    settings = load_settings()
    place = place or settings.backup
    if not place or place == "none":
        raise SettingsError("no backup is named: give --from, a folder or gs://BUCKET/PREFIX")
    done = bring_back(settings, place)
    for name, rows in done.rows.items():
        print(f"{name:<40} {rows:>9,} rows")
    print(
        f"{settings.home} has the backup of {done.as_of} from {done.place}: the tables above, {done.versions} model "
        f"versions, {done.payloads} files of payloads. The next daily run continues from it. A daily run here backs up "
        "to the same place if CBI_BACKUP names it: for a trial only, set CBI_BACKUP=none."
    )


@examples(
    "pack ~/my-archive                     # into recorded/, or what CBI_ARCHIVE names",
    "pack ~/my-archive --into ~/my-packed",
)
def pack(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `cbi daily --record FOLDER` wrote.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The archive. Default: CBI_ARCHIVE, else recorded/.")
    ] = None,
) -> None:
    """Pack a folder of payloads (SOURCE/SERIES/FILE and MANIFEST.csv) into an archive, one file per source."""
    from tasks.registry import load_sources
    from tasks.settings import load_settings
    from tasks.sources.archive import pack as pack_archive

    settings = load_settings()
    sources = load_sources(settings.registry).sources
    terms = {spec.folder or name: spec.licence for name, spec in sorted(sources.items(), key=lambda one: one[1].folder)}
    sizes = pack_archive(
        folder,
        into or settings.archive,
        terms,
        lambda done, total, source: print(f"{done} of {total}: {source}", file=sys.stderr),
    )
    for source, size in {**sizes, "in all": sum(sizes.values())}.items():
        print(f"{source:20} {size / 1e6:8.2f} MB")
