"""registry/horizons.yaml, models.yaml, quality_gates.yaml, regime_calendar.csv: what is trained, and its limits."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.errors import RegistryError
from tasks.models.catalogue import (
    ENSEMBLE,
    EXPECTED_MOVE,
    FAMILIES,
    JOINT_FAMILIES,
    LIBRARIES,
    SCALE,
    WEIGHTED,
)
from tasks.registry.entry import Entry, read_entries
from tasks.registry.features import FeatureRegistry
from tasks.registry.surface import ProductionSurface

if TYPE_CHECKING:
    import pandas as pd


class Horizon(Entry):
    """One forecast horizon, counted in CBOT sessions."""

    sessions: int = Field(gt=0)
    title: str


class WalkForwardPlan(Entry):
    """How models are compared (tasks/training/folds.py)."""

    first_test_year: int
    warm_up_years: int = Field(ge=0, description="folds before the first test year that feed the calibrator only")
    origin_step_sessions: int = Field(gt=0, description="sessions between two scored origins")


class Horizons(Entry):
    """registry/horizons.yaml."""

    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    horizons: dict[str, Horizon]
    walk_forward: WalkForwardPlan
    champion_max_age_sessions: int = Field(gt=0)


class SearchRange(Entry):
    """Values between two ends; integers if both ends are integers."""

    low: int | float
    high: int | float
    log: bool = Field(default=False, description="drawn uniformly in the logarithm")

    @model_validator(mode="after")
    def _ordered(self) -> SearchRange:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low}, high {self.high}: low must be below high, and above 0 if log is true")
        return self


class SearchChoices(Entry):
    """One of some values."""

    choices: tuple[bool | int | float | str, ...] = Field(min_length=2)


class SampleWeights(Entry):
    """The weight of each row in a fit (tasks/training/multi_horizon.py)."""

    regimes: bool = Field(default=False, description="the training_weight of regime_calendar.csv")
    half_life_sessions: float | None = Field(default=None, ge=21, description="a row this much older counts half")

    @property
    def on(self) -> bool:
        """Whether rows have different weights."""
        return self.regimes or self.half_life_sessions is not None


class ModelFamily(Entry):
    """One family of the bake-off: the features it reads, and its options if not the defaults."""

    title: str
    surface: Literal["full", "production", "volatility"]
    groups: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default={})
    weights: SampleWeights = SampleWeights()
    chosen_until: date | None = Field(
        default=None, description="outcomes to this day were read to choose its inputs or settings: they prove nothing"
    )
    search: dict[str, SearchRange | SearchChoices] = Field(
        default={}, description="by option: the values that a search may try (tasks/training/search.py)"
    )


class Budget(Entry):
    """The part of the bake-off that a run does."""

    title: str
    families: tuple[str, ...]
    last_test_years: int = Field(ge=0, description="0: all; else this many, back from the last complete year")
    joint_last_test_years: int | None = Field(default=None, ge=1, description="the same for families of all horizons")
    options: dict[str, dict[str, Any]] = Field(default={}, description="by family, over the family's own")


class Models(Entry):
    """registry/models.yaml."""

    volatility: tuple[str, ...]
    context: tuple[str, ...] = Field(description="categories that nets read separately from market features")
    families: dict[str, ModelFamily]
    ensemble: tuple[str, ...] = Field(min_length=2)
    ensemble_chosen_until: date | None = None
    budgets: dict[str, Budget]

    def columns(self, family: str, features: FeatureRegistry, surface: ProductionSurface) -> list[str]:
        """The production features that a family reads, in the registry's order, and the centres of its forecasts."""
        chosen = self.families[family]
        read = {
            "volatility": set(self.volatility),
            "production": set(surface.features),
            "full": set(features.production()),
        }[chosen.surface]
        category = features.category_of
        return [
            name
            for name in features.production()
            if name in read or category[name] in chosen.groups or name.startswith(EXPECTED_MOVE)
        ]

    def known_when_chosen(self, surface: ProductionSurface) -> dict[str, date]:
        """By family, the last day of the outcomes that were read to choose it, where there is one."""
        found = {ENSEMBLE: self.ensemble_chosen_until}
        for name, family in self.families.items():
            read = surface.last_date_read if family.surface == "production" else None
            found[name] = max(filter(None, (family.chosen_until, read)), default=None)
        return {name: day for name, day in found.items() if day is not None}

    @model_validator(mode="after")
    def _families_known(self) -> Models:
        if unknown := sorted(set(self.ensemble) - set(self.families)):
            raise ValueError(f"ensemble: unknown family {unknown}; known: {sorted(self.families)}")
        libraries = {LIBRARIES[family]: family for family in self.ensemble if family in LIBRARIES}
        if len(libraries) > 1:
            raise ValueError(
                f"ensemble: {' and '.join(libraries.values())} need {' and '.join(libraries)}, which cannot share a "
                "process on macOS; choose members of one of them"
            )
        for name, budget in self.budgets.items():
            if unknown := sorted({*budget.families, *budget.options} - set(self.families)):
                raise ValueError(f"budget {name}: unknown family {unknown}; known: {sorted(self.families)}")
        return self


