"""Trailing-window arithmetic shared by the feature modules. Every window ends at its own row."""

from __future__ import annotations

import numpy as np
import pandas as pd

SESSIONS_A_YEAR = 252
YEAR_OF_WEEKS = 364


def log_return(price: pd.Series, sessions: int) -> pd.Series:
    """ln(p_t / p_{t-n}); missing where either price is missing or not positive."""
    log_price = np.log(price.where(price > 0))
    return log_price - log_price.shift(sessions)


def z_score(values: pd.Series, window: int = SESSIONS_A_YEAR) -> pd.Series:
    """Distance from the trailing mean in trailing standard deviations; missing where the window does not move."""
    rolling = values.rolling(window, min_periods=window // 2)
    spread = rolling.std()
    return (values - rolling.mean()) / spread.where(spread > 1e-12)


def percentile(values: pd.Series, window: int) -> pd.Series:
    """Rank within the trailing window, in (0, 1]."""
    return values.rolling(window, min_periods=window // 2).rank(pct=True)


def annualised_pct(daily_returns: pd.Series, window: int) -> pd.Series:
    """Standard deviation of daily log returns, annualised, in percent."""
    return daily_returns.rolling(window, min_periods=max(3, window * 2 // 3)).std() * np.sqrt(SESSIONS_A_YEAR) * 100


def ewma_volatility(daily_returns: pd.Series, decay: float) -> pd.Series:
    """RiskMetrics volatility of daily log returns (square root of the exponentially weighted mean square), a day."""
    return np.sqrt((daily_returns**2).ewm(alpha=1 - decay, min_periods=20, ignore_na=True).mean())


def rolling_correlation(left: pd.Series, right: pd.Series, window: int) -> pd.Series:
    """Pearson correlation over the trailing window, where two thirds of its rows have both values.

    Computed from trailing means of products, so that a row never depends on later ones.
    """
    both = left.notna() & right.notna()
    x, y = left.where(both), right.where(both)
    covariance = _mean(x * y, window) - _mean(x, window) * _mean(y, window)
    variance_x = _mean(x * x, window) - _mean(x, window) ** 2
    variance_y = _mean(y * y, window) - _mean(y, window) ** 2
    scale = np.sqrt(variance_x * variance_y)
    return (covariance / scale.where(scale > 1e-12)).clip(-1, 1)


def _mean(values: pd.Series, window: int) -> pd.Series:
    return values.rolling(window, min_periods=window * 2 // 3).mean()


def observed_earlier(panel: pd.DataFrame, column: str, *, days: int) -> pd.Series:
    """The column's observation dated exactly ``days`` before the row's own, as last known by that row; else missing.

    For weekly reports: rows hold the same report for about five sessions, more when a holiday delays the next one.
    """
    known = panel[column].notna().to_numpy()
    own = (panel["date"] - pd.to_timedelta(panel[f"{column}__age_days"].fillna(0), unit="D"))[known]
    observed = own.to_numpy().astype("datetime64[D]").astype("int64")
    at = np.searchsorted(observed, observed - days, side="right") - 1
    there = (at >= 0) & (observed[at] == observed - days)
    earlier = np.full(len(panel), np.nan)
    earlier[known] = np.where(there, panel[column].to_numpy()[known][at], np.nan)
    return pd.Series(earlier, panel.index)
