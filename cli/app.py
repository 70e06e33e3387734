"""``cbi``: one application, its commands grouped by who needs them, and one boundary for their errors.

A command imports its modules when it runs: `cbi --help` and a mistyped word are answered before Prefect and pandas are
imported, which takes seconds.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

import typer
from typer.main import get_command

from cli import (
    alerts,
    brief,
    checks,
    data,
    decision,
    machine,
    model,
    models,
    project,
    replay,
    serve,
    services,
    site,
    sources,
    verify,
    warehouse,
)
from cli import what_if as what_ifs
from cli.words import CHECK, EVERY_DAY, KEEP, MODELS, RUN
from flows.ending import signals_restored
from tasks.errors import CbiError, SourceDown

STATUS = """\b
Exit status:
  0    all is well
  1    the command stopped, or found something to act on
  2    a word is wrong; of health, audit and query: something fails
  3    a critical source is down: nothing was published
  130  ended by Ctrl-C
  143  ended by SIGTERM"""


def application() -> typer.Typer:
    """Every command, in the order of the help."""
    app = typer.Typer(
        name="cbi",
        help="Soybean-oil forecasts (CBOT ZL), from the sources to a published forecast.\n\n"
        "`cbi daily` computes today's forecast; `cbi daily --origin recorded` needs neither keys nor network.",
        epilog=STATUS,
        no_args_is_help=True,
        result_callback=end_with,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    groups: dict[str, tuple[Callable[..., object], ...]] = {
        EVERY_DAY: (
            data.daily,
            brief.brief,
            site.site,
            decision.decision,
            what_ifs.what_if,
            data.ingest,
            data.backfill,
        ),
        CHECK: (machine.doctor, checks.health, checks.gates, checks.audit, warehouse.query),
        MODELS: (model.train, model.search, replay.replay, model.bundle, model.device_check),
        KEEP: (data.restore, checks.support, data.pack, warehouse.sync),
    }
    for panel, commands in groups.items():
        for one in commands:
            app.command(rich_help_panel=panel)(one)
    app.add_typer(models.application(), name="models", rich_help_panel=MODELS)
    app.add_typer(verify.application(), name="verify", rich_help_panel=CHECK)
    app.add_typer(decision.purchases(), name="purchases", rich_help_panel=EVERY_DAY)
    app.add_typer(sources.application(), name="sources", rich_help_panel=EVERY_DAY)
    app.add_typer(alerts.application(), name="alerts", rich_help_panel=EVERY_DAY)
    for one in (machine.setup, serve.serve):
        app.command(rich_help_panel=RUN)(one)
    app.add_typer(services.application(), name="services", rich_help_panel=RUN)
    app.add_typer(project.application(), name="project", rich_help_panel=RUN)
    return app


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line. Returns its exit status, as listed in ``STATUS``.

    Args:
        words: the words after ``cbi``; by default those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the locale lacks becomes `?`, not an error
    try:
        with signals_restored():  # a command may be run inside another process
            get_command(application()).main(None if words is None else list(words), prog_name="cbi")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except CbiError as error:
        for line in (f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())):
            print(line, file=sys.stderr)
        return 3 if isinstance(error, SourceDown) else 1
    return 0


def end_with(status: int | None) -> None:
    """Exit with the status that a command returns."""
    raise typer.Exit(status or 0)
