"""Trailing-window arithmetic shared by the feature modules. Every window ends at its own row."""

from __future__ import annotations

import numpy as np
import pandas as pd

SESSIONS_A_YEAR = 252
YEAR_OF_WEEKS = 364


def log_return(price: pd.Series, sessions: int) -> pd.Series:
    """ln(p_t / p_{t-n}); missing where either price is missing or not positive."""
    values = price.to_numpy(dtype="float64")
    log_price = np.log(np.where(values > 0, values, np.nan))
    change = np.full(len(log_price), np.nan)
    change[sessions:] = log_price[sessions:] - log_price[:-sessions]
    return pd.Series(change, price.index)


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

    From running sums, whose row depends on the rows before it only. They keep about 1e-12 for returns, not for levels.
    """
    covariance, variance_left, variance_right = _moments(left, right, window)
    scale = np.sqrt(np.maximum(variance_left, 0) * np.maximum(variance_right, 0))
    return pd.Series((covariance / np.where(scale > 1e-12, scale, np.nan)).clip(-1, 1), left.index)


def _moments(left: pd.Series, right: pd.Series, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariance and both variances over the trailing window, where two thirds of its rows have both values."""
    x, y = left.to_numpy(dtype="float64"), right.to_numpy(dtype="float64")
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = np.where(both, x, 0), np.where(both, y, 0)
    sums = np.array([both, x, y, x * y, x * x, y * y])
    np.cumsum(sums, axis=1, out=sums)
    sums[:, window:] -= sums[:, :-window].copy()
    count = np.where(sums[0] >= window * 2 // 3, sums[0], np.nan)
    mean_x, mean_y, mean_xy, mean_xx, mean_yy = sums[1:] / count
    return mean_xy - mean_x * mean_y, mean_xx - mean_x**2, mean_yy - mean_y**2


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
