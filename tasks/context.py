"""What every step of a run shares: where data lies, what the registry says, which session it is the run of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.calendar import last_finished_session, session_on_or_before
from tasks.errors import OriginError
from tasks.registry import (
    DataSources,
    FeatureRegistry,
    Horizons,
    JoinSpec,
    load_features,
    load_horizons,
    load_join_spec,
    load_sources,
)
from tasks.settings import Settings
from tasks.sources.payloads import LIVE, adapter, recorded_files
from tasks.zones import Zones, fingerprint, read_json, sha256_of


@dataclass(frozen=True)
class Run:
    """One run as of one session. ``zones`` is the home; ``work`` is where panel, features, labels and exports go.

    A run as of an earlier session than the newest one made here is a replay: it works in a folder of its own, so that
    it never sets the current files back.
    """

    settings: Settings
    zones: Zones
    work: Zones
    sources: DataSources
    joins: JoinSpec
    features: FeatureRegistry
    horizons: Horizons
    origin: str
    as_of: pd.Timestamp
    is_replay: bool
    code_version: str


def open_run(settings: Settings, *, origin: str, as_of: str | None) -> Run:
    """Load the registry and settle the session.

    Args:
        origin: ``live`` or a folder laid out like the recorded archive.
        as_of: a date, or None for the last finished session (live) or the newest one recorded (folder).

    Raises:
        RegistryError, OriginError: with what to mend.
    """
    sources = load_sources(settings.registry)
    session = _session(sources, origin, as_of)
    zones = Zones(settings.home)
    newest = (read_json(zones.exports / "manifest.json") or {}).get("as_of")
    is_replay = newest is not None and session < pd.Timestamp(newest)
    return Run(
        settings=settings,
        zones=zones,
        work=Zones(settings.home / "replays" / f"{session:%Y-%m-%d}") if is_replay else zones,
        sources=sources,
        joins=load_join_spec(settings.registry, sources),
        features=load_features(settings.registry),
        horizons=load_horizons(settings.registry),
        origin=origin,
        as_of=session,
        is_replay=is_replay,
        code_version=code_version(settings),
    )


def code_version(settings: Settings) -> str:
    """Hash of every source file and registry entry: which code and which rules made a number."""
    project = Path(__file__).resolve().parent.parent
    files = [p for folder in ("tasks", "flows") for p in (project / folder).rglob("*.py")]
    files += [p for folder in (settings.registry, settings.expectations) for p in folder.rglob("*") if p.is_file()]
    return fingerprint([(path.name, sha256_of(path)) for path in sorted(files)])[:12]


def _session(sources: DataSources, origin: str, as_of: str | None) -> pd.Timestamp:
    if as_of is not None:
        try:
            return session_on_or_before(pd.Timestamp(as_of))
        except ValueError:
            raise OriginError(f"--as-of {as_of!r} is not a date; write it as 2023-12-29") from None
    if origin == LIVE:
        return last_finished_session()
    newest = []
    for source, spec in sources.sources.items():
        for series in (name for name, entry in spec.series.items() if entry.critical):
            for payload in recorded_files(Path(origin), source, series):
                dates = pd.to_datetime(adapter(spec).parse(payload, spec)["observation_date"], errors="coerce")
                newest.append(min(dates.max(), payload.fetched_at.tz_localize(None)))
    if not newest:
        raise OriginError(f"{origin} holds no payload of a critical series; see docs/runbook.md#origins")
    return session_on_or_before(max(newest))
