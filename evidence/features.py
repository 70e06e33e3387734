"""The feature table from the real panel (tasks.features.build.build_features), 2000 to the last recorded session.

Peers, each in the same run from the same panel, with equal values (asserted):

- the naive way of the older system: seven features (lag, rolling mean, deviation, z-score, correlations, percentile)
  with pandas `rolling.apply` and one Python call per window, rebuilt for each horizon; the product builds them once;
- polars: every feature of price, volatility and cross_asset (evidence/polars_features.py), its data already in polars;
  lags, rolling figures and correlations, each separately with their inputs, and all at once.

The peak memory is that of a separate process that loads the panel and builds the features once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import polars as pl

from evidence import polars_features
from evidence.inputs import AS_OF, Inputs
from evidence.measurement import BenchError, Measurement, in_turns, timed
from evidence.processes import build_in_child
from tasks.features import cross_asset, price, volatility
from tasks.features.build import build_features, one_table
from tasks.features.roll_free import ROLL_FREE
from tasks.features.rolling import annualised_pct, log_return, percentile, rolling_correlation, z_score

LIMIT_S, MEMORY_LIMIT_MB, REPEATS, POLARS_REPEATS = 3, 1536, 5, 101
NAIVE_SHARE, POLARS_SHARE = 1 / 20, 1.0
ONE_RANK = 1 / 630
"""Ranks differ if two values are equal except for rounding; the smallest window has 630 values."""


def measure(inputs: Inputs) -> list[Measurement]:
    panel, registry = inputs.panel, inputs.run.features
    build_features(panel, registry)  # imports TA-Lib
    [(own, table)] = in_turns(lambda: build_features(panel, registry), repeats=REPEATS)
    panel.to_parquet(inputs.folder / "panel.parquet")
    child = build_in_child("features", inputs.folder)
    years = (AS_OF - panel["date"].iloc[0]).days / 365.25
    return [
        Measurement(
            "feature build",
            own,
            "s",
            LIMIT_S,
            note=f"{len(registry.features)} features x {len(panel):,} sessions ({years:.0f} years), "
            f"median of {REPEATS}",
        ),
        Measurement(
            "feature build: peak memory of its process",
            child["peak_mb"],
            "MB",
            MEMORY_LIMIT_MB,
            note="a process that holds the panel and builds the features, the interpreter and its libraries included",
        ),
        against_naive(inputs, table),
        *against_polars(inputs),
    ]


def against_naive(inputs: Inputs, table: pd.DataFrame) -> Measurement:
    """Seven features for every horizon: once by the product, once per horizon by `rolling.apply`."""
    panel, horizons = inputs.panel, len(inputs.run.horizons.horizons)
    [(own, vectorised)] = in_turns(lambda: product_way(panel), repeats=REPEATS)
    naive_s, rebuilt = timed(lambda: [naive_way(panel) for _ in range(horizons)])
    for name, column in rebuilt[-1].items():
        np.testing.assert_allclose(column, table[name], rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(vectorised[name], table[name], rtol=1e-9, atol=1e-9, err_msg=name)
    return Measurement(
        f"{len(vectorised)} features for {horizons} horizons: share of the naive way's time",
        own / naive_s,
        "",
        NAIVE_SHARE,
        peer=f"rebuilt with rolling.apply a horizon, {naive_s:.2f} s (product {1000 * own:.1f} ms); equal (asserted)",
        ratio=own / naive_s,
        note=f"{naive_s / own:,.0f} times as fast; {', '.join(vectorised)}; median of {REPEATS}, the peer once",
    )


def against_polars(inputs: Inputs) -> list[Measurement]:
    """Lags, rolling figures, correlations, and all of them at once; each compared with polars."""
    panel = inputs.panel
    prices = polars_features.frame(panel)
    kinds = {
        "lag features": (lags, polars_features.lags),
        "rolling features": (windows, polars_features.windows),
        "correlation features": (correlations, polars_features.correlations),
        "lag, rolling and correlation features": (everything, polars_features.everything),
    }
    return [
        _beside_polars(kind, partial(ours, panel), partial(theirs, prices)) for kind, (ours, theirs) in kinds.items()
    ]


def lags(panel: pd.DataFrame) -> pd.DataFrame:
    """Log returns of ZL and the other markets, by the product."""
    logs = cross_asset.log_prices(panel)
    built = price.returns(panel) | cross_asset.returns(logs, 21, cross_asset.MARKETS)
    built |= cross_asset.returns(logs, 63, cross_asset.QUARTERLY) | cross_asset.returns(logs, 5, cross_asset.WEEKLY)
    built |= cross_asset.chinas_returns(logs)
    return one_table(built, list(built), panel.index)


def windows(panel: pd.DataFrame) -> pd.DataFrame:
    """ZL's level, its place in trailing ranges and its volatility, by the product."""
    built = {"zl_close_cents_lb": panel["zl_last"].to_numpy()} | price.ranges(
        panel, log_return(panel[ROLL_FREE], 1).to_numpy()
    )
    built |= volatility.features(panel)
    return one_table(built, list(built), panel.index)


