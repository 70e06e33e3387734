"""From the champion to the forecast of a day: calibrated quantiles of the price, direction, and whether to trust it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.day import InputNotes
from tasks.errors import CbiError, ModelStoreError, StaleSource
from tasks.evaluation.calibration import calibrated
from tasks.features.regimes import regime_name
from tasks.labels import target_date
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.forecaster import BASELINE, Problem, Served, column
from tasks.registry import FeatureRegistry, Horizons
from tasks.zones import read_json

logger = logging.getLogger(__name__)

EXPLAINED_BY = "lightgbm"
NAMED = 5  # missing features that a message names
MISSING_INPUTS = 0.2  # share of a model's inputs that may be lost before its forecast is marked degraded
GONE_SHARE = 0.5  # and of those that are made of one source alone: beyond half of them the source is gone
MOSTLY_KNOWN = 2 / 3  # of the year to its training, in which a lost input was known: what features need of a window
YEAR_SESSIONS = 252
ROUNDING = 1e-9


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
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The forecasts of ``as_of`` at every horizon, and their explanation.

    Args:
        features: the feature table to ``as_of``. panel: the panel to ``as_of``. notes: what was set aside of the
            inputs and what stands in; a model that reads any of it is degraded, and its reason says so.

    Returns:
        rows of ``forecasts.zl_forecasts_daily`` and of ``forecasts.zl_explainers_daily`` (without ``created_at``).
        Prices in cents/lb; price quantiles are exact transforms of the log-return quantiles.

    Raises:
        StaleSource: there is no ZL price recent enough to start from, or not even the baseline has a forecast.
    """
    row = features.iloc[[-1]]
    last_price, price_age = float(panel["zl_last"].iloc[-1]), float(panel["zl_last__age_days"].iloc[-1])
    if np.isnan(last_price):
        raise StaleSource(
            f"yahoo: ZL=F: newest close is {price_age:.0f} days before {as_of:%Y-%m-%d}. "
            f"Run `python -m flows.ingest yahoo`, or see docs/runbook.md#stale-source"
        )
    forecasts, explained = [], []
    for name in horizons.horizons:
        problem = problem_of(name, horizons)
        version, model, quantiles, reasons = _served(store, problem, features, horizons, as_of, registry, notes)
        reasons += [
            f"the close of {name} is unconfirmed: {why}" for name, why in (notes.unconfirmed if notes else {}).items()
        ]
        if price_age > 0:
            reasons.append(f"the last ZL close is {price_age:.0f} day(s) old")
        up = float(model.direction_probability(quantiles)[0])
        median = float(np.exp(quantiles[0, problem.quantiles.index(0.5)]))
        forecasts.append(
            {
                "as_of": as_of,
                "horizon": name,
                "model_version": version.name,
                "target_date": target_date(as_of, problem.sessions),
                "last_price": last_price,
                "point": last_price * median,
                **{
                    column(p): last_price * float(np.exp(q))
                    for p, q in zip(problem.quantiles, quantiles[0], strict=True)
                },
                "direction_probability": up,
                "family": version.family,
                "is_baseline": version.family == BASELINE,
                "degraded": bool(reasons),
                "degraded_reason": "; ".join(reasons) or None,
                "regime": regime_name(row.iloc[0]),
                "conviction": abs(2 * up - 1),
                "confidence": version.metrics.get("coverage_80", np.nan),
                "data_snapshot": data_snapshot,
                "code_version": code_version,
            }
        )
        explained.append(_explain(store, problem, features, version, registry, last_price, as_of))
    return pd.DataFrame(forecasts), pd.concat(explained, ignore_index=True)


