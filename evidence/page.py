"""The writer of every page of docs/results: a title, the stamp, then tables and fixed text.

A page shows figures in tables. Its sentences are the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from tasks.storage.files import write_bytes


def write_page(path: Path, title: str, stamp: str, *parts: str) -> Path:
    """Write a page.

    Args:
        stamp: of evidence.machine, taken before measuring if the load matters.
        parts: paragraphs, headings and tables; separated by blank lines.
    """
    return write_bytes(path, page(title, stamp, *parts).encode())


def page(title: str, stamp: str, *parts: str) -> str:
    """The text of a page."""
    return "\n\n".join([f"# {title}", stamp, *parts]) + "\n"


def facts(known: Mapping[str, object]) -> str:
    """Named figures, one per line."""
    return "\n".join(f"- {name}: {value}" for name, value in known.items())


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table, one cell per value; "None." without rows.

    >>> print(table(["day", "text"], [["1", "a|b"]]))
    | day | text |
    | --- | --- |
    | 1 | a\\|b |
    """
    heads, lines = list(head), list(rows)
    if not lines:
        return "None."
    rule: Iterable[object] = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in (heads, rule, *lines))


def frame_table(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, without its index."""
    return table(frame.columns, frame.itertuples(index=False))


def shown(value: object, form: str) -> str:
    """A figure in a format; "none" if it was not measured."""
    return "none" if value is None or pd.isna(value) else form.format(value)  # type: ignore[call-overload]


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
