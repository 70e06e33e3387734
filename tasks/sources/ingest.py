"""Land what a source has, from wherever the origin says: the live endpoint, or a folder of recorded payloads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http, Limits
from tasks.registry import DataSources, SourceSpec
from tasks.secrets import find_secret
from tasks.sources.payloads import LIVE, Payload, Window, adapter, land, land_recorded, landed
from tasks.zones import Zones, exclusive, sweep_temporary

log = logging.getLogger(__name__)
GIVE_UP_AFTER = 2  # series in a row for which nothing answered
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Ingested:
    """What one source brought. ``status`` is ok, partial (some series failed), failed (none came) or disabled."""

    source: str
    status: str
    payloads: int
    new_payloads: int
    failures: dict[str, str] = field(default_factory=dict)
    disabled: str = ""

    @property
    def message(self) -> str:
        """What went wrong, or why the source was not asked; empty when all is well."""
        if self.disabled:
            return f"disabled: {self.disabled}"
        return "; ".join(f"{series}: {why}" for series, why in self.failures.items())


def ingest_source(
    zones: Zones,
    source: str,
    spec: SourceSpec,
    *,
    origin: str | Path,
    as_of: date,
    progress: Progress,
    limits: Limits | None = None,
) -> Ingested:
    """Land every series of a source. What was held before stays, whatever happens now.

    Raises:
        OriginError, ManifestMismatch: the folder of recorded payloads is not usable.
    """
    with exclusive(zones, f"raw-{source}"):
        sweep_temporary(zones.raw / source)
        before = {(payload.path, payload.sha256) for payload in landed(zones, source)}
        disabled = why_disabled(spec) if origin == LIVE else ""
        if disabled:
            return Ingested(source, "disabled", len(before), 0, disabled=disabled)
        if origin == LIVE:
            failures = _ask(zones, source, spec, as_of=as_of, progress=progress, limits=limits)
        else:
            failures = _replay(zones, source, spec, Path(origin), progress)
        held = landed(zones, source)
    new = sum((payload.path, payload.sha256) not in before for payload in held)
    asked = spec.fetched if origin == LIVE else spec.replayed
    status = "ok" if not failures else "failed" if len(failures) == len(asked) else "partial"
    return Ingested(source, status, len(held), new, failures)


def why_disabled(spec: SourceSpec) -> str:
    """Why the live source cannot be asked: no endpoint of its own, or keys that are not set; empty when it can."""
    missing = [name for name in spec.secrets if find_secret(name) is None]
    return spec.disabled or (f"needs {', '.join(missing)}" if missing else "")


def _replay(zones: Zones, source: str, spec: SourceSpec, origin: Path, progress: Progress) -> dict[str, str]:
    failures = {}
    for number, series in enumerate(spec.replayed, start=1):
        if not land_recorded(zones, origin, source, series, folder=spec.folder):
            failures[series] = f"no payload in {origin}"
        progress(number, len(spec.replayed), series)
    return failures


def _ask(
    zones: Zones, source: str, spec: SourceSpec, *, as_of: date, progress: Progress, limits: Limits | None
) -> dict[str, str]:
    """Fetch each series' missing window and the part that the source may have rewritten.

    When nothing answers, the source is down: the rest is not asked, each with its own retries, in vain.
    """
    failures: dict[str, str] = {}
    vain = 0
    keys = {name: value for name in (*spec.secrets, *spec.optional_secrets) if (value := find_secret(name))}
    with Http(source, per_minute=spec.rate_limit_per_minute, keys=keys, limits=limits) as http:
        for number, series in enumerate(spec.fetched, start=1):
            if vain >= GIVE_UP_AFTER:
                failures[series] = f"not asked: {source} did not answer for the series before"
                continue
            start = _window_start(_continued(landed(zones, source, series), spec, http), spec)
            try:
                for fetched in adapter(spec).fetch(series, Window(start, as_of), spec, http):
                    land(zones, source, fetched, fetched_at=pd.Timestamp.now(tz="UTC"), secrets=http.secrets)
                vain = 0
            except SourceUnavailable as error:
                vain = vain + 1 if isinstance(error, SourceDown) else 0
                failures[series] = str(error)
                log.warning("%s", error)
            progress(number, len(spec.fetched), series)
    return failures


def _continued(held: list[Payload], spec: SourceSpec, http: Http) -> list[Payload]:
    """The payloads from which a fetch goes on: all, unless the adapter says that one lacks what is now asked for."""
    continues = getattr(adapter(spec), "continues", None)
    return held if continues is None else [payload for payload in held if continues(payload, spec, http)]


def _window_start(held: list[Payload], spec: SourceSpec) -> date:
    """As far back as the source may have rewritten itself, counted from the newest value held: no gap is left.

    What a payload was asked for or when says nothing: it may be unreadable, or end long before it was fetched.
    """
    newest = [pd.Timestamp(spec.first_date)]
    for payload in held:
        try:
            rows = adapter(spec).parse(payload, spec)
        except (SchemaDrift, OSError):
            continue
        told = rows[[field for field in spec.fields if field in rows]].notna().any(axis=1)
        dates = pd.to_datetime(rows.loc[told, "observation_date"], errors="coerce").dropna()
        newest += list(dates[dates <= payload.fetched_at.tz_localize(None)].nlargest(1))
    start = max(newest) - pd.Timedelta(days=max(spec.refetch_days, 7))
    return max(spec.first_date, start.date())


def require_critical(sources: DataSources, ingested: list[Ingested]) -> None:
    """Stop a run that did not get a series without which there is no honest forecast.

    Raises:
        SourceDown: nothing of the source came. SourceUnavailable: the series did not.
    """
    for came in ingested:
        spec = sources.source(came.source)
        critical = [name for name, entry in spec.series.items() if entry.critical]
        missing = [name for name in critical if name in came.failures or came.source in came.failures]
        if missing:
            why = came.failures.get(missing[0], came.message)
            failure = SourceDown if came.status == "failed" else SourceUnavailable
            raise failure(f"{came.source}: {', '.join(missing)} did not come, and it is critical: {why}")
