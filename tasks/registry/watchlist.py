"""registry/watchlist.yaml: every series that is to be watched, from what it is had, or why it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.panel import DerivedSeries
from tasks.registry.sources import DataSources

FILE = "watchlist.yaml"
State = Literal["had live", "had recorded", "built and untried", "missing"]


class Watched(Entry):
    """One series asked for."""

    state: State
    sources: tuple[str, ...] = Field(default=(), alias="from", description="`source series`, `source` or `derived …`")
    missing: tuple[str, ...] = Field(default=(), description="names under `missing` in derived_series.yaml")

    @model_validator(mode="after")
    def _has_a_state(self) -> Watched:
        if (self.state == "missing") != (not self.sources):
            raise ValueError("what has a source under `from` is not missing, and what has none is")
        if not self.sources and not self.missing:
            raise ValueError("name under `missing` why it is not had")
        return self


class Watchlist(Entry):
    """The groups in the order of the table."""

    groups: dict[str, dict[str, Watched]]


def series_of(name: str, sources: DataSources, derived: DerivedSeries) -> tuple[tuple[str, str], ...]:
    """The source and series behind a name under `from`: of a derived series those of its inputs.

    Raises:
        RegistryError: no such source or series.
    """
    source, _, series = name.partition(" ")
    if source == "derived":
        if series not in derived.series:
            raise RegistryError(f"no derived series `{series}`")
        inputs = {column: (join.source, target) for join in derived.inputs for column, target in join.columns.items()}
        pairs = [inputs[column] for column in derived.series[series].inputs]
        return tuple((one, target.rpartition(".")[0]) for one, target in pairs)
    spec = sources.source(source)
    if series and series not in spec.series:
        raise RegistryError(f"no series `{series}` in source {source}")
    return ((source, series),) if series else tuple((source, one) for one in spec.series)


def load_watchlist(folder: Path, sources: DataSources, derived: DerivedSeries) -> Watchlist:
    """registry/watchlist.yaml, checked against the sources, the derived series and the reasons it names.

    Raises:
        RegistryError: names the entry.
    """
    path = folder / FILE
    watchlist = read_entries(path, Watchlist)
    for group, entries in watchlist.groups.items():
        for what, entry in entries.items():
            try:
                for name in entry.sources:
                    series_of(name, sources, derived)
                if unknown := [name for name in entry.missing if name not in derived.missing]:
                    raise RegistryError(f"no reason `{unknown[0]}` under `missing` in derived_series.yaml")
            except RegistryError as error:
                raise RegistryError(f"{path}: {group}: {what}: {error}") from None
    return watchlist
