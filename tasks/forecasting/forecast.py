"""From the champion to the forecast of a day: calibrated quantiles of the price, direction, and whether to trust it."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.errors import CbiError, StaleSource
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
MISSING_INPUTS = 0.2  # share of a model's features that may be missing before its forecast is marked degraded


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
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The forecasts of ``as_of`` at every horizon, and their explanation.

    Args:
        features: the feature table to ``as_of``. panel: the panel to ``as_of``.

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
        version, model, quantiles, reasons = _served(store, problem, features, horizons, as_of)
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
    store: ModelStore, problem: Problem, features: pd.DataFrame, horizons: Horizons, as_of: pd.Timestamp
) -> tuple[Version, Served, np.ndarray, list[str]]:
    """The champion and its quantiles, or the baseline's beside it when it cannot serve; and what is wrong, if anything.

    The quantiles are calibrated log returns, one row of them, all there.
    """
    champion = store.champion(problem.horizon, as_of)
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
        missing = float(features[columns].iloc[-1].isna().mean())
        if champion.family != BASELINE and missing > MISSING_INPUTS:
            reasons.append(f"{missing:.0%} of the model's inputs are missing today")
        return champion, model, _quantiles(champion, model, problem, features), reasons
    except CbiError as error:
        fallbacks = [v for v in store.versions(BASELINE, problem.horizon) if v.trained_as_of <= as_of]
        if champion.family == BASELINE or not fallbacks:
            raise
        model = fallbacks[-1].load(problem)
        quantiles = _quantiles(fallbacks[-1], model, problem, features)
        return fallbacks[-1], model, quantiles, [*reasons, f"{champion.name} cannot serve: {error}"]


def _quantiles(version: Version, model: Served, problem: Problem, features: pd.DataFrame) -> np.ndarray:
    """The calibrated quantiles of the last row.

    Raises:
        StaleSource: the model has no forecast, since something that it cannot do without is missing.
    """
    raw = model.predict_quantiles(features.iloc[-model.history_sessions :])[-1:]
    quantiles = calibrated(raw, problem.quantiles, read_json(version.folder / "calibration.json"))
    if np.isnan(quantiles).any():
        missing = features[list(version.metadata["columns"])].tail(2).isna()
        newly = missing.iloc[-1] & ~missing.iloc[0]
        named = missing.columns[newly if newly.any() else missing.iloc[-1]]
        raise StaleSource(
            f"no forecast without {', '.join(named[:NAMED]) or 'a session among those that it reads'}"
            f"{f' and {len(named) - NAMED} more' if len(named) > NAMED else ''}; `python -m flows.health` tells what "
            "is stale"
        )
    return quantiles


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
