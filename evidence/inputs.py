"""What the measures share, each made once and only when a measure asks for it, under one temporary folder."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from types import TracebackType

import pandas as pd

from evidence.measurement import BenchError
from evidence.processes import DailyRun, daily_run
from tasks.errors import CbiError
from tasks.panel.derived import with_derived
from tasks.panel.join import build_panel
from tasks.registry import (
    DataSources,
    FeatureRegistry,
    Horizons,
    JoinSpec,
    load_derived,
    load_features,
    load_horizons,
    load_join_spec,
    load_sources,
)
from tasks.run import code_version
from tasks.settings import load_settings
from tasks.sources.archive import silently, unpack
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Payload, landed
from tasks.staging.documents import documents_known_by
from tasks.staging.gather import gather
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones

AS_OF = pd.Timestamp("2023-12-29")
"""The last session that the recorded archive holds a ZL bar of."""


class Inputs:
    """The recorded archive, staged once, and a home in which the daily run was run twice."""

    def __init__(self) -> None:
        self.settings = load_settings()
        self._temporary = tempfile.TemporaryDirectory(prefix="cbi-bench-")
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> Inputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    @cached_property
    def archive(self) -> Path:
        """The recorded payloads, unpacked.

        Raises:
            BenchError: there is no archive, or it is not what its manifest says.
        """
        try:
            return unpack(self.settings.archive, Zones(self.folder / "unpacked"), silently).folder
        except CbiError as error:
            raise BenchError(f"{error}. Nothing was measured") from None

    @cached_property
    def sources(self) -> DataSources:
        """registry/data_sources.yaml."""
        return load_sources(self.settings.registry)

    @cached_property
    def joins(self) -> JoinSpec:
        """registry/join_spec.yaml."""
        return load_join_spec(self.settings.registry, self.sources)

    @cached_property
    def features(self) -> FeatureRegistry:
        """registry/feature_registry.yaml."""
        return load_features(self.settings.registry, self.sources)

    @cached_property
    def horizons(self) -> Horizons:
        """registry/horizons.yaml."""
        return load_horizons(self.settings.registry)

    def land(self, zones: Zones, sources: DataSources) -> list[Payload]:
        """Land the archive's payloads of some sources in a home."""
        for source, spec in sources.sources.items():
            ingest_source(zones, source, spec, origin=self.archive, as_of=AS_OF.date(), progress=lambda *_: None)
        return [payload for source in sources.sources for payload in landed(zones, source)]

    @cached_property
    def observations(self) -> pd.DataFrame:
        """Every staged observation of the archive and the derived ones, as the daily run gathers them."""
        zones = Zones(self.folder / "staged")
        self.land(zones, self.sources)
        staged = [
            stage_source(zones, source, spec, as_of=AS_OF, code="bench")
            for source, spec in self.sources.sources.items()
        ]
        derived = load_derived(self.settings.registry, self.sources)
        documents = documents_known_by(zones, self.sources, as_of=AS_OF)
        return with_derived(gather(staged, as_of=AS_OF)[0], derived, as_of=AS_OF, documents=documents)

    @cached_property
    def panel(self) -> pd.DataFrame:
        """The real panel to the last recorded session."""
        return build_panel(self.observations, self.joins, as_of=AS_OF)

    @property
    def home(self) -> Path:
        """The home of the daily runs."""
        return self.folder / "home"

    @cached_property
    def first_run(self) -> DailyRun:
        """The daily run in an empty home: training included."""
        return daily_run(self.home, self.archive)

    @cached_property
    def second_run(self) -> DailyRun:
        """The daily run again, in the home that the first one left."""
        assert self.first_run
        return daily_run(self.home, self.archive)

    @property
    def code(self) -> str:
        """Hash of the code and the registry as they are now: a run of other code does not find its own results."""
        return code_version(self.settings)
