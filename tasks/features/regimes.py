"""Causal regimes: thresholds on the past only. The dated calendar weights and slices; it is never a feature.

The classifier is a mixture of three Gaussians over log VIX, log volatility of ZL and log high-yield spread, fitted at
each year's first session on all sessions before it (every fifth of them: neighbours say the same), and kept for the
year. A year's fit starts from the means of the one before and its states are ordered from calm to crisis by the sum of
their standardised means, so that a state keeps its name.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.features.rolling import SESSIONS_A_YEAR, annualised_pct, ewma_volatility, log_return, percentile

CALM, STRESSED = 0.33, 0.8
STATES = ("calm", "tense", "crisis")
LEARN_SESSIONS = 3 * SESSIONS_A_YEAR  # known sessions before a first fit
EVERY = 5


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Volatility regime by its five-year percentile, trend regime by the 200-session mean."""
    close = panel["zl_last"]
    rank = percentile(annualised_pct(log_return(close, 1), 63), 1260)
    fear = percentile(panel["vix_last"], 756)
    trend = close / close.rolling(200, min_periods=150).mean() - 1
    return {
        "regime_calm": (rank <= CALM).astype(float).where(rank.notna()),
        "regime_stressed": (rank >= STRESSED).astype(float).where(rank.notna()),
        "regime_uptrend": (trend > 0.05).astype(float).where(trend.notna()),
        "regime_downtrend": (trend < -0.05).astype(float).where(trend.notna()),
        "regime_risk_off": (fear >= STRESSED).astype(float).where(fear.notna()),
    } | classify(panel)


def classify(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Probability of each state, how settled it is, and how far the year's fit agrees with that of the year before."""
    inputs = regime_inputs(panel)
    probabilities, agreement = _walk(inputs.to_numpy(dtype="float64"), panel["date"].dt.year.to_numpy())
    out = {f"regime_prob_{name}": pd.Series(probabilities[:, i], index=panel.index) for i, name in enumerate(STATES)}
    frame = pd.DataFrame(out)
    known = frame.notna().all(axis=1)
    state = frame.fillna(-1.0).to_numpy().argmax(axis=1)
    stayed = pd.Series(np.r_[np.nan, (state[1:] == state[:-1]).astype(float)], index=panel.index)
    stayed = stayed.where(known & known.shift(fill_value=False))
    return out | {
        "regime_stability_63d": stayed.rolling(63, min_periods=42).mean(),
        "regime_refit_agreement": pd.Series(agreement, index=panel.index).where(known),
    }


def regime_inputs(panel: pd.DataFrame) -> pd.DataFrame:
    """What the classifier looks at: all positive, in logs."""
    volatility = ewma_volatility(log_return(panel["zl_last"], 1), 0.94)
    columns = {"vix": panel["vix_last"], "zl_volatility": volatility, "high_yield_spread": panel["hy_oas_pct"]}
    return pd.DataFrame({name: np.log(values.where(values > 0)) for name, values in columns.items()})


def _walk(inputs: np.ndarray, years: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the states and the agreement of the fit in force, one a session; the fit knows its past only."""
    from sklearn.mixture import GaussianMixture

    known = ~np.isnan(inputs).any(axis=1)
    probabilities, agreement = np.full((len(inputs), len(STATES)), np.nan), np.full(len(inputs), np.nan)
    earlier: tuple[np.ndarray, np.ndarray] | None = None  # means of the last fit, and its states of the last year
    starts = np.flatnonzero(np.r_[True, years[1:] != years[:-1]])
    for start, end in zip(starts, [*starts[1:], len(inputs)], strict=True):
        past = np.flatnonzero(known[:start])
        if len(past) < LEARN_SESSIONS:
            continue
        learned = inputs[past[::EVERY]]
        centre, scale = learned.mean(axis=0), learned.std(axis=0)
        first_means = np.quantile((learned - centre) / scale, (0.2, 0.5, 0.9), axis=0)
        begin = first_means if earlier is None else (earlier[0] - centre) / scale
        model = GaussianMixture(
            len(STATES), covariance_type="full", means_init=begin, reg_covar=1e-3, max_iter=200, random_state=0
        ).fit((learned - centre) / scale)
        order = np.argsort(model.means_.sum(axis=1))

        def states(rows: np.ndarray, model=model, order=order, centre=centre, scale=scale) -> np.ndarray:  # type: ignore[no-untyped-def]
            return model.predict_proba((inputs[rows] - centre) / scale)[:, order]

        year = np.flatnonzero(known[start:end]) + start
        last_year = past[-SESSIONS_A_YEAR:]
        if len(year):
            probabilities[year] = states(year)
        if earlier is not None:
            was = probabilities[last_year]
            told = ~np.isnan(was).any(axis=1)
            agreement[start:end] = (states(last_year)[told].argmax(axis=1) == was[told].argmax(axis=1)).mean()
        earlier = model.means_[order] * scale + centre, last_year
    return probabilities, agreement


def regime_name(row: pd.Series) -> str | None:
    """`calm`, `normal` or `stressed` of one feature row; None where it is not known."""
    if pd.isna(row["regime_calm"]):
        return None
    return "calm" if row["regime_calm"] else "stressed" if row["regime_stressed"] else "normal"
