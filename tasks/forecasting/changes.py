"""What changed since the session before: the moves of the centre and of the band, split exactly.

The steps, each computed by the models themselves, in this order:

    the published forecast of the session before
    + revision     the same model on that session's inputs as they are known now, less what was published
    + price        today's last price in place of that session's
    + curve        the curve's expected move of today
    + data         today's inputs; shared among their series by what each adds to the model's own contributions
    + model        today's model version in place of that session's
    + calibration  the width that today's version learned from its past errors
    = the published forecast of today

Where the forecast is the same by construction, a step is exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from tasks.errors import CbiError
from tasks.forecasting.attribution import BASE, LOWER, UPPER, Reasons
from tasks.models.catalogue import EXPECTED_MOVE
from tasks.registry.features import FeatureRegistry

PARTS = ("revision", "price", "curve", "data", "model", "calibration")
SUM_CENTS = 1e-6  # the parts add up to the move, to rounding


@dataclass(frozen=True)
class Version:
    """A model version at the session before (``before``) and at this one (``now``), and its calibration."""

    name: str
    before: Reasons | None
    now: Reasons
    log_width: float


def changes_of(
    today: pd.Series,
    yesterday: pd.Series | None,
    new: Version,
    old: Version | None,
    registry: FeatureRegistry,
    *,
    levels: tuple[float, ...],
    session_before: pd.Timestamp,
) -> pd.DataFrame:
    """Rows of ``forecasts.zl_changes_daily`` of one horizon.

    Args:
        today, yesterday: rows of ``forecasts.zl_forecasts_daily``; None where nothing is published of the session
            before. new, old: today's version and that session's (the same one where it did not change).

    Returns:
        ``as_of, horizon, part, subject, centre_cents_lb, width_cents_lb, since, note``; one row per part, and of
        ``data`` one per group of series. One row with a note and no values where the moves cannot be split.

    Raises:
        CbiError: the parts do not add up to the published moves.
    """
    key = {"as_of": today["as_of"], "horizon": today["horizon"]}
    if yesterday is None:
        return _none(key, f"no forecast of {session_before:%Y-%m-%d} is published, the session before")
    if old is None or old.before is None:
        return _none(key, f"{yesterday['model_version']} of {session_before:%Y-%m-%d} cannot forecast again")
    rows = _split(today, yesterday, new, old, registry, levels)
    table = pd.DataFrame(rows, columns=["part", "subject", "centre_cents_lb", "width_cents_lb"])
    moves = (today["point"] - yesterday["point"], _width_of(today) - _width_of(yesterday))
    for column, move in zip(("centre_cents_lb", "width_cents_lb"), moves, strict=True):
        if abs(float(table[column].sum()) - float(move)) > SUM_CENTS:
            raise CbiError(f"the parts of {column} add up to {table[column].sum():+.4f}, not {move:+.4f}")
    return table.assign(**key, since=session_before, note=None)


def _none(key: Mapping[str, object], note: str) -> pd.DataFrame:
    row = {**key, "part": "unknown", "subject": "", "centre_cents_lb": np.nan, "width_cents_lb": np.nan}
    return pd.DataFrame([{**row, "since": pd.NaT, "note": note}])


def _width_of(row: pd.Series) -> float:
    return float(row["p90"] - row["p10"])


def _split(
    today: pd.Series,
    yesterday: pd.Series,
    new: Version,
    old: Version,
    registry: FeatureRegistry,
    levels: tuple[float, ...],
) -> list[tuple[str, str, float, float]]:
    price_before, price = float(yesterday["last_price"]), float(today["last_price"])
    assert old.before is not None
    curve = _curve(old.now) - _curve(old.before)
    states = [
        (float(yesterday["point"]), _width_of(yesterday)),
        _prices(old.before.quantiles, levels, old.log_width, price_before),
        _prices(old.before.quantiles, levels, old.log_width, price),
        _prices([q + curve for q in old.before.quantiles], levels, old.log_width, price),
        _prices(old.now.quantiles, levels, old.log_width, price),
        _prices(new.now.quantiles, levels, old.log_width, price),
        (float(today["point"]), _width_of(today)),
    ]
    steps = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(states)]
    named = dict(zip(PARTS, steps, strict=True))
    rows = []
    for part in PARTS:
        if part == "data":
            rows += _by_series(named[part], old, registry)
        else:
            subject = new.name if part == "model" and new.name != old.name else ""
            rows.append((part, subject, *named[part]))
    return rows


def _prices(
    quantiles: list[float], levels: tuple[float, ...], log_width: float, last_price: float
) -> tuple[float, float]:
    """Centre and width of the 80% band in cents/lb, of uncalibrated log returns."""
    median = quantiles[levels.index(0.5)]
    low, high = (
        last_price * np.exp(median + (quantiles[levels.index(level)] - median) * np.exp(log_width))
        for level in (LOWER, UPPER)
    )
    return float(last_price * np.exp(median)), float(high - low)


def _curve(reasons: Reasons) -> float:
    return sum(value for name, value in reasons.centre.items() if name.startswith(EXPECTED_MOVE))


def _by_series(
    step: tuple[float, float], version: Version, registry: FeatureRegistry
) -> list[tuple[str, str, float, float]]:
    """The step of new data, by the sources of the features, in proportion to the change of their contributions."""
    assert version.before is not None
    of_centre = _changed(version.before.centre, version.now.centre)
    of_width = _changed(version.before.width, version.now.width)
    of_centre = {name: value for name, value in of_centre.items() if not name.startswith(EXPECTED_MOVE)}
    shares = [_in_cents(parts, total) for parts, total in zip((of_centre, of_width), step, strict=True)]
    by_series: dict[str, list[float]] = {}
    for place, share in enumerate(shares):
        for name, cents in share.items():
            entry = registry.features.get(name)
            subject = ", ".join(entry.sources) if entry else "not shared among series"
            by_series.setdefault(subject, [0.0, 0.0])[place] += cents
    moved = {subject: cents for subject, cents in by_series.items() if any(cents)}
    return [("data", subject, cents[0], cents[1]) for subject, cents in moved.items()] or [("data", "", 0.0, 0.0)]


def _changed(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    names = dict.fromkeys([*before, *now])
    return {name: now.get(name, 0.0) - before.get(name, 0.0) for name in names}


def _in_cents(parts: dict[str, float], total: float) -> dict[str, float]:
    """``total`` shared in proportion to ``parts``; all of it unshared where they say nothing about it.

    Where large parts cancel, a proportion would blow them up: there they count as they are, and the rest is unshared.
    """
    amount, size = sum(parts.values()), sum(map(abs, parts.values()))
    if size == 0:
        return {BASE: total} if total else {}
    if abs(amount) < 0.05 * size:
        return {BASE: total}
    return {name: value * total / amount for name, value in parts.items()}
