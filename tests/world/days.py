"""Live days in a world: the daily run as a process of its own at each simulated instant, and what it should have known.

The recorded origin says what that is: its observations, cut at the same session, the panel and features made of them,
and the forecasts of the same champions.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.day import day_of
from tasks.forecasting.forecast import forecast_day
from tasks.model_store.folder import FolderStore
from tasks.run import RunContext, open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import adapter, landed, read
from tasks.staging.gather import gather, stack
from tasks.staging.stage import Staged, nothing_staged, read_staged
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.world.published import Published
from tests.world.server import World

KEY = ["source", "series", "observation_date", "field"]
KEYS = {"EIA_API_KEY": "a-key-of-this-world"}  # pragma: allowlist secret
NO_KEYS = ("FRED_API_KEY", "NASS_API_KEY", "FAS_API_KEY", "DATABENTO_API_KEY", "ALPHAVANTAGE_API_KEY", "BLS_API_KEY")


class WorldFailed(AssertionError):
    """The live run knew something that nobody had published, or not what everybody knew."""


@dataclass
class Day:
    """One live day: its session, how it ended, how long it took, and what was asked of whom."""

    session: pd.Timestamp
    code: int
    seconds: float
    killed: int = 0
    said: str = ""
    asked: dict[str, int] = field(default_factory=dict)
    memory_mb: float = 0.0
    cpu_s: float = 0.0


def instant_of(session: pd.Timestamp, time_of_day: str = "18:30") -> pd.Timestamp:
    """When the daily run of a session starts: its deployment's time of day in Chicago."""
    return pd.Timestamp(f"{session:%Y-%m-%d} {time_of_day}", tz="America/Chicago").tz_convert("UTC")


