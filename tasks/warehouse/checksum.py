"""One word for what a table says, the same whichever engine it was read from and in whatever order."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc


def checksum(rows: pa.Table, key: tuple[str, ...]) -> str:
    """SHA-256 over the rows by ``key`` and the columns by name: each column's type, gaps, and values bit for bit.

    A column without any value counts as absent: it says nothing, and engines that add columns have it or not.
    """
    told = sorted(name for name in rows.column_names if rows[name].null_count < rows.num_rows or name in key)
    ordered = rows.select(told).sort_by([(name, "ascending") for name in key]) if key else rows.select(told)
    digest = hashlib.sha256(f"{rows.num_rows}".encode())
    for name in told:
        column = ordered[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        digest.update(f"\x00{name}\x00{column.type}\x00".encode())
        digest.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
        held = column.drop_null()
        if pa.types.is_string(held.type):
            digest.update(pc.binary_length(held).to_numpy(zero_copy_only=False).tobytes())
            digest.update("".join(held.to_pylist()).encode())
        else:
            digest.update(held.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()