def _served(
    store: ModelStore,
    problem: Problem,
    features: pd.DataFrame,
    horizons: Horizons,
    as_of: pd.Timestamp,
    registry: FeatureRegistry,
    notes: InputNotes | None,
) -> tuple[Version, Served, np.ndarray, list[str]]:
    """The champion and its quantiles, or the baseline's beside it when it cannot serve; and what is wrong, if anything.

    The quantiles are calibrated log returns, one row of them, all there.
    """
    try:
        champion = store.champion(problem.horizon, as_of)
    except ModelStoreError as error:
        return _baseline(store, problem, features, as_of, [f"the champion cannot serve: {error}"], error)
    if champion is None:
        raise StaleSource(
            f"no champion for {problem.horizon} trained by {as_of:%Y-%m-%d}; run `python -m flows.training`"
        )
    reasons = []
    age = len(sessions(champion.trained_as_of, as_of)) - 1
    if age > horizons.champion_max_age_sessions:
        reasons.append(f"the model was trained {age} sessions ago (limit {horizons.champion_max_age_sessions})")
    try:
        model = champion.load(problem)
        columns = list(champion.metadata["columns"])
        absent = [c for c in columns if c not in features]
        if absent:
            raise CbiError(f"the feature table no longer has {absent[:3]}")
        quantiles = _quantiles(champion, model, problem, features)
        if champion.family != BASELINE:
            reads = list(model.reads if model.reads is not None else columns)
            reasons += input_reasons(features, reads, registry, trained_as_of=champion.trained_as_of, notes=notes)
        return champion, model, quantiles, reasons
    except CbiError as error:
        if champion.family == BASELINE:
            raise
        told = [*reasons, f"{champion.name} cannot serve: {error}"]
        return _baseline(store, problem, features, as_of, told, error)


def _baseline(
    store: ModelStore,
    problem: Problem,
    features: pd.DataFrame,
    as_of: pd.Timestamp,
    reasons: list[str],
    error: CbiError,
) -> tuple[Version, Served, np.ndarray, list[str]]:
    """The newest baseline that was trained by ``as_of``, in place of a champion.

    Raises:
        CbiError: ``error``, where there is none.
    """
    fallbacks = [v for v in store.versions(BASELINE, problem.horizon) if v.trained_as_of <= as_of]
    if not fallbacks:
        raise error
    model = fallbacks[-1].load(problem)
    return fallbacks[-1], model, _quantiles(fallbacks[-1], model, problem, features), reasons


