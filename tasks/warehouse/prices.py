"""What BigQuery costs: list prices for the US on demand, and how it counts bytes.

Prices are those of https://cloud.google.com/bigquery/pricing as of August 2025; other regions, editions and contracts
differ. The free tier (1 TiB of queries and 10 GiB of storage a month) is not taken off.
"""

from __future__ import annotations

import math

SOURCE = "https://cloud.google.com/bigquery/pricing"
PRICES_OF = "2025-08"
GIB, TIB = 2**30, 2**40
USD_PER_TIB_READ = 6.25
USD_PER_GIB_MONTH_ACTIVE = 0.02
USD_PER_GIB_MONTH_LONG_TERM = 0.01
LONG_TERM_AFTER_DAYS = 90
FREE_TIB_READ_A_MONTH, FREE_GIB_STORED = 1, 10
MB = 2**20
LEAST_BYTES_A_TABLE = 10 * MB
"""A query is billed for at least this much of each table it names, and in whole MB."""

TYPE_SIZES = "https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#data_type_sizes"
BYTES_OF = {"INT64": 8, "FLOAT64": 8, "DATE": 8, "TIMESTAMP": 8, "BOOL": 1}
"""Logical bytes of one value; a STRING has 2 and its UTF-8 bytes, a NULL has none (TYPE_SIZES)."""


def billed(bytes_by_table: list[float]) -> int:
    """What a query is billed for that reads so many bytes of each table it names.

    >>> billed([100.0]) == 10 * MB and billed([100.0, 15.5 * MB]) == 26 * MB
    True
    """
    read = sum(max(float(LEAST_BYTES_A_TABLE), held) for held in bytes_by_table)
    return math.ceil(read / MB) * MB if bytes_by_table else 0


def query_usd(billed_bytes: float) -> float:
    """USD on demand."""
    return billed_bytes / TIB * USD_PER_TIB_READ
