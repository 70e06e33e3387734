"""A search for a family's options, on sessions before the first scored fold only.

Its result is a proposal. A person checks on the later folds whether it holds, and then writes it into
registry/models.yaml. Studies are kept under CBI_HOME/search, so that a search that was killed continues.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from tasks.command_line import nearest
from tasks.errors import RegistryError, SettingsError, TrainingFailed
from tasks.models.catalogue import BASELINE, EXPECTED_MOVE, SCALE, is_joint
from tasks.models.forecaster import JointProblem, Problem, forecaster, joint_forecaster
from tasks.quantiles import column, pinball
from tasks.registry import (
    ModelFamily,
    SampleWeights,
    SearchChoices,
    SearchRange,
    WalkForwardPlan,
    load_features,
    load_horizons,
    load_models,
    load_sources,
    load_surface,
)
from tasks.storage.files import write_json
from tasks.storage.hashes import code_fingerprint, fingerprint
from tasks.training.folds import walk_forward
from tasks.training.multi_horizon import joint_out_of_fold
from tasks.training.plan import MODEL_CODE, context_columns, row_names, set_options
from tasks.training.worker import forecast_fold

if TYPE_CHECKING:
    from optuna import Study, Trial

logger = logging.getLogger(__name__)

FIRST = ("1w", "1m")  # searched first: most decisions are there
SEED = 20260101
STARTUP = 5  # trials drawn at random and never pruned, before the sampler and the pruner have enough data
MINUTE_S = 60.0


@dataclass(frozen=True)
class SearchBudget:
    """Trials per study, including earlier runs; or minutes for all studies of this run together."""

    trials: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Refuse a search without an end."""
        if (self.trials or 0) <= 0 and (self.minutes or 0) <= 0:
            raise SettingsError(f"trials {self.trials}, minutes {self.minutes}: a search needs one of them above 0")


@dataclass(frozen=True)
class Subject:
    """A family as in the registry, and the data for its search."""

    family: str
    entry: ModelFamily
    columns: tuple[str, ...]
    options: Mapping[str, Any]
    sessions: Mapping[str, int]
    quantiles: tuple[float, ...]
    plan: WalkForwardPlan

    @property
    def weights(self) -> SampleWeights:
        """The family's row weights."""
        return self.entry.weights


@dataclass(frozen=True)
class StudyResult:
    """Result of one study. Losses are pinball relative to no change (1 is equal), averaged over validation folds."""

    horizons: tuple[str, ...]
    study: str
    default_loss: float
    best_loss: float
    best_options: dict[str, Any]
    trials: int
    pruned: int


def subject_of(family: str, registry: Path) -> Subject:
    """A family as in the registry.

    Raises:
        RegistryError: no such family.
    """
    features = load_features(registry, load_sources(registry))
    models, surface = load_models(registry, features), load_surface(registry, features)
    horizons = load_horizons(registry)
    if family not in models.families:
        raise RegistryError(
            f"registry/models.yaml: no family `{family}`; known: {', '.join(models.families)}."
            f"{nearest(family, models.families)}"
        )
    return Subject(
        family,
        models.families[family],
        tuple(models.columns(family, features, surface)),
        set_options(models, family, context_columns(models, surface)),
        {name: horizon.sessions for name, horizon in horizons.horizons.items()},
        horizons.quantiles,
        horizons.walk_forward,
    )


def training_window(table: pd.DataFrame, plan: WalkForwardPlan) -> pd.DataFrame:
    """The sessions before the first scored test year; targets that reach into that year are missing."""
    first = pd.Timestamp(plan.first_test_year, 1, 1)
    window = table[table["date"] < first].reset_index(drop=True)
    outside = ~(window["target_date"] < first)
    known = [name for name in ("target_date", "target_log_return", "target_price") if name in window]
    window.loc[outside, known] = np.nan
    return window


