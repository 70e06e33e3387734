"""Output of `cbi query`: rows for a terminal or as CSV, and the list of tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.command_line import nearest, visible
from tasks.errors import WarehouseError
from tasks.warehouse.dialect import parse_query, read_names
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import tables
from tasks.warehouse.views import known_names

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection


def _cell(value: object) -> str:
    if value is None or value is pd.NaT or value != value:  # NaN differs from itself
        return "NULL"
    if isinstance(value, pd.Timestamp):
        return (
            f"{value:%Y-%m-%d}"
            if value.tzinfo is None and value == value.normalize()
            else f"{value:%Y-%m-%d %H:%M:%S%z}"
        )
    if isinstance(value, float):
        return f"{value:.6g}"
    return visible(str(value))


def _widths(texts: pd.DataFrame) -> list[int]:
    """The width of each column on the screen, with its right border."""
    return [max([len(str(name)), *texts[name].str.len()]) + 3 for name in texts]


def print_rows(frame: pd.DataFrame, rows: int) -> None:
    """Print the first rows as a table, and a note on what did not fit."""
    with _reader_may_leave():
        _print_rows(frame, rows)


def _print_rows(frame: pd.DataFrame, rows: int) -> None:
    shown = frame.head(rows)
    texts = pd.DataFrame({name: [_cell(value) for value in shown[name]] for name in shown}, dtype="object")
    edges = [1 + sum(_widths(texts)[: count + 1]) for count in range(texts.shape[1])]
    console = Console()
    columns = texts.shape[1]
    if console.is_terminal:
        columns = max(1, sum(edge <= console.width for edge in edges))
    else:  # a pipe has no width: nothing is shortened
        console = Console(width=max([console.width, *edges]))
    table = Table()
    for name in texts.columns[:columns]:
        right = pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name])
        table.add_column(escape(str(name)), justify="right" if right else "left", overflow="fold")
    for row in texts.iloc[:, :columns].itertuples(index=False):
        table.add_row(*(escape(text) for text in row))
    console.print(table)
    cut = []
    if len(frame) > rows:
        cut.append(f"the first {rows} of {len(frame):,} rows (--rows N shows more)")
    if columns < texts.shape[1]:
        cut.append(f"the first {columns} of {texts.shape[1]} columns (what fits)")
    if cut:
        console.print(f"Cut for the terminal: {' and '.join(cut)}. --csv gives everything.", soft_wrap=True)


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Mark texts that start like a formula (a title, a payload's name): a spreadsheet would compute them."""

    def safe(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA else value

    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{str(name): frame[name].astype(object).map(safe) for name in texts})


def contents(warehouse: Warehouse) -> pd.DataFrame:
    """Tables and views with their rows."""
    counts = warehouse.row_counts()
    kinds = ["table" if name in tables() else "view" for name in counts]
    return pd.DataFrame({"name": list(counts), "kind": kinds, "rows": list(counts.values())})


def near_table(sql: str | None, error: str) -> str:
    """The published name nearest to an unknown name in the query, if the engine suggests none."""
    if not sql or "Did you mean" in error:
        return ""
    known = known_names()
    with suppress(WarehouseError):
        for name in read_names(parse_query(sql)):
            if name not in known:
                return nearest(name, known)
    return ""


def print_csv(frame: pd.DataFrame, *, formulas: bool) -> None:
    """Print all rows as CSV. A text that starts like a formula is marked, unless ``formulas`` is set."""
    with _reader_may_leave():
        (frame if formulas else without_formulas(frame)).to_csv(sys.stdout, index=False)


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """`| head` closes the pipe before the end. Then nothing may be written at exit either."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
