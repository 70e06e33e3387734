"""Sources that a person has paused: kept in CBI_HOME, never in the registry, until the person resumes them.

A paused source is not fetched and nothing of it lands, from any origin. What is stored stays in use until it is old.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks import clock
from tasks.errors import ManifestMismatch, SettingsError
from tasks.storage.files import in_shell, read_json, write_json
from tasks.storage.locks import exclusive
from tasks.storage.zones import Zones

LOCK = "pauses"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pause:
    """Since when (UTC) a source is paused, and why."""

    source: str
    since: pd.Timestamp
    reason: str

    @property
    def line(self) -> str:
        """Since when, why, and how to end it."""
        return (
            f"paused since {self.since:%Y-%m-%d %H:%M} UTC: {self.reason}. `cbi sources resume {self.source}` ends it"
        )


def pauses_path(zones: Zones) -> Path:
    """The file that lists the paused sources. It is part of a backup."""
    return zones.pauses / "sources.json"


def pauses(zones: Zones) -> dict[str, Pause]:
    """The paused sources by name.

    Raises:
        ManifestMismatch: the file is not readable; the message says what to do.
    """
    path = pauses_path(zones)
    stored = read_json(path)
    if stored is None and not path.exists():
        return {}
    try:
        return {
            name: Pause(name, pd.Timestamp(entry["since"]).tz_convert("UTC"), str(entry["reason"]))
            for name, entry in sorted(stored.items())
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestMismatch(
            f"{path} is not a list of pauses ({type(error).__name__}): delete it with `rm {in_shell(path)}`; "
            "no source is paused then, and `cbi sources pause` pauses them again"
        ) from None


def pause_of(zones: Zones, source: str) -> Pause | None:
    """The pause of a source. A file that is damaged stops no run: nothing is paused, and the log and health say so."""
    try:
        return pauses(zones).get(source)
    except ManifestMismatch as error:
        log.warning("%s: whether it is paused is not known, so it is fetched: %s", source, error)
        return None


def pause(zones: Zones, source: str, reason: str) -> Pause:
    """Pause a source. One that is paused already keeps its date; a new reason replaces the old one.

    Raises:
        SettingsError: no reason is given. ManifestMismatch: as `pauses`.
    """
    text = " ".join(reason.split())
    if not text:
        raise SettingsError(f"why is {source} paused? Give a reason: the run summary, health and alerts show it")
    with exclusive(zones, LOCK):
        known = pauses(zones)
        since = known[source].since if source in known else clock.now().floor("s")
        known[source] = Pause(source, since, text)
        _write(zones, known)
    return known[source]


def resume(zones: Zones, source: str) -> Pause | None:
    """End the pause of a source; None if it is not paused. The next run fetches what is missing.

    Raises:
        ManifestMismatch: as `pauses`.
    """
    with exclusive(zones, LOCK):
        known = pauses(zones)
        ended = known.pop(source, None)
        if ended:
            _write(zones, known)
    return ended


def _write(zones: Zones, known: dict[str, Pause]) -> None:
    entries = {name: {"since": one.since.isoformat(), "reason": one.reason} for name, one in known.items()}
    write_json(pauses_path(zones), entries)
