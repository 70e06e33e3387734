"""What a scheduled run is the run of. A key that is done is not done again: a late or repeated trigger ends at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks import clock
from tasks.calendar import CHICAGO, session_on_or_before
from tasks.storage.files import read_json, write_json
from tasks.storage.hashes import fingerprint
from tasks.storage.zones import Zones


@dataclass(frozen=True)
class RunKey:
    """A deployment, what it is due for (a session, or a day of a source's own calendar), and from which inputs.

    ``inputs`` holds the origin and the code's version: other code or another origin is other work.
    """

    deployment: str
    due: str
    inputs: tuple[str, ...]

    def path(self, zones: Zones) -> Path:
        """Where it is written down that this is done; a newer key of the deployment replaces none of the older."""
        return zones.home / "runs" / self.deployment / f"{self.due}-{fingerprint(*self.inputs)}.json"


def done(zones: Zones, key: RunKey) -> str | None:
    """What the run that did it said, or None where nobody has."""
    held: dict[str, Any] | None = read_json(key.path(zones))
    return None if held is None else f"{key.deployment} of {key.due} was done {held['at'][:16]} UTC: {held['outcome']}"


def write_done(zones: Zones, key: RunKey, outcome: str, *, now: pd.Timestamp | None = None) -> None:
    """Say that this is done. Call it last, after everything the run makes is in place."""
    at = now or clock.now()
    write_json(key.path(zones), {"outcome": outcome, "at": at.isoformat(), "inputs": list(key.inputs)})


def no_session(due: pd.Timestamp) -> str | None:
    """Why a daily run that is due at an instant has nothing to do: its day in Chicago is no CBOT session."""
    day = due.tz_convert(CHICAGO).tz_localize(None).normalize()
    last = session_on_or_before(day)
    return None if last == day else f"{day:%A %Y-%m-%d} is no CBOT session (the last one was {last:%Y-%m-%d})"


def local_day(timezone: str, *, now: pd.Timestamp | None = None) -> str:
    """Today in a source's own time zone, as YYYY-MM-DD."""
    return f"{(now or clock.now()).tz_convert(timezone):%Y-%m-%d}"
