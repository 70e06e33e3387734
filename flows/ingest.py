"""``python -m flows.ingest SOURCE``: one source, landed and staged. Each source is a flow of its own name."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from prefect import Flow, flow

from flows.runtime import Steps, as_task, prefect_at_home
from tasks.errors import CbiError, SourceUnavailable
from tasks.settings import PROJECT, load_settings

if TYPE_CHECKING:
    from tasks.context import Run
    from tasks.sources.ingest import Ingested
    from tasks.staging.stage import Staged


def land(run: Run, source: str) -> Ingested:
    """Land the source's payloads; raises when none of its series came."""
    from tasks.sources.ingest import ingest_source

    with Steps(f"land {source}") as progress:
        came = ingest_source(
            run.zones, source, run.sources.source(source), origin=run.origin, as_of=run.as_of.date(), progress=progress
        )
    return came


def stage(run: Run, source: str) -> Staged:
    """Stage what raw holds of the source."""
    from tasks.staging.stage import stage_source
    from tasks.zones import code_fingerprint

    code = code_fingerprint(
        PROJECT / "tasks" / "staging", PROJECT / "tasks" / "sources", PROJECT / "tasks" / "calendar.py"
    )
    return stage_source(run.zones, source, run.sources.source(source), as_of=run.as_of, code=code)


def ingest(run: Run, source: str) -> tuple[Ingested, Staged]:
    """Land, then stage: what the daily run does of each source, in one task."""
    return land(run, source), stage(run, source)


def ingest_flow(source: str) -> Flow[..., tuple[Ingested, Staged]]:
    """The flow ``ingest-<source>``: land, then stage."""

    @flow(name=f"ingest-{source}", flow_run_name=f"ingest-{source}", validate_parameters=False, persist_result=False)
    def alone(run: Run) -> tuple[Ingested, Staged]:
        came = as_task(land, "land", tags=(source,))(run, source)
        staged = as_task(stage, "stage", tags=(source,))(run, source)
        return came, staged

    return alone


def main() -> int:
    """Command line."""
    from tasks.context import open_run

    parser = argparse.ArgumentParser(prog="python -m flows.ingest", description=__doc__)
    parser.add_argument("source", help="a source of registry/data_sources.yaml")
    parser.add_argument("--origin", default="live", help="`live`, or a folder of recorded payloads")
    parser.add_argument("--as-of", help="date; everything known later is left out")
    given = parser.parse_args()
    try:
        settings = load_settings()
        run = open_run(settings, origin=given.origin, as_of=given.as_of)
        run.sources.source(given.source)
        with prefect_at_home(settings):
            came, staged = ingest_flow(given.source)(run)
        if came.status == "failed":
            raise SourceUnavailable(came.message)
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(
        f"{came.source}: {came.status}; {came.payloads} payloads ({came.new_payloads} new), "
        f"{len(staged.observations):,} observations, {len(staged.quarantine):,} cells refused"
        + (f"; {came.message}" if came.message else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
