"""Trailing-window arithmetic shared by the feature modules. Every window ends at its own row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

SESSIONS_A_YEAR = 252
YEAR_OF_WEEKS = 364
ANNUAL_PCT = 100 * SESSIONS_A_YEAR**0.5  # from standard deviation per session to percent per year


@dataclass(frozen=True)
class LogPrice:
    """ln(p_t), computed once for all returns of a price; missing where the price is missing or not positive."""

    values: np.ndarray

    @classmethod
    def of(cls, price: pd.Series) -> LogPrice:
        """From a price per row."""
        values = price.to_numpy(dtype="float64")
        return cls(np.log(np.where(values > 0, values, np.nan)))

    def change(self, sessions: int) -> np.ndarray:
        """ln(p_t / p_{t-n}); missing where either price is."""
        moved = np.empty(len(self.values))
        moved[:sessions] = np.nan
        np.subtract(self.values[sessions:], self.values[:-sessions], out=moved[sessions:])
        return moved


def log_return(price: pd.Series, sessions: int) -> pd.Series:
    """ln(p_t / p_{t-n}); missing where either price is missing or not positive."""
    return pd.Series(LogPrice.of(price).change(sessions), price.index, copy=False)


def z_score(values: pd.Series, window: int = SESSIONS_A_YEAR) -> pd.Series:
    """Distance from the trailing mean in trailing standard deviations; missing where the window is constant."""
    rolling = values.rolling(window, min_periods=window // 2)
    spread = rolling.std()
    return (values - rolling.mean()) / spread.where(spread > 1e-12)


def percentile(values: pd.Series, window: int) -> pd.Series:
    """Rank within the trailing window, in (0, 1]."""
    return values.rolling(window, min_periods=window // 2).rank(pct=True)


def annualised_pct(daily_returns: pd.Series, window: int) -> pd.Series:
    """Standard deviation of daily log returns, annualised, in percent."""
    return daily_returns.rolling(window, min_periods=max(3, window * 2 // 3)).std() * ANNUAL_PCT


def ewma_volatility(daily_returns: pd.Series, decay: float) -> pd.Series:
    """RiskMetrics volatility of daily log returns (square root of the exponentially weighted mean square), per day."""
    return np.sqrt((daily_returns**2).ewm(alpha=1 - decay, min_periods=20, ignore_na=True).mean())


def rolling_correlation(left: pd.Series, right: pd.Series, window: int) -> pd.Series:
    """Pearson correlation over the trailing window, where two thirds of its rows have both values.

    Missing where either is constant.
    """
    return pd.Series(correlation(left.to_numpy(), right.to_numpy(), window), left.index, copy=False)


def correlation(left: np.ndarray, right: np.ndarray, window: int) -> np.ndarray:
    """The same for arrays."""
    return _Moments.of(left, right, window).correlation()


def correlation_and_slope(left: np.ndarray, right: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, and the slope of ``left`` on ``right`` (its beta)."""
    moments = _Moments.of(left, right, window)
    return moments.correlation(), moments.slope()


@dataclass(frozen=True)
class _Moments:
    """Covariance and both variances over the trailing window, where two thirds of its rows have both values."""

    covariance: np.ndarray
    variance_left: np.ndarray
    variance_right: np.ndarray

    @classmethod
    def of(cls, left: np.ndarray, right: np.ndarray, window: int) -> _Moments:
        x, y = left.astype("float64", copy=False), right.astype("float64", copy=False)
        both = np.isfinite(x + y)
        terms = np.zeros((6, -(-len(x) // window) * window))  # whole blocks: see _trailing_sums
        terms[0, : len(x)] = both
        np.copyto(terms[1, : len(x)], x, where=both)
        np.copyto(terms[2, : len(x)], y, where=both)
        np.multiply(terms[1], terms[[2]], out=terms[3:4])
        np.multiply(terms[1:3], terms[1:3], out=terms[4:])
        _trailing_sums(terms, window)
        count, x, y, xy, xx, yy = terms[:, : len(x)]
        means = 1 / np.where(count >= window * 2 // 3, count, np.nan)
        x, y = x * means, y * means
        return cls(xy * means - x * y, xx * means - x * x, yy * means - y * y)

    def correlation(self) -> np.ndarray:
        scale = np.sqrt(np.maximum(self.variance_left, 0) * np.maximum(self.variance_right, 0))
        return np.clip(self.covariance / np.where(scale > 1e-12, scale, np.nan), -1, 1)

    def slope(self) -> np.ndarray:
        return self.covariance / np.where(self.variance_right > 1e-12, self.variance_right, np.nan)


def _trailing_sums(rows: np.ndarray, window: int) -> None:
    """Replace each value of each row, in place, by the sum of the last ``window`` values up to it; rows: whole blocks.

    A sum is the rest of the previous block (its total minus its running sum) plus the running sum of the own block. No
    later value is used. Running sums restart with each block, so rounding errors stay those of two windows, however
    long the rows are.
    """
    blocks = rows.reshape(len(rows), rows.shape[1] // window, window)
    np.cumsum(blocks, axis=2, out=blocks)
    blocks[:, 1:] += blocks[:, :-1, -1:] - blocks[:, :-1]


def observed_earlier(panel: pd.DataFrame, column: str, *, days: int) -> pd.Series:
    """The column's observation dated exactly ``days`` before the row's own, as last known by that row; else missing.

    For weekly reports: about five sessions show the same report, more if a holiday delays the next one.
    """
    known = panel[column].notna().to_numpy()
    own = (panel["date"] - pd.to_timedelta(panel[f"{column}__age_days"].fillna(0), unit="D"))[known]
    observed = own.to_numpy().astype("datetime64[D]").astype("int64")
    at = np.searchsorted(observed, observed - days, side="right") - 1
    there = (at >= 0) & (observed[at] == observed - days)
    earlier = np.full(len(panel), np.nan)
    earlier[known] = np.where(there, panel[column].to_numpy()[known][at], np.nan)
    return pd.Series(earlier, panel.index)
