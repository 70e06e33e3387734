"""``python -m evidence.bigquery_cost``: the bytes that BigQuery reads for each SQL statement, and their price.

The figures are those of `cbi project sql-check`: BigQuery's answers to dry runs, which read nothing and cost nothing.
They need CBI_WAREHOUSE=bigquery://PROJECT; without it the page has no bytes. Writes docs/results/bigquery_cost.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evidence.command_line import command, exit_status
from evidence.machine import stamp
from evidence.page import page, shown, table
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import write_bytes
from tasks.warehouse.prices import PRICES_OF, SOURCE, query_usd
from tasks.warehouse.sql_check import CheckedStatement, check, dry_run, show

REPORT = PROJECT / "docs" / "results" / "bigquery_cost.md"


def render(stamp: str, outcomes: Sequence[CheckedStatement]) -> str:
    """The page."""
    rows = [
        (
            one.statement.file,
            one.statement.name,
            shown(one.bytes_read, "{:,}"),
            shown(None if one.bytes_read is None else query_usd(one.bytes_read), "{:.6f}"),
        )
        for one in outcomes
    ]
    return page(
        "What BigQuery reads for each statement",
        stamp,
        "Each statement parses in both dialects and runs over empty tables. "
        f"USD on demand, list prices of {PRICES_OF} from <{SOURCE}>. BigQuery bills a table as 10 MB at least. Bytes "
        "are its answer to a dry run; they are none where the warehouse of the stamp is not BigQuery.",
        table(("file", "statement", "bytes", "USD"), rows),
    )


def write() -> int:
    """Check every statement and write the page. If one fails, return 1 and write no page."""
    settings = load_settings()
    asks = settings.warehouse != "duckdb"
    before = stamp("make cost-report", f"warehouse {settings.warehouse}")
    outcomes = check(settings.registry, dry_run(settings) if asks else None)
    if any(one.problem for one in outcomes):
        return show(outcomes, with_bytes=asks)
    write_bytes(REPORT, render(before, outcomes).encode())
    print(f"written: {REPORT.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    command("evidence.bigquery_cost", __doc__, "").parse_args()  # answers --help before anything is measured
    sys.exit(exit_status(write))
