"""A cache of parsed and screened payloads: a new payload is parsed alone, without those before it.

A live source repeats itself: yesterday's answer has most of today's rows. Of a live payload only the rows that differ
from the payload before it (same key) are kept. A repeat is no new vintage and is not refused a second time.

Invariants: rows read from the cache equal the screened rows, types included. A change of adapter, rule or registry
entry clears the cache. If a payload was altered, is missing or arrived out of order, it and all later fetches are read
again. Files are named by their content and the manifest is written last: a killed write leaves the previous state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.errors import CbiError, ManifestMismatch, SchemaDrift
from tasks.registry import SourceSpec
from tasks.sources.payloads import Payload, verify
from tasks.storage.files import read_json, read_parquet, write_json, write_parquet
from tasks.storage.hashes import fingerprint, sha256_of

BYTES_AT_ONCE = 16 * 2**20  # of payloads screened together: bounds memory when all are read again
OF_A_PAYLOAD = ["payload", "order", "fetched_at", "day_only"]
NOT_COMPARED = {*OF_A_PAYLOAD, "at", "row", "seen_by"}
"""Columns of a row's position and fetch: they differ even if two payloads have the same values."""
NO_SPANS = pd.DataFrame({"at": [], "series": [], "first": [], "last": []}).astype(
    {"at": "int32", "series": "str", "first": "datetime64[us]", "last": "datetime64[us]"}
)


@dataclass(frozen=True)
class Reading:
    """How a source's payloads become rows.

    ``judge`` screens the rows of payloads with the same columns; each payload is judged by its own rows only.
    ``key``: the columns that identify a row. ``dated``: the date column. ``informative``: which screened rows say
    something about their date. ``unfit``: by payload (``at``) without any usable row, why the whole payload is refused.
    """

    parse: Callable[[Payload], pd.DataFrame]
    judge: Callable[[pd.DataFrame], pd.DataFrame]
    key: tuple[str, ...]
    dated: str
    informative: Callable[[pd.DataFrame], pd.Series]
    unfit: Callable[[pd.DataFrame], dict[int, str]]


@dataclass(frozen=True)
class ScreenedRows:
    """``rows``: screened rows with their ``payload``, its ``order``, ``fetched_at``, ``day_only`` and ``shape``.

    ``shapes``: the columns of each shape. ``refused``: payloads that cannot be used, with name and reason.
    ``parts``: refusals within other payloads, with the ``number`` of the payload.
    ``spans``: ``series, order, fetched_at, first, last``: the dates that each live payload served of a series.
    """

    rows: pd.DataFrame
    shapes: dict[int, frozenset[str]]
    refused: list[tuple[str, Payload, str]]
    parts: pd.DataFrame
    spans: pd.DataFrame


@dataclass
class _Kept:
    """The cache: ``payloads`` (one row per payload, by ``at``), ``spans``, and rows in segments of one file each."""

    payloads: pd.DataFrame
    spans: pd.DataFrame
    parts: pd.DataFrame
    segments: list[tuple[str, pd.DataFrame]] = field(default_factory=list)


PAYLOAD_TYPES = {
    "at": "int32",
    "series": "str",
    "file": "str",
    "sha256": "str",
    "fetched_at": "datetime64[us, UTC]",
    "size": "int64",
    "modified_ns": "int64",
    "changed_ns": "int64",
    "recorded": "bool",
    "refused": "str",
}
NO_PARTS = pd.DataFrame(columns=["at", "series", "observation_date", "row", "refused", "refused_as"]).astype(
    {"at": "int32", "series": "str", "observation_date": "str", "row": "int64", "refused": "str", "refused_as": "str"}
)


