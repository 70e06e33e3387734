"""Checks frames before a publish: keys, and conversion of columns to the table's types. A misfit is refused."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import WarehouseError
from tasks.warehouse.tables import Table, table_named

ARROW: dict[str, pa.DataType] = {
    "DATE": pa.date32(),
    "STRING": pa.string(),
    "FLOAT64": pa.float64(),
    "INT64": pa.int64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}


def _example(row: Mapping[Hashable, Any]) -> str:
    return ", ".join(
        f"{k}={v.date() if isinstance(v, pd.Timestamp) and v == v.normalize() else v}" for k, v in row.items()
    )


def check(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse frames of unknown tables, and those that cannot be merged on their table's key.

    Raises:
        WarehouseError: naming table, column, count and an example.
    """
    for name, frame in tables.items():
        table = table_named(name)
        if len(frame):
            _check(table, frame)


def _check(table: Table, frame: pd.DataFrame) -> None:
    names = pd.Series([str(column) for column in frame.columns])
    doubled = names[names.str.casefold().duplicated(keep=False)].tolist()
    if doubled:
        raise WarehouseError(f"{table.name}: columns {doubled} differ only in case, which SQL ignores; rename")
    missing = [column for column in table.columns or table.key if column not in frame]
    if missing:
        raise WarehouseError(f"{table.name}: {len(missing)} columns missing from the frame: {', '.join(missing)}")
    unknown = [] if table.wide else [name for name in names if name not in table.columns]
    if unknown:
        raise WarehouseError(
            f"{table.name}: {len(unknown)} unknown columns: {', '.join(unknown)}; declare them in "
            f"tasks/warehouse/schema/{table.name.split('.')[0]}.sql or leave them out"
        )
    key = list(table.key)
    for column in key:
        empty = frame[column].isna()
        if empty.any():
            raise WarehouseError(
                f"{table.name}: key column {column} is NULL in {int(empty.sum())} of {len(frame)} rows, "
                f"e.g. row {int(empty.to_numpy().argmax())}: {_example(frame.loc[empty, key].iloc[0].to_dict())}"
            )
    repeated = frame.duplicated(key)
    if repeated.any():
        raise WarehouseError(
            f"{table.name}: {int(repeated.sum())} of {len(frame)} rows repeat a key ({', '.join(key)}), "
            f"e.g. {_example(frame.loc[repeated, key].iloc[0].to_dict())}; publish each key once"
        )


def refuse_unsound(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse frames that a publish would refuse, before it: wrong columns, keys, or values that do not fit.

    Raises:
        WarehouseError: naming table, column and an example.
    """
    check(tables)
    for name, frame in tables.items():
        table = table_named(name)
        if len(frame):
            conform(table, frame, table.columns)


def column_type(series: pd.Series) -> str:
    """The BigQuery type of a wide table's new column. Every number is FLOAT64: tomorrow's frame may have a gap."""
    kind = pa.Array.from_pandas(series).type
    if pa.types.is_boolean(kind):
        return "BOOL"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "FLOAT64"
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return "DATE"
    return "TIMESTAMP" if pa.types.is_timestamp(kind) else "STRING"


def _converted(series: pd.Series, kind: str) -> pa.Array:
    """``series`` as ``kind``; a value that Arrow would silently round, cut or guess is a ValueError."""
    dtype = series.dtype
    if kind == "FLOAT64" and dtype == "float64":  # most columns; nothing to check
        return pa.array(series.to_numpy(dtype="float64", na_value=np.nan), from_pandas=True)
    if series.isna().all():
        return pa.nulls(len(series), ARROW[kind])
    zoned = isinstance(dtype, pd.DatetimeTZDtype)
    instants = zoned or pd.api.types.is_datetime64_dtype(dtype)
    if kind == "DATE" and instants:
        if zoned:
            raise ValueError("has a time zone; a DATE is a naive midnight")
        known = series.dropna()
        odd = known[known != known.dt.normalize()]
        if len(odd):
            raise ValueError(f"{len(odd)} values have a time of day, e.g. {odd.iloc[0]}")
    if kind == "TIMESTAMP" and instants and not zoned:
        raise ValueError("has no time zone; give instants in UTC")
    if kind == "BOOL" and pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype):
        raise ValueError(f"{dtype} values are not boolean, e.g. {series.dropna().iloc[0]}")
    return pa.Array.from_pandas(series, type=ARROW[kind], safe=True)


def conform(table: Table, frame: pd.DataFrame, types: Mapping[str, str]) -> pa.Table:
    """The frame as Arrow in the table's types. NaN and NaT become NULL.

    Raises:
        WarehouseError: a value does not fit its column's type.
    """
    arrays = {}
    for column, kind in types.items():
        if column in frame:
            try:
                arrays[column] = _converted(frame[column], kind)
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                raise WarehouseError(f"{table.name}.{column} is {kind}, the frame does not fit: {error}") from None
    return pa.table(arrays)


NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """An engine's answer as a frame, the same for both engines: NULL is NaN, NaT, None or NA.

    DATE and TIMESTAMP are datetime64[us] (the latter in UTC), integers and booleans are nullable if there is a NULL.
    """
    columns = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        kind = column.type
        if pa.types.is_decimal(kind):  # DuckDB's sums of integers
            column = column.cast(pa.int64() if kind.scale == 0 else pa.float64(), safe=kind.scale == 0)
        elif pa.types.is_date(kind):
            column = column.cast(pa.timestamp("us"))
        elif pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", tz="UTC" if kind.tz else None))
        nullable = column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))
        columns[name] = column.to_pandas(types_mapper=NULLABLE.get if nullable else None)
    return pd.DataFrame(columns)
