"""BigQuery's price: the on-demand list price for the US.

It is from https://cloud.google.com/bigquery/pricing as of August 2025; other regions, editions and contracts differ.
The free tier (1 TiB of queries a month) is not subtracted.
"""

from __future__ import annotations

SOURCE = "https://cloud.google.com/bigquery/pricing"
PRICES_OF = "2025-08"
TIB = 2**40
USD_PER_TIB_READ = 6.25


def query_usd(billed_bytes: float) -> float:
    """USD on demand."""
    return billed_bytes / TIB * USD_PER_TIB_READ
