"""registry/production_surface.yaml: the curated features, locked with order and dtype."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tasks.errors import RegistryError
from tasks.registry.entry import Entry, read_entries
from tasks.registry.features import FeatureRegistry
from tasks.storage.hashes import fingerprint


class SurfaceFeature(Entry):
    """One feature of the production surface, and why it was chosen."""

    category: str
    dtype: Literal["float64"]
    stands_for: tuple[str, ...] = Field(description="features with the same ranking of sessions, left out in its favor")
    shap_share_pct: float = Field(ge=0, le=100, description="its group's share of |SHAP|, mean of all fits")
    stability: float = Field(ge=0, le=1, description="share of fits in which its group outranks noise")


class SurfaceCategory(Entry):
    """The number of features of a category at each step of the selection."""

    features: int = Field(description="production features")
    candidates: int = Field(description="with enough history")
    groups: int = Field(
        description="of candidates with similar rankings, counted in the category of their representative"
    )
    chosen: int


SURFACE_SIZE = (30, 60)


class ProductionSurface(Entry):
    """registry/production_surface.yaml: the curated features of nets and linear models, locked with order and dtype."""

    version: str = Field(description="hash of names, order and dtypes: the input of a model")
    final_test_year: int = Field(description="not used for the selection, nor anything after it")
    folds: tuple[int, ...] = Field(description="test years that were used")
    horizons: tuple[str, ...]
    last_date_read: date
    data_snapshot: str = Field(description="hash of all data that was used")
    code: str = Field(description="hash of the selecting code")
    categories: dict[str, SurfaceCategory]
    features: dict[str, SurfaceFeature]

    @model_validator(mode="after")
    def _locked(self) -> ProductionSurface:
        least, most = SURFACE_SIZE
        if not least <= len(self.features) <= most:
            raise ValueError(f"{len(self.features)} features; a surface has {least} to {most}")
        if self.version != surface_version(self.features):
            raise ValueError("the features are not those of `version`; only `make surface` may write the file")
        if max(self.folds) >= self.final_test_year or self.last_date_read.year >= self.final_test_year:
            raise ValueError(f"it was chosen on the final test year, {self.final_test_year}")
        return self


def surface_version(features: Mapping[str, SurfaceFeature]) -> str:
    """Names in order and their dtypes, hashed."""
    return fingerprint([(name, entry.dtype) for name, entry in features.items()])


def load_surface(folder: Path, registry: FeatureRegistry) -> ProductionSurface:
    """registry/production_surface.yaml, checked against the feature registry.

    Raises:
        RegistryError: a feature is unknown, has a revised history, or is in the wrong position.
    """
    path = folder / "production_surface.yaml"
    surface = read_entries(path, ProductionSurface)
    names, advice = list(surface.features), "run `make surface`"
    if unknown := [name for name in names if name not in registry.features]:
        raise RegistryError(f"{path}: no feature {', '.join(unknown)} in feature_registry.yaml; {advice}")
    if revised := sorted(set(names) - set(registry.production())):
        raise RegistryError(f"{path}: the history of {', '.join(revised)} is rewritten after the fact; {advice}")
    ordered = [name for name in registry.features if name in surface.features]
    if names != ordered:
        first = next(i for i, (name, due) in enumerate(zip(names, ordered, strict=True)) if name != due)
        raise RegistryError(f"{path}: {names[first]} stands where the registry has {ordered[first]}; {advice}")
    if moved := [name for name, entry in surface.features.items() if entry.category != registry.category_of[name]]:
        raise RegistryError(f"{path}: {', '.join(moved)}: not the category of feature_registry.yaml; {advice}")
    return surface
