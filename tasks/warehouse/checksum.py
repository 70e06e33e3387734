"""A checksum of a table's content, independent of the engine and of the order of rows."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc


def checksum(rows: pa.Table, key: tuple[str, ...]) -> str:
    """SHA-256 over the rows by ``key`` and the columns by name: each column's type, gaps, and values bit for bit.

    A column without any value counts as absent: an engine that adds columns may have it or not.
    """
    columns = sorted(name for name in rows.column_names if rows[name].null_count < rows.num_rows or name in key)
    ordered = rows.select(columns).sort_by([(name, "ascending") for name in key]) if key else rows.select(columns)
    digest = hashlib.sha256(f"{rows.num_rows}".encode())
    for name in columns:
        column = ordered[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        digest.update(f"\x00{name}\x00{column.type}\x00".encode())
        digest.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
        values = column.drop_null()
        if pa.types.is_string(values.type):
            digest.update(pc.binary_length(values).to_numpy(zero_copy_only=False).tobytes())
            digest.update("".join(values.to_pylist()).encode())
        else:
            digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()
