"""The daily forecast from the champions: calibrated price quantiles, direction, and whether it is degraded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.errors import CbiError, ModelStoreError, StaleSource
from tasks.evaluation.metrics import COIN_BRIER
from tasks.features.regimes import regime_name
from tasks.forecasting.apart import IsolatedModels, isolated_models
from tasks.forecasting.explain import Served, question_of
from tasks.forecasting.questions import NAMED, Answer
from tasks.labels import target_date
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.catalogue import BASELINES, expected_move
from tasks.models.forecaster import Problem
from tasks.quantiles import column
from tasks.registry import FeatureRegistry, Horizons

if TYPE_CHECKING:
    from tasks.day import InputNotes

MISSING_INPUTS = 0.2  # above this share of lost inputs a forecast is degraded
GONE_SHARE = 0.5  # above this share of lost inputs that need one source only, the source counts as gone
MOSTLY_KNOWN = 2 / 3  # share of the year before training in which a lost input was known
YEAR_SESSIONS = 252
NO_VIEW = "the forecast is the last price: no view of the direction"
"""The reason without a chance where the model has none; every other reason is of a chance that is not shown."""


@dataclass(frozen=True)
class DayForecast:
    """The forecasts of one session at every horizon.

    ``forecasts`` has the rows of ``forecasts.zl_forecasts_daily`` and ``contracts`` those of
    ``forecasts.zl_contracts_daily``, both without ``created_at``. ``served``: the model versions behind the forecasts,
    for explanations and scenarios. ``leaderboard``, if requested, is what was measured of them. ``shadows`` has the
    rows of ``forecasts.zl_shadow_daily`` and ``promotions`` those of ``performance.promotions``. ``alarms``: by
    horizon, why its champion is out of control.
    """

    forecasts: pd.DataFrame
    served: tuple[Served, ...]
    notices: tuple[str, ...] = ()
    contracts: pd.DataFrame = field(default_factory=pd.DataFrame)
    leaderboard: pd.DataFrame = field(default_factory=pd.DataFrame)
    shadows: pd.DataFrame = field(default_factory=pd.DataFrame)
    promotions: pd.DataFrame = field(default_factory=pd.DataFrame)
    alarms: Mapping[str, str] = field(default_factory=dict)


def problem_of(name: str, horizons: Horizons) -> Problem:
    """The forecasting problem of a horizon."""
    return Problem(name, horizons.horizons[name].sessions, tuple(horizons.quantiles))


def forecast_day(
    features: pd.DataFrame,
    panel: pd.DataFrame,
    store: ModelStore,
    *,
    registry: FeatureRegistry,
    horizons: Horizons,
    as_of: pd.Timestamp,
    data_snapshot: str,
    code_version: str,
    notes: InputNotes | None = None,
    models: IsolatedModels | None = None,
    alarms: Mapping[str, str] = MappingProxyType({}),
) -> DayForecast:
    """The forecasts of ``as_of`` at every horizon.

    Prices are in cents/lb; price quantiles are exact transforms of the log-return quantiles.

    Args:
        features: the feature table to ``as_of``. panel: the panel to ``as_of``. notes: inputs that were set aside or
            replaced. A model that reads any of them is degraded, and its reason names them.
        models: the process that reads models; default: one for this call. Pass it in a loop over many days.
        alarms: by horizon, why its champion is out of control (tasks/forecasting/control.py): the baseline serves
            there.

    Invariants: a model whose files crash their reader costs its own forecast only; the baseline is used there.

    Raises:
        StaleSource: no ZL price is recent enough to start from, or even the baseline has no forecast.
    """
    last_price, price_age = float(panel["zl_last"].iloc[-1]), float(panel["zl_last__age_days"].iloc[-1])
    if np.isnan(last_price):
        raise StaleSource(
            f"yahoo: ZL=F: newest close is {price_age:.0f} days before {as_of:%Y-%m-%d}. "
            f"Run `cbi ingest yahoo`, or see docs/runbook.md#stale-source"
        )
    if models is None:
        with isolated_models() as own:
            return forecast_day(
                features,
                panel,
                store,
                registry=registry,
                horizons=horizons,
                as_of=as_of,
                data_snapshot=data_snapshot,
                code_version=code_version,
                notes=notes,
                models=own,
                alarms=alarms,
            )
    models.show(features)
    forecasts, published = [], []
    for name in horizons.horizons:
        problem = problem_of(name, horizons)
        served = _served(store, models, problem, features, horizons, as_of, registry, notes, alarms.get(name, ""))
        forecasts.append(
            forecast_row(
                served,
                problem,
                features,
                panel,
                as_of=as_of,
                notes=notes,
                data_snapshot=data_snapshot,
                code_version=code_version,
            )
        )
        published.append(Served(problem, served[0], horizons.horizons[name].title))
    table = pd.DataFrame(forecasts).astype({"direction_reason": "object"})
    return DayForecast(table, tuple(published))


Answered = tuple[Version, Answer, list[str]]
"""A version, its answer with calibrated log returns, and why its forecast is degraded, one line per cause."""


def forecast_row(
    served: Answered,
    problem: Problem,
    features: pd.DataFrame,
    panel: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    notes: InputNotes | None,
    data_snapshot: str,
    code_version: str,
) -> dict[str, Any]:
    """The row of ``forecasts.zl_forecasts_daily`` (or of its shadow) that one version forecasts, in cents/lb."""
    version, answer, own_reasons = served
    last_price, price_age = float(panel["zl_last"].iloc[-1]), float(panel["zl_last__age_days"].iloc[-1])
    reasons = own_reasons + [
        f"the close of {name} is unconfirmed: {why}" for name, why in (notes.unconfirmed if notes else {}).items()
    ]
    if price_age > 0:
        reasons.append(f"the last ZL close is {price_age:.0f} day(s) old")
    move = np.nan
    if answer.around_curve and expected_move(problem.sessions) in features:
        move = float(features[expected_move(problem.sessions)].iloc[-1])
    median = answer.quantiles[problem.quantiles.index(0.5)]
    no_view = why_no_direction(median, version.metrics)
    return {
        "as_of": as_of,
        "horizon": problem.horizon,
        "model_version": version.name,
        "target_date": target_date(as_of, problem.sessions),
        "last_price": last_price,
        "point": last_price * float(np.exp(median)),
        **{column(p): last_price * float(np.exp(q)) for p, q in zip(problem.quantiles, answer.quantiles, strict=True)},
        "curve_centre": last_price * np.exp(move),
        "centre_source": centre_source(answer.around_curve, move),
        "direction_probability": np.nan if no_view else answer.up,
        "direction_reason": no_view or None,
        "family": version.family,
        "is_baseline": version.family in BASELINES,
        "degraded": bool(reasons),
        "degraded_reason": "; ".join(reasons) or None,
        "regime": regime_name(features.iloc[-1]),
        "conviction": np.nan if no_view else abs(2 * answer.up - 1),
        "confidence": version.metrics.get("coverage_80", np.nan),
        "data_snapshot": data_snapshot,
        "code_version": code_version,
    }


def why_no_direction(median: float, metrics: Mapping[str, Any]) -> str:
    """Why no chance of a higher price is published; empty if one is.

    A constant is no probability, and one that was no better than a coin is not shown.

    Args:
        median: log return of the forecast. metrics: of its model, as measured on past origins.
    """
    if median == 0:
        return NO_VIEW
    brier, high, slope = (
        float(np.nan if metrics.get(name) is None else metrics[name])
        for name in ("brier", "brier_high", "direction_slope")
    )
    if np.isnan(brier) or np.isnan(slope):
        return "the chances of this model are not measured; `cbi train` measures them"
    score = f"Brier score {brier:.4f}, slope {slope:+.2f}"
    if np.isnan(high):
        return f"too few past origins to say whether its chances beat a coin ({score})"
    if high >= COIN_BRIER or slope <= 0:
        return f"on past origins its chances did not beat a coin ({score}, upper bound {high:.4f})"
    return ""


def centre_source(around_curve: bool, move: float) -> str:
    """Where a forecast has its centre from, in words."""
    if not around_curve:
        return "price: this model does not read the curve"
    return "price: the curve is not known" if np.isnan(move) else "curve"


def _served(
    store: ModelStore,
    models: IsolatedModels,
    problem: Problem,
    features: pd.DataFrame,
    horizons: Horizons,
    as_of: pd.Timestamp,
    registry: FeatureRegistry,
    notes: InputNotes | None,
    alarm: str,
) -> Answered:
    """The champion and its forecast, or the baseline and its forecast if the champion cannot serve, with the reasons.

    The answer always has quantiles: calibrated log returns.
    """
    try:
        champion = store.champion(problem.horizon, as_of)
    except ModelStoreError as error:
        return _baseline(store, models, problem, as_of, [f"the champion cannot serve: {error}"], error)
    if champion is None:
        raise StaleSource(f"no champion for {problem.horizon} trained by {as_of:%Y-%m-%d}; run `cbi train`")
    reasons = age_reasons(champion, horizons, as_of)
    if alarm and champion.family not in BASELINES:
        why = f"{champion.name} is out of control: {alarm}"
        try:
            return _baseline(store, models, problem, as_of, [why], ModelStoreError(why), instead_of=champion)
        except CbiError as error:  # a forecast that may be worse is better than none, if it says so
            reasons.append(why if why in str(error) else f"{why}; no baseline can replace it: {error}")
    try:
        return answered(champion, models, problem, features, registry, notes, reasons)
    except CbiError as error:
        all_reasons = [*reasons, f"{champion.name} cannot serve: {error}"]
        return _baseline(store, models, problem, as_of, all_reasons, error, instead_of=champion)


def age_reasons(version: Version, horizons: Horizons, as_of: pd.Timestamp) -> list[str]:
    """Why a version is too old, if it is."""
    age, limit = len(sessions(version.trained_as_of, as_of)) - 1, horizons.champion_max_age_sessions
    return [f"the model was trained {age} sessions ago (limit {limit})"] if age > limit else []


def answered(
    version: Version,
    models: IsolatedModels,
    problem: Problem,
    features: pd.DataFrame,
    registry: FeatureRegistry,
    notes: InputNotes | None,
    reasons: Sequence[str] = (),
) -> Answered:
    """A version with its forecast, and ``reasons`` with those of its inputs.

    Raises:
        CbiError: it has none, and why.
    """
    columns = list(version.metadata["columns"])
    absent = [c for c in columns if c not in features]
    if absent:
        raise CbiError(f"the feature table no longer has {absent[:3]}")
    answer = _forecast(version, models, problem)
    found = list(reasons)
    if version.family not in BASELINES:
        reads = columns if answer.reads is None else answer.reads
        found += input_reasons(
            features, reads, registry, trained_as_of=version.trained_as_of, notes=notes, at_mean=answer.at_mean
        )
    return version, answer, found


def _baseline(
    store: ModelStore,
    models: IsolatedModels,
    problem: Problem,
    as_of: pd.Timestamp,
    reasons: list[str],
    error: CbiError,
    *,
    instead_of: Version | None = None,
) -> Answered:
    """The newest baseline that was trained by ``as_of`` and can serve, in place of a champion.

    Raises:
        CbiError: the reason why the newest cannot serve, or ``error`` if there is none.
    """
    fallbacks = [v for v in baselines_by(store, problem.horizon, as_of) if v != instead_of]
    for number, version in enumerate(fallbacks):
        try:
            return version, _forecast(version, models, problem), reasons
        except CbiError as own:
            error = own if number == 0 and (instead_of is None or instead_of.family not in BASELINES) else error
    raise error


def baselines_by(store: ModelStore, horizon: str, as_of: pd.Timestamp) -> list[Version]:
    """The baselines of a horizon that were trained by ``as_of``, the newest first."""
    trained = [v for family in reversed(BASELINES) for v in store.versions(family, horizon)]
    return sorted((v for v in trained if v.trained_as_of <= as_of), key=lambda one: one.trained_as_of)[::-1]


def _forecast(version: Version, models: IsolatedModels, problem: Problem) -> Answer:
    """The answer of a version, after a check that its files are unchanged. It has quantiles.

    Raises:
        ModelStoreError: its files are changed or cannot be read.
        StaleSource: the model has no forecast, because an input that it needs is missing.
    """
    answer = models.ask(question_of(version, problem))
    if answer.error:
        raise ModelStoreError(answer.error)
    if answer.without:
        raise StaleSource(f"no forecast without {answer.without}; `cbi health` shows what is stale")
    return answer


def input_reasons(
    features: pd.DataFrame,
    reads: list[str],
    registry: FeatureRegistry,
    *,
    trained_as_of: pd.Timestamp,
    notes: InputNotes | None = None,
    at_mean: Sequence[str] = (),
) -> list[str]:
    """Why a forecast from the inputs ``reads`` is degraded, one line per cause; empty if it is not.

    An input is lost if it is missing today and was known on two thirds of the year before the model's training. The
    model has learned to do without inputs that were missing then, and an input out of season is not expected. Any lost
    input that counts as its training mean (``at_mean``) is counted in a reason of its own.
    """
    reads = [name for name in dict.fromkeys(reads) if name in registry.features]
    if not reads:
        return []
    today = features[reads].iloc[-1].isna()
    year = features.loc[features["date"] <= trained_as_of, reads].tail(YEAR_SESSIONS)
    lost = [name for name in reads if today[name] and year[name].notna().mean() >= MOSTLY_KNOWN]
    reasons = []
    by_source: dict[str, list[str]] = {}
    for name in reads:
        sources = set(_sources_of(name, registry))
        if len(sources) == 1:  # a feature of several sources says little about one
            by_source.setdefault(sources.pop(), []).append(name)
    for source, names in by_source.items():
        gone = [name for name in names if name in lost]
        if len(gone) > GONE_SHARE * len(names):
            reasons.append(f"{source}: {len(gone)} of {len(names)} inputs are missing ({_named(gone)})")
    if not reasons and len(lost) > MISSING_INPUTS * len(reads):
        reasons.append(f"{len(lost)} of {len(reads)} inputs are missing ({_named(lost)})")
    if filled := [name for name in lost if name in at_mean]:
        reasons.append(f"{len(filled)} of {len(reads)} inputs are missing and count as their mean ({_named(filled)})")
    for subject, why in notes.set_aside.items() if notes else ():
        touched = [name for name in reads if name == subject or subject in registry.features[name].sources]
        if touched:
            reasons.append(f"{subject} is set aside ({_named(touched)}): {why}")
    for subject, other in notes.stands_in.items() if notes else ():
        touched = [name for name in reads if subject in registry.features[name].sources]
        if touched:
            reasons.append(f"{other} stands in for {subject} ({_named(touched)})")
    return reasons


def _sources_of(name: str, registry: FeatureRegistry) -> list[str]:
    """The sources of a feature; a derived series by its full name, without the calendar."""
    sources = registry.features[name].sources
    return [s if s.startswith("derived ") else s.split(" ")[0] for s in sources if s != "calendar"]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
