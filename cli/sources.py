"""``cbi sources``: what each source is and feeds, and a person's word that one is not fetched for now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.words import AsJson, SourceName, examples
from flows.ending import Ending, end_on_signal

if TYPE_CHECKING:
    from tasks.run import RunContext

SHOWN = 12
"""Series and features that `show` lists; the others are counted."""
UNCHANGED = "A pause is written whole or not at all; `cbi sources list` shows which."


def application() -> typer.Typer:
    """The commands below ``cbi sources``."""
    app = typer.Typer(help="Sources: what each feeds and takes; pause and resume one.", no_args_is_help=True)
    app.command("list")(list_all)
    for one in (show, pause, resume):
        app.command()(one)
    return app


def _run() -> RunContext:
    from tasks.run import open_run
    from tasks.settings import load_settings

    return open_run(load_settings(), origin="live", as_of=None)


@examples("sources list", "sources list --json    # for a program")
def list_all(as_json: AsJson = False) -> None:
    """List every source: whether it is fetched, its newest value, how many features it feeds."""
    from rich.console import Console

    from tasks.operations.source_list import list_of_sources
    from tasks.reporting.terminal import print_table

    table = list_of_sources(_run()).astype(object)
    if as_json:
        print(json.dumps(table.where(table.notna(), None).to_dict("records"), indent=1))
    else:
        print_table(Console(width=max(140, Console().width)), "Sources", table.where(table.notna(), "none"))


@examples("sources show fred", "sources show comexstat --json    # for a program")
def show(name: SourceName, as_json: AsJson = False) -> None:
    """Show one source: what it feeds, its keys, what it would take to have it, its newest values."""
    from tasks.operations.source_list import source_facts

    facts = source_facts(_run(), name)
    if as_json:
        print(json.dumps(facts.to_json(), indent=1))
        return
    spec, feeds = facts.spec, facts.feeds
    print(f"{name}: {spec.title}\n{spec.endpoint}; terms: {spec.licence}\nKnown problems: {spec.caveat}")
    print(f"State: {facts.state}{f' ({facts.why})' if facts.why else ''}")
    print(f"What it takes: {'; '.join(facts.takes)}")
    print(f"Keys: {', '.join((*spec.secrets, *spec.optional_secrets)) or 'none'}")
    print(f"Feeds {len(feeds.features)} features, {len(feeds.production)} of them in the production surface: ")
    print(f"  features: {_some(feeds.features)}\n  served: {_some(feeds.production)}")
    print(f"  derived series: {_some(feeds.derived)}\n  panel columns: {_some(feeds.columns)}")
    print(f"Newest values ({len(facts.newest)} of {len(spec.series)} series have one):")
    for row in facts.newest.head(SHOWN).to_dict("records"):
        print(f"  {row['series']} {row['date']}: {row['value']:g} {row['unit']}, known {row['known']} UTC")


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more (`--json` lists all)" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


@examples("sources pause comtrade --reason 'quota spent until Monday'")
def pause(
    name: SourceName,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the run summary, health and alerts show it.")],
) -> None:
    """Do not fetch a source until it is resumed. What is stored stays in use until it is too old."""
    end_on_signal(Ending(lambda: UNCHANGED))
    from tasks.sources import pauses

    run = _run()
    spec = run.sources.source(name)
    print(f"{name}: {pauses.pause(run.zones, name, reason).line}")
    if needed := [f"{one} ({spec.stale_limit_days} days)" for one, entry in spec.series.items() if entry.critical]:
        print(f"Every forecast needs {', '.join(needed)}: runs stop once its newest value is older than that.")


@examples("sources resume comtrade")
def resume(name: SourceName) -> None:
    """Fetch a paused source again; the next run asks for what is missing."""
    end_on_signal(Ending(lambda: UNCHANGED))
    from tasks.sources import pauses

    run = _run()
    run.sources.source(name)
    ended = pauses.resume(run.zones, name)
    print(f"{name}: resumed; it was {ended.line.partition('. `')[0]}" if ended else f"{name} is not paused")
