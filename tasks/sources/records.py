"""A bad record is refused alone: tables and arrays are read row by row if reading them at once fails."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.secrets import quoted
from tasks.sources.payloads import Payload, refusal

Refused = list[dict[str, object]]
MOST_OF_A_LINE = 120


def read_table(payload: Payload, content: bytes | None = None, **given: Any) -> tuple[pd.DataFrame, Refused]:
    """A CSV payload as ``pandas.read_csv(..., **given)`` reads it, and the refusals of lines with too many fields.

    A refused line stays in place with only its first field, so the rows below keep their line numbers. So does a cut
    line of a plain table (no quotes, one line per row), because a cut number still looks like a number. A byte that is
    not UTF-8 loses only its cell.

    Raises:
        SchemaDrift: it is not a CSV.
    """
    content = payload.path.read_bytes() if content is None else content
    try:
        return _without_cut_lines(payload, content, _read(content, given))
    except (pd.errors.ParserError, UnicodeDecodeError):
        pass
    except pd.errors.EmptyDataError as error:
        raise SchemaDrift(f"{payload.name}: not a CSV ({error})") from None
    refused: Refused = []
    width = 0

    def too_long(fields: list[str]) -> list[str | None]:
        text = quoted(",".join(map(str, fields)), most=MOST_OF_A_LINE)
        refused.append(refusal(payload.series, f"{payload.name}: {len(fields)} fields, {width} headings: {text!r}"))
        return [fields[0], *[None] * (width - 1)]

    slow = {"engine": "python", "encoding_errors": "replace"} | {k: v for k, v in given.items() if k != "low_memory"}
    try:
        width = len(_read(content, slow | {"nrows": 1}).columns)
        served = _read(content, slow | {"on_bad_lines": too_long})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise SchemaDrift(f"{payload.name}: not a CSV ({error})") from None
    if len(refused) * 2 > len(served):
        raise SchemaDrift(f"{payload.name}: not a CSV ({len(refused)} of {len(served)} lines have too many fields)")
    return served, refused


def whole_csv(payload: Payload, content: bytes | None = None, **given: Any) -> pd.DataFrame:
    """A CSV payload as ``pandas.read_csv(..., **given)`` reads it: all of it, or an error.

    Raises:
        SchemaDrift: it is not a CSV.
    """
    try:
        return pd.read_csv(payload.path if content is None else io.BytesIO(content), **given)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SchemaDrift(f"{payload.name}: not a CSV ({error})") from None


def _without_cut_lines(payload: Payload, content: bytes, served: pd.DataFrame) -> tuple[pd.DataFrame, Refused]:
    """The table; lines with fewer fields than the heading keep only their first field. And their refusals."""
    lines = content.splitlines()
    width = len(served.columns)
    if width < 3 or b'"' in content or len(lines) != len(served) + 1 or lines[0].count(b",") + 1 != width:
        return served, []
    empty = served.index[served.iloc[:, -1].isna()]
    cut = [place for place in empty if lines[place + 1].count(b",") + 1 < width and lines[place + 1].strip()]
    if not cut:
        return served, []
    served = served.astype(dict.fromkeys(served.columns[1:], object))
    served.iloc[cut, 1:] = None
    pieces = [(lines[place + 1].count(b","), quoted(lines[place + 1], most=MOST_OF_A_LINE)) for place in cut]
    return served, [
        refusal(
            payload.series,
            f"{payload.name}: {commas + 1} of {width} fields, the line was cut: {text!r}",
            row=int(place) + 2,
        )
        for place, (commas, text) in zip(cut, pieces, strict=True)
    ]


def _read(content: bytes, given: dict[str, Any]) -> pd.DataFrame:
    frame: pd.DataFrame = pd.read_csv(io.BytesIO(content), **given)
    return frame


def objects_in(body: bytes, rows_of: Callable[[Any], Any] = lambda answer: answer) -> list[dict[str, Any]] | None:
    """The array of objects in a JSON answer; None if it is something else.

    Args:
        rows_of: the array in the parsed answer, or None where the answer is a refusal.
    """
    try:
        rows = rows_of(json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else None


def mappings(payload: Payload, rows: list[Any], needed: tuple[str, ...] = ()) -> tuple[pd.DataFrame, Refused]:
    """The rows of a JSON array, indexed by position, and the refusals of those that are not objects with ``needed``.

    Raises:
        SchemaDrift: no row can be used; the message says what is wrong with the first one.
    """
    good: dict[int, dict[str, Any]] = {}
    refused: Refused = []
    for place, row in enumerate(rows):
        missing = [name for name in needed if not isinstance(row, dict) or name not in row]
        if isinstance(row, dict) and not missing:
            good[place] = row
        else:
            why = f"no {missing} in row {place + 1}" if missing else f"row {place + 1} is not a record"
            refused.append(refusal(payload.series, f"{payload.name}: {why}; the source renamed it", row=place + 1))
    if refused and not good:
        raise SchemaDrift(str(refused[0]["refused"]))
    return pd.DataFrame(list(good.values()), index=pd.Index(list(good), dtype="int64")), refused
