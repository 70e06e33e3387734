"""The record of published forecasts: a hash chain per origin and per replay, which only grows.

Every publish that changes a forecast adds one link per chain and session, in the same transaction. A link stores the
rows as they were published (canonical JSON), their SHA-256, and a SHA-256 over itself and the link before it. So a row
that is changed, removed or added later differs from the record, and a link that is changed breaks every later one.

What a chain cannot show: that its newest links, with their rows, were cut off. Who notes the newest hash can show it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from tasks.warehouse.frames import conform
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import STAMP, Table, table_named

CHAIN = "forecasts.record_chain"
PUBLISHED, REPLAYS = "forecasts.zl_forecasts_daily", "forecasts.zl_replays_daily"
SEALED = (PUBLISHED, REPLAYS)
"""Tables whose rows are sealed."""
GENESIS = "0" * 64
REPLAY = "replay:"
SIMULATED = "rehearsal"
"""The chain whose clock is set by hand (CBI_NOW) and may go back."""

Row = dict[str, Any]
Ask = Callable[[str], pa.Table]
HEADS = (
    f"SELECT chain, number, link_sha256, created_at FROM {CHAIN} "  # noqa: S608 our own names
    "WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY chain ORDER BY number DESC, created_at DESC, link_sha256) = 1"
)


@dataclass(frozen=True)
class Finding:
    """One difference between a table and its record, or one broken link."""

    chain: str
    as_of: str
    what: str
    """changed, removed, backdated, not recorded, or broken link."""
    message: str


# -- canonical rows ---------------------------------------------------------------------------------------------


def plain(value: object) -> object:
    """A value of either engine as JSON has it: dates and instants in ISO 8601 (UTC), whole reprs of floats."""
    if isinstance(value, datetime.datetime):
        instant = pd.Timestamp(value)
        utc = instant.tz_localize("UTC") if instant.tzinfo is None else instant.tz_convert("UTC")
        return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0


def plain_rows(rows: pa.Table) -> list[Row]:
    """Rows without their missing values: a column added later does not change an old row."""
    return [
        {name: plain(value) for name, value in row.items() if value is not None and value == value}
        for row in rows.to_pylist()
    ]


def text_of(rows: Iterable[Row]) -> str:
    """One JSON object per line, keys and lines in order. The same rows give the same text on every engine."""
    return "\n".join(sorted(json.dumps(row, sort_keys=True, ensure_ascii=True, allow_nan=False) for row in rows))


def chain_of(table: str, row: Row) -> str:
    """The chain of a row: its origin, or the replay's name."""
    return f"{REPLAY}{row['replay']}" if table == REPLAYS else str(row.get("origin", "unknown"))


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key)


def _content(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != STAMP}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _link_sha256(link: Mapping[str, Any]) -> str:
    parts = ("chain", "number", "as_of", STAMP, "rows_sha256", "previous_sha256")
    return _sha256("\n".join(str(link.get(part, "")) for part in parts))


# -- adding links -----------------------------------------------------------------------------------------------


def new_links(frames: Mapping[str, pd.DataFrame], ask: Ask) -> pd.DataFrame:
    """The links that a publish of ``frames`` adds: one per chain and session of which any forecast is new or changed.

    Args:
        frames: by table, as they are merged. ask: runs one SELECT (BigQuery's dialect) on the tables before the merge.

    Returns:
        rows of ``forecasts.record_chain``; none if the forecasts are those that are stored. Rows of a table that has
        no record at all yet (published before the record began) are adopted first, and marked so.
    """
    links: list[Row] = []
    for name in SEALED:
        if name in frames and len(frames[name]):
            table = table_named(name)
            incoming = plain_rows(conform(table, frames[name], table.columns))
            links += _links_of(table, incoming, ask)
    frame = pd.DataFrame(links, columns=list(table_named(CHAIN).columns))
    dates = {"as_of": pd.to_datetime(frame["as_of"]).astype("datetime64[us]"), STAMP: pd.to_datetime(frame[STAMP])}
    return frame.assign(**dates).astype({"number": "int64", "row_count": "int64", "adopted": "bool"})


