"""Ask the published warehouse: `python -m tasks.warehouse "SELECT ..."`; without SQL, what there is to ask."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.command_line import command, nearest, visible
from tasks.errors import CbiError, WarehouseError
from tasks.settings import load_settings
from tasks.warehouse.dialect import parse_query, read_names
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import tables
from tasks.warehouse.views import known_names

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection


def _cell(value: object) -> str:
    if value is None or value is pd.NaT or value != value:  # NaN is not itself
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
    """What each column takes on the screen, its right border included."""
    return [max([len(str(name)), *texts[name].str.len()]) + 3 for name in texts]


def _print_table(frame: pd.DataFrame, rows: int) -> None:
    shown = frame.head(rows)
    texts = pd.DataFrame({name: [_cell(value) for value in shown[name]] for name in shown}, dtype="object")
    edges = [1 + sum(_widths(texts)[: count + 1]) for count in range(texts.shape[1])]
    console = Console()
    columns = texts.shape[1]
    if console.is_terminal:
        columns = max(1, sum(edge <= console.width for edge in edges))
    else:  # a pipe has no width: there nothing is squeezed
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


def _without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """A title or a payload's name may begin as a formula does, and a spreadsheet would compute it."""

    def safe(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA else value

    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{str(name): frame[name].astype(object).map(safe) for name in texts})


def _contents(warehouse: Warehouse) -> pd.DataFrame:
    counts = warehouse.row_counts()
    kinds = ["table" if name in tables() else "view" for name in counts]
    return pd.DataFrame({"name": list(counts), "kind": kinds, "rows": list(counts.values())})


def _near_table(sql: str | None, told: str) -> str:
    """The published name nearest to one that the query reads and that is none, where the engine names no other."""
    if not sql or "Did you mean" in told:
        return ""
    known = known_names()
    with suppress(WarehouseError):
        for name in read_names(parse_query(sql)):
            if name not in known:
                return nearest(name, known)
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = command(
        "tasks.warehouse",
        "Ask the published warehouse. Without SQL: what there is to ask, tables and views by name.",
        "",
        '"SELECT * FROM api.vw_latest_forecast"',
        '"SELECT date, zl_close_cents_lb FROM features.zl_daily_v1 ORDER BY date DESC LIMIT 20" --csv',
    )
    parser.add_argument("sql", nargs="?", metavar="SQL", help="one SELECT in BigQuery's dialect, whatever the engine")
    parser.add_argument("--rows", type=int, default=50, metavar="N", help="rows shown in the terminal (default 50)")
    parser.add_argument("--csv", action="store_true", help="print everything as CSV")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="with --csv: leave a text that a spreadsheet would take for a formula (it begins with = + - @) as it is; "
        "without this a ' stands before it",
    )
    given = parser.parse_args(arguments)
    try:
        warehouse = open_warehouse(load_settings())
        frame = warehouse.query(given.sql) if given.sql else _contents(warehouse)
    except CbiError as error:
        print(f"{error}{_near_table(given.sql, str(error))}", file=sys.stderr)
        return 2
    try:
        if given.csv:
            (frame if given.raw else _without_formulas(frame)).to_csv(sys.stdout, index=False)
        else:
            _print_table(frame, max(0, given.rows) if given.sql else len(frame))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; nothing may be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
