"""From payloads to documents with their vintages: the texts behind the counts that staging computes.

Invariants: nothing with ``available_at`` after ``through``; a row is the same for every later ``through``; one row per
topic, document and wording, whatever its payloads and addresses.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import ModuleType
from typing import cast

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant
from tasks.registry import DataSources, SourceSpec
from tasks.sources import payloads as raw
from tasks.sources.payloads import Payload
from tasks.sources.texts import normalised
from tasks.staging.availability import known_at
from tasks.staging.parsed import ParsedPayloads, Reading
from tasks.staging.rules import REASONS
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones

DOCUMENTS = {
    "source": "str",
    "series": "str",
    "document_id": "str",
    "published": "datetime64[us]",
    "available_at": "datetime64[us, UTC]",
    "fetched_at": "datetime64[us, UTC]",
    "title": "str",
    "abstract": "str",
    "url": "str",
    "publisher": "str",
    "vintage": "int32",
}
KEY = ["series", "document_id"]


def stage_documents(
    source: str,
    spec: SourceSpec,
    named: Iterable[tuple[str, Payload]],
    *,
    through: pd.Timestamp,
    parsed: ParsedPayloads | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Documents and refused rows of one source, as known by ``through`` (UTC).

    A document is known at its ``released_at``, else by its topic's availability rule. A changed wording in a later
    payload is a new vintage, known when that payload was fetched. Unreadable payloads are refused by the staging of
    their numbers.
    """
    if parsed is None:
        parsed = ParsedPayloads(None, spec, code="")
    rows = parsed.read(list(named), _reading(spec)).rows
    if rows.empty:
        return typed(pd.DataFrame(columns=list(DOCUMENTS))), pd.DataFrame()
    rows = rows[(rows["known_at"] <= through) | rows["known_at"].isna()].assign(source=source)
    accepted = _vintages(rows[rows["rule"] == ""])
    accepted = typed(accepted[accepted["available_at"] <= through][list(DOCUMENTS)])
    return accepted.sort_values([*KEY, "vintage"]).reset_index(drop=True), _refusals(rows[rows["rule"] != ""])


def _reading(spec: SourceSpec) -> Reading:
    """How this source's payloads are read and screened, each on its own."""
    return Reading(
        parse=partial(raw.read, cast(ModuleType, raw.adapter(spec)).documents, spec=spec),
        judge=partial(_judged, spec=spec),
        key=("series", "document_id"),
        dated="published",
        informative=lambda rows: pd.Series(True, index=rows.index),
        unfit=lambda rows: {},  # reported by the staging of the numbers
    )


def documents_known_by(zones: Zones, sources: DataSources, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """The staged documents of all sources that were known at 18:00 Chicago of ``as_of``."""
    paths = [zones.staging / name / "documents.parquet" for name, spec in sources.sources.items() if _has_texts(spec)]
    return gather_documents([typed(read_parquet(path)) for path in paths if path.exists()], as_of=as_of)


def gather_documents(parts: Iterable[pd.DataFrame | None], *, as_of: pd.Timestamp) -> pd.DataFrame:
    """The documents of all sources that were known at 18:00 Chicago of ``as_of``; None for a source without texts."""
    present = [part for part in parts if part is not None and len(part)]
    if not present:
        return typed(pd.DataFrame(columns=list(DOCUMENTS)))
    together = pd.concat(present, ignore_index=True)
    return together[together["available_at"] <= as_of_instant(as_of)].reset_index(drop=True)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Set the types: parquet loses those of an empty frame."""
    return frame.astype(DOCUMENTS)


def _has_texts(spec: SourceSpec) -> bool:
    return spec.kind == "documents"


def _judged(rows: pd.DataFrame, spec: SourceSpec) -> pd.DataFrame:
    """Each row with its date, the instant it was known, and the rule it breaks, or ""."""
    dates = pd.to_datetime(rows["published"], format="%Y-%m-%d", errors="coerce").astype("datetime64[us]")
    known = pd.Series(pd.NaT, index=rows.index, dtype="datetime64[us, UTC]")
    for series, part in rows.groupby("series", sort=False):
        dated = part.index[dates[part.index].notna()]
        availability = spec.series[str(series)].availability or spec.availability
        known.loc[dated] = known_at(pd.DatetimeIndex(dates[dated]), availability)
    if "released_at" in rows:
        known = rows["released_at"]
    seen_by = rows["fetched_at"] + pd.to_timedelta(rows["day_only"].astype("int64"), unit="D")
    rule = np.select(
        [
            dates.isna() | known.isna(),
            (dates > rows["fetched_at"].dt.tz_localize(None)) | (("released_at" in rows) & (known > seen_by)),
            dates.dt.dayofweek.ge(5) & (not spec.weekends),
            rows["title"].fillna("").str.strip() == "",
            rows["document_id"].fillna("").str.strip() == "",
        ],
        ["bad_date", "future_date", "weekend", "empty_title", "no_id"],
        default="",
    )
    return rows.assign(published=dates, known_at=known, seen_by=seen_by, rule=rule)


def _vintages(rows: pd.DataFrame) -> pd.DataFrame:
    """The different wordings of each document, in the order in which they were known."""
    ordered = rows.sort_values([*KEY, "known_at", "fetched_at", "order", "row"], kind="stable")
    wording = ordered["title"].map(normalised) + "\n" + ordered["abstract"].fillna("").map(normalised)
    first = ~ordered.duplicated(KEY)
    kept = ordered[first | (wording != wording.shift())].copy()
    vintage = kept.groupby(KEY, sort=False).cumcount() + 1
    available = kept["known_at"].where(vintage == 1, kept[["known_at", "seen_by"]].max(axis=1))
    return kept.assign(vintage=vintage, available_at=available)


def _refusals(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        observation_date=rows["published"],
        field="document",
        value=np.nan,
        unit="",
        available_at=rows["known_at"],
        vintage=0,
        reason=rows["rule"].map(REASONS),
    )
