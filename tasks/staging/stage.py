"""From payloads to observations with their vintages, and the quarantine of every cell refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant
from tasks.errors import CbiError
from tasks.registry import SourceSpec
from tasks.settings import PROJECT
from tasks.sources import payloads as raw
from tasks.sources.payloads import Payload
from tasks.sources.sidecars import count_and_newest
from tasks.staging.availability import known_at
from tasks.staging.documents import stage_documents, typed
from tasks.staging.parsed import ParsedPayloads, Reading
from tasks.staging.rules import PRICES, REASONS, key_field, screen, unconfirmed_jumps
from tasks.storage.files import read_json, read_parquet, sweep_temporary, write_json, write_parquet
from tasks.storage.hashes import code_fingerprint, fingerprint, sha256_of
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

log = logging.getLogger(__name__)
OBSERVATIONS = [
    "source",
    "series",
    "observation_date",
    "field",
    "value",
    "unit",
    "available_at",
    "fetched_at",
    "vintage",
]
QUARANTINE = [*OBSERVATIONS, "rule", "reason", "payload", "row"]
DRIFT = ("bad_date", "not_a_number", "range")  # rules that a value in another format or unit breaks
SAME_VALUE = 1e-6  # relative: payloads print the same double with 6 or 15 digits


@dataclass(frozen=True)
class Staged:
    """The staged data of one source."""

    source: str
    observations: pd.DataFrame
    quarantine: pd.DataFrame
    payloads: int
    changed: bool
    documents: pd.DataFrame | None = None
    lost: Mapping[str, str] | None = None
    """By payload that can no longer be read, and whose dates no later payload covers: the reason."""


def stage_payloads(
    source: str,
    spec: SourceSpec,
    payloads: Iterable[Payload],
    *,
    through: pd.Timestamp,
    parsed: ParsedPayloads | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Observations and quarantine of one source, from payloads, as known by ``through`` (UTC).

    The first accepted value of a date is known by the registry's rule; a different value in a later payload is a new
    vintage, known when that payload was fetched. If the payload has release times (WASDE, FRED's vintages), every
    vintage is known exactly then, and other payloads say nothing of its date: see ``_released``.

    Invariants: nothing with ``available_at`` after ``through``; a row is the same for every later ``through``.
    """
    if parsed is None:
        parsed = ParsedPayloads(None, spec, code="")
    named_payloads = named(payloads)
    judged = parsed.read(named_payloads, _reading(spec))
    lost = [_refused(source, of.series, of, name, "payload", why) for name, of, why in judged.refused]
    refused = _refused_rows([*lost, *_parts(source, named_payloads, judged.parts)])
    if judged.rows.empty:
        return _empty(OBSERVATIONS), _finish(refused, QUARANTINE)
    cells = _cells(_released(judged.rows), spec, judged.shapes)
    cells = cells[(cells["known_at"] <= through) | cells["known_at"].isna()]
    cells = _judge_jumps(cells, spec)
    cells = cells[(cells["known_at"] <= through) | cells["known_at"].isna()]
    cells = cells.assign(source=source, unit=_units(cells, spec))
    accepted = _vintages(cells[cells["rule"] == ""], judged.spans)
    accepted = accepted[accepted["available_at"] <= through]
    return _finish([accepted], OBSERVATIONS), _finish([*refused, _refusals(cells[cells["rule"] != ""])], QUARANTINE)


def _reading(spec: SourceSpec) -> Reading:
    """How this source's payloads are read and screened, each on its own."""

    def informative(rows: pd.DataFrame) -> pd.Series:
        """Rows that say something of their date: all, or with ``missing_marker`` only those with a value."""
        if not spec.missing_marker:
            return pd.Series(True, index=rows.index)
        rules = [rows[f"{field}__rule"] != "null" for field in spec.fields if f"{field}__rule" in rows]
        return pd.concat(rules, axis=1).any(axis=1)

    return Reading(
        parse=partial(raw.read, raw.adapter(spec).parse, spec=spec),
        judge=partial(screen, spec=spec),
        key=("series", "observation_date", "released_at"),
        dated="observation_date",
        informative=informative,
        unfit=partial(_unfit, spec=spec),
    )


def named(payloads: Iterable[Payload]) -> list[tuple[str, Payload]]:
    """Payloads by a unique name: two folders may have files of the same name."""
    payloads = list(payloads)
    shared = Counter(payload.name for payload in payloads)
    return [(p.name if shared[p.name] == 1 else f"{p.name}#{p.sha256[:8]}", p) for p in payloads]


