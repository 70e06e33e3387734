"""Regimes from thresholds (sql/regimes.sql is the same in SQL) and the causal classifier.

The dated calendar is never a feature.

The classifier reads one stress index: the mean of log VIX, log volatility of ZL, log high-yield spread, the move of
the Treasury curve and the Big 8 composite, each standardised; the first three are required, the others are used once
three years of them are known. Its scale and its two cuts, the index's median and 90% quantile, are fitted at each
year's first session on all sessions before it (at most fifty years, which bounds the cost) and used for the year.
Membership is smooth: an ordered logit around the cuts. (A mixture of three Gaussians on the first three was tried: it
put March 2020 into its middle state, relabelled up to four fifths of a year at a refit and took seconds.)
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.features import big8
from tasks.features.roll_free import ROLL_FREE
from tasks.features.rolling import SESSIONS_A_YEAR, annualised_pct, ewma_volatility, log_return, percentile

STATES = ("calm", "tense", "crisis")
CUTS = (0.5, 0.9)
SOFTNESS = 0.25  # width of the transition between two states, in standard deviations of the index
NEEDED = 3  # of the classifier's inputs
LEARN_SESSIONS = 3 * SESSIONS_A_YEAR  # known sessions before a first fit
LEARN_AT_MOST = 50 * SESSIONS_A_YEAR


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Regimes from thresholds; the classifier's probabilities, its stability, and the agreement of two years' fits."""
    return thresholds(panel) | classifier(panel)


def thresholds(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """ZL's volatility by its rank in five years, its trend by its 200-session mean, the VIX by its rank in three years.

    A regime is missing, not 0, if its measure is missing.
    """
    close = panel[ROLL_FREE]
    volatility = percentile(annualised_pct(log_return(close, 1), 63), 1260)
    trend = close / close.rolling(200, min_periods=150).mean() - 1
    fear = percentile(panel["vix_last"], 756)
    return {
        name: applies.astype(float).where(measure.notna())
        for name, applies, measure in (
            ("regime_calm", volatility <= 0.33, volatility),
            ("regime_stressed", volatility >= 0.8, volatility),
            ("regime_uptrend", trend > 0.05, trend),
            ("regime_downtrend", trend < -0.05, trend),
            ("regime_risk_off", fear >= 0.8, fear),
        )
    }


def classifier(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Probability of each state, its stability, and the agreement of the year's fit with that of the year before."""
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
    """The classifier's inputs, the NEEDED first; higher always means more stress.

    A crisis moves the curve both ways (inverted before, steep after), so its move counts: the absolute change of the
    10-year less 2-year yield over 63 sessions, percentage points.
    """
    volatility = ewma_volatility(log_return(panel[ROLL_FREE], 1), 0.94)
    columns = {"vix": panel["vix_last"], "zl_volatility": volatility, "high_yield_spread": panel["hy_oas_pct"]}
    logs = {name: np.log(values.where(values > 0)) for name, values in columns.items()}
    curve_move = panel["t10y2y_pct"].diff(63).abs()
    return pd.DataFrame(logs | {"curve_move": curve_move, "big8": big8.composite(panel)})


def _walk(inputs: np.ndarray, years: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the states, and the agreement of the current fit, one per session.

    Invariants: the fit of a year uses only sessions before the year.
    """
    known = np.flatnonzero(~np.isnan(inputs[:, :NEEDED]).any(axis=1))
    probabilities, agreement = np.full((len(inputs), len(STATES)), np.nan), np.full(len(inputs), np.nan)
    starts = np.flatnonzero(np.r_[True, years[1:] != years[:-1]])
    for start, end in zip(starts, [*starts[1:], len(inputs)], strict=True):
        first, last = np.searchsorted(known, [start, end])
        past, year = known[max(0, first - LEARN_AT_MOST) : first], known[first:last]
        if len(past) < LEARN_SESSIONS:
            continue
        learned = inputs[past]
        read = (~np.isnan(learned)).sum(axis=0) >= LEARN_SESSIONS
        centre, scale = np.nanmean(learned[:, read], axis=0), np.nanstd(learned[:, read], axis=0)
        index = np.nanmean((learned[:, read] - centre) / scale, axis=1)
        cuts, width = np.quantile(index, CUTS), SOFTNESS * index.std()
        last_year = past[-SESSIONS_A_YEAR:]
        probabilities[year] = _memberships(np.nanmean((inputs[year][:, read] - centre) / scale, axis=1), cuts, width)
        was, now = probabilities[last_year], _memberships(index[-SESSIONS_A_YEAR:], cuts, width)
        fitted_before = ~np.isnan(was).any(axis=1)
        if fitted_before.any():
            agreement[start:end] = (now[fitted_before].argmax(axis=1) == was[fitted_before].argmax(axis=1)).mean()
    return probabilities, agreement


def _memberships(index: np.ndarray, cuts: np.ndarray, width: float) -> np.ndarray:
    """Ordered logit: one column per state, from calm to crisis; they sum to 1."""
    beyond = 1 / (1 + np.exp(-(index[:, None] - cuts) / width))
    return np.column_stack([1 - beyond[:, 0], beyond[:, 0] - beyond[:, 1], beyond[:, 1]])


def regime_name(row: pd.Series) -> str | None:
    """`calm`, `normal` or `stressed` of one feature row; None if it is not known."""
    if pd.isna(row["regime_calm"]):
        return None
    return "calm" if row["regime_calm"] else "stressed" if row["regime_stressed"] else "normal"
