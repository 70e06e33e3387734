"""What every command line shares: a help with examples, and the nearest right word for a wrong one."""

from __future__ import annotations

import argparse
import difflib
import io
import sys
from collections.abc import Iterable


def command(module: str, what: str | None, *examples: str) -> argparse.ArgumentParser:
    """The parser of ``python -m MODULE``; its help says what the command does and ends with the examples.

    Args:
        module: as it is started, such as ``flows.daily``.
        what: the docstring of the module.
        examples: the words after ``python -m MODULE``, each followed by ``  # `` and what it does.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that the locale lacks is shown as `?`, and ends no run
    lines = "\n".join(f"  python -m {module} {words}".rstrip() for words in examples)
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=what,
        epilog=f"examples:\n{lines}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def nearest(word: str, known: Iterable[str], *, at_least: float = 0.6) -> str:
    """`` Did you mean A?``, with a leading space; empty where nothing known is near."""
    known = list(known)
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=at_least)
    return f" Did you mean {folded[near[0]]}?" if near else ""


def visible(text: str) -> str:
    """``text`` with every sign that a terminal would obey, or that shows nothing, written as its escape."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