class ParsedPayloads:
    """The screened rows of one source's payloads, cached in ``folder``. Open and ``keep`` under the source's lock."""

    def __init__(self, folder: Path | None, spec: SourceSpec, *, code: str) -> None:
        self._folder = folder
        self._version = fingerprint(spec.model_dump(mode="json"), code)
        self._kept = self._load()
        self._changed = False
        self.unreadable: dict[Path, str] = {}
        """Files that are altered or unreadable, and why; this may change until the next run."""

    def read(self, named: Sequence[tuple[str, Payload]], reading: Reading) -> ScreenedRows:
        """The rows of all payloads; only new payloads are read and screened."""
        payloads = [payload for _, payload in named]
        stored = {_identity(row): row for row in self._kept.payloads.itertuples(index=False)}
        stats, unreadable, fresh = {}, [], []
        for number, payload in enumerate(payloads):
            known = stored.pop(_identity(payload), None)
            try:
                stats[number] = _state_of(payload.path)
                if known is None or (known.size, known.modified_ns, known.changed_ns) != stats[number]:
                    verify(payload)
            except (ManifestMismatch, OSError) as error:
                unreadable.append((number, str(error)))
                if known is not None:
                    stored[_identity(payload)] = known  # its rows are dropped
                continue
            if known is None:
                fresh.append(number)
            elif known.changed_ns != stats[number][2] or known.modified_ns != stats[number][1]:
                self._changed = True  # copied or touched, but equal: store its new state
        changed = [payloads[n].fetched_at for n in fresh] + [fetched_at for *_, fetched_at in stored]
        if changed:
            self._forget_from(min(changed), stored.keys())
            still = {_identity(row) for row in self._kept.payloads.itertuples(index=False)}
            failed = {number for number, _ in unreadable}
            fresh = [n for n, p in enumerate(payloads) if n not in failed and _identity(p) not in still]
            fresh.sort(key=lambda n: (payloads[n].fetched_at, n))
            for numbers in _batches(fresh, [stats[number][0] for number in fresh]):
                unreadable += self._read_more(named, numbers, reading, stats)
        self.unreadable = {payloads[number].path: why for number, why in unreadable}
        return self._together(named, stats, unreadable)

    def keep(self) -> None:
        """Write the changes since this was opened."""
        if not self._changed or self._folder is None:
            return
        kept, chain = self._kept, fingerprint(self._version, self._kept.payloads["sha256"].tolist())
        segments = _merged(kept.segments)
        names = []
        try:
            for number, (name, frame) in enumerate(segments):
                names.append(name or f"rows-{fingerprint(chain, number, len(frame))}.parquet")
                if not name:
                    write_parquet(self._folder / names[-1], frame)
            about = {part: f"{part}-{fingerprint(chain, part)}.parquet" for part in ("payloads", "spans", "parts")}
            write_parquet(self._folder / about["payloads"], kept.payloads)
            write_parquet(self._folder / about["spans"], kept.spans)
            write_parquet(self._folder / about["parts"], kept.parts)
        except (
            pa.ArrowException,
            OverflowError,
            UnicodeEncodeError,
        ):  # a value that parquet cannot store: do not cache
            names, about = [], {}
        self._kept.segments = [(name, frame) for name, (_, frame) in zip(names, segments, strict=False)]
        digests = {name: sha256_of(self._folder / name) for name in (*names, *about.values())}
        manifest = {"made_by": self._version, "segments": names, "files": digests, **about}
        write_json(self._folder / "manifest.json", manifest)
        for path in self._folder.glob("*.parquet"):
            if path.name not in {*names, *about.values()}:
                path.unlink()

    def _load(self) -> _Kept:
        empty = _Kept(pd.DataFrame(columns=list(PAYLOAD_TYPES)).astype(PAYLOAD_TYPES), NO_SPANS, NO_PARTS)
        if self._folder is None:
            return empty
        try:
            manifest = read_json(self._folder / "manifest.json") or {}
            if manifest.get("made_by") != self._version or "payloads" not in manifest:
                return empty
            files = manifest["files"]
            segments = [(name, read_parquet(self._folder / name, sha256=files[name])) for name in manifest["segments"]]
            payloads, spans, parts = (
                read_parquet(self._folder / manifest[part], sha256=files[manifest[part]]).astype(kinds)
                for part, kinds in (
                    ("payloads", PAYLOAD_TYPES),
                    ("spans", NO_SPANS.dtypes),
                    ("parts", NO_PARTS.dtypes),
                )
            )
            return _Kept(payloads, spans, parts, segments)
        except (CbiError, OSError, AttributeError, KeyError, TypeError, ValueError):  # damaged: read everything again
            return empty

    def _forget_from(self, cut: pd.Timestamp, gone: Collection[tuple[str, str, str, pd.Timestamp]]) -> None:
        """Drop the payloads fetched at ``cut`` or later, with their rows; earlier payloads do not depend on them.

        If all of these are recorded, no repeats were left out, so only the ``gone`` payloads are dropped.
        """
        kept = self._kept
        self._changed = True
        later = kept.payloads["fetched_at"] >= cut
        if kept.payloads.loc[later, "recorded"].all():
            later = pd.Series([_identity(row) in gone for row in kept.payloads.itertuples(index=False)], dtype="bool")
        if later.any():
            ids = kept.payloads.loc[later, "at"]
            kept.payloads = kept.payloads[~later].reset_index(drop=True)
            kept.spans = kept.spans[~kept.spans["at"].isin(ids)].reset_index(drop=True)
            kept.parts = kept.parts[~kept.parts["at"].isin(ids)].reset_index(drop=True)
            parts = [(name, frame, frame["at"].isin(ids)) for name, frame in kept.segments]
            kept.segments = [
                (name, frame) if not lost.any() else ("", frame[~lost].reset_index(drop=True))
                for name, frame, lost in parts
                if not lost.all()
            ]

    def _read_more(
        self,
        named: Sequence[tuple[str, Payload]],
        numbers: list[int],
        reading: Reading,
        stats: dict[int, tuple[int, int, int]],
    ) -> list[tuple[int, str]]:
        """Read and screen more payloads; returns those that could not be read at all."""
        kept, unreadable, added = self._kept, [], []
        shapes: dict[frozenset[str], list[tuple[int, int, pd.DataFrame]]] = {}
        names: dict[int, str] = {}
        at = int(kept.payloads["at"].max()) + 1 if len(kept.payloads) else 0
        for number in numbers:
            payload, reason = named[number][1], ""
            try:
                rows = _unreplaced(payload, stats[number], reading)
                if "refused" in rows:
                    lost = rows["refused"].notna()
                    part = rows.loc[lost].assign(at=at)[list(NO_PARTS)].astype(NO_PARTS.dtypes)
                    kept.parts = pd.concat([kept.parts, part], ignore_index=True)
                    rows = rows[~lost].drop(columns=["refused", "refused_as"]).reset_index(drop=True)
                if len(rows):
                    shapes.setdefault(frozenset(rows.columns), []).append((number, at, rows))
            except SchemaDrift as error:
                reason = str(error)
            except OSError as error:  # it may be readable in the next run
                unreadable.append((number, str(error)))
                continue
            names[at] = payload.name
            added.append((at, *_identity(payload), *stats[number], payload.day_known_only, reason))
            at += 1
        more = pd.DataFrame(added, columns=list(PAYLOAD_TYPES)).astype(PAYLOAD_TYPES)
        kept.payloads = pd.concat([kept.payloads, more], ignore_index=True)
        judged = []
        for read in shapes.values():
            lengths = [len(rows) for _, _, rows in read]
            of = [(named[number][1], number) for number, _, _ in read]
            together = pd.concat([rows for _, _, rows in read], ignore_index=True).assign(
                payload=np.repeat([number for _, number in of], lengths),
                order=np.repeat([number for _, number in of], lengths),
                fetched_at=pd.DatetimeIndex([p.fetched_at for p, _ in of]).as_unit("us").repeat(lengths),
                day_only=np.repeat([p.day_known_only for p, _ in of], lengths),
                at=np.repeat(np.array([at for _, at, _ in read], dtype="int32"), lengths),
            )
            found = reading.judge(together)
            live = found[~found["day_only"].astype(bool) & found[reading.dated].notna() & reading.informative(found)]
            if len(live):
                ends = {"first": (reading.dated, "min"), "last": (reading.dated, "max")}
                spans = live.groupby(["at", "series"], observed=True).agg(**ends).reset_index().astype(NO_SPANS.dtypes)
                kept.spans = pd.concat([kept.spans, spans], ignore_index=True)
            for number, why in reading.unfit(found).items():
                of_it = kept.payloads["at"] == number
                kept.payloads.loc[of_it, "refused"] = f"{names[number]}: {why}"
            judged.append(found)
        self._add(judged, reading)
        return unreadable

    def _add(self, judged: list[pd.DataFrame], reading: Reading) -> None:
        """Put the rows that are not repeats into new segments, one per shape."""
        if not judged:
            return
        new = [frame.drop(columns=["payload", "order"]) for frame in judged]
        first = min(frame[reading.dated].min() for frame in new)
        fetched = self._kept.payloads.set_index("at")["fetched_at"]
        before = []
        for _, frame in self._kept.segments:
            overlapping = frame[~(frame[reading.dated] < first)]
            at = overlapping["at"].map(fetched)
            before.append(overlapping.assign(fetched_at=at, day_only=True, number=-1, shape=_shape(frame)))
        arrived = [frame.assign(number=number, shape=_shape(frame)) for number, frame in enumerate(new)]
        exact = [f.loc[f["released_at"].notna(), "series"] for _, f in self._kept.segments if "released_at" in f]
        repeats = _repeats(_stacked([*before, *arrived]), reading, {name for part in exact for name in part.unique()})
        for number, frame in enumerate(new):
            gone = repeats.loc[repeats["number"] == number, "repeated"].to_numpy()
            news = frame[~gone].drop(columns=["day_only", "fetched_at"]).reset_index(drop=True)
            if len(news):
                self._kept.segments.append(("", _compact(news)))

    def _together(
        self,
        named: Sequence[tuple[str, Payload]],
        stats: dict[int, tuple[int, int, int]],
        unreadable: list[tuple[int, str]],
    ) -> ScreenedRows:
        """Every cached row, with the current name of its payload."""
        kept = self._kept
        place = {_identity(payload): number for number, (_, payload) in enumerate(named)}
        numbers = np.array([place[_identity(row)] for row in kept.payloads.itertuples(index=False)], dtype="int64")
        for column, index in (("size", 0), ("modified_ns", 1), ("changed_ns", 2)):
            kept.payloads[column] = np.array([stats[number][index] for number in numbers], dtype="int64")
        by_id = np.full(int(kept.payloads["at"].max()) + 1 if len(kept.payloads) else 0, -1)
        by_id[kept.payloads["at"].to_numpy()] = numbers
        names = pd.Index([name for name, _ in named], dtype="str")
        fetched = pd.DatetimeIndex([p.fetched_at for _, p in named], tz="UTC").as_unit("us")
        days = np.array([p.day_known_only for _, p in named], dtype=bool)
        codes: dict[frozenset[str], int] = {}
        parts = []
        for _, frame in kept.segments:
            shape = codes.setdefault(frozenset(frame.columns), len(codes))
            parts.append(frame.assign(shape=np.int8(shape)))
        rows = _stacked(parts)
        if len(rows):
            order = by_id[rows["at"].to_numpy()]
            rows = rows.drop(columns="at").assign(
                payload=pd.Categorical.from_codes(order, categories=names),
                order=order,
                fetched_at=fetched[order],
                day_only=days[order],
            )
            # order the rows as if all payloads were read now, one after the other
            rows = rows.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
        refused = [(*named[n], why) for n, why in unreadable]
        refused += [(*named[n], why) for n, why in zip(numbers, kept.payloads["refused"], strict=True) if why]
        parts_of = kept.parts.assign(number=by_id[kept.parts["at"].to_numpy()]).drop(columns="at")
        order = by_id[kept.spans["at"].to_numpy()]
        spans = kept.spans.drop(columns="at").assign(order=order, fetched_at=fetched[order])
        return ScreenedRows(rows, {code: shape for shape, code in codes.items()}, refused, parts_of, spans)


