"""What a home holds, as the tables each gate looks at: a gate that can be run by hand is one entry of ``HELD``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from tasks.calendar import last_finished_session, session_on_or_before
from tasks.errors import NothingStored
from tasks.features.coverage import summarise_starts
from tasks.gates.quarantine import without_failing_rows
from tasks.gates.run import GateResult
from tasks.gates.tables import Tables, assembly_tables, feature_tables, staging_tables, training_tables
from tasks.panel.derived import summarise_derived, with_derived
from tasks.panel.summary import summarise_panel
from tasks.registry import DataSources
from tasks.run import RunContext
from tasks.sources.payloads import LIVE
from tasks.staging.documents import gather_documents
from tasks.staging.gather import gather
from tasks.staging.stage import Staged, known_by, read_staged
from tasks.staging.summary import summarise_series
from tasks.storage.files import Identity, read_json, read_parquet, write_identified, write_json
from tasks.storage.zones import Zones


@dataclass(frozen=True)
class Known:
    """What a session knows.

    ``observations`` has every source and the derived series, ``quarantine`` all refused cells (rows that POST_STAGING
    set aside among them), ``series`` a line per series; ``set_aside`` says which expectations those rows failed.
    """

    observations: pd.DataFrame
    quarantine: pd.DataFrame
    series: pd.DataFrame
    set_aside: tuple[GateResult, ...]


def known_at_session(run: RunContext, staged: Iterable[Staged]) -> Known:
    """All observations, all refused cells and a line per series, as known at the run's session."""
    parts = list(staged)
    observations, quarantine = gather(parts, as_of=run.as_of)
    observations, quarantine, set_aside = without_failing_rows(
        observations, quarantine, run.sources, expectations=run.settings.expectations
    )
    series = summarise_series(run.sources, observations, quarantine, as_of=run.as_of)
    documents = gather_documents([part.documents for part in parts], as_of=run.as_of)
    observations = with_derived(observations, run.derived, as_of=run.as_of, documents=documents)
    derived = summarise_derived(observations, run.derived, as_of=run.as_of)
    return Known(observations, quarantine, pd.concat([series, derived], ignore_index=True), set_aside)


@dataclass(frozen=True)
class StoredTables:
    """What the home holds as of the run's session, each thing read once and only when a gate asks for it.

    Raises:
        NothingStored: what is asked for has not been made; the message says with which command to make it.
    """

    run: RunContext

    @cached_property
    def known(self) -> Known:
        """What the staged payloads say as of the session."""
        read = [read_staged(self.run.zones, name) for name in self.run.sources.sources]
        staged = [source for source in read if source is not None]
        if not staged:
            raise _nothing_staged(self.run.zones)
        return known_at_session(self.run, staged)

    @property
    def set_aside(self) -> dict[str, tuple[GateResult, ...]]:
        """What rows were set aside for, by gate."""
        return {"POST_STAGING": self.known.set_aside} if "known" in vars(self) else {}

    @property
    def remedy(self) -> str:
        """How what is missing is made."""
        return f"run `cbi daily --as-of {self.run.as_of:%Y-%m-%d}`"

    @cached_property
    def panel(self) -> pd.DataFrame:  # noqa: D102
        return self._table("panel")

    @cached_property
    def panel_summary(self) -> pd.DataFrame:
        """A line per column of the panel that is there: what was set aside in its run is missing in it."""
        return summarise_panel(self.panel, self.run.joins, self.known.observations, self.run.sources)

    @cached_property
    def features(self) -> pd.DataFrame:  # noqa: D102
        return self._table("features")

    @cached_property
    def labels(self) -> pd.DataFrame:  # noqa: D102
        return self._table("labels")

    def _table(self, name: str) -> pd.DataFrame:
        """A zone's table, if it is the one of this session: that of another would be judged for it, silently."""
        path = self.run.work.home / name / f"{name}.parquet"
        if not path.exists():
            raise NothingStored(f"{name}: {path} has not been made; {self.remedy}")
        table = read_parquet(path)
        last = table["date"].max()
        if last != self.run.as_of:
            raise NothingStored(
                f"{name}: {path} ends at {last:%Y-%m-%d}, asked for is {self.run.as_of:%Y-%m-%d}; "
                f"{self.remedy}, or give `--as-of {last:%Y-%m-%d}`"
            )
        return table


