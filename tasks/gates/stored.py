"""The stored data of a home as the input tables of each gate; every gate is one entry of ``TABLES_OF_GATE``."""

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
    """The data known at a session.

    ``observations``: every source and the derived series. ``quarantine``: all refused cells, and the rows that
    POST_STAGING set aside. ``series``: one row per series. ``set_aside``: the expectations that those rows failed.
    """

    observations: pd.DataFrame
    quarantine: pd.DataFrame
    series: pd.DataFrame
    set_aside: tuple[GateResult, ...]


def known_at_session(run: RunContext, staged: Iterable[Staged]) -> Known:
    """All observations, all refused cells and one row per series, as known at the run's session."""
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
    """The stored tables as of the run's session, each read once and only when a gate needs it.

    Raises:
        NothingStored: the table does not exist; the message names the command that creates it.
    """

    run: RunContext
    realised: pd.DataFrame | None = None
    """For PRE_TRAINING: realised figures as compared by whoever may read the warehouse."""

    @cached_property
    def known(self) -> Known:
        """The staged data as known at the session."""
        read = [read_staged(self.run.zones, name) for name in self.run.sources.sources]
        staged = [source for source in read if source is not None]
        if not staged:
            raise _nothing_staged(self.run.zones)
        return known_at_session(self.run, staged)

    @property
    def set_aside(self) -> dict[str, tuple[GateResult, ...]]:
        """By gate: the expectations for which rows were set aside."""
        return {"POST_STAGING": self.known.set_aside} if "known" in vars(self) else {}

    @property
    def remedy(self) -> str:
        """The command that creates what is missing."""
        return f"run `cbi daily --as-of {self.run.as_of:%Y-%m-%d}`"

    @cached_property
    def panel(self) -> pd.DataFrame:  # noqa: D102
        return self._table("panel")

    @cached_property
    def panel_summary(self) -> pd.DataFrame:
        """One row per column of the stored panel; columns that its run set aside are missing in it."""
        return summarise_panel(self.panel, self.run.joins, self.known.observations, self.run.sources)

    @cached_property
    def features(self) -> pd.DataFrame:  # noqa: D102
        return self._table("features")

    @cached_property
    def labels(self) -> pd.DataFrame:  # noqa: D102
        return self._table("labels")

    def _table(self, name: str) -> pd.DataFrame:
        """A zone's table, after checking that it is the one of this session."""
        path = self.run.work.home / name / f"{name}.parquet"
        if not path.exists():
            raise NothingStored(f"{name}: {path} does not exist; {self.remedy}")
        table = read_parquet(path)
        last = table["date"].max()
        if last != self.run.as_of:
            raise NothingStored(
                f"{name}: {path} ends at {last:%Y-%m-%d}, not {self.run.as_of:%Y-%m-%d}; "
                f"{self.remedy}, or give `--as-of {last:%Y-%m-%d}`"
            )
        return table


def keep_collection(run: RunContext, tables: Tables) -> None:
    """Store the input of POST_COLLECTION: the result of each source's ingest is stored nowhere else."""
    write_json(_collected_path(run.work), {"as_of": f"{run.as_of:%Y-%m-%d}", "recorded": run.origin != LIVE})
    write_identified(_collection_path(run), tables["collection"], inputs=f"{run.as_of:%Y-%m-%d}")


def recorded_session(zones: Zones) -> pd.Timestamp | None:
    """The session of a home's newest run if that run used recorded payloads; None if it was live."""
    collected = read_json(_collected_path(zones)) or {}
    return pd.Timestamp(collected["as_of"]) if collected.get("recorded") else None


def _collected_path(work: Zones) -> Path:
    return work.home / "collection" / "asked.json"


def _collection_path(run: RunContext) -> Path:
    return run.work.home / "collection" / "collection.parquet"


def _collection_tables(stored: StoredTables) -> Tables:
    kept = Identity.of(_collection_path(stored.run))
    if kept is None or kept.inputs != f"{stored.run.as_of:%Y-%m-%d}":
        raise NothingStored(f"collection: the last run here was not as of {stored.run.as_of:%Y-%m-%d}; {stored.remedy}")
    return {"collection": read_parquet(_collection_path(stored.run))}


def _training_tables(stored: StoredTables) -> Tables:
    exported = (read_json(stored.run.work.exports / "manifest.json") or {}).get("as_of")
    if exported != f"{stored.run.as_of:%Y-%m-%d}":
        raise NothingStored(
            f"exports: {stored.run.work.exports} has {f'those as of {exported}' if exported else 'none'}, not those as "
            f"of {stored.run.as_of:%Y-%m-%d}; {stored.remedy}"
        )
    return training_tables(
        stored.run.work.exports,
        stored.run.features,
        stored.run.horizons,
        served=stored.features,
        realised=stored.realised,
    )


def _staging_tables(stored: StoredTables) -> Tables:
    return known_tables(stored.run, stored.known)


def known_tables(run: RunContext, known: Known) -> Tables:
    """The input tables of POST_STAGING."""
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
    """The newest session with a staged critical value, or the newest exported session, whichever is later.

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
        f"nothing is staged under {zones.home}, so no gate can run; run `make demo` or "
        "`cbi daily` first, or set CBI_HOME to where it ran"
    )