@dataclass(frozen=True)
class Home:
    """A live home in the world."""

    home: Path
    registry: Path
    world: World
    keys: dict[str, str] = field(default_factory=lambda: dict(KEYS))

    def environment(self, now: pd.Timestamp) -> dict[str, str]:
        """What a process of this home sees."""
        kept = {name: value for name, value in os.environ.items() if name not in NO_KEYS and "API_KEY" not in name}
        own = {"CBI_HOME": str(self.home), "CBI_REGISTRY": str(self.registry), "CBI_NOW": now.isoformat()}
        quiet = {"TMPDIR": str(self.home.parent / "tmp"), "NO_PROXY": "127.0.0.1"}
        (self.home.parent / "tmp").mkdir(parents=True, exist_ok=True)
        return {**kept, **quiet, **self.keys, **own}

    def live(self, session: pd.Timestamp, *, kills: tuple[float, ...] = ()) -> Day:
        """The daily run of a session, killed so many seconds after each start and started again."""
        self.world.now = instant_of(session)
        before = dict(self.world.requests)
        started, command = time.monotonic(), [sys.executable, "-m", "cli", "daily"]
        for after_s in kills:
            process = subprocess.Popen(
                command,
                env=self.environment(self.world.now),
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with suppress(subprocess.TimeoutExpired):
                process.wait(after_s)
            process.kill()
            process.wait()
        log = self.home.parent / f"{session:%Y-%m-%d}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, env=self.environment(self.world.now), cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        asked: dict[str, int] = {}
        for (source, _), count in self.world.requests.items():
            asked[source] = asked.get(source, 0) + count
        for (source, _), count in before.items():
            asked[source] -= count
        return Day(
            session,
            process.returncode,
            time.monotonic() - started,
            len(kills),
            log.read_text(),
            {source: count for source, count in asked.items() if count},
            usage.ru_maxrss / 1024,
            usage.ru_utime + usage.ru_stime,
        )

    def staged(self, session: pd.Timestamp) -> list[Staged]:
        """What the home has staged."""
        run = self.run(session)
        return [held for name in run.sources.sources if (held := read_staged(run.zones, name))]

    def observations(self, session: pd.Timestamp) -> pd.DataFrame:
        """What the home knows of each cell as of a session."""
        return newest(self.staged(session), session)

    def run(self, session: pd.Timestamp) -> RunContext:
        """The home's run, for reading."""
        return replace(open_at(self.home, self.registry), as_of=session)

    def forecasts(self, session: pd.Timestamp) -> pd.DataFrame:
        """What was published of a session."""
        return DuckDbWarehouse(Zones(self.home)).query(
            f"SELECT * FROM forecasts.zl_forecasts_daily WHERE as_of = DATE '{session:%Y-%m-%d}' ORDER BY horizon"
        )


@dataclass(frozen=True)
class Recorded:
    """What the recorded origin knows on any day: the archive staged once, and champions trained once."""

    run: RunContext
    staged: list[Staged]
    models: Path

    def observations(self, session: pd.Timestamp) -> pd.DataFrame:
        """What is known of each cell as of a session."""
        return newest(self.staged, session)

    def with_what_differs(self, differ: pd.DataFrame, live: list[Staged]) -> Recorded:
        """The same, but for the cells that differ, of which the live home's own rows stand here.

        What is made of the two must then be the same, to the digit: nothing else may have come between.
        """
        keys = pd.MultiIndex.from_frame(differ[KEY])
        of_source = {part.source: part for part in live}

        def among(frame: pd.DataFrame) -> np.ndarray:
            named = frame[KEY].astype({"source": str, "series": str, "field": str})
            return pd.MultiIndex.from_frame(named).isin(keys)

        def mixed(part: Staged) -> Staged:
            own, theirs = part.observations, of_source[part.source].observations
            rows = stack([own[~among(own)], theirs[among(theirs)]])
            return replace(part, observations=rows.reset_index(drop=True))

        return replace(self, staged=[mixed(part) for part in self.staged])

    def day(self, session: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Panel and forecasts of a session."""
        run = replace(self.run, as_of=session)
        day = day_of(run, self.staged)
        forecasts = forecast_day(
            day.features,
            day.panel,
            FolderStore(self.models),
            registry=run.features,
            horizons=run.horizons,
            as_of=session,
            data_snapshot="recorded",
            code_version="recorded",
            notes=day.notes,
        ).forecasts
        return day.panel, forecasts.sort_values("horizon", ignore_index=True)


def newest(staged: list[Staged], session: pd.Timestamp) -> pd.DataFrame:
    """One row a cell: the newest value known at 18:00 Chicago of the session, and when it became known."""
    observations, _ = gather(staged or [nothing_staged()], as_of=session)
    plain = observations.assign(**{name: observations[name].astype(str) for name in ("source", "series", "field")})
    held = plain.sort_values([*KEY, "vintage"]).drop_duplicates(KEY, keep="last")
    return held[[*KEY, "value", "available_at", "vintage"]].reset_index(drop=True)


def differences(live: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Cells of which the live home and the recorded origin do not know the same: ``kind`` says how.

    ``early``: known live, and unknown to the recorded origin. ``missing``: the other way round. ``value``: both know
    one, and they differ by more than a printed digit.
    """
    both = live.merge(recorded, on=KEY, how="outer", suffixes=("_live", "_recorded"), indicator=True)
    a, b = both["value_live"], both["value_recorded"]
    kind = both["_merge"].map({"left_only": "early", "right_only": "missing", "both": ""}).astype(str)
    differs = (kind == "") & ~((a - b).abs() <= 1e-6 * b.abs() + 1e-9)
    both["kind"] = kind.mask(differs, "value")
    return both[both["kind"] != ""].drop(columns="_merge")


def known_at_another_time(live: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Cells of which both know the same newest value, not since the same time: one has an old vintage alone."""
    both = live.merge(recorded, on=KEY, suffixes=("_live", "_recorded"))
    a, b = both["value_live"], both["value_recorded"]
    same = (a - b).abs() <= 1e-6 * b.abs() + 1e-9
    found = both[same & (both["available_at_live"] != both["available_at_recorded"])]
    return found.assign(kind="known at another time")


def served_too_early(run: RunContext, published: Published, *, since: pd.Timestamp) -> list[str]:
    """Values in payloads landed ``since`` then that the archive says were not published when they were fetched.

    The product holds back what its release rule calls unpublished: only the payload shows what the world served.
    """
    found = []
    for source in published.by_source:
        spec = run.sources.source(source)
        for payload in landed(run.zones, source):
            if payload.fetched_at >= since:
                rows = read(adapter(spec).parse, payload, spec)
                dates = pd.to_datetime(rows["observation_date"], format="%Y-%m-%d").groupby(rows["series"]).max()
                for series, newest_date in dates.items():
                    due = published.first_published(source, str(series)).get(newest_date)
                    if due is None or due > payload.fetched_at:
                        found.append(f"{payload.name}: {series} of {newest_date:%Y-%m-%d}, published {due}")
    return found


@contextmanager
def environment(**given: str) -> Iterator[None]:
    """Environment names for a while."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def open_at(home: Path, registry: Path) -> RunContext:
    """Registry and zones of a home, in this process."""
    with environment(CBI_HOME=str(home), CBI_REGISTRY=str(registry)):
        return open_run(load_settings(), origin="live", as_of=None)