def input_reasons(
    features: pd.DataFrame,
    reads: list[str],
    registry: FeatureRegistry,
    *,
    trained_as_of: pd.Timestamp,
    notes: InputNotes | None = None,
) -> list[str]:
    """Why a forecast made of ``reads`` is degraded by its inputs, one line a cause; none where it is not.

    Lost is an input that is missing today and was known on two thirds of the year to the model's training: what was
    missing then the model has learnt to do without, and what rests out of season is not due.
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
        if len(sources) == 1:  # what has others beside it says little of one source
            by_source.setdefault(sources.pop(), []).append(name)
    for source, names in by_source.items():
        gone = [name for name in names if name in lost]
        if len(gone) > GONE_SHARE * len(names):
            reasons.append(f"{source}: {len(gone)} of {len(names)} inputs are missing ({_named(gone)})")
    if not reasons and len(lost) > MISSING_INPUTS * len(reads):
        reasons.append(f"{len(lost)} of {len(reads)} inputs are missing ({_named(lost)})")
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
    """The sources a feature is made of; a derived series by its full name, the calendar left out."""
    sources = registry.features[name].sources
    return [s if s.startswith("derived ") else s.split(" ")[0] for s in sources if s != "calendar"]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _quantiles(version: Version, model: Served, problem: Problem, features: pd.DataFrame) -> np.ndarray:
    """The calibrated quantiles of the last row, with which the model's own P(higher) agrees.

    Raises:
        StaleSource: the model has no forecast, since something that it cannot do without is missing.
        ModelStoreError: its P(higher) contradicts them, so that one of the two is wrong.
    """
    raw = model.predict_quantiles(features.iloc[-model.history_sessions :])[-1:]
    quantiles = calibrated(raw, problem.quantiles, read_json(version.folder / "calibration.json"))
    if np.isnan(quantiles).any():
        missing = [name for name in model.needs if features[name].iloc[-model.history_sessions :].isna().any()]
        raise StaleSource(
            f"no forecast without {_named(missing) or 'a session among those that it reads'}; "
            "`python -m flows.health` tells what is stale"
        )
    if wrong := contradiction(float(model.direction_probability(quantiles)[0]), quantiles[0], problem):
        raise ModelStoreError(f"{version.name}: {wrong}. Run `python -m flows.training`")
    return quantiles


def contradiction(higher: float, quantiles: np.ndarray, problem: Problem) -> str | None:
    """How a probability that the price ends higher contradicts the quantiles of the log return beside it, or None.

    Of a quantile above no change at least what lies beyond it is a rise: P(higher) >= 1 - level. Of one below, at most
    that. Nothing more is asked, so that it does not matter how a model reads between its quantiles. A median of exactly
    no change takes no view of the direction: there families tell the share of past moves that were up.
    """
    if not 0 <= higher <= 1:
        return f"P(higher) is {higher:g}, which is no probability"
    if quantiles[problem.quantiles.index(0.5)] == 0:
        return None
    for level, value in zip(problem.quantiles, quantiles, strict=True):
        least, most = (1 - level, 1.0) if value > 0 else (0.0, 1 - level) if value < 0 else (0.0, 1.0)
        if not least - ROUNDING <= higher <= most + ROUNDING:
            return (
                f"P(higher) is {higher:.1%}, but its own {level:.0%} quantile is a move of {np.expm1(value):+.2%}, so "
                f"that it is {'at least' if value > 0 else 'at most'} {1 - level:.0%}"
            )
    return None


def _explain(
    store: ModelStore,
    problem: Problem,
    features: pd.DataFrame,
    served: Version,
    registry: FeatureRegistry,
    last_price: float,
    as_of: pd.Timestamp,
) -> pd.DataFrame:
    """Contributions in cents/lb of the served model, or of the challenger where the served one has no reasons to give.

    A model that only says how far the price may move gives none. What the challenger sees is then shown as such
    (``served`` false). Log-return contributions are additive; they are brought to cents in proportion, so that they
    add up to the move in cents.
    """
    trained = [v for v in store.versions(EXPLAINED_BY, problem.horizon) if v.trained_as_of == served.trained_as_of]
    for version in (served, *trained[-1:]):
        try:
            model = version.load(problem)
        except CbiError as error:
            logger.warning("no drivers from %s: %s", version.name, error)
            continue
        seen = features.iloc[-model.history_sessions :]
        told = model.explain(seen)
        if len(told.columns):
            break
    else:
        return pd.DataFrame()
    contributions = told.iloc[-1]
    total = float(contributions.sum())
    cents_a_unit = last_price * (np.expm1(total) / total if abs(total) > 1e-12 else 1.0)
    by_feature = contributions.drop("base")
    by_feature = by_feature[has_driver(by_feature, seen.iloc[-1], registry)]
    return pd.DataFrame(
        {
            "as_of": as_of,
            "horizon": problem.horizon,
            "feature": by_feature.index,
            "group": [registry.category_of.get(name, "unregistered") for name in by_feature.index],
            "shap_cents_lb": by_feature.to_numpy() * cents_a_unit,
            "feature_value": seen[list(by_feature.index)].iloc[-1].to_numpy(),
            "family": version.family,
            "served": version.name == served.name,
            "model_version": version.name,
        }
    )


def has_driver(contributions: pd.Series, values: pd.Series, registry: FeatureRegistry) -> np.ndarray:
    """Which contributions to tell: those of a group of which any feature has a value, and any other that is not 0.

    A group without a value today says nothing: its zeros are no drivers. (A tree may move on a missing value; that
    part of the move stays, so that the contributions add up.)
    """
    groups = pd.Series([registry.category_of.get(name, "unregistered") for name in contributions.index])
    known = values[list(contributions.index)].notna().reset_index(drop=True)
    return (known.groupby(groups).transform("any") | contributions.reset_index(drop=True).ne(0.0)).to_numpy()
