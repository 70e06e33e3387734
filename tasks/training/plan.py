"""The bake-off as a list of fits: family, horizons and fold, each named by a hash of all that decides its result.

The hash covers the rows up to the end of the test, not the whole training file. With tomorrow's file, the
folds of past years are fitted again only if their rows or targets changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.exports import file_name
from tasks.models.catalogue import is_joint
from tasks.models.forecaster import Problem, forecaster
from tasks.models.neural.options import NeuralOptions
from tasks.registry import Budget, FeatureRegistry, Horizons, Models, ProductionSurface
from tasks.settings import PROJECT
from tasks.storage.files import read_parquet
from tasks.storage.hashes import code_fingerprint, fingerprint
from tasks.training.folds import FINAL, Fold, walk_forward

TRAINING = PROJECT / "tasks" / "training"
MODEL_CODE = (
    PROJECT / "tasks" / "models",
    *(TRAINING / name for name in ("folds.py", "multi_horizon.py", "worker.py")),
)


@dataclass(frozen=True)
class Fit:
    """One fit. ``identity``: hash of its inputs. ``horizons``: one, or all that a family learns at once."""

    family: str
    horizons: tuple[str, ...]
    year: int
    identity: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.family} {'+'.join(self.horizons)} {'final' if self.year == FINAL else self.year}"


@dataclass(frozen=True)
class Plan:
    """Every fit of a bake-off, and what a worker needs for it."""

    exports: Path
    horizons: Horizons
    models: Models
    columns: Mapping[str, tuple[str, ...]]
    context: tuple[str, ...]
    budget: Budget
    budget_name: str
    data_snapshots: Mapping[str, str]
    chosen_until: Mapping[str, date]
    fits: tuple[Fit, ...] = field(default=())

    def of(self, family: str, horizon: str) -> list[Fit]:
        """The fits of a family at a horizon, folds first, the final fit last."""
        fits = [fit for fit in self.fits if fit.family == family and horizon in fit.horizons]
        return sorted(fits, key=lambda fit: (fit.year == FINAL, fit.year))

    def units(self, fits: Iterable[Fit], *, apart: bool) -> list[list[Fit]]:
        """Fits that one worker does together: all; or, ``apart``, those of a family and horizon.

        A family that learns all horizons at once takes so long per fold that each fold is a unit.
        """
        if not apart:
            return [list(fits)]
        grouped: dict[tuple[object, ...], list[Fit]] = {}
        for fit in fits:
            alone = fit.year if is_joint(fit.family) else None
            grouped.setdefault((fit.family, fit.horizons, alone), []).append(fit)
        return list(grouped.values())

    def work(self, fits: Iterable[Fit], cache: Path) -> list[dict[str, Any]]:
        """The work of each worker process, one per family: one process per fit would mostly start up."""
        grouped: dict[str, list[Fit]] = {}
        for fit in fits:
            grouped.setdefault(fit.family, []).append(fit)
        needed = {family: {name for fit in group for name in fit.horizons} for family, group in grouped.items()}
        return [
            {
                "family": family,
                "horizons": {name: h.sessions for name, h in self.horizons.horizons.items() if name in needed[family]},
                "quantiles": list(self.horizons.quantiles),
                "plan": self.horizons.walk_forward.model_dump(),
                "training_files": {
                    name: str(self.exports / file_name("prod", name))
                    for name in self.horizons.horizons
                    if name in needed[family]
                },
                "data_snapshots": {
                    name: self.data_snapshots[name] for name in self.horizons.horizons if name in needed[family]
                },
                "columns": list(self.columns[family]),
                "options": dict(self.options(family)),
                "weights": self.models.families[family].weights.model_dump(),
                "fits": [asdict(fit) for fit in group],
                "cache": str(cache),
            }
            for family, group in grouped.items()
        ]

    def options(self, family: str) -> Mapping[str, Any]:
        """A family's options under this budget."""
        return {**set_options(self.models, family, self.context), **self.budget.options.get(family, {})}


