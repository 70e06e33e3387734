"""What every step of a run shares: the folders, the registry, and the session of the run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tasks import clock
from tasks.calendar import FIRST_SESSION, last_finished_session, session_on_or_before
from tasks.errors import OriginError, SchemaDrift
from tasks.registry import (
    DataSources,
    DerivedSeries,
    FeatureRegistry,
    FinBertWeights,
    Horizons,
    JoinSpec,
    RollCalendar,
    load_derived,
    load_features,
    load_horizons,
    load_join_spec,
    load_roll_calendar,
    load_sources,
)
from tasks.registry.alerts import FILE as ALERTS
from tasks.registry.decision import FILE as NEEDS
from tasks.settings import PROJECT, Settings
from tasks.sources.archive import Progress, silently, unpack
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import LIVE, RECORDED, adapter, read
from tasks.storage.files import read_json
from tasks.storage.hashes import code_fingerprint, fingerprint
from tasks.storage.zones import Zones


@dataclass(frozen=True)
class RunContext:
    """One run as of one session. ``zones`` is the home; ``work`` is where panel, features, labels and exports go.

    ``origin`` is ``live``, ``recorded`` or a folder; ``payloads`` is the folder that payloads are read from, or None if
    they are fetched from the live sources.

    A run as of an earlier session than the newest one in this home is a replay. It works in a folder of its own, so it
    never overwrites the current files with older ones.
    """

    settings: Settings
    zones: Zones
    work: Zones
    sources: DataSources
    joins: JoinSpec
    derived: DerivedSeries
    features: FeatureRegistry
    horizons: Horizons
    rolls: RollCalendar
    origin: str
    payloads: Path | None
    as_of: pd.Timestamp
    is_replay: bool
    code_version: str

    @property
    def origin_kind(self) -> str:
        """``live``, ``recorded``, ``folder``, or ``rehearsal`` under ``CBI_NOW``, as shown to readers."""
        if self.origin == LIVE:
            return "rehearsal" if clock.is_simulated() else LIVE
        return self.origin if self.origin == RECORDED else "folder"


def open_run(settings: Settings, *, origin: str, as_of: str | None, progress: Progress = silently) -> RunContext:
    """Load the registry and choose the session.

    Args:
        origin: ``live``, ``recorded`` (the archive of the settings) or a folder laid out like it.
        as_of: a date, or None for the last finished session (live) or the newest one recorded (folder).

    Raises:
        RegistryError, OriginError: the message says what to fix.
    """
    sources = load_sources(settings.registry)
    zones = Zones(settings.home)
    origin, payloads = open_origin(settings, zones, origin, progress)
    session = _session(sources, payloads, as_of)
    newest = newest_session(zones)
    is_replay = newest is not None and session < newest
    return RunContext(
        settings=settings,
        zones=zones,
        work=Zones(settings.home / "replays" / f"{session:%Y-%m-%d}") if is_replay else zones,
        sources=sources,
        joins=load_join_spec(settings.registry, sources),
        derived=load_derived(settings.registry, sources, finbert=_finbert(settings)),
        features=load_features(settings.registry, sources),
        horizons=load_horizons(settings.registry),
        rolls=load_roll_calendar(settings.registry, sources),
        origin=origin,
        payloads=payloads,
        as_of=session,
        is_replay=is_replay,
        code_version=code_version(settings),
    )


def open_origin(
    settings: Settings, zones: Zones, origin: str, progress: Progress = silently
) -> tuple[str, Path | None]:
    """The origin's full name, and the folder that its payloads are read from (None: the live sources).

    Raises:
        OriginError, ManifestMismatch: it is not a folder, or the recorded archive does not match its manifest.
    """
    if origin == LIVE:
        return LIVE, None
    if origin == RECORDED:
        return RECORDED, unpack(settings.archive, zones, progress).folder
    folder = Path(origin).expanduser().resolve()
    if not folder.is_dir():
        raise OriginError(
            f"origin {folder} is not a folder; use `--origin {LIVE}`, or `--origin {RECORDED}` for the repository's "
            "archive"
        )
    if any(folder.glob("*.tar.xz")):
        raise OriginError(
            f"origin {folder} is a packed archive, not a folder of payloads; use `--origin {RECORDED}`, with "
            f"CBI_ARCHIVE={folder} where it is not the repository's"
        )
    return str(folder), folder


def newest_session(zones: Zones) -> pd.Timestamp | None:
    """The newest session of the training files and the panel in this home; None if there is neither.

    Either may be missing: deleted as a message advised, or by a kill between the two. An unreadable panel is ignored:
    it will be computed again.
    """
    exported = (read_json(zones.exports / "manifest.json") or {}).get("as_of")
    known_sessions = [] if exported is None else [pd.Timestamp(exported)]
    with suppress(OSError, pa.ArrowInvalid):
        known_sessions.append(pd.read_parquet(zones.panel / "panel.parquet", columns=["date"])["date"].max())
    return max(known_sessions, default=None)


def code_version(settings: Settings) -> str:
    """The fingerprint of code, registry and suites that produce a forecast. A buyer's need and
    the limits of alerts change none."""
    registry = [
        path for path in sorted(settings.registry.rglob("*")) if path.is_file() and path.name not in (NEEDS, ALERTS)
    ]
    code = code_fingerprint(PROJECT / "tasks", PROJECT / "flows", *registry, settings.expectations)
    if settings.finbert is None:
        return code[:12]
    from tasks.texts.finbert import FinBert

    return fingerprint(code, FinBert(settings.finbert, settings.home / "finbert").name)[:12]


def _finbert(settings: Settings) -> FinBertWeights | None:
    if settings.finbert is None:
        return None
    return FinBertWeights(folder=settings.finbert, remembered=settings.home / "finbert")


def _session(sources: DataSources, payloads: Path | None, as_of: str | None) -> pd.Timestamp:
    newest = last_finished_session()
    if as_of is not None:
        requested = pd.to_datetime(as_of, format="%Y-%m-%d", errors="coerce")
        if pd.isna(requested):
            raise OriginError(f"--as-of {as_of!r} is not a date; write it as 2023-12-29")
        if not pd.Timestamp(FIRST_SESSION) <= requested <= newest:
            raise OriginError(
                f"--as-of {as_of}: sessions run from {FIRST_SESSION} to {newest:%Y-%m-%d}, the last one finished"
            )
        return session_on_or_before(requested)
    if payloads is None:
        return newest
    newest_dates = []
    for source, spec in sources.sources.items():
        for series in (name for name, entry in spec.series.items() if entry.critical):
            for payload in recorded_files(payloads, source, series, folder=spec.folder):
                try:
                    rows = read(adapter(spec).parse, payload, spec)
                except SchemaDrift:
                    continue  # staging quarantines it with the reason
                dates = pd.to_datetime(rows["observation_date"], errors="coerce")
                newest_dates += list(dates[dates < payload.fetched_at.tz_localize(None)].nlargest(1))
    if not newest_dates:
        raise OriginError(f"{payloads} has no readable payload of a critical series; see docs/runbook.md#origins")
    return min(session_on_or_before(max(newest_dates)), newest)