def _links_of(table: Table, incoming: list[Row], ask: Ask) -> Iterator[Row]:
    heads = {row["chain"]: row for row in plain_rows(ask(HEADS))}
    days = sorted({row["as_of"] for row in incoming})
    begun = any(name.startswith(REPLAY) == (table.name == REPLAYS) for name in heads)
    where = f"WHERE as_of BETWEEN DATE '{days[0]}' AND DATE '{days[-1]}'" if begun else ""
    stored = plain_rows(ask(f"SELECT * FROM {table.name} {where}"))  # noqa: S608 our own names
    by_key = {_key(table, row): row for row in stored}
    adopted = [] if begun else stored
    fresh = []
    for chain, day, rows in _groups(table, incoming):
        before = [by_key.get(_key(table, row)) for row in rows]
        same = [old is not None and _content(old) == _content(row) for old, row in zip(before, rows, strict=True)]
        if not all(same):  # a merge leaves the time of an unchanged row
            after = [old if kept and old else row for old, row, kept in zip(before, rows, same, strict=True)]
            fresh.append((chain, day, after))
    for was_there, groups in ((True, _groups(table, adopted)), (False, iter(fresh))):
        # in the order of their publication; sessions that were published together in their own
        for chain, day, rows in sorted(groups, key=lambda group: (_newest(group[2]), group[1], group[0])):
            head = heads.get(chain, {"number": 0, "link_sha256": GENESIS})
            link = _link(chain, day, rows, head, adopted=was_there)
            heads[chain] = link
            yield link