def _released(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a release time, and those of the other rows that do not contradict them.

    A payload without release times (FRED's keyless CSV) falls under the lag rule, but it has today's values. It is
    ignored for dates with stored vintages, or a revision would count as known at the first release. Only a row fetched
    after the series' newest vintages is used for such a date: it is known when it was fetched.

    Invariants: no value of a date with vintages is known before the vintage that brought it.
    """
    if "released_at" not in rows or rows["released_at"].notna().all() or rows["released_at"].isna().all():
        return rows
    exact = rows[rows["released_at"].notna()]
    dated = pd.MultiIndex.from_frame(exact[["series", "observation_date"]])
    covered = pd.MultiIndex.from_frame(rows[["series", "observation_date"]]).isin(dated) & rows["released_at"].isna()
    newest = rows["series"].map(exact.groupby("series")["fetched_at"].max())
    news = covered & (rows["fetched_at"] > newest) & ~rows["day_only"].astype(bool)
    released = rows["released_at"].where(~news, rows["fetched_at"]).astype("datetime64[us, UTC]")
    return rows.assign(released_at=released)[news | ~covered].reset_index(drop=True)


def _cells(screened: pd.DataFrame, spec: SourceSpec, shapes: dict[int, frozenset[str]]) -> pd.DataFrame:
    """One row per cell, with its verdict and the instant at which its release was due.

    ``shapes`` has the columns of rows by ``shape``: rows without a field have no cells of it, not empty ones.
    """
    fields = [field for field in spec.fields if field in screened.columns]
    known = pd.Series(pd.NaT, index=screened.index, dtype="datetime64[us, UTC]")
    for series, part in screened.groupby("series", observed=True, sort=False):
        dated = part["observation_date"].notna()
        dates = pd.DatetimeIndex(part.loc[dated, "observation_date"])
        availability = spec.series[str(series)].availability or spec.availability
        if availability.rule == "recorded":
            known.loc[part.index] = part["released_at"]
        else:
            known.loc[part.index[dated]] = known_at(dates, availability)
            if "released_at" in part:
                known.loc[part.index] = part["released_at"].fillna(known.loc[part.index])
    shared = {
        name: screened[name]
        for name in ("series", "observation_date", "row", "payload", "order", "fetched_at", "day_only")
    }
    shared["known_at"] = known
    none = pd.Series(pd.NaT, index=screened.index, dtype="datetime64[us, UTC]")
    shared["released_at"] = screened.get("released_at", none)
    bar = [field for field in ("open", "high", "low") if field in fields]
    # a bar that contradicts itself confirms nothing: it is unknown which of its prices is wrong
    sound = pd.concat([screened[f"{field}__rule"] == "" for field in bar], axis=1).all(axis=1) if bar else None
    for field in ("low", "high"):
        if field in fields and sound is not None:
            shared[f"bar_{field}"] = screened[field].where(sound)
    wide = pd.DataFrame(shared)
    parts = []
    for field in fields:
        here = screened["shape"].isin([shape for shape, columns in shapes.items() if field in columns])
        rule = pd.Categorical(screened.loc[here, f"{field}__rule"], categories=["", *REASONS])
        parts.append(wide[here].assign(value=screened.loc[here, field], rule=rule))
    cells = pd.concat(parts, ignore_index=True)
    codes = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)])
    cells["field"] = pd.Categorical.from_codes(codes, categories=pd.Index(fields))
    if spec.missing_marker:
        cells = cells[cells["rule"] != "null"]
    return cells.assign(detail="")


def _judge_jumps(cells: pd.DataFrame, spec: SourceSpec) -> pd.DataFrame:
    """Refuse price cells of bars with an unconfirmed jump; delay cells that the next bar confirmed."""
    key = key_field(spec)
    cells = cells.copy()
    for series, entry in spec.series.items():
        if entry.jump is None:
            continue
        usable = cells[(cells["series"] == series) & (cells["field"] == key) & (cells["rule"] == "")]
        usable = usable.sort_values(["observation_date", "fetched_at", "order"])
        if usable.empty:
            continue
        closes = pd.DataFrame(
            {
                "observation_date": usable["observation_date"],
                "value": usable["value"],
                "low": usable.get("bar_low", np.nan),
                "high": usable.get("bar_high", np.nan),
                "first": ~usable.duplicated("observation_date"),
            }
        )
        verdict = unconfirmed_jumps(closes, entry.jump, entry.daily_limit)
        for index, found in verdict[verdict["waits"]].iterrows():
            date = (
                (cells["series"] == series)
                & (cells["observation_date"] == cells.at[index, "observation_date"])
                & cells["field"].isin((*PRICES, key))
                & (cells["rule"] == "")
            )
            if found["refused"]:
                bar = date & (cells["payload"] == cells.at[index, "payload"])
                cells.loc[bar, "rule"] = "jump"
                cells.loc[bar, "detail"] = f": moved {found['move']:+.1%}, limit {found['threshold']:.1%}"
            # later payloads of that date are not known before the decision either
            later = date & (cells["rule"] == "") & (cells["order"] >= cells.at[index, "order"])
            if pd.isna(found["decided_by"]):
                cells.loc[later, "rule"] = "jump"
                cells.loc[later, "detail"] = " yet"
            else:
                availability = entry.availability or spec.availability
                cells.loc[later, "known_at"] = known_at(pd.DatetimeIndex([found["decided_by"]]), availability)[0]
    return cells


def _arrived_late(firsts: pd.DataFrame, spans: pd.DataFrame) -> pd.Series:
    """Whether an earlier live payload, fetched after a value was due, covered its date without having it.

    Such a value was not known on time: a station's report weeks late, or a withheld or refused value served later.
    """
    late = np.zeros(len(firsts), dtype=bool)
    served = {name: part.sort_values("order") for name, part in spans.groupby("series", observed=True, sort=False)}
    places = pd.Series(np.arange(len(firsts)), index=firsts.index)
    for series, part in firsts.groupby("series", observed=True, sort=False):
        if series in served:
            late[places[part.index].to_numpy()] = _missed_before(part, served[series])
    return pd.Series(late, index=firsts.index)


def _utc(times: pd.Series) -> np.ndarray:
    return pd.DatetimeIndex(times).tz_convert(None).as_unit("us").to_numpy()


def _missed_before(firsts: pd.DataFrame, spans: pd.DataFrame) -> np.ndarray:
    """Per first value of one series: whether an earlier payload covers its date and was fetched when it was due.

    Only payloads between the due day and the payload with the value are checked, mostly none. Checking all pairs would
    be quadratic in the days.
    """
    order, fetched = spans["order"].to_numpy(), _utc(spans["fetched_at"])
    first, last = (spans[name].to_numpy().astype("datetime64[us]") for name in ("first", "last"))
    due = _utc(firsts["known_at"])
    dates = firsts["observation_date"].to_numpy().astype("datetime64[us]")
    before = np.searchsorted(order, firsts["order"].to_numpy())
    # payloads before the running maximum reaches a time were fetched before that time
    since = np.minimum(np.searchsorted(np.maximum.accumulate(fetched), due), before)
    missed = np.zeros(len(firsts), dtype=bool)
    waiting = np.flatnonzero(since < before)
    while len(waiting):  # newest payload first, then the one before it
        at = before[waiting] - 1
        covers = (fetched[at] >= due[waiting]) & (first[at] <= dates[waiting]) & (dates[waiting] <= last[at])
        missed[waiting[covers]] = True
        before[waiting] = at
        waiting = waiting[~covers & (since[waiting] < at)]
    return missed


def _vintages(cells: pd.DataFrame, spans: pd.DataFrame) -> pd.DataFrame:
    """Number the distinct values of each cell in the order they were served."""
    ordered = cells.sort_values(
        ["series", "field", "observation_date", "released_at", "fetched_at", "order"], kind="stable"
    )
    key = ["series", "field", "observation_date"]
    first = ~ordered.duplicated(key).to_numpy()
    before = ordered["value"].shift().to_numpy()
    value = ordered["value"].to_numpy()
    with np.errstate(invalid="ignore"):
        changed = ~(np.abs(value - before) <= SAME_VALUE * np.abs(before) + 1e-12)
    kept = ordered[first | changed].copy()
    vintage = kept.groupby(key, observed=True, sort=False).cumcount().to_numpy() + 1
    fetched = kept["fetched_at"] + pd.to_timedelta(kept["day_only"].astype("int64"), unit="D")
    reissued = kept.duplicated([*key, "released_at"])
    served_at = kept["released_at"].fillna(fetched).where(~reissued, fetched)
    revised = served_at.where(served_at > kept["known_at"], kept["known_at"])
    available = kept["known_at"].where(vintage == 1, revised)
    firsts = kept[(vintage == 1) & ~kept["day_only"].astype(bool) & kept["released_at"].isna()]
    if len(firsts) and len(spans):
        late = _arrived_late(firsts, spans)
        available.loc[late.index[late]] = firsts.loc[late, "fetched_at"]
    return kept.assign(vintage=vintage, available_at=available)


def _refusals(cells: pd.DataFrame) -> pd.DataFrame:
    reasons = cells["rule"].map(REASONS).astype("string").fillna("") + cells["detail"]
    return cells.assign(vintage=0, available_at=cells["known_at"], reason=reasons)


def _units(cells: pd.DataFrame, spec: SourceSpec) -> pd.Series:
    fields, names = cells["field"].cat.categories, list(spec.series)
    units = np.array([[spec.unit_of(name, field) for field in fields] for name in names], dtype=object)
    series = pd.Categorical(cells["series"], categories=names).codes
    return pd.Series(pd.Categorical(units[series, cells["field"].cat.codes]), index=cells.index)


def _parts(source: str, named: list[tuple[str, Payload]], parts: pd.DataFrame) -> list[dict[str, object]]:
    """Quarantine rows of the parts that adapters could not read in otherwise sound payloads."""
    return [
        _refused(source, row["series"], named[at][1], named[at][0], row["refused_as"], row["refused"], row=row["row"])
        | {"observation_date": pd.to_datetime(row["observation_date"], format="%Y-%m-%d", errors="coerce")}
        for row in parts.to_dict("records")
        for at in (row["number"],)
    ]


def _unfit(rows: pd.DataFrame, spec: SourceSpec) -> dict[int, str]:
    """Payloads with the right columns but without any usable value: another format or another unit."""
    rules = rows[[f"{field}__rule" for field in spec.fields if f"{field}__rule" in rows]]
    fit = (rules == "").any(axis=1).groupby(rows["at"]).any()
    reasons = {}
    for at in fit.index[~fit]:
        cells = rules[rows["at"] == at].stack()
        broken = cells[cells.isin(DRIFT)].value_counts()
        if len(broken):
            reasons[int(at)] = f"none of its values can be used; {broken.sum()} times {REASONS[str(broken.index[0])]}"
    return reasons


def _refused(
    source: str, series: str, payload: Payload, name: str, rule: str, reason: str, *, row: int = 0
) -> dict[str, object]:
    """A quarantine row that is not a cell: a payload, or a part of it without a date."""
    return {
        "source": source,
        "series": series,
        "observation_date": pd.NaT,
        "field": "",
        "value": np.nan,
        "unit": "",
        "available_at": pd.NaT,
        "fetched_at": payload.fetched_at,
        "vintage": 0,
        "rule": rule,
        "reason": reason,
        "payload": name,
        "row": row,
    }


def _refused_rows(rows: list[dict[str, object]]) -> list[pd.DataFrame]:
    """``rows`` as a quarantine frame in a list; the list is empty without rows."""
    none = pd.DatetimeIndex([pd.NaT] * len(rows), tz="UTC")
    return [pd.DataFrame(rows).assign(available_at=none)] if rows else []


def _empty(columns: list[str]) -> pd.DataFrame:
    return _finish([pd.DataFrame(columns=columns)], columns)


def _finish(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Concatenate, set types and order: equal content gives an equal file."""
    frame = pd.concat([part[columns] for part in parts], ignore_index=True) if parts else pd.DataFrame(columns=columns)
    frame = _typed(frame)
    order = [name for name in ("series", "field", "observation_date", "vintage", "payload", "row") if name in columns]
    sortable = frame.assign(series=frame["series"].astype(str), field=frame["field"].astype(str))
    if "payload" in columns:
        sortable["payload"] = frame["payload"].astype(str)
    return frame.loc[sortable[order].sort_values(order, kind="stable").index].reset_index(drop=True)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Set the types: parquet loses those of an empty frame."""
    types = {
        "observation_date": "datetime64[us]",
        "value": "float64",
        "available_at": "datetime64[us, UTC]",
        "fetched_at": "datetime64[us, UTC]",
        "vintage": "int32",
        "row": "int64",
    }
    return frame.astype({name: types.get(name, "category") for name in frame.columns})


def staging_code() -> str:
    """The fingerprint of the code that determines the staged data."""
    tasks = PROJECT / "tasks"
    return code_fingerprint(tasks / "staging", tasks / "sources", tasks / "calendar.py")


def stage_source(zones: Zones, source: str, spec: SourceSpec, *, as_of: pd.Timestamp, code: str) -> Staged:
    """Stage a source's payloads in raw/, cut at ``as_of`` (a date); if nothing changed, the stored files are read.

    Staging never shrinks: after a run as of a later date, an earlier one reads the same files with its own cut.
    """
    target, refused = zones.staging / source / "observations.parquet", zones.quarantine / source / "cells.parquet"
    texts, state_path = zones.staging / source / "documents.parquet", zones.staging / source / "manifest.json"
    through = as_of_instant(as_of)
    with exclusive(zones, f"staging-{source}"):
        sweep_temporary(target.parent)
        sweep_temporary(refused.parent)
        payloads = raw.landed(zones, source)
        if spec.tables:  # a table is complete: only its newest edition counts
            payloads = list({payload.series: payload for payload in payloads}.values())
        inputs = fingerprint([(p.series, p.sha256, p.fetched_at) for p in payloads], spec.model_dump(mode="json"), code)
        state_inputs, before, files = _staged_before(state_path)
        if state_inputs == inputs and before is not None and before >= through:
            try:
                observations = _typed(read_parquet(target, sha256=files.get(target.name, "")))
                quarantine = _typed(read_parquet(refused, sha256=files.get(refused.name, "")))
                documents = None
                if spec.kind == "documents":
                    documents = typed(read_parquet(texts, sha256=files.get(texts.name, "")))
                return Staged(source, observations, quarantine, len(payloads), changed=False, documents=documents)
            except CbiError as error:  # a killed write or an altered file: stage again below
                log.warning("%s: staged again: %s", source, error)
        through = max(through, before) if before is not None else through
        parsed = ParsedPayloads(target.parent / "parsed", spec, code=code)
        observations, quarantine = stage_payloads(source, spec, payloads, through=through, parsed=parsed)
        parsed.keep()
        documents, unreadable = None, dict(parsed.unreadable)
        if spec.kind == "documents":
            parsed = ParsedPayloads(target.parent / "parsed_documents", spec, code=code)
            documents, unfit = stage_documents(source, spec, named(payloads), through=through, parsed=parsed)
            parsed.keep()
            unreadable |= parsed.unreadable
            quarantine = _finish([quarantine, unfit] if len(unfit) else [quarantine], QUARANTINE)
            write_parquet(texts, documents)
        # a file that its origin replaced was landed again under the same path: it is not lost
        whole = {payload.path for payload in payloads if payload.path in unreadable and raw.is_whole(payload)}
        unreadable = {path: why for path, why in unreadable.items() if path not in whole}
        write_parquet(refused, quarantine)
        write_parquet(target, observations)
        written = [target, refused] if documents is None else [target, refused, texts]
        write_json(
            state_path,
            {
                "inputs": "" if unreadable else inputs,  # the next run tries unreadable payloads again
                "through": through.isoformat(),
                "observations": len(observations),
                "quarantined": len(quarantine),
                "files": {path.name: sha256_of(path) for path in written},
            },
        )
        gone = [payload for payload in payloads if payload.path in unreadable]
        lost = {f"{p.series}/{p.path.name}": unreadable[p.path] for p in raw.lost(payloads, gone)}
        return Staged(source, observations, quarantine, len(payloads), changed=True, documents=documents, lost=lost)


def _staged_before(state_path: Path) -> tuple[str | None, pd.Timestamp | None, dict[str, str]]:
    """The inputs, cut and file digests of a source's staged state; empty if the manifest cannot be read."""
    try:
        state = read_json(state_path) or {}
        through = pd.Timestamp(state["through"]) if state.get("through") else None
        files = {str(name): str(digest) for name, digest in (state.get("files") or {}).items()}
        return state.get("inputs"), through if through is None or through.tzinfo else None, files
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return None, None, {}


def read_staged(zones: Zones, source: str) -> Staged | None:
    """The stored staging of a source, or None; nothing is parsed or written.

    Raises:
        ManifestMismatch: a file is not the one that was written.
    """
    target, refused = zones.staging / source / "observations.parquet", zones.quarantine / source / "cells.parquet"
    if not (target.exists() and refused.exists()):
        return None
    *_, files = _staged_before(target.with_name("manifest.json"))
    observations = _typed(read_parquet(target, sha256=files.get(target.name)))
    quarantine = _typed(read_parquet(refused, sha256=files.get(refused.name)))
    count, _ = count_and_newest(zones.raw / source)
    return Staged(source, observations, quarantine, count, changed=False)


def nothing_staged() -> Staged:
    """No observation and no refused cell, in the right columns."""
    return Staged("", _empty(OBSERVATIONS), _finish([], QUARANTINE), 0, changed=False)


def known_by(frame: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """The rows of staging or quarantine that were known at 18:00 Chicago of ``as_of``."""
    return frame[frame["available_at"] <= as_of_instant(as_of)]


def staged_paths(zones: Zones, sources: Iterable[str]) -> list[Path]:
    """The observation files of ``sources`` that exist."""
    return [path for source in sources if (path := zones.staging / source / "observations.parquet").exists()]
