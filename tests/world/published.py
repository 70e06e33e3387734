"""What the recorded archive had to say at any instant: the newest value of each date that was published by then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.registry import DataSources
from tasks.settings import PROJECT, load_settings
from tasks.sources.archive import silently, unpack
from tasks.sources.ingest import ingest_source
from tasks.staging.stage import Staged, stage_source
from tasks.storage.files import read_parquet, write_parquet
from tasks.storage.zones import Zones

END = pd.Timestamp("2023-12-29")


@dataclass(frozen=True)
class Published:
    """One frame a source: ``series, observation_date, field, value, available_at``, every vintage, oldest first."""

    by_source: dict[str, pd.DataFrame]
    archive: Path

    def at(self, source: str, series: str, now: pd.Timestamp) -> pd.DataFrame:
        """Of one series what was published by ``now``: dates as index, a column a field."""
        held = self.by_source.get(source)
        if held is None:
            return pd.DataFrame()
        known = held[(held["series"] == series) & (held["available_at"] <= now)]
        newest = known.drop_duplicates(["observation_date", "field"], keep="last")
        return newest.pivot(index="observation_date", columns="field", values="value").sort_index()

    def first_published(self, source: str, series: str) -> pd.Series:
        """Of each date of a series the instant at which its first value was published."""
        held = self.by_source[source]
        return held[held["series"] == series].groupby("observation_date")["available_at"].min()


def unpacked(work: Path) -> Path:
    """The recorded archive as a folder, unpacked under ``work``."""
    return unpack(load_settings().archive, Zones(work / "archive"), silently).folder


def trained_home(work: Path, archive: Path, session: pd.Timestamp) -> Path:
    """A home whose champions the recorded origin trained as of a session; made once."""
    home = work / "trained"
    if not (home / "models" / "champions.json").exists():
        command = [sys.executable, "-m", "cli", "daily", "--origin", str(archive), "--as-of", f"{session:%Y-%m-%d}"]
        environment = {**os.environ, "CBI_HOME": str(home)}
        subprocess.run(command, env=environment, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return home


def published(zones: Zones, archive: Path, sources: DataSources, names: Iterable[str]) -> Published:
    """Stage the archive's sources in ``zones`` and keep what they published; made once, then read."""
    frames = {}
    for name in names:
        kept = zones.home / "published" / f"{name}.parquet"
        if not kept.exists():
            staged = stage(zones, archive, sources, name)
            columns = ["series", "observation_date", "field", "value", "available_at"]
            frame = staged.observations.sort_values(["series", "field", "observation_date", "vintage"])[columns]
            write_parquet(kept, frame.reset_index(drop=True))
        frames[name] = read_parquet(kept)
    return Published(frames, archive)


def stage(zones: Zones, archive: Path, sources: DataSources, name: str) -> Staged:
    """One source of the archive, landed and staged."""
    spec = sources.source(name)
    ingest_source(zones, name, spec, origin=archive, as_of=END.date(), progress=lambda *step: None)
    return stage_source(zones, name, spec, as_of=END, code="world")
