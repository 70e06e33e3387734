"""Typed loaders of registry/*.yaml: what the product knows about sources, joins, features, horizons and models.

Every model forbids unknown keys, so a typo is an error that names the file and the entry, not a default.
"""

from tasks.registry.entry import Entry
from tasks.registry.features import FeatureEntry, FeatureRegistry, load_features, load_overrides, provenance
from tasks.registry.kept import complete_until, ended_tables
from tasks.registry.models import (
    Aspirations,
    Budget,
    Horizons,
    ModelFamily,
    Models,
    PromotionRule,
    QualityGates,
    SampleWeights,
    SearchChoices,
    SearchRange,
    WalkForwardPlan,
    load_horizons,
    load_models,
    load_quality_gates,
    load_regime_calendar,
)
from tasks.registry.panel import (
    DerivedSeries,
    Fallback,
    FinBertWeights,
    Join,
    JoinSpec,
    Lexicon,
    Theme,
    load_derived,
    load_join_spec,
)
from tasks.registry.sources import MONTH_CODES, Availability, DataSources, Jump, Schedule, SourceSpec, load_sources
from tasks.registry.surface import (
    SURFACE_SIZE,
    ProductionSurface,
    SurfaceCategory,
    SurfaceFeature,
    load_surface,
    surface_version,
)
from tasks.registry.waivers import GateWaiver, load_waivers

__all__ = [
    "MONTH_CODES",
    "SURFACE_SIZE",
    "Aspirations",
    "Availability",
    "Budget",
    "DataSources",
    "DerivedSeries",
    "Entry",
    "Fallback",
    "FeatureEntry",
    "FeatureRegistry",
    "FinBertWeights",
    "GateWaiver",
    "Horizons",
    "Join",
    "JoinSpec",
    "Jump",
    "Lexicon",
    "ModelFamily",
    "Models",
    "ProductionSurface",
    "PromotionRule",
    "QualityGates",
    "SampleWeights",
    "Schedule",
    "SearchChoices",
    "SearchRange",
    "SourceSpec",
    "SurfaceCategory",
    "SurfaceFeature",
    "Theme",
    "WalkForwardPlan",
    "complete_until",
    "ended_tables",
    "load_derived",
    "load_features",
    "load_horizons",
    "load_join_spec",
    "load_models",
    "load_overrides",
    "load_quality_gates",
    "load_regime_calendar",
    "load_sources",
    "load_surface",
    "load_waivers",
    "provenance",
    "surface_version",
]