def search(
    subject: Subject,
    tables: Mapping[str, pd.DataFrame],
    budget: SearchBudget,
    folder: Path,
    *,
    device: str = "auto",
    progress: Callable[[int, str], None] = lambda done, what: None,
) -> list[StudyResult]:
    """Search every horizon of ``subject``, 1w and 1m first; a family that learns all horizons at once in one study.

    Args:
        tables: one training table per horizon. folder: for the studies' database and ``<family>.json``, the result.
        device: where nets are trained. progress: called with the trials of a study done so far, and its name.

    Invariants: nothing outside ``training_window`` is read. A trial's number is the count of trials finished before; it
    is drawn from a seed of that number. So an interrupted search ends like an uninterrupted one.

    Raises:
        RegistryError: the family has no search space, or the space has an unknown option.
    """
    import optuna

    if not subject.entry.search:
        raise RegistryError(f"registry/models.yaml: {subject.family} has no `search`; name options and values there")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = storage_url(folder / f"{subject.family}.db")
    windows = {name: training_window(tables[name], subject.plan) for name in subject.sessions}
    groups = _groups(subject)
    started, found = time.monotonic(), []
    for number, group in enumerate(groups):
        folds = ValidationFolds(
            replace(subject, sessions={name: subject.sessions[name] for name in group}), windows, device
        )
        study = optuna.create_study(
            storage=storage,
            study_name=f"{subject.family} {'+'.join(group)} {folds.identity}",
            direction="minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
            load_if_exists=True,
        )
        ends = None
        if budget.minutes is not None:
            left = budget.minutes * MINUTE_S - (time.monotonic() - started)
            ends = time.monotonic() + max(0.0, left) / (len(groups) - number)
        found.append(_study(study, folds, group, budget.trials, ends, progress))
        outcome = {
            "family": subject.family,
            "before": f"{subject.plan.first_test_year}-01-01",
            "validation_years": sorted({fold for fold, _ in folds.baselines}),
            "studies": [asdict(one) for one in found],
        }
        write_json(folder / f"{subject.family}.json", outcome)
    return found


def storage_url(database: Path) -> str:
    """Optuna's URL of a SQLite file. Optuna fills in braces; doubled braces stay as they are."""
    return f"sqlite:///{database}".replace("{", "{{").replace("}", "}}")


def _groups(subject: Subject) -> list[tuple[str, ...]]:
    if is_joint(subject.family):
        return [tuple(subject.sessions)]
    return [(name,) for name in sorted(subject.sessions, key=lambda name: name not in FIRST)]


def _study(
    study: Study,
    folds: ValidationFolds,
    group: tuple[str, ...],
    trials: int | None,
    ends: float | None,
    progress: Callable[[int, str], None],
) -> StudyResult:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    if "default_loss" not in study.user_attrs:
        study.set_user_attr("default_loss", float(np.mean(list(folds.losses({})))))
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    while True:
        done = len(study.get_trials(deepcopy=False, states=finished))
        progress(done, study.study_name)
        if (trials is not None and done >= trials) or (ends is not None and time.monotonic() >= ends):
            break
        study.sampler = TPESampler(seed=SEED + done, n_startup_trials=STARTUP)
        study.optimize(folds.objective, n_trials=1)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    default = float(study.user_attrs["default_loss"])
    best = min(complete, key=lambda trial: (trial.values[0], trial.number), default=None)
    better = best is not None and best.values[0] < default
    return StudyResult(
        group,
        study.study_name,
        default,
        float(best.values[0]) if better and best else default,
        dict(best.params) if better and best else {},
        done,
        done - len(complete),
    )


