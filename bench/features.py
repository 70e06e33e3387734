"""The feature table from the real panel (tasks.features.build.build_features), 2000 to the last recorded session.

Peer: seven of its features (lag, rolling mean, deviation, z-score, correlations, percentile) in the naive way, pandas
`rolling.apply` with a Python function a window. Both ways start from the same panel and give the same values as the
table, which is asserted. One row compares the same seven features; the build's own row compares seconds a feature,
and so rests on the seven being typical.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.inputs import AS_OF, Inputs
from bench.measurement import Measurement, PeakMemory, repeated, timed
from tasks.features.build import build_features
from tasks.features.rolling import annualised_pct, log_return, percentile, rolling_correlation, z_score

LIMIT_S, REPEATS = 2, 5


def measure(inputs: Inputs) -> list[Measurement]:
    panel, registry = inputs.panel, inputs.features
    with PeakMemory() as memory:
        build_features(panel, registry)  # imports TA-Lib
    own, table = repeated(lambda: build_features(panel, registry), repeats=REPEATS)
    vectorised_s, vectorised = repeated(lambda: product_way(panel), repeats=REPEATS)
    naive_s, naive = timed(lambda: naive_way(panel))
    for name, column in naive.items():
        np.testing.assert_allclose(column, table[name], rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(vectorised[name], table[name], rtol=1e-12, err_msg=name)
    count, subset = len(registry.features), len(naive)
    years = (AS_OF - panel["date"].iloc[0]).days / 365.25
    return [
        Measurement(
            "feature build",
            own,
            "s",
            LIMIT_S,
            peer=f"rolling.apply, {naive_s / subset:.2f} s a feature (product {1000 * own / count:.2f} ms a feature)",
            ratio=(own / count) / (naive_s / subset),
            note=f"{count} features x {len(panel):,} sessions ({years:.0f} years); median of {REPEATS}",
        ),
        Measurement(
            f"{subset} of its features alone",
            vectorised_s,
            "s",
            peer=f"the same with rolling.apply, {naive_s:.2f} s; equal values (asserted)",
            ratio=vectorised_s / naive_s,
            note=f"{', '.join(naive)}; median of {REPEATS}, the peer once",
        ),
        Measurement(
            "feature build: peak memory of the process",
            memory.megabytes,
            "MB",
            note="sampled while it builds; all that the bench holds counts too",
        ),
    ]


def product_way(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """The seven features with the product's own arithmetic."""
    close = panel["zl_last"]
    returns = log_return(close, 1)
    return {
        "zl_return_21d": log_return(close, 21),
        "zl_up_days_21d": (returns > 0).where(close.notna()).rolling(21, min_periods=14).mean(),
        "zl_volatility_21d_pct": annualised_pct(returns, 21),
        "vix_z_252d": z_score(panel["vix_last"]),
        "zl_zs_correlation_63d": rolling_correlation(returns, log_return(panel["zs_last"], 1), 63),
        "zl_cl_correlation_252d": rolling_correlation(returns, log_return(panel["cl_last"], 1), 252),
        "zl_percentile_1260d": percentile(close, 1260),
    }


def naive_way(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """The seven features, a Python function a window."""
    close = panel["zl_last"]
    returns = _lag(close, 1)
    up = returns.gt(0).astype("float64").where(close.notna())
    volatility = returns.rolling(21, min_periods=14).apply(lambda w: _known(w).std(ddof=1), raw=True)
    return {
        "zl_return_21d": _lag(close, 21),
        "zl_up_days_21d": up.rolling(21, min_periods=14).apply(lambda w: _known(w).mean(), raw=True),
        "zl_volatility_21d_pct": volatility * math.sqrt(252) * 100,
        "vix_z_252d": panel["vix_last"].rolling(252, min_periods=126).apply(_z, raw=True),
        "zl_zs_correlation_63d": _correlation(returns, _lag(panel["zs_last"], 1), 63),
        "zl_cl_correlation_252d": _correlation(returns, _lag(panel["cl_last"], 1), 252),
        "zl_percentile_1260d": close.rolling(1260, min_periods=630).apply(_rank, raw=True),
    }


def _known(window: np.ndarray) -> np.ndarray:
    return window[~np.isnan(window)]


def _lag(price: pd.Series, sessions: int) -> pd.Series:
    def change(window: np.ndarray) -> float:
        if len(window) <= sessions or not (window[0] > 0 and window[-1] > 0):
            return math.nan
        return math.log(window[-1] / window[0])

    return price.rolling(sessions + 1, min_periods=1).apply(change, raw=True)


def _z(window: np.ndarray) -> float:
    return (window[-1] - _known(window).mean()) / _known(window).std(ddof=1)


def _rank(window: np.ndarray) -> float:
    if np.isnan(window[-1]):
        return math.nan
    known = _known(window)
    return ((known < window[-1]).sum() + ((known == window[-1]).sum() + 1) / 2) / len(known)


def _correlation(left: pd.Series, right: pd.Series, window: int) -> pd.Series:
    x, y = left.to_numpy(), right.to_numpy()

    def of(places: np.ndarray) -> float:
        a, b = x[places.astype("int64")], y[places.astype("int64")]
        both = ~np.isnan(a) & ~np.isnan(b)
        return float(np.corrcoef(a[both], b[both])[0, 1]) if both.sum() >= window * 2 // 3 else math.nan

    places = pd.Series(np.arange(len(x), dtype="float64"), index=left.index)
    return places.rolling(window, min_periods=1).apply(of, raw=True)
