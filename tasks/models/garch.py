"""GARCH(1,1): the variance of daily returns, and how fast it reverts to its long-run level over the horizon.

Bollerslev (1986). The recursion s2[t+1] = w + a r2[t] + b s2[t] is w / (1 - b) + a / (1 - b) times the exponentially
weighted variance with decay b, and those of three decays are features: b is one of them, w and a are fitted.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd

from tasks.models.volatility_scaled import DAILY_RETURN, SESSIONS_A_YEAR, VolatilityScaledForecaster

DECAYS = {0.94: "zl_ewma_volatility_94_pct", 0.97: "zl_ewma_volatility_97_pct"}
FROM_PCT = 100 * np.sqrt(SESSIONS_A_YEAR)


class Garch(VolatilityScaledForecaster):
    """Quasi-maximum likelihood for the daily variance; quantiles shrunk to those of weekly returns."""

    family: ClassVar[str] = "garch"
    shares_shape: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:
        """The variance feature whose decay was fitted."""
        return (DECAYS[self.state["decay"]],)

    def learn(self, features: pd.DataFrame, target: pd.Series, weights: np.ndarray | None) -> None:
        """Long-run variance by targeting, a and b by Gaussian likelihood of the next session's return.

        Variance targeting (Engle and Mezrich 1996) sets the long run to the mean square, so that w = (1 - a - b) V.
        """
        from scipy.optimize import minimize_scalar

        following = features[DAILY_RETURN].shift(-1).to_numpy(dtype="float64") ** 2
        long_run = float(np.nanmean(features[DAILY_RETURN].to_numpy(dtype="float64") ** 2))
        best = np.inf
        for decay, name in DECAYS.items():
            weighted = (features[name].to_numpy(dtype="float64") / FROM_PCT) ** 2
            known = ~np.isnan(weighted) & ~np.isnan(following)

            def loss(
                share: float, weighted: np.ndarray = weighted[known], squared: np.ndarray = following[known]
            ) -> float:
                variance = share * weighted + (1 - share) * long_run
                return float(np.mean(np.log(variance) + squared / variance))

            found = minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded")
            if found.fun < best:
                best = found.fun
                # share = a / (1 - b)
                self.state = {"decay": decay, "alpha": float(found.x) * (1 - decay), "long_run": long_run}

    def scale(self, features: pd.DataFrame) -> np.ndarray:
        """Root of the variance summed over the horizon: V h + (s2 - V) (1 - p^h) / (1 - p), p = a + b."""
        decay, alpha, long_run = (self.state[name] for name in ("decay", "alpha", "long_run"))
        weighted = (features[DECAYS[decay]].to_numpy(dtype="float64") / FROM_PCT) ** 2
        share, persistence, sessions = alpha / (1 - decay), alpha + decay, self.problem.sessions
        following = share * weighted + (1 - share) * long_run
        ahead = sessions if persistence >= 1 else (1 - persistence**sessions) / (1 - persistence)
        return np.sqrt(long_run * sessions + (following - long_run) * ahead)