class PromotionRule(Entry):
    """The requirements for a champion (tasks/evaluation/promotion.py)."""

    max_direction_hit_rate_pct: float = Field(gt=50, le=100, description="above it, only with a leakage audit")
    horizons: tuple[str, ...] = Field(min_length=1, description="where that limit holds: a month and longer")
    max_p_value: float = Field(gt=0, le=0.1, description="family-wise, to become champion")
    max_p_value_serving: float = Field(gt=0, le=0.5, description="family-wise, to stay champion")
    min_gain_pct: float = Field(gt=0, description="over the best naive to enter, over the champion to replace it")
    min_independent_periods: int = Field(ge=5, description="horizons that fit into the record one after another")
    coverage_80_within: float = Field(gt=0, lt=0.2, description="observed coverage of the 80% band is this near to 0.8")

    @model_validator(mode="after")
    def _easier_to_stay(self) -> PromotionRule:
        if self.max_p_value_serving < self.max_p_value:
            raise ValueError("max_p_value_serving is below max_p_value: a champion would leave at once")
        return self


class Aspirations(Entry):
    """Targets that are reported per horizon as met or not; they do not affect promotion."""

    mape_pct_below: float = Field(gt=0)
    sharpe_above: float
    direction_hit_rate_above: float = Field(gt=0, lt=1)
    calibration_error_below: float = Field(gt=0, lt=1)


class TradingCost(Entry):
    """The trading cost of the sign strategy (tasks/evaluation/metrics.py)."""

    round_trip_cents_lb: float = Field(ge=0, description="commission and slippage of one trade and back")


class QualityGates(Entry):
    """registry/quality_gates.yaml."""

    promotion: PromotionRule
    aspirations: Aspirations
    trading_cost: TradingCost


def load_horizons(folder: Path) -> Horizons:
    """registry/horizons.yaml, checked."""
    return read_entries(folder / "horizons.yaml", Horizons)


def load_models(folder: Path, registry: FeatureRegistry) -> Models:
    """registry/models.yaml, checked against the feature registry and the known families."""
    path = folder / "models.yaml"
    models = read_entries(path, Models)
    if unknown := sorted(set(models.volatility) - set(registry.production())):
        raise RegistryError(f"{path}: volatility: no production feature {', '.join(unknown)}")
    weighted = {name for name, family in models.families.items() if family.weights.on}
    if unknown := sorted(weighted - set(WEIGHTED)):
        raise RegistryError(
            f"{path}: weights: {', '.join(unknown)} does not support row weights; set it for one of {WEIGHTED}"
        )
    groups = {group for family in models.families.values() for group in family.groups}
    if unknown := sorted({*groups, *models.context} - set(registry.categories)):
        raise RegistryError(f"{path}: no category {', '.join(unknown)} in feature_registry.yaml")
    if SCALE not in models.volatility:
        raise RegistryError(f"{path}: volatility: {SCALE} is missing, which every family scales by")
    if unknown := sorted(set(models.families) - {*FAMILIES, *JOINT_FAMILIES}):
        raise RegistryError(f"{path}: families: no code for {', '.join(unknown)} (tasks/models/catalogue.py)")
    return models


def load_quality_gates(folder: Path) -> QualityGates:
    """registry/quality_gates.yaml, checked against the horizons that it names."""
    gates = read_entries(folder / "quality_gates.yaml", QualityGates)
    unknown = sorted(set(gates.promotion.horizons) - set(load_horizons(folder).horizons))
    if unknown:
        raise RegistryError(f"{folder / 'quality_gates.yaml'}: promotion.horizons: no horizon {', '.join(unknown)}")
    return gates


def load_regime_calendar(folder: Path) -> pd.DataFrame:
    """registry/regime_calendar.csv: regime, start, end, training_weight. For weights and slices, never a feature.

    The last regime continues beyond its ``end`` until the next one is recorded: training does not wait for it, and
    health warns about it (tasks/registry/kept.py).

    Raises:
        RegistryError: two regimes overlap, or there is a gap between two of them.
    """
    import pandas as pd

    path = folder / "regime_calendar.csv"
    calendar = pd.read_csv(path, parse_dates=["start", "end"]).sort_values("start", ignore_index=True)
    follows = calendar["end"].iloc[:-1] + pd.Timedelta(days=1) == calendar["start"].iloc[1:].to_numpy()
    if not follows.all():
        wrong = calendar["regime"].iloc[:-1][~follows].iloc[0]
        raise RegistryError(f"{path}: {wrong}: it must end on the day before the next regime starts; fix its `end`")
    return calendar