def _batches(numbers: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """``numbers`` in order, in batches of at most ``BYTES_AT_ONCE``; a larger payload is a batch of its own."""
    batches: list[list[int]] = []
    batch_bytes = 0
    for number, size in zip(numbers, sizes, strict=True):
        if not batches or batch_bytes + size > BYTES_AT_ONCE:
            batches.append([])
            batch_bytes = 0
        batches[-1].append(number)
        batch_bytes += size
    return batches


def _repeats(rows: pd.DataFrame, reading: Reading, exact: set[str]) -> pd.DataFrame:
    """``number, repeated``: for each new row (``number`` of its frame, in order) whether it repeats an earlier one.

    ``rows``: the cached rows, then the new ones; each is compared with the previous fetch of its key. Never a repeat:
    a row whose key is in its payload more than once, and a row of a recorded payload. In a series with release times,
    rows without one are kept, and per payload the first row with one: it dates the newest vintages (``_released``).
    """
    key = [name for name in reading.key if name in rows]
    compared = [name for name in rows if name not in {*key, *NOT_COMPARED, "number"}]
    rows = rows.reset_index(drop=True)
    alone = ~rows.duplicated([*key, "at"], keep=False)
    whole = rows.sort_values([*key, "fetched_at", "at"], kind="stable")
    same = np.ones(len(whole), dtype=bool)
    for name in (*key, *compared):
        now, before = whole[name], whole[name].shift()
        same &= ((now == before) | (now.isna() & before.isna())).fillna(False).to_numpy(dtype=bool)
    single = alone.loc[whole.index].to_numpy()
    same &= single & np.concatenate([[False], single[:-1]])
    repeated = np.zeros(len(rows), dtype=bool)
    repeated[whole.index] = same
    repeated &= ~rows["day_only"].to_numpy(dtype=bool) & rows[reading.dated].notna().to_numpy()
    if "released_at" in rows:
        has_release = rows["released_at"].notna().to_numpy()
        exact = exact | set(rows.loc[has_release, "series"].unique())
        repeated &= has_release | ~rows["series"].isin(exact).to_numpy()
        repeated[np.flatnonzero(has_release)[~rows[has_release].duplicated(["at", "series"]).to_numpy()]] = False
    return pd.DataFrame({"number": rows["number"], "repeated": repeated})[rows["number"] >= 0]


def _merged(segments: list[tuple[str, pd.DataFrame]]) -> list[tuple[str, pd.DataFrame]]:
    """Merge segments of one shape unless the later is much smaller: few files, each rewritten rarely."""
    by_shape: dict[frozenset[str], list[tuple[str, pd.DataFrame]]] = {}
    for name, frame in segments:
        stack = by_shape.setdefault(frozenset(frame.columns), [])
        stack.append((name, frame))
        while len(stack) > 1 and 3 * len(stack[-1][1]) >= len(stack[-2][1]):
            (_, later), (_, earlier) = stack.pop(), stack.pop()
            stack.append(("", _compact(_stacked([earlier, later]))))
    return [segment for stack in by_shape.values() for segment in stack]


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate; a column that is categorical in all parts stays categorical."""
    if not parts:
        return pd.DataFrame()
    shared = [
        name
        for name in dict.fromkeys(name for part in parts for name in part)
        if all(isinstance(part[name].dtype, pd.CategoricalDtype) for part in parts if name in part)
    ]
    kinds = {
        name: pd.CategoricalDtype(sorted({str(v) for part in parts if name in part for v in part[name].cat.categories}))
        for name in shared
    }
    return pd.concat(
        [part.astype({name: kind for name, kind in kinds.items() if name in part}) for part in parts],
        ignore_index=True,
    )


def _compact(rows: pd.DataFrame) -> pd.DataFrame:
    """Series names and rules as categories, because they repeat."""
    repeating = [name for name in rows if name == "series" or name == "rule" or str(name).endswith("__rule")]
    return rows.astype(dict.fromkeys(repeating, "category"))


def _shape(frame: pd.DataFrame) -> str:
    return fingerprint(sorted(set(frame.columns) - NOT_COMPARED))


def _state_of(path: Path) -> tuple[int, int, int]:
    """Size, modification and change time of a file. The change time cannot be set back."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _unreplaced(payload: Payload, state: tuple[int, int, int], reading: Reading) -> pd.DataFrame:
    """The rows of a payload, after checking that its verified file was not replaced during reading.

    A backup that links the file, or a change of its mode, changes the change time alone: then the content decides.

    Raises:
        SchemaDrift: the adapter cannot read it. OSError: the file was replaced meanwhile.
    """
    try:
        return reading.parse(payload)
    finally:
        now = _state_of(payload.path)
        if now != state and (now[:2] != state[:2] or sha256_of(payload.path) != payload.sha256):
            raise OSError(f"{payload.path} was replaced while it was read; the next run reads it again")


def _identity(payload: Payload | object) -> tuple[str, str, str, pd.Timestamp]:
    if isinstance(payload, Payload):
        return payload.series, payload.path.name, payload.sha256, payload.fetched_at
    return payload.series, payload.file, payload.sha256, payload.fetched_at  # type: ignore[attr-defined]
