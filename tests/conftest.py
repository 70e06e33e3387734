"""Shared by every test: the recorded archive, the registry, and the archive staged once as of its last session.

Everything here is session-scoped and read-only: a test that changes a frame or a file works on a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tasks.features.build import build_features
from tasks.labels import build_labels
from tasks.panel.join import build_panel
from tasks.registry import (
    DataSources,
    FeatureRegistry,
    Horizons,
    JoinSpec,
    load_features,
    load_horizons,
    load_join_spec,
    load_regime_calendar,
    load_sources,
)
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import land_recorded
from tasks.staging.stage import Staged, stage_source
from tasks.zones import Zones

AS_OF = pd.Timestamp("2023-12-29")


@dataclass(frozen=True)
class Registry:
    folder: Path
    sources: DataSources
    joins: JoinSpec
    features: FeatureRegistry
    horizons: Horizons
    regimes: pd.DataFrame


@dataclass(frozen=True)
class StagedArchive:
    zones: Zones
    by_source: dict[str, Staged]
    observations: pd.DataFrame
    quarantine: pd.DataFrame


@pytest.fixture(scope="session")
def archive() -> Path:
    """The recorded payloads, read in place (CBI_ARCHIVE); copy one to a tmp_path to damage it."""
    folder = load_settings().archive
    if not (folder / "MANIFEST.csv").exists():
        pytest.skip(f"no recorded archive at {folder}; set CBI_ARCHIVE")
    return folder


@pytest.fixture(scope="session")
def registry() -> Registry:
    folder = PROJECT / "registry"
    sources = load_sources(folder)
    return Registry(
        folder=folder,
        sources=sources,
        joins=load_join_spec(folder, sources),
        features=load_features(folder),
        horizons=load_horizons(folder),
        regimes=load_regime_calendar(folder),
    )


@pytest.fixture(scope="session")
def staged(archive: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> StagedArchive:
    """Every registered source landed and staged as of 2023-12-29."""
    zones, by_source = Zones(tmp_path_factory.mktemp("archive") / "home"), {}
    for name, spec in registry.sources.sources.items():
        land_recorded(zones, archive, name, spec)
        by_source[name] = stage_source(zones, name, spec, as_of=AS_OF, code="tests")
    return StagedArchive(
        zones,
        by_source,
        observations=_together([held.observations for held in by_source.values()]),
        quarantine=_together([held.quarantine for held in by_source.values()]),
    )


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(frames, ignore_index=True)
    return joined.astype(dict.fromkeys(frames[0].select_dtypes("category").columns, "category"))


@pytest.fixture(scope="session")
def panel(staged: StagedArchive, registry: Registry) -> pd.DataFrame:
    return build_panel(staged.observations, registry.joins, as_of=AS_OF)


@pytest.fixture(scope="session")
def features(panel: pd.DataFrame, registry: Registry) -> pd.DataFrame:
    return build_features(panel, registry.features)


@pytest.fixture(scope="session")
def labels(panel: pd.DataFrame, registry: Registry) -> pd.DataFrame:
    return build_labels(panel, registry.horizons)
