"""Helpers of every command line: suggest the nearest valid word, and make control characters visible."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, at_least: float = 0.6) -> str:
    """`` Did you mean A?``, with a leading space; empty if no known word is near."""
    known = list(known)
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=at_least)
    return f" Did you mean {folded[near[0]]}?" if near else ""


def visible(text: str) -> str:
    """``text`` with every control or invisible character written as its escape sequence."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
