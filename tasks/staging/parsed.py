"""What payloads say, kept as it was parsed: a new payload costs its own parsing, not that of all before it.

Invariants: what is read back is what was parsed, types included (None comes back as NaN). Another adapter or registry
entry forgets all of it. Files are named by what is in them and the manifest is written last: a killed write leaves the
state before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import CbiError
from tasks.registry import SourceSpec
from tasks.sources.payloads import Payload
from tasks.zones import fingerprint, read_json, read_parquet, write_json, write_parquet


class ParsedPayloads:
    """The rows of one source's payloads in ``folder``. Open it and ``keep`` it under the source's lock."""

    def __init__(self, folder: Path, spec: SourceSpec, *, code: str) -> None:
        self._folder = folder
        self._made_by = fingerprint(spec.model_dump(mode="json"), code)
        self._places: dict[str, tuple[str, int, int]] = {}
        self._types: dict[str, dict[str, str]] = {}
        with suppress(OSError, AttributeError, KeyError, TypeError, ValueError):  # not readable: all is parsed again
            held = read_json(folder / "manifest.json") or {}
            if held.get("made_by") == self._made_by:
                places = {
                    key: (str(name), int(start), int(stop)) for key, (name, start, stop) in held["payloads"].items()
                }
                self._places, self._types = places, {str(name): dict(types) for name, types in held["types"].items()}
        self._tables: dict[str, pd.DataFrame | None] = {}
        self._rows: dict[str, pd.DataFrame] = {}
        self._parsed = False

    def rows(self, payload: Payload, parse: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The payload's rows, parsed only if they were not before. What ``parse`` raises is raised and not kept."""
        key = fingerprint(payload.series, payload.path.name, payload.sha256, payload.fetched_at)
        held = self._held(key)
        if held is None:
            held, self._parsed = parse(), True
        self._rows[key] = held
        return held

    def keep(self) -> None:
        """Write what was asked for since this was opened; payloads that nobody asked for are forgotten."""
        if self._rows.keys() == self._places.keys() and not self._parsed:
            return
        alike: dict[tuple[object, ...], dict[str, pd.DataFrame]] = {}
        for key, rows in self._rows.items():
            alike.setdefault((*rows.columns, *rows.dtypes), {})[key] = rows
        places: dict[str, tuple[str, int, int]] = {}
        types = {}
        for frames in alike.values():
            table = pd.concat(list(frames.values()), ignore_index=True)
            types_of = {str(column): str(kind) for column, kind in table.dtypes.items()}
            name = f"{fingerprint(self._made_by, types_of, list(frames))}.parquet"
            try:
                write_parquet(self._folder / name, table)
            # a column of numbers and words at once, a number or a character beyond all bounds: parsed again each time
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):
                continue
            types[name], start = types_of, 0
            for key, rows in frames.items():
                places[key] = (name, start, start + len(rows))
                start += len(rows)
        write_json(self._folder / "manifest.json", {"made_by": self._made_by, "payloads": places, "types": types})
        for path in self._folder.glob("*.parquet"):
            if path.name not in types:
                path.unlink()

    def _held(self, key: str) -> pd.DataFrame | None:
        if key not in self._places:
            return None
        name, start, stop = self._places[key]
        if name not in self._tables:
            try:
                self._tables[name] = read_parquet(self._folder / name).astype(self._types[name])
            except (CbiError, KeyError, TypeError, ValueError):  # damaged: its payloads are parsed again
                self._tables[name] = None
        table = self._tables[name]
        return None if table is None else table.iloc[start:stop]


@dataclass(frozen=True)
class Read:
    """A payload, the name it goes by, its place among the source's payloads, and its rows."""

    name: str
    order: int
    payload: Payload
    rows: pd.DataFrame


def together(read: Sequence[Read]) -> pd.DataFrame:
    """All rows, each with the ``payload`` it is of, that one's ``order``, ``fetched_at`` and ``day_only``."""
    lengths = [len(one.rows) for one in read]
    fetched = pd.DatetimeIndex([one.payload.fetched_at for one in read]).as_unit("us")
    return pd.concat([one.rows for one in read], ignore_index=True).assign(
        payload=pd.Index([one.name for one in read], dtype="str").repeat(lengths),
        order=np.repeat([one.order for one in read], lengths),
        fetched_at=fetched.repeat(lengths),
        day_only=np.repeat([one.payload.day_known_only for one in read], lengths),
    )
