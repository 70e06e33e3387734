"""The key of a scheduled run. A key that is done is not run again: a late or repeated trigger ends at once."""

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
    """A deployment, its due date (a session, or a day of a source's own calendar), and its inputs.

    ``inputs`` are the origin and the code's version: other code or another origin is another run.
    """

    deployment: str
    due: str
    inputs: tuple[str, ...]

    def path(self, zones: Zones) -> Path:
        """The file that records the key as done. A newer key of the deployment does not replace an older one."""
        return zones.home / "runs" / self.deployment / f"{self.due}-{fingerprint(*self.inputs)}.json"


def done(zones: Zones, key: RunKey) -> str | None:
    """The message of the run that did it, or None."""
    record: dict[str, Any] | None = read_json(key.path(zones))
    return (
        None
        if record is None
        else f"{key.deployment} of {key.due} was done {record['at'][:16]} UTC: {record['outcome']}"
    )


def write_done(zones: Zones, key: RunKey, outcome: str, *, now: pd.Timestamp | None = None) -> None:
    """Record the key as done. Call it last, after all results of the run are stored."""
    at = now or clock.now()
    write_json(key.path(zones), {"outcome": outcome, "at": at.isoformat(), "inputs": list(key.inputs)})


def no_session(due: pd.Timestamp) -> str | None:
    """The reason if a daily run due at an instant has nothing to do: its day in Chicago is no CBOT session."""
    day = due.tz_convert(CHICAGO).tz_localize(None).normalize()
    last = session_on_or_before(day)
    return None if last == day else f"{day:%A %Y-%m-%d} is no CBOT session (the last one was {last:%Y-%m-%d})"


def local_day(timezone: str, *, now: pd.Timestamp | None = None) -> str:
    """Today in a source's own time zone, as YYYY-MM-DD."""
    return f"{(now or clock.now()).tz_convert(timezone):%Y-%m-%d}"
