"""Shared by all commands: groups of the help, common options, and help texts with examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tasks.settings import PROJECT

EVERY_DAY = "Every day"
CHECK = "Look and check"
MODELS = "Models"
KEEP = "Keep and move"
RUN = "Run it for good, and work on CBI"

AsOf = Annotated[
    str | None,
    typer.Option(
        metavar="DATE",
        help="A session, YYYY-MM-DD; values known later are left out. Default: the newest session.",
    ),
]
Origin = Annotated[
    str | None,
    typer.Option(
        metavar="ORIGIN",
        help="`live`, `recorded` (the repository's archive), or a folder of payloads laid out as "
        "SOURCE/SERIES/FILE. Default: live.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Copy all live payloads of this home there: your own archive."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")]
SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A source of registry/data_sources.yaml; for a mistyped one, the nearest is suggested.",
        autocompletion=lambda incomplete: beginning(names_in("data_sources.yaml", "sources"), incomplete),
    ),
]
Series = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Only this series; may be given again. Default: all of the source."),
]

Command = TypeVar("Command", bound=Callable[..., Any])


def examples(*lines: str) -> Callable[[Command], Command]:
    """Add examples to the help of a command: the words after ``cbi``, then ``  # `` and a description."""

    def add(command: Command) -> Command:
        shown = "\n".join(f"  cbi {line}" for line in lines)
        command.__doc__ = f"{command.__doc__}\n\n\b\nExamples:\n{shown}"
        return command

    return add


def names_in(file: str, part: str, having: str | None = None) -> list[str]:
    """The entries of a part of a registry file, without validation: for a help that must be fast."""
    import yaml

    with suppress(OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        text = (PROJECT / "registry" / file).read_text(encoding="utf-8")
        entries = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))[part]  # noqa: S506 a safe loader
        return sorted(name for name, entry in entries.items() if not having or having in entry)
    return []


def beginning(names: Iterable[str], incomplete: str) -> list[str]:
    """The names that complete a word."""
    return [name for name in names if name.startswith(incomplete)]
