"""``cbi query`` and ``cbi sync``: query the published warehouse, and copy it to BigQuery."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.words import examples

if TYPE_CHECKING:
    from tasks.warehouse.sync import SyncedTable


@examples(
    "query                                              # tables and views",
    'query "SELECT * FROM api.vw_latest_forecast"',
    'query --csv "SELECT * FROM training.vw_zl_1m_v1"   # for a spreadsheet',
)
def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT in BigQuery's dialect, whatever the engine.")
    ] = None,
    rows: Annotated[int, typer.Option(metavar="N", min=0, help="Rows shown in the terminal.")] = 50,
    csv: Annotated[bool, typer.Option("--csv", help="Print everything as CSV.")] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="With --csv: leave a text that a spreadsheet takes for a formula as it is. Without it, a ' is put "
            "before such a text.",
        ),
    ] = False,
) -> int:
    """Query the published warehouse. Without SQL: list its tables and views."""
    from tasks.errors import CbiError
    from tasks.reporting.query import contents, near_table, print_csv, print_rows
    from tasks.settings import load_settings
    from tasks.warehouse.open import open_warehouse

    try:
        warehouse = open_warehouse(load_settings())
        frame = warehouse.query(sql) if sql else contents(warehouse)
    except CbiError as error:
        print(f"{error}{near_table(sql, str(error))}", file=sys.stderr)
        return 2
    if csv:
        print_csv(frame, formulas=raw)
    else:
        print_rows(frame, rows if sql else len(frame))
    return 0


@examples("sync --to 'bigquery://PROJECT?location=us-central1&prefix='")
def sync(
    to: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="bigquery://PROJECT?location=…&prefix=… Default: CBI_WAREHOUSE."),
    ] = None,
) -> None:
    """Copy the published DuckDB warehouse to BigQuery; a rerun loads only what differs."""
    from rich.console import Console

    from tasks.errors import SettingsError
    from tasks.settings import load_settings
    from tasks.storage.zones import Zones
    from tasks.warehouse.bigquery.connection import BigQueryAddress
    from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
    from tasks.warehouse.duckdb import DuckDbWarehouse
    from tasks.warehouse.sync import sync as bring

    console = Console()

    def show(one: SyncedTable) -> None:
        what = "loaded" if one.loaded else "equal already"
        console.print(f"{one.table:<50} {one.rows:>9,} rows  {one.source[:12]}  {one.target[:12]}  {what}")

    settings = load_settings()
    address = to or settings.warehouse
    if address == "duckdb":
        raise SettingsError("no target is named: set CBI_WAREHOUSE=bigquery://PROJECT?location=…, or give --to")
    zones = Zones(settings.home)
    target = BigQueryWarehouse(BigQueryAddress.of(address), zones, settings)
    brought = bring(DuckDbWarehouse(zones), target, staging=zones.staging, done=show)
    console.print(f"{len(brought)} tables, {sum(one.rows for one in brought):,} rows: both sides are equal.")