def plan_bake_off(
    exports: Path,
    horizons: Horizons,
    models: Models,
    features: FeatureRegistry,
    surface: ProductionSurface,
    *,
    budget: str,
    data_snapshots: Mapping[str, str],
) -> Plan:
    """Every fit of ``budget``, named by a hash of rows, columns, options, plan and code.

    Args:
        exports: folder of the training files. data_snapshots: horizon: hash of its training file.

    Raises:
        RegistryError: a family has no such option.
    """
    chosen = models.budgets[budget]
    tables = {name: read_parquet(exports / file_name("prod", name)) for name in horizons.horizons}
    columns = {family: tuple(models.columns(family, features, surface)) for family in chosen.families}
    context = context_columns(models, surface)
    chosen_until = models.known_when_chosen(surface)
    plan = Plan(exports, horizons, models, columns, context, chosen, budget, data_snapshots, chosen_until)
    for family in columns:
        require_known_options(family, plan.options(family))
    code, named = code_fingerprint(*MODEL_CODE), {}
    fits = []
    for family, read in columns.items():
        groups = [tuple(horizons.horizons)] if is_joint(family) else [(name,) for name in horizons.horizons]
        for names in groups:
            sessions = {name: horizons.horizons[name].sessions for name in names}
            years = chosen.joint_last_test_years if is_joint(family) else None
            folds = folds_of(
                tables[names[0]], horizons, years or chosen.last_test_years, sessions=max(sessions.values())
            )
            ends = {fold.year: int(fold.test[-1]) + 1 for fold in folds} | {FINAL: len(tables[names[0]])}
            for name in names:
                if (name, read) not in named:
                    named[name, read] = row_names(tables[name], read, ends.values())
            setting = (horizons.walk_forward.model_dump(), list(horizons.quantiles), list(read), sessions)
            for year, end in ends.items():
                weighed = models.families[family].weights.model_dump()
                parts = (family, year, dict(plan.options(family)), weighed, [named[name, read][end] for name in names])
                fits.append(Fit(family, names, year, fingerprint(parts, setting, code)))
    return replace(plan, fits=tuple(fits))


def require_known_options(family: str, options: Mapping[str, Any]) -> None:
    """Refuse a misspelled option before hours of fits.

    Raises:
        RegistryError: the family has no such option; the message names its options.
    """
    if is_joint(family):
        NeuralOptions.of(options)  # torch stays out of this process
    else:
        forecaster(family)(Problem("any", 1, (0.5,)), options)


def context_columns(models: Models, surface: ProductionSurface) -> tuple[str, ...]:
    """The columns that a net reads through its context encoder."""
    return tuple(name for name, entry in surface.features.items() if entry.category in models.context)


def set_options(models: Models, family: str, context: tuple[str, ...]) -> dict[str, Any]:
    """A family's options as the registry sets them, the same under every budget."""
    return {**({"other_markets": list(context)} if is_joint(family) else {}), **models.families[family].options}


def folds_of(table: pd.DataFrame, horizons: Horizons, last_test_years: int, *, sessions: int) -> list[Fold]:
    """Every fold, or the last ``last_test_years`` completed test years, without the current one."""
    dates = pd.DatetimeIndex(table["date"])
    folds = [fold for fold in walk_forward(dates, horizons.walk_forward, horizon=sessions) if len(fold.train)]
    if not last_test_years:
        return folds
    last = int(dates.year[-1]) - 1
    return [fold for fold in folds if last - last_test_years < fold.year <= last]


def row_names(table: pd.DataFrame, columns: Iterable[str], ends: Iterable[int]) -> dict[int, str]:
    """One hash of the first ``end`` rows, for each of ``ends``: dates, targets, weights and the columns."""
    dates = table[["date", "target_date"]].astype("int64")  # NaT has its own number
    rows = np.column_stack(
        [dates, table[["target_log_return", "training_weight", *columns]].to_numpy("float64").view("int64")]
    )
    digest, done, names = hashlib.sha256(), 0, {}
    for end in sorted(set(ends)):
        digest.update(np.ascontiguousarray(rows[done:end]).tobytes())
        names[end], done = digest.copy().hexdigest()[:16], end
    return names
