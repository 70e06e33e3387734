"""A payload that is one CSV with one row per date, as most sources serve, read by column name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.sources.payloads import Payload, with_refusals
from tasks.sources.records import read_table


def read_rows(
    payload: Payload, *, date: str, columns: Mapping[str, str], missing: Sequence[str] = ("",)
) -> pd.DataFrame:
    """Rows ``series, observation_date, row`` and one column per field, all text as served; ``row`` is the file's line.

    Args:
        date: the name of the date column.
        columns: field: the name of its column.
        missing: the texts by which this source marks a missing value.

    Raises:
        SchemaDrift: not a CSV, or a column is missing.
    """
    served, refused = read_table(payload, dtype=str, keep_default_na=False, skip_blank_lines=False)
    absent = [name for name in (date, *columns.values()) if name not in served.columns]
    if absent:
        raise SchemaDrift(f"{payload.name}: no column {', '.join(absent)} among {list(served.columns)[:8]}")
    rows = {"series": payload.series, "observation_date": served[date], "row": served.index + 2}
    values = {field: served[name].mask(served[name].isin(list(missing))) for field, name in columns.items()}
    return with_refusals(pd.DataFrame(rows | values), refused)
