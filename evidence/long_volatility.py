"""Scales of the bands that read more than the features of a row: every daily return before it, or other futures.

For ``evidence/bands.py`` only; nothing here is served.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tasks.features.rolling import ANNUAL_PCT, ewma_volatility
from tasks.models.har import LOWEST_PCT, MEMORIES, Har
from tasks.models.volatility_scaled import (
    DAILY_RETURN,
    SESSIONS_A_YEAR,
    VolatilityScaledForecaster,
    realised_ahead_pct,
)

ROW = "row_number"
"""The place of a row among the sessions of the training file, as a column: it says which returns came before."""
OWN_MARKET = "SOYOIL"
DECAYS = dict(zip(MEMORIES, (0.94, 0.97, 0.99), strict=True))


def futures_history(pairs: pd.DataFrame) -> pd.DataFrame:
    """Daily returns of each recorded future on one contract, and the volatilities that HAR reads.

    Args:
        pairs: observations of ``pysystemtrade``: ``series, field, observation_date, value``, newest vintage.

    Returns:
        ``market, date, zl_return_1d`` and the columns of ``MEMORIES`` in percent per year. The return over a change of
        the contract is missing.
    """
    parts = []
    for market, rows in pairs[pairs["field"].isin(["price", "price_contract"])].groupby("series"):
        wide = rows.pivot_table(index="observation_date", columns="field", values="value", aggfunc="last").dropna()
        wide = wide[wide["price"] > 0]
        moves = np.log(wide["price"]).diff().where(wide["price_contract"].diff() == 0)
        volatility = {name: ewma_volatility(moves, decay).to_numpy() * ANNUAL_PCT for name, decay in DECAYS.items()}
        parts.append(pd.DataFrame({"market": market, "date": wide.index, DAILY_RETURN: moves.to_numpy(), **volatility}))
    return pd.concat(parts, ignore_index=True)


class HarShort(Har):
    """HAR on the memories of volatility alone: what the longer histories are compared with."""

    logs: ClassVar[tuple[str, ...]] = MEMORIES
    levels: ClassVar[tuple[str, ...]] = ()


class HarOfHistory(HarShort):
    """The same, its coefficients from other rows: those of ``history`` until the last training session."""

    history: ClassVar[pd.DataFrame]
    dates: ClassVar[np.ndarray]

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """One regression over all markets of the history; outcomes after the training's last session do not count."""
        until = self.dates[int(features[ROW].max())]
        inputs, departures = [], []
        for _, market in self.history[self.history["date"] <= until].groupby("market"):
            ahead = np.log(np.maximum(realised_ahead_pct(market, self.problem.sessions), LOWEST_PCT))
            logs = np.log(market[list(MEMORIES)].where(market[list(MEMORIES)] > 0).to_numpy(dtype="float64"))
            inputs.append(logs)
            departures.append(ahead - logs[:, -1])
        regression = self._regression(np.vstack(inputs), np.concatenate(departures), None)
        self.state = {"all": regression, "without_spare": regression}


class GjrStudent(VolatilityScaledForecaster):
    """GJR-GARCH(1,1) with Student's t by maximum likelihood, from the library ``arch``.

    Glosten, Jagannathan and Runkle (1993). The variance of the horizon is the sum of the expected variances:
    V h + (s2 - V) (1 - p^h) / (1 - p), with p = a + g/2 + b and V the long run w / (1 - p).
    """

    family: ClassVar[str] = "gjr"
    shares_shape: ClassVar[bool] = True
    returns: ClassVar[np.ndarray]

    @property
    def needs(self) -> tuple[str, ...]:
        """The place of the row: the recursion reads every return to it."""
        return (ROW,)

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """Four parameters of the variance on the returns to the training's last session, in percent."""
        from arch import arch_model

        known = 100 * self.returns[: int(features[ROW].max()) + 1]
        fitted = arch_model(known[~np.isnan(known)], mean="Zero", p=1, o=1, q=1, dist="t").fit(disp="off")
        self.state = {name: float(fitted.params[key]) for name, key in _PARAMETERS.items()}

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """Root of the expected variance over the horizon, in units of the log return."""
        persistence = self.state["a"] + self.state["g"] / 2 + self.state["b"]
        next_day, sessions = self._next_variance()[features[ROW].to_numpy(dtype="int64")], self.problem.sessions
        if persistence >= 1:
            return np.sqrt(next_day * sessions) / 100
        long_run = self.state["w"] / (1 - persistence)
        ahead = (1 - persistence**sessions) / (1 - persistence)
        return np.sqrt(long_run * sessions + (next_day - long_run) * ahead) / 100

    def _next_variance(self) -> np.ndarray:
        """By session, the variance of the next one, in percent squared: a return that is missing counts as expected."""
        w, a, g, b = (self.state[name] for name in _PARAMETERS)
        following = np.empty(len(self.returns))
        variance = float(np.nanvar(100 * self.returns[:SESSIONS_A_YEAR]))
        for day, moved in enumerate(100 * self.returns):
            squared = variance * (1 + g / 2 / a if a > 0 else 1) if np.isnan(moved) else moved**2
            variance = w + (a + g * (moved < 0)) * squared + b * variance
            following[day] = variance
        return following


_PARAMETERS: dict[str, Any] = {"w": "omega", "a": "alpha[1]", "g": "gamma[1]", "b": "beta[1]"}
