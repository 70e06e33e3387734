"""Inputs shared by the measures. Each is built once, when first needed, under one folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pandas as pd

from evidence.measurement import BenchError
from evidence.processes import DailyRun, daily_run
from tasks.errors import CbiError, ManifestMismatch
from tasks.panel.derived import with_derived
from tasks.panel.join import build_panel
from tasks.registry import DataSources
from tasks.run import RunContext, code_version, open_run
from tasks.settings import load_settings
from tasks.sources.archive import silently
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import RECORDED, Payload, landed
from tasks.staging.documents import documents_known_by
from tasks.staging.gather import gather
from tasks.staging.stage import Staged, stage_source, staging_code
from tasks.storage.files import read_json
from tasks.storage.zones import Zones

AS_OF = pd.Timestamp("2023-12-29")
"""The last session with a ZL bar in the recorded archive."""


def staged(zones: Zones, sources: DataSources, as_of: pd.Timestamp, *, origin: Path | None = None) -> Iterator[Staged]:
    """Stage each source, as the daily run does; an existing stage is read.

    Args:
        origin: a folder of recorded payloads that are landed first.
    """
    code = staging_code()
    for name, spec in sources.sources.items():
        if origin:
            ingest_source(zones, name, spec, origin=origin, as_of=as_of.date(), progress=silently)
        yield stage_source(zones, name, spec, as_of=as_of, code=code)


def last_run() -> RunContext:
    """The run of the training files in CBI_HOME.

    Raises:
        ManifestMismatch: there are no training files.
    """
    settings = load_settings()
    manifest = read_json(Zones(settings.home).exports / "manifest.json")
    if manifest is None:
        raise ManifestMismatch("there are no training files; run `make demo` or `make daily`")
    return open_run(settings, origin="live", as_of=manifest["as_of"])


class Inputs:
    """The recorded archive, staged once, and a home with two daily runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, load_settings()

    @cached_property
    def run(self) -> RunContext:
        """A run on the recorded archive, as of its last session, in its own home.

        Raises:
            BenchError: there is no archive, or it does not match its manifest.
        """
        own = self.settings.model_copy(update={"home": self.folder / "staged"})
        try:
            return open_run(own, origin=RECORDED, as_of=f"{AS_OF:%Y-%m-%d}")
        except CbiError as error:
            raise BenchError(f"{error}. Nothing was measured") from None

    @property
    def archive(self) -> Path:
        """The recorded payloads, unpacked."""
        assert self.run.payloads
        return self.run.payloads

    def land(self, zones: Zones, sources: DataSources) -> list[Payload]:
        """Land the archive's payloads of some sources in a home."""
        for source, spec in sources.sources.items():
            ingest_source(zones, source, spec, origin=self.archive, as_of=AS_OF.date(), progress=silently)
        return [payload for source in sources.sources for payload in landed(zones, source)]

    @cached_property
    def observations(self) -> pd.DataFrame:
        """Every staged observation of the archive and the derived ones, as in the daily run."""
        run = self.run
        parts = list(staged(run.zones, run.sources, AS_OF, origin=self.archive))
        documents = documents_known_by(run.zones, run.sources, as_of=AS_OF)
        return with_derived(gather(parts, as_of=AS_OF)[0], run.derived, as_of=AS_OF, documents=documents)

    @cached_property
    def panel(self) -> pd.DataFrame:
        """The real panel to the last recorded session."""
        return build_panel(self.observations, self.run.joins, as_of=AS_OF)

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
        """The daily run again, in the home of the first one."""
        assert self.first_run
        return daily_run(self.home, self.archive)

    @property
    def code(self) -> str:
        """Hash of the code and the registry as they are now: results of other code are not reused."""
        return code_version(self.settings)
