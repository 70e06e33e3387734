"""``cbi setup`` and ``cbi doctor``: a machine's first day, and whether it can run CBI every day."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.words import AsJson, examples


@examples(
    "setup                          # asks; Enter keeps what is set",
    "setup --answers answers.env    # NAME=value per line, mode 600",
    "setup --home /Volumes/Data/cbi",
)
def setup(
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take the answers from a file that only you can read, and ask nothing."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Set CBI_HOME, and ask nothing. Keys are never options.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--time-zone", metavar="NAME", help="Compare the time zone, and ask nothing.")
    ] = None,
) -> None:
    """Set up this machine: folder, keys (each with where to get it), who is notified, time zone.

    It may be run again. Keys go to the keychain, or to ~/.config/cbi/secrets.env where there is none. They are never
    shown, logged or part of a command.
    """
    from getpass import getpass

    from tasks.errors import SettingsError
    from tasks.operations import first_setup
    from tasks.operations.machine import Machine

    machine = Machine()
    given = dict(first_setup.answers_in(answers)) if answers else {}
    given |= {name: str(value) for name, value in ((first_setup.HOME, home), (first_setup.TIME_ZONE, zone)) if value}
    if given or answers:
        for line in first_setup.ask_all(machine, first_setup.asker_of(given, machine)):
            print(line)
    elif sys.stdin.isatty():
        print("Enter keeps what is set. Keys are not shown while you type or paste them. Ctrl-C ends; answers stay.")
        try:
            first_setup.ask_here(machine, first_setup.asker_here(input, getpass, print), print)
        except (EOFError, KeyboardInterrupt):
            print("\nEnded. What was answered before is stored; `cbi setup` asks again, and Enter keeps it.")
            raise
    else:
        raise SettingsError("`cbi setup` asks at a terminal, and there is none: give --answers FILE")
    print("\n".join(["", *first_setup.next_steps(machine)]))


@examples(
    "doctor",
    "doctor --json                     # for a program",
    "doctor --report first-mac.md      # a file to send back, without keys",
)
def doctor(
    as_json: AsJson = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every check with versions to a file that you can send back."),
    ] = None,
) -> int:
    """Check whether this machine can run CBI every day: one line per check, with what to do next.

    Exits with 1 when something is wrong. What cannot be tried on this system says `not tried here`.
    """
    from tasks.operations.doctor import examine
    from tasks.operations.doctor_report import write_report
    from tasks.operations.machine import Machine

    machine = Machine()
    found = examine(machine)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        print("\n".join([*(one.line for one in found.findings), "", found.summary]))
    if report:
        print(
            f"Report: {write_report(report.expanduser().resolve(), found, machine)}. Read it, then send it.",
            file=sys.stderr,
        )
    return found.exit_code