def correlations(panel: pd.DataFrame) -> pd.DataFrame:
    """Correlations and betas of ZL's daily returns, by the product."""
    logs = cross_asset.log_prices(panel)
    built = cross_asset.correlations(logs, 63, cross_asset.CORRELATED) | cross_asset.correlations(logs, 252, ("cl",))
    built |= cross_asset.with_own_bars(panel, logs)
    return one_table(built, list(built), panel.index)


def everything(panel: pd.DataFrame) -> pd.DataFrame:
    """Price, volatility and cross_asset as the build calls them."""
    built = price.features(panel) | volatility.features(panel) | cross_asset.features(panel)
    return one_table(built, list(built), panel.index)


def _beside_polars(what: str, product: Callable[[], pd.DataFrame], polars: Callable[[], pl.DataFrame]) -> Measurement:
    (own, table), (other, peer) = in_turns(product, polars, repeats=POLARS_REPEATS)
    theirs, lonely = peer.to_pandas().rename(columns=str), 0
    if differing := sorted(set(peer.columns) ^ set(table.columns)):
        raise BenchError(f"polars and the product differ in features: {differing}")
    for name in peer.columns:
        ours, values = table[name].to_numpy(dtype="float64"), theirs[name].to_numpy(dtype="float64")
        both = ~np.isnan(ours) & ~np.isnan(values)
        lonely += int((np.isnan(ours) != np.isnan(values)).sum())
        near = ONE_RANK if "percentile" in name else 1e-9
        np.testing.assert_allclose(ours[both], values[both], rtol=1e-9, atol=near, err_msg=name)
    return Measurement(
        f"{theirs.shape[1]} {what}: share of polars' time",
        own / other,
        "",
        POLARS_SHARE,
        peer=f"polars, {1000 * other:.1f} ms (product {1000 * own:.1f} ms); equal to 1e-9 (asserted)",
        ratio=own / other,
        note=f"median of {POLARS_REPEATS}, in turns; polars with {pl.thread_pool_size()} threads and its data in "
        f"polars, the product on one and from the panel; {lonely} cells have a value in one only; a percentile of a "
        "rounded figure may differ by a rank",
    )


def product_way(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """The seven features with the product's own arithmetic."""
    close = panel[ROLL_FREE]
    returns = log_return(close, 1)
    return {
        "zl_return_21d": log_return(close, 21),
        "zl_up_days_21d": (returns > 0).astype(float).where(returns.notna()).rolling(21, min_periods=14).mean(),
        "zl_volatility_21d_pct": annualised_pct(returns, 21),
        "vix_z_252d": z_score(panel["vix_last"]),
        "zl_zs_correlation_63d": rolling_correlation(returns, log_return(panel["zs_last"], 1), 63),
        "zl_cl_correlation_252d": rolling_correlation(returns, log_return(panel["cl_last"], 1), 252),
        "zl_percentile_1260d": percentile(panel["zl_last"], 1260),
    }


def naive_way(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """The seven features, one Python call per window."""
    close = panel[ROLL_FREE]
    returns = _lag(close, 1)
    up = returns.gt(0).astype("float64").where(returns.notna())
    volatility = returns.rolling(21, min_periods=14).apply(lambda w: _known(w).std(ddof=1), raw=True)
    return {
        "zl_return_21d": _lag(close, 21),
        "zl_up_days_21d": up.rolling(21, min_periods=14).apply(lambda w: _known(w).mean(), raw=True),
        "zl_volatility_21d_pct": volatility * math.sqrt(252) * 100,
        "vix_z_252d": panel["vix_last"].rolling(252, min_periods=126).apply(_z, raw=True),
        "zl_zs_correlation_63d": _correlation(returns, _lag(panel["zs_last"], 1), 63),
        "zl_cl_correlation_252d": _correlation(returns, _lag(panel["cl_last"], 1), 252),
        "zl_percentile_1260d": panel["zl_last"].rolling(1260, min_periods=630).apply(_rank, raw=True),
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
