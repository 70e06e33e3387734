"""The ensemble: quantiles averaged over families, weighted by each one's past losses per regime.

Averaging quantiles keeps bands sharper than averaging probabilities does, and never makes them cross (Lichtendahl,
Grushka-Cockayne and Winkler 2013).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tasks.errors import TrainingFailed
from tasks.quantiles import column, pinball

REGIMES = ("regime_prob_calm", "regime_prob_tense", "regime_prob_crisis")
FULL_TRUST = 20  # independent past outcomes at which weights are half way from equal to loss-based
SHARPNESS = 30.0  # weights go with loss to the power of minus this; of 0, 8 and 30 the best over 2010-2018
IDENTITY = ["target_date", "target_log_return", "last_price", "fold", "scored"]


def ensemble(
    oofs: Mapping[str, pd.DataFrame],
    probabilities: pd.DataFrame,
    levels: tuple[float, ...],
    *,
    horizon: int,
    step: int,
) -> pd.DataFrame:
    """The weighted quantile average at every origin that any family forecasts, as an out-of-fold frame.

    The weights of a regime are the families' relative pinball losses there to the power of -``SHARPNESS``. The power is
    shrunk to zero, and the weights to equal ones, by n / (n + 20), with n the family's independent outcomes known at
    the origin, each counted by its regime's probability at its origin. The weights of an origin mix the regimes' by
    their probabilities there, so that they change smoothly between regimes. If the probabilities are missing, all
    past origins count alike.

    Args:
        oofs: family: its out-of-fold forecasts, warm-up folds included. A family without a forecast at an origin has
            no weight there. A last row without an outcome is weighted like any other: it is the forecast
            of today.
        probabilities: ``date`` and the columns of ``REGIMES``, causal.
        horizon: sessions to the target. step: sessions between two origins.

    Returns:
        a frame of the same columns as an out-of-fold frame, and ``weight_<family>``.

    Invariants: the weights of an origin depend on forecasts whose target date is not after it.

    Raises:
        TrainingFailed: the frames disagree on an outcome.
    """
    identity = _identity(oofs)
    dates = identity.index
    names = [column(level) for level in levels]
    aligned = {family: oof.set_index("date").reindex(dates) for family, oof in oofs.items()}
    quantiles = np.stack([frame[names].to_numpy(dtype="float64") for frame in aligned.values()])
    up = np.stack([frame["direction_probability"].to_numpy(dtype="float64") for frame in aligned.values()])
    target = identity["target_log_return"].to_numpy()
    losses = np.stack([pinball(target, of_family, levels) for of_family in quantiles])
    regimes = probabilities.set_index("date")[list(REGIMES)].reindex(dates).to_numpy(dtype="float64")
    weights = _weights(
        losses,
        ~np.isnan(quantiles).any(axis=2),
        regimes,
        known_by=_known_by(identity),
        overlap=max(1.0, horizon / step),
    )
    blended = np.sort((weights[:, :, None] * np.nan_to_num(quantiles)).sum(axis=0), axis=1)
    views = weights * ~np.isnan(up)
    with np.errstate(invalid="ignore"):
        called = (weights * np.nan_to_num(up)).sum(axis=0) / views.sum(axis=0)
    return identity.reset_index().assign(
        direction_probability=called,
        **dict(zip(names, blended.T, strict=True)),
        **{f"weight_{family}": weights[i] for i, family in enumerate(oofs)},
    )


def regime_weights(
    oofs: Mapping[str, pd.DataFrame],
    probabilities: pd.DataFrame,
    levels: tuple[float, ...],
    *,
    horizon: int,
    step: int,
) -> pd.DataFrame:
    """The weights after all outcomes of the frames: one row per regime and ``unknown``, for days without probabilities.

    A day's weights are the regimes' weights, averaged by their probabilities that day.
    """
    last = max(probabilities["date"].max(), *(oof[["date", "target_date"]].max().max() for oof in oofs.values()))
    days = [last + pd.Timedelta(days=1 + i) for i in range(len(REGIMES) + 1)]
    views = pd.DataFrame([*np.eye(len(REGIMES)), np.full(len(REGIMES), np.nan)], columns=list(REGIMES)).assign(
        date=days
    )
    extended = {}
    for family, oof in oofs.items():
        latest = oof[oof["p50"].notna()].iloc[[-1]]
        blank = pd.concat([latest] * len(days), ignore_index=True).assign(
            date=days, target_date=days[-1] + pd.Timedelta(days=1), target_log_return=np.nan
        )
        extended[family] = pd.concat([oof, blank], ignore_index=True)
    known = pd.concat([probabilities[["date", *REGIMES]], views], ignore_index=True)
    blended = ensemble(extended, known, levels, horizon=horizon, step=step).set_index("date").loc[days]
    weights = blended[[f"weight_{family}" for family in oofs]].set_axis(list(oofs), axis=1)
    return weights.set_axis([*REGIMES, "unknown"], axis=0)


def _identity(oofs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every origin of any family, by date, with its outcome; families with different outcomes are of different data."""
    kept = ["date", *IDENTITY, *(["row"] if all("row" in oof for oof in oofs.values()) else [])]
    forecast = [oof.loc[oof["p50"].notna(), kept] for oof in oofs.values()]
    together = pd.concat(forecast).sort_values("date", kind="stable")
    spread = together.groupby("date")["target_log_return"].agg(lambda outcomes: outcomes.max() - outcomes.min())
    if (spread > 1e-12).any():
        raise TrainingFailed(
            f"families to average have other outcomes at {spread.idxmax():%Y-%m-%d}; fit them again on the same "
            f"training file (`cbi train`)"
        )
    return together.drop_duplicates("date").set_index("date")


def _known_by(identity: pd.DataFrame) -> np.ndarray:
    """Origins x origins: whether the column's outcome is known at the row's as-of instant."""
    return identity["target_date"].to_numpy()[None, :] <= identity.index.to_numpy()[:, None]


def _weights(
    losses: np.ndarray, present: np.ndarray, regimes: np.ndarray, *, known_by: np.ndarray, overlap: float
) -> np.ndarray:
    """Families x origins, each origin's weights adding up to one.

    Args:
        losses: families x origins. present: which family has a forecast of which origin. regimes: origins x regimes.
    """
    # compared with the mean of the families present at the same origins, so that a late starter can be compared
    judged = present & ~np.isnan(losses)
    counts = judged.sum(axis=0)
    usual = np.divide(np.where(judged, losses, 0.0).sum(axis=0), counts, out=np.zeros(len(counts)), where=counts > 0)
    has_view = ~np.isnan(regimes).any(axis=1)
    memberships = np.column_stack([np.where(has_view[:, None], regimes, 0.0), np.ones(len(regimes))])
    blend = np.column_stack([np.where(has_view[:, None], regimes, 0.0), np.where(has_view, 0.0, 1.0)])
    blend /= blend.sum(axis=1, keepdims=True)
    total = np.zeros(present.shape)
    for k in range(memberships.shape[1]):
        counted = known_by * memberships[:, k]
        own, common = np.where(judged, losses, 0.0) @ counted.T, np.where(judged, usual, 0.0) @ counted.T
        ratio = np.divide(own, common, out=np.ones(own.shape), where=common > 0)
        independent = judged.astype("float64") @ counted.T / overlap
        trust = independent / (independent + FULL_TRUST)
        total += blend[:, k] * _normalised(ratio ** (-SHARPNESS * trust), present)
    return total


def _normalised(weights: np.ndarray, present: np.ndarray) -> np.ndarray:
    kept = np.where(present, weights, 0.0)
    return kept / kept.sum(axis=0)