def keep_collection(run: RunContext, tables: Tables) -> None:
    """Keep what POST_COLLECTION looked at: how asking each source went is nowhere else to be read again."""
    write_json(_collected_path(run.work), {"as_of": f"{run.as_of:%Y-%m-%d}", "recorded": run.origin != LIVE})
    write_identified(_collection_path(run), tables["collection"], inputs=f"{run.as_of:%Y-%m-%d}")


def recorded_session(zones: Zones) -> pd.Timestamp | None:
    """The session of the newest run of a home, where that run read recorded payloads; None where it was a live one."""
    collected = read_json(_collected_path(zones)) or {}
    return pd.Timestamp(collected["as_of"]) if collected.get("recorded") else None


def _collected_path(work: Zones) -> Path:
    return work.home / "collection" / "asked.json"


def _collection_path(run: RunContext) -> Path:
    return run.work.home / "collection" / "collection.parquet"


def _collection_tables(stored: StoredTables) -> Tables:
    kept = Identity.of(_collection_path(stored.run))
    if kept is None or kept.inputs != f"{stored.run.as_of:%Y-%m-%d}":
        raise NothingStored(
            f"collection: no run as of {stored.run.as_of:%Y-%m-%d} was the last one here; {stored.remedy}"
        )
    return {"collection": read_parquet(_collection_path(stored.run))}


def _training_tables(stored: StoredTables) -> Tables:
    exported = (read_json(stored.run.work.exports / "manifest.json") or {}).get("as_of")
    if exported != f"{stored.run.as_of:%Y-%m-%d}":
        raise NothingStored(
            f"exports: {stored.run.work.exports} has {f'those as of {exported}' if exported else 'none'}, not those as "
            f"of {stored.run.as_of:%Y-%m-%d}; {stored.remedy}"
        )
    return training_tables(stored.run.work.exports, stored.run.features, stored.run.horizons)


def _staging_tables(stored: StoredTables) -> Tables:
    return known_tables(stored.run, stored.known)


def known_tables(run: RunContext, known: Known) -> Tables:
    """What POST_STAGING looks at."""
    return staging_tables(
        known.observations,
        known.quarantine,
        known.series,
        run.sources,
        as_of=run.as_of,
        expectations=run.settings.expectations,
    )


def _feature_tables(stored: StoredTables) -> Tables:
    starts = summarise_starts(stored.features, stored.run.features, stored.run.sources, stored.panel_summary)
    return feature_tables(stored.features, stored.panel, starts, stored.run.features)


def _assembly_tables(stored: StoredTables) -> Tables:
    return assembly_tables(stored.panel, stored.panel_summary, stored.labels)


TABLES_OF_GATE: Mapping[str, Callable[[StoredTables], Tables]] = {
    "POST_COLLECTION": _collection_tables,
    "POST_STAGING": _staging_tables,
    "POST_FEATURES": _feature_tables,
    "POST_ASSEMBLY": _assembly_tables,
    "PRE_TRAINING": _training_tables,
}


def newest_stored_session(zones: Zones, sources: DataSources) -> pd.Timestamp:
    """The newest session anything critical is staged for, or the newest one exported, whichever is later.

    Raises:
        NothingStored: no critical series is staged.
    """
    exported = (read_json(zones.exports / "manifest.json") or {}).get("as_of")
    sessions = [pd.Timestamp(exported)] if exported else []
    newest = last_finished_session()
    for name, spec in sources.sources.items():
        critical = [series for series, entry in spec.series.items() if entry.critical]
        staged = read_staged(zones, name) if critical else None
        if staged is not None:
            known = known_by(staged.observations, newest)
            days = known.loc[known["series"].isin(critical), "observation_date"]
            sessions += [session_on_or_before(min(days.max(), newest))] if len(days) else []
    if not sessions:
        raise _nothing_staged(zones)
    return max(sessions)


def _nothing_staged(zones: Zones) -> NothingStored:
    return NothingStored(
        f"nothing is staged under {zones.home}, so there is nothing to hold a gate against; run `make demo` or "
        "`cbi daily` first, or set CBI_HOME to where it ran"
    )
