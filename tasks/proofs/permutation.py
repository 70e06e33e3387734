"""A model trained on shuffled labels must show no skill. Any skill comes from a leak in the harness.

Labels are moved in blocks longer than the horizon, features stay. Within a block adjacent targets still overlap, as
true ones do. So a model that saw a row next to its test (a missing purge, a label in a feature, a scaler fitted
on everything) forecasts what it could not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import measure
from tasks.models.forecaster import Forecaster, Problem, horizon_scale
from tasks.models.naive import NoChange
from tasks.registry import Horizons
from tasks.training.worker import out_of_fold, usable

MAX_SKILL_PCT = 1.0
"""Limit of the mean skill over the no-change forecast, in pinball loss; above it something leaks. Shuffled labels
have no signal, so a correct harness shows none. Measured: means of -0.1 to +0.3 for the echo and -14 to -36 for the
analogues; without the purge the echo has +6 (6m) to +27 (1w)."""
NEIGHBOURS = 10
FADING = 3.0  # over one horizon, the reach of an outcome, its weight falls to exp(-3)


class Echo(NoChange):
    """No-change quantiles around the newest training outcome, with less weight the further the forecast is ahead.

    If the purge is right, that outcome ended before the test began and has almost no weight. If training rows reach
    into the test, it is most of the forecast.
    """

    family: ClassVar[str] = "echo"

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Keep the newest outcome and its row, and learn the baseline's quantiles."""
        super().fit(features, target)
        scaled = target.to_numpy() / horizon_scale(features, self.problem.sessions)
        self._row, self._outcome = int(features.index[-1]), float(scaled[-1])

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's quantiles, shifted to the newest outcome."""
        belief = np.exp(-FADING * (features.index.to_numpy() - self._row) / self.problem.sessions)
        location = belief * self._outcome * horizon_scale(features, self.problem.sessions)
        return super().predict_quantiles(features) + location[:, None]

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Up where the median is above zero."""
        return (quantiles[:, self.problem.quantiles.index(0.5)] > 0).astype("float64")


class Analogues(NoChange):
    """No-change quantiles around the mean outcome of the most similar past rows.

    Cheap and greedy: the outcome of a similar row is used without shrinkage, whichever feature made it similar. A
    missing feature counts as average; it affects distances only.
    """

    family: ClassVar[str] = "analogues"

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        """Keep the rows, and learn the baseline's quantiles."""
        super().fit(features, target)
        known = features.to_numpy(dtype="float64")
        with np.errstate(invalid="ignore"):
            known_columns = ~np.isnan(known).all(axis=0)
            self._varying = known_columns & (np.nanstd(np.where(known_columns, known, 0.0), axis=0) > 0)
        known = known[:, self._varying]
        self._centre, self._spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        self._rows = self._standardised(known)
        self._outcomes = target.to_numpy() / horizon_scale(features, self.problem.sessions)

    def _standardised(self, known: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.clip((known - self._centre) / self._spread, -5, 5), nan=0.0)

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        """The baseline's quantiles, shifted to the neighbors' mean outcome."""
        standardised = self._standardised(features.to_numpy(dtype="float64")[:, self._varying])
        distance = (self._rows**2).sum(axis=1) - 2 * standardised @ self._rows.T
        nearest = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        location = self._outcomes[nearest].mean(axis=1) * horizon_scale(features, self.problem.sessions)
        return super().predict_quantiles(features) + location[:, None]

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        """Up where the median is above zero."""
        return (quantiles[:, self.problem.quantiles.index(0.5)] > 0).astype("float64")


def permuted_in_blocks(table: pd.DataFrame, *, sessions: int, chance: np.random.Generator) -> pd.DataFrame:
    """The training table with the known targets moved in blocks of twice the horizon, at least half a year.

    The order of the blocks and their start are random; no block stays in its place.
    """
    known = np.flatnonzero(usable(table).to_numpy())
    length = max(2 * sessions, 126)
    turned = np.roll(known, chance.integers(length))
    blocks = np.array_split(turned, max(2, len(known) // length))
    order = chance.permutation(len(blocks))
    while (order == np.arange(len(blocks))).any():
        order = chance.permutation(len(blocks))
    source = np.concatenate([blocks[i] for i in order])
    target = table["target_log_return"].to_numpy().copy()
    price = table["target_price"].to_numpy() / np.exp(target)
    target[turned] = target[source]
    return table.assign(target_log_return=target, target_price=price * np.exp(target))


def permutation_proof(
    tables: dict[str, pd.DataFrame],
    horizons: Horizons,
    columns: list[str],
    *,
    permutations: int,
    families: Sequence[type[Forecaster]] = (Echo, Analogues),
    progress: Callable[[int, int, str], None] = lambda *_: None,
    seed: int = 20260101,
) -> pd.DataFrame:
    """Walk-forward skill on shuffled labels, for each horizon of ``tables``, permutation and family.

    Only origins less than a horizon after the start of their fold are scored: a training row can reach no further.

    Args:
        tables: horizon: its training table (tasks.exports.training_table). columns: the production features.

    Returns:
        ``horizon, family, permutation, skill_pct, direction_hit_rate, origins``; check it with ``skillful``.
    """
    rows = []
    for number, (name, table) in enumerate(tables.items()):
        problem = Problem(name, horizons.horizons[name].sessions, horizons.quantiles)
        for i in range(permutations):
            chance = np.random.default_rng([seed, problem.sessions, i])
            shuffled = permuted_in_blocks(table, sessions=problem.sessions, chance=chance)
            base = _scored(NoChange, problem, shuffled, columns, horizons)
            for family in families:
                own = _scored(family, problem, shuffled, columns, horizons)
                rows.append(
                    {
                        "horizon": name,
                        "family": family.family,
                        "permutation": i,
                        "skill_pct": 100 * (1 - float(own["pinball_log_return"]) / float(base["pinball_log_return"])),
                        "direction_hit_rate": own["direction_hit_rate"],
                        "origins": own["origins"],
                    }
                )
            progress(number * permutations + i + 1, len(tables) * permutations, f"{name} permutation {i + 1}")
    return pd.DataFrame(rows)


def skillful(found: pd.DataFrame) -> pd.DataFrame:
    """The horizons and families with skill on shuffled labels: empty if the proof passes."""
    mean = found.groupby(["horizon", "family"], sort=False)["skill_pct"].mean()
    return mean[~(mean <= MAX_SKILL_PCT)].rename("mean_skill_pct").reset_index()


def _scored(
    family: type[Forecaster], problem: Problem, table: pd.DataFrame, columns: list[str], horizons: Horizons
) -> dict[str, float | int | str]:
    oof = out_of_fold(family, problem, table, columns, horizons.walk_forward)
    ahead = oof["row"] - oof.groupby("fold")["row"].transform("min")
    return measure(oof[oof["scored"] & (ahead < problem.sessions)], problem.quantiles)