def _groups(table: Table, rows: Iterable[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((chain_of(table.name, row), str(row["as_of"])), []).append(row)
    for (chain, day), part in grouped.items():
        yield chain, day, part


def _newest(rows: list[Row]) -> str:
    return max(str(row.get(STAMP, "")) for row in rows)


def _link(chain: str, day: str, rows: list[Row], head: Mapping[str, Any], *, adopted: bool) -> Row:
    text = text_of(rows)
    link: Row = {
        "chain": chain,
        "number": int(head["number"]) + 1,
        "as_of": day,
        "row_count": len(rows),
        "published_rows": text,
        "rows_sha256": _sha256(text),
        "previous_sha256": str(head["link_sha256"]),
        "adopted": adopted,
        STAMP: _newest(rows),
    }
    return link | {"link_sha256": _link_sha256(link)}


HAS_GROWN = "the record has grown meanwhile"


def guard(*, target: str, staged: str) -> str:
    """BigQuery: a statement that fails if a link with the number of a staged one was added by another machine."""
    return (
        f"SELECT IF(COUNT(*) = 0, 0, ERROR('{HAS_GROWN}')) AS grown FROM {target} AS t JOIN {staged} AS s "  # noqa: S608
        "ON t.chain = s.chain AND t.number = s.number AND t.link_sha256 <> s.link_sha256"
    )


# -- verifying --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChainState:
    """One chain as verified: its links, the newest one's hash, and what was found."""

    chain: str
    links: int
    adopted: int
    sessions: int
    forecasts: int
    newest_as_of: str
    head_sha256: str
    findings: tuple[Finding, ...]


def verify(chain: pa.Table, tables: Mapping[str, pa.Table]) -> list[ChainState]:
    """Every chain against itself and against the forecasts as they are now.

    Args:
        chain: rows of ``forecasts.record_chain``. tables: rows of the tables of ``SEALED``.
    """
    links: dict[str, list[Row]] = {}
    for link in plain_rows(chain):
        links.setdefault(str(link["chain"]), []).append(link)
    current: dict[str, dict[tuple[Any, ...], Row]] = {}
    present: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in SEALED}
    for name, rows in tables.items():
        table = table_named(name)
        for row in plain_rows(rows):
            current.setdefault(chain_of(name, row), {})[_key(table, row)] = row
            present[name][_key(table, row)] = row
    recorded = {name: _recorded(name, part) for name, part in links.items()}
    states = []
    for name in sorted({*links, *current}):
        part = _ordered(links.get(name, []))
        table = table_named(REPLAYS if name.startswith(REPLAY) else PUBLISHED)
        found = [
            *_broken(name, part),
            *_differences(name, table, recorded, current.get(name, {}), present[table.name]),
        ]
        states.append(
            ChainState(
                chain=name,
                links=len(part),
                adopted=sum(bool(link.get("adopted")) for link in part),
                sessions=len({link.get("as_of") for link in part}),
                forecasts=len(recorded.get(name, {})),
                newest_as_of=max((str(link.get("as_of", "")) for link in part), default=""),
                head_sha256=str(part[-1].get("link_sha256", "")) if part else "",
                findings=tuple(found),
            )
        )
    return states


def _ordered(links: Iterable[Row]) -> list[Row]:
    return sorted(links, key=lambda link: (int(link["number"]), str(link.get(STAMP, "")), str(link["link_sha256"])))


def _broken(name: str, links: list[Row]) -> Iterator[Finding]:
    """Links that do not follow from the one before, or whose content is not what their hash says."""
    hashes: dict[int, set[str]] = {0: {GENESIS}}
    latest = ""
    for link in links:
        day, number = str(link.get("as_of", "")), int(link["number"])
        wrong = []
        if number in hashes:
            wrong.append("there are two of this number: the record was begun again, or two machines published at once")
        if number - 1 not in hashes:
            wrong.append(f"link {number - 1} is missing")
        elif link.get("previous_sha256") not in hashes[number - 1]:
            wrong.append("it does not follow from the link before it")
        if _sha256(str(link.get("published_rows", ""))) != link.get("rows_sha256"):
            wrong.append("its rows are not those that were sealed")
        if _link_sha256(link) != link.get("link_sha256"):
            wrong.append("its session, time or hashes were changed")
        if wrong:
            yield Finding(name, day, "broken link", f"link {number}: {'; '.join(wrong)}")
        at = str(link.get(STAMP, ""))
        if name != SIMULATED and at < latest:
            yield Finding(name, day, "backdated", f"link {number} says {at}; a link before it says {latest}")
        latest = max(latest, at)
        hashes.setdefault(number, set()).add(str(link["link_sha256"]))


def _recorded(name: str, links: list[Row]) -> dict[tuple[Any, ...], Row]:
    """Each forecast of a chain as its newest link has it."""
    table = table_named(REPLAYS if name.startswith(REPLAY) else PUBLISHED)
    newest: dict[tuple[Any, ...], Row] = {}
    for link in _ordered(links):
        for line in str(link.get("published_rows", "")).splitlines():
            try:
                row = json.loads(line)
                newest[_key(table, row)] = row
            except (ValueError, KeyError, TypeError):
                continue  # its hash differs, which is reported
    return newest


def _differences(
    name: str,
    table: Table,
    recorded: Mapping[str, Mapping[tuple[Any, ...], Row]],
    current: Mapping[tuple[Any, ...], Row],
    present: Mapping[tuple[Any, ...], Row],
) -> Iterator[Finding]:
    """Forecasts that are not as recorded, gone, or in no link."""
    wanted = recorded.get(name, {})
    for key, row in wanted.items():
        where = _named(table, row)
        if key not in present:
            yield Finding(name, str(row["as_of"]), "removed", f"{where} is recorded and no longer in {table.name}")
        elif key not in current:
            owner = chain_of(table.name, present[key])
            if key not in recorded.get(owner, {}):  # another origin may have published the same session since
                yield Finding(name, str(row["as_of"]), "changed", f"{where}: its origin is now {owner}")
        elif (now := current[key]) != row:
            changed = [column for column in sorted({*row, *now}) if row.get(column) != now.get(column)]
            listed = ", ".join(f"{column} {row.get(column)} → {now.get(column)}" for column in changed)
            early = changed == [STAMP] and str(now.get(STAMP, "")) < str(row.get(STAMP, ""))
            yield Finding(name, str(row["as_of"]), "backdated" if early else "changed", f"{where}: {listed}")
    for key, row in current.items():
        if key not in wanted:
            yield Finding(
                name,
                str(row["as_of"]),
                "not recorded",
                f"{_named(table, row)} is in {table.name}, dated {row.get(STAMP)}, and no publish recorded it",
            )


def _named(table: Table, row: Row) -> str:
    named = [str(row.get(part, "?")) for part in table.key]
    return " ".join([*named, *([str(row.get("model_version", ""))] if "model_version" not in table.key else [])])


def check_record(warehouse: Warehouse) -> list[ChainState]:
    """Every chain of a published warehouse; none where it was published by a version without a record.

    Raises:
        WarehouseError: nothing is published, or it cannot be read.
    """
    there = warehouse.row_counts()
    if CHAIN not in there:
        return []
    return verify(warehouse.read(CHAIN), {name: warehouse.read(name) for name in SEALED if name in there})


def has_link(chain: pa.Table, sha256: str) -> bool:
    """Whether a hash that somebody noted is of a link that is still there."""
    return sha256 in set(chain["link_sha256"].to_pylist())