class ValidationFolds:
    """The validation folds of one study: the loss of options there, relative to no change on the same origins."""

    def __init__(self, subject: Subject, windows: Mapping[str, pd.DataFrame], device: str) -> None:
        self.subject, self.device = subject, device
        self.windows = {name: windows[name] for name in subject.sessions}
        self.baselines = {
            (fold.year, name): baseline
            for name in subject.sessions
            for fold in self._folds(name)
            if len(baseline := self._at_one_horizon(BASELINE, name, fold.year, {}, None))
        }
        if not self.baselines:
            raise TrainingFailed(
                f"{subject.family} {'+'.join(subject.sessions)}: no validation year before "
                f"{subject.plan.first_test_year} has an outcome; raise walk_forward.warm_up_years in horizons.yaml"
            )

    @property
    def identity(self) -> str:
        """A hash of data, space and settings: another window is another study."""
        subject = self.subject
        rows = [row_names(window, subject.columns, [len(window)])[len(window)] for window in self.windows.values()]
        space = {name: entry.model_dump() for name, entry in subject.entry.search.items()}
        setting = (dict(subject.options), subject.weights.model_dump(), list(subject.columns), list(subject.quantiles))
        return fingerprint(rows, space, setting, subject.plan.model_dump(), code_fingerprint(*MODEL_CODE))

    def objective(self, trial: Trial) -> float:
        """Mean loss over the folds, reported to the pruner per fold. Options that cannot be fitted end the trial."""
        from optuna import TrialPruned

        losses: list[float] = []
        options = {name: _value(trial, name, of) for name, of in self.subject.entry.search.items()}
        try:
            for loss in self.losses(options):
                losses.append(loss)
                trial.report(float(np.mean(losses)), len(losses))
                if trial.should_prune():
                    raise TrialPruned
        except TrainingFailed as error:
            logger.warning("%s with %s: %s", self.subject.family, options, error)
            raise TrialPruned from error
        return float(np.mean(losses))

    def losses(self, options: Mapping[str, Any]) -> Iterator[float]:
        """Pinball loss relative to no change in each validation year, horizons weighted equally, with these options."""
        for year in sorted({year for year, _ in self.baselines}):
            names = [name for name in self.subject.sessions if (year, name) in self.baselines]
            forecasts = self._forecasts(year, names, options)
            yield float(np.mean([self._relative(forecasts[name], self.baselines[year, name]) for name in names]))

    def _forecasts(self, year: int, names: list[str], options: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
        subject = self.subject
        merged = {**subject.options, **options}
        if not is_joint(subject.family):
            return {name: self._at_one_horizon(subject.family, name, year, merged, subject.weights) for name in names}
        return joint_out_of_fold(
            joint_forecaster(subject.family),
            JointProblem(subject.sessions, subject.quantiles),
            self.windows,
            list(subject.columns),
            subject.plan,
            years=[year],
            options={**merged, "device": self.device},
            weights=subject.weights,
        )

    def _at_one_horizon(
        self, family: str, name: str, year: int, options: Mapping[str, Any], weights: SampleWeights | None
    ) -> pd.DataFrame:
        problem = Problem(name, self.subject.sessions[name], self.subject.quantiles)
        [fold] = [fold for fold in self._folds(name) if fold.year == year]
        columns = list(self.subject.columns)
        if family == BASELINE:
            columns = [name for name in columns if name == SCALE or name.startswith(EXPECTED_MOVE)]
        return forecast_fold(
            forecaster(family), problem, self.windows[name], columns, fold, options=options, weights=weights
        )

    def _folds(self, name: str) -> list[Any]:
        dates = pd.DatetimeIndex(self.windows[name]["date"])
        return [
            fold
            for fold in walk_forward(dates, self.subject.plan, horizon=self.subject.sessions[name])
            if len(fold.train)
        ]

    def _relative(self, forecast: pd.DataFrame, baseline: pd.DataFrame) -> float:
        known = forecast[forecast["p50"].notna()] if len(forecast) else forecast
        if known.empty:
            raise TrainingFailed(f"{self.subject.family}: no forecast of a validation year; its inputs begin too late")
        own = known.set_index("date")
        naive = baseline.set_index("date").reindex(own.index)
        losses = [
            pinball(
                of["target_log_return"].to_numpy(),
                of[[column(level) for level in self.subject.quantiles]].to_numpy(),
                self.subject.quantiles,
            ).mean()
            for of in (own, naive)
        ]
        return float(losses[0] / losses[1])


def _value(trial: Trial, name: str, space: SearchRange | SearchChoices) -> bool | int | float | str:
    if isinstance(space, SearchChoices):
        return cast("bool | int | float | str", trial.suggest_categorical(name, space.choices))
    if isinstance(space.low, int) and isinstance(space.high, int):
        return trial.suggest_int(name, space.low, space.high, log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)
