"""``cbi alerts``: what is open, and a person's word on it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.words import AsJson, examples
from flows.ending import Ending, end_on_signal

Kind = Annotated[str, typer.Argument(metavar="KIND", help="As `cbi alerts list` shows it.")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="As `cbi alerts list` shows it.")]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Kept with the event.")]


def application() -> typer.Typer:
    """The commands below ``cbi alerts``."""
    app = typer.Typer(help="Alerts that are open: list, acknowledge, resolve.", no_args_is_help=True)
    app.command("list")(list_open)
    app.command()(ack)
    app.command()(resolve)
    return app


@examples("alerts list", "alerts list --json    # for a program")
def list_open(as_json: AsJson = False) -> None:
    """List the open alerts with their state, and say who is notified of new ones."""
    from tasks.reporting.alert_list import as_plain, print_open
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse

    warehouse = open_warehouse(load_settings())
    print(as_plain(warehouse)) if as_json else print_open(warehouse)


@examples("alerts ack stale cot --note 'the agency is closed'")
def ack(kind: Kind, subject: Subject, note: Note = "") -> None:
    """Acknowledge an open alert: it stays open, and nobody is reminded of it."""
    _change(kind, subject, "acknowledged", note)


@examples("alerts resolve roll ZLF24")
def resolve(kind: Kind, subject: Subject, note: Note = "") -> None:
    """Close an open alert. A run that still finds it after its cool-down raises it again."""
    _change(kind, subject, "resolved", note)


def _change(kind: str, subject: str, event: str, note: str) -> None:
    end_on_signal(Ending(lambda: "An event is written whole or not at all; `cbi alerts list` shows which."))
    from tasks.reporting.decision import newest_forecast
    from tasks.reporting.watch_session import change
    from tasks.run import open_run
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse

    settings = load_settings()
    run = open_run(settings, origin="live", as_of=newest_forecast(open_warehouse(settings)))
    change(run, kind, subject, event, note)
    print(f"{kind} {subject}: {event}")
