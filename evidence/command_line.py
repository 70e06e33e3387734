"""The command line of every module of evidence: help with examples, and one line per error."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

from tasks.errors import CbiError
from tasks.settings import PROJECT


def command(module: str, what: str | None, *examples: str) -> argparse.ArgumentParser:
    """The parser of ``python -m MODULE``; its help says what the command does and ends with the examples.

    Args:
        module: its name, such as ``evidence.soak``.
        what: the docstring of the module.
        examples: the words after ``python -m MODULE``, each followed by ``  # `` and a description.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the locale lacks becomes `?`, not an error
    lines = "\n".join(f"  python -m {module} {words}".rstrip() for words in examples)
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=what,
        epilog=f"examples:\n{lines}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def exit_status(work: Callable[[], int]) -> int:
    """The result of ``work``; 1 and one line on stderr if it raises an error of the product."""
    try:
        return work()
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def page_command(module: str, what: str | None, measure: Callable[[], object], page: Path) -> int:
    """Run ``python -m MODULE``, which has no options: measure, and print where the page is. Returns the exit status."""
    command(module, what, "").parse_args()

    def work() -> int:
        measure()
        print(page.relative_to(PROJECT))
        return 0

    return exit_status(work)
