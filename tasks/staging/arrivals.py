"""The status of a source after its payloads were read.

A landed payload only proves that a server sent something. Staging reads it. Here the refusals of staging become part of
the source's status, for live and recorded origins alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.registry import SourceSpec
from tasks.sources.ingest import Ingested
from tasks.sources.payloads import PART, RECORD, Payload

PAYLOAD = "payload"  # quarantine rule of a payload that cannot be used at all


def judged(
    ingested: Ingested, quarantine: pd.DataFrame, spec: SourceSpec, *, lost: Mapping[str, str] | None = None
) -> Ingested:
    """``ingested`` with a failure for every payload of this run that could not be read, wholly or in part.

    A series fails if its newest payload is unreadable; an older payload is a failure under its own name. Single refused
    records are a note. A folder that exists only in recorded origins (a sample of an outage, an older format) fails
    only if the source's other folders have no readable payload.

    Args:
        lost: payloads of any run that can no longer be read, and why: their values are missing now.
    """
    found = _refused(quarantine)
    if found.empty:
        return ingested
    failures = dict(lost or {})
    notes: list[str] = []
    newest = {payload.series: payload for payload in ingested.brought}  # in fetch order: the last one stays
    sound = [payload for payload in ingested.brought if _why(found, payload, PAYLOAD) is None]
    for payload in ingested.brought:
        why = _why(found, payload, PAYLOAD)
        if why is not None:
            only_recorded = payload.series not in spec.fetched
            if only_recorded and sound:
                notes.append(why)
            elif newest[payload.series] == payload:
                failures[payload.series] = why
            else:
                failures.setdefault(f"{payload.series}/{payload.path.name}", why)
            continue
        for series, reason in _parts(found, payload).items():
            failures[f"{payload.series} {series}" if series != payload.series else f"{series}/{payload.path.name}"] = (
                reason
            )
    mine = found[found["rule"] == RECORD]
    brought = mine["payload"].map(lambda name: any(_named(payload, name) for payload in ingested.brought))
    mine = mine[brought.astype(bool)]
    if len(mine):
        notes.append(f"{len(mine)} records refused, first: {mine['reason'].iat[0]}")
    return ingested.judged(failures, notes)


def _refused(quarantine: pd.DataFrame) -> pd.DataFrame:
    """The rows of quarantine that are not cells, as text."""
    rows = quarantine[quarantine["rule"].isin([PAYLOAD, PART, RECORD])]
    return rows[["series", "payload", "rule", "reason"]].astype(str)


def _why(found: pd.DataFrame, payload: Payload, rule: str) -> str | None:
    mine = found[(found["rule"] == rule) & found["payload"].map(lambda name: _named(payload, name)).astype(bool)]
    return None if mine.empty else str(mine["reason"].iat[0])


def _parts(found: pd.DataFrame, payload: Payload) -> dict[str, str]:
    """Per series: the first part of the payload that could not be read, and how many more there are."""
    mine = found[(found["rule"] == PART) & found["payload"].map(lambda name: _named(payload, name)).astype(bool)]
    reasons = {}
    for series, rows in mine.groupby("series"):
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        reasons[str(series)] = f"{rows['reason'].iat[0]}{more}"
    return reasons


def _named(payload: Payload, name: str) -> bool:
    """Whether ``name`` is the payload's name in quarantine (with its hash if two payloads share a name)."""
    return name in (payload.name, f"{payload.name}#{payload.sha256[:8]}")
