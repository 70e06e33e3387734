"""The peer: lags, rolling figures and correlations written in polars, as an expert would write them.

They are every feature that price, volatility and cross_asset compute. Shared inputs are computed as columns first;
inlined, polars computes it again and again. Eager mode: the lazy query took twice as long, because its optimizer spends
more on a hundred expressions than it saves.
"""

from __future__ import annotations

import math

import pandas as pd
import polars as pl

from tasks.features.cross_asset import CHINA, CORRELATED, CURRENCIES, MARKETS
from tasks.features.roll_free import ROLL_FREE, roll_free_bars
from tasks.panel.join import AGE

ZL, PALM = "daily_zl_last", "cpo_last"
QUOTE = "zl_quote"
LATE = tuple(f"daily_{MARKETS[name]}" for name in CURRENCIES)
"""Their price is that of the session before, and so is the return of ZL that they are compared with."""
SLOW = (CHINA["dalian_soyoil"], CHINA["dalian_palm"])
REALISED, DECAYS = (5, 10, 21, 63, 126, 252), (94, 97, 99)
YEAR, PERCENT = math.sqrt(252), 100


def frame(panel: pd.DataFrame) -> pl.DataFrame:
    """The columns that the features read, missing values as nulls; ZL's are roll-free, its quote is ``QUOTE``."""
    panel = panel.assign(**{QUOTE: panel["zl_last"]}, **roll_free_bars(panel), zl_last=panel[ROLL_FREE])
    columns = {
        QUOTE,
        "zl_last",
        "zl_open",
        "zl_high",
        "zl_low",
        "zl_close",
        "cpo_last",
        *MARKETS.values(),
        *CHINA.values(),
    }
    aged = ("zl_last", "cpo_last", CHINA["dalian_soyoil"], CHINA["dalian_palm"])
    return pl.from_pandas(panel[[*sorted(columns), *(c + AGE for c in aged)]], nan_to_null=True)


def lags(prices: pl.DataFrame) -> pl.DataFrame:
    """Log returns of ZL and the other markets."""
    return prices.with_columns(**_logs(prices.columns)).select(**_zl_returns(), **_returns())


def windows(prices: pl.DataFrame) -> pl.DataFrame:
    """ZL's level, its place in trailing ranges and its volatility."""
    staged = prices.with_columns(**_logs(["zl_last"])).with_columns(**{ZL: _return("zl_last", 1)})
    return staged.with_columns(**_shared()).select(**_ranges(), **_volatility())


def correlations(prices: pl.DataFrame) -> pl.DataFrame:
    """Correlations and betas of ZL's daily returns."""
    staged = prices.with_columns(**_logs(prices.columns)).with_columns(**_daily()).with_columns(**_pairs())
    return staged.select(**_correlations())


def everything(prices: pl.DataFrame) -> pl.DataFrame:
    """All of them from one staging."""
    staged = prices.with_columns(**_logs(prices.columns)).with_columns(**_daily())
    staged = staged.with_columns(**_shared(), **_pairs())
    return staged.select(**_zl_returns(), **_returns(), **_ranges(), **_volatility(), **_correlations())


def _logs(columns: list[str]) -> dict[str, pl.Expr]:
    priced = [c for c in columns if not c.endswith(AGE)]
    return {f"log_{c}": pl.when(pl.col(c) > 0).then(pl.col(c)).log() for c in priced}


def _return(column: str, sessions: int) -> pl.Expr:
    log = pl.col(f"log_{column}")
    return log - log.shift(sessions)


def _mean(values: pl.Expr, window: int, least: int | None = None) -> pl.Expr:
    return values.rolling_mean(window, min_samples=window * 2 // 3 if least is None else least)


def _rank(values: pl.Expr, window: int) -> pl.Expr:
    known = values.is_not_null().cast(pl.Float64).rolling_sum(window, min_samples=1)
    return values.rolling_rank(window, method="average", min_samples=window // 2) / known


def _zl_returns() -> dict[str, pl.Expr]:
    return {f"zl_return_{n}d": _return("zl_last", n) for n in (1, 2, 3, 5, 10, 21, 42, 63, 126, 252)}


def _ranges() -> dict[str, pl.Expr]:
    close = pl.col("zl_last")
    out = {"zl_close_cents_lb": pl.col(QUOTE)}
    for window in (21, 63, 252):
        low = close.rolling_min(window, min_samples=window * 2 // 3)
        high = close.rolling_max(window, min_samples=window * 2 // 3)
        out[f"zl_range_position_{window}d"] = (close - low) / pl.when(high > low).then(high - low)
    out["zl_drawdown_252d_pct"] = 100 * (close / close.rolling_max(252, min_samples=126) - 1)
    out["zl_percentile_1260d"] = _rank(pl.col(QUOTE), 1260)
    out["zl_up_days_21d"] = _mean((pl.col(ZL) > 0).cast(pl.Float64), 21)
    out["zl_open_gap_pct"] = 100 * (pl.col("zl_open") / close.shift() - 1)
    out["zl_bar_age_days"] = pl.when(close.is_not_null()).then(pl.col("zl_last" + AGE))
    return out


def _shared() -> dict[str, pl.Expr]:
    daily = pl.col(ZL)
    out = {f"realised_{w}": daily.rolling_std(w, min_samples=max(3, w * 2 // 3)) * YEAR * PERCENT for w in REALISED}
    for decay in DECAYS:
        weighted = (daily**2).ewm_mean(alpha=1 - decay / 100, min_samples=20, ignore_nulls=True)
        out[f"weighted_{decay}"] = weighted.sqrt().forward_fill() * YEAR * PERCENT
    return out | {f"whole_{window}": _garman_klass(window) for window in (21, 63)}


def _volatility() -> dict[str, pl.Expr]:
    daily = pl.col(ZL)
    realised = {window: pl.col(f"realised_{window}") for window in REALISED}
    out = {f"zl_volatility_{window}d_pct": values for window, values in realised.items()}
    out |= {f"zl_ewma_volatility_{decay}_pct": pl.col(f"weighted_{decay}") for decay in DECAYS}
    out["zl_volatility_ratio_21_63"] = realised[21] / realised[63]
    out["zl_volatility_ratio_63_252"] = realised[63] / realised[252]
    out["zl_volatility_percentile_1260d"] = _rank(realised[63], 1260)
    out["zl_volatility_of_volatility_63d"] = pl.col("weighted_94").log().diff().rolling_std(63, min_samples=42)
    out["zl_downside_volatility_63d_pct"] = (_mean(daily.clip(upper_bound=0) ** 2, 63)).sqrt() * YEAR * PERCENT
    ranges = (pl.col("zl_high") / pl.col("zl_low")).log() ** 2
    ranged = _mean(pl.when(ranges.is_finite()).then(ranges), 21).clip(lower_bound=0)
    out["zl_parkinson_21d_pct"] = (ranged / (4 * math.log(2))).sqrt() * YEAR * PERCENT
    out["zl_skew_126d"] = daily.rolling_skew(126, bias=False, min_samples=84)
    out["zl_kurtosis_126d"] = daily.rolling_kurtosis(126, bias=False, min_samples=84)
    out["zl_largest_move_21d"] = daily.abs().rolling_max(21, min_samples=14)
    out |= {f"zl_garman_klass_{window}d_pct": pl.col(f"whole_{window}") for window in (21, 63)}
    out["zl_range_to_close_volatility_63d"] = pl.col("whole_63") / realised[63]
    return out


def _garman_klass(window: int) -> pl.Expr:
    opened, high, low, closed = (pl.col(f"zl_{name}") for name in ("open", "high", "low", "close"))
    complete = closed.is_between(low, high) & opened.is_between(low, high) & (high > low)
    daily = 0.5 * (high / low).log() ** 2 - (2 * math.log(2) - 1) * (closed / opened).log() ** 2
    mean = _mean(pl.when(complete).then(daily), window).clip(lower_bound=0)
    return mean.sqrt() * YEAR * PERCENT


def _daily() -> dict[str, pl.Expr]:
    out = {f"daily_{c}": _return(c, 1) for c in ("zl_last", *(MARKETS[name] for name in CORRELATED))}
    for column in (*SLOW, PALM):
        out[f"bar_{column}"] = pl.when(pl.col(column + AGE) == 0).then(_return(column, 1))
        out[f"after_{column}"] = out[f"bar_{column}"].shift()
    return out


def _others() -> list[str]:
    """Columns of the other markets' returns that ZL's are compared with."""
    out = [f"daily_{MARKETS[name]}" for name in CORRELATED]
    return out + [f"{kind}_{column}" for kind in ("bar", "after") for column in (*SLOW, PALM)]


def _pairs() -> dict[str, pl.Expr]:
    out: dict[str, pl.Expr] = {}
    for other in _others():
        own = pl.col(ZL).shift() if other in LATE else pl.col(ZL)
        both = own.is_not_null() & pl.col(other).is_not_null()
        out |= {f"{other}_x": pl.when(both).then(pl.col(other)), f"{other}_y": pl.when(both).then(own)}
    return out


def _returns() -> dict[str, pl.Expr]:
    out = {f"{name}_return_21d": _return(column, 21) for name, column in MARKETS.items()}
    for name in ("zs", "zm", "zc", "cl", "ho", "cpo", "brl", "sp500"):
        out[f"{name}_return_63d"] = _return(MARKETS[name], 63)
    for name in ("cl", "cpo", "zs"):
        out[f"{name}_return_5d"] = _return(MARKETS[name], 5)
    for name, column in CHINA.items():
        for sessions in (5, 21):
            out[f"{name}_return_{sessions}d"] = _return(column, sessions)
    return out


def _correlations() -> dict[str, pl.Expr]:
    out = {f"zl_{name}_correlation_63d": _correlation(f"daily_{MARKETS[name]}", 63) for name in CORRELATED}
    out["zl_cl_correlation_252d"] = _correlation("daily_cl_last", 252)
    for name in ("dalian_soyoil", "dalian_palm"):
        for window in (63, 252):
            out[f"zl_{name}_correlation_{window}d"] = _correlation(f"bar_{CHINA[name]}", window)
        out[f"zl_{name}_beta_63d"] = _beta(f"bar_{CHINA[name]}", 63)
        out[f"zl_after_{name}_correlation_63d"] = _correlation(f"after_{CHINA[name]}", 63)
    out["zl_cpo_beta_63d"] = _beta(f"bar_{PALM}", 63)
    out["zl_after_cpo_correlation_63d"] = _correlation(f"after_{PALM}", 63)
    return out


def _correlation(other: str, window: int) -> pl.Expr:
    least = window * 2 // 3
    return pl.rolling_corr(f"{other}_x", f"{other}_y", window_size=window, min_samples=least).clip(-1, 1)


def _beta(other: str, window: int) -> pl.Expr:
    least = window * 2 // 3
    covariance = pl.rolling_cov(f"{other}_x", f"{other}_y", window_size=window, min_samples=least)
    return covariance / pl.col(f"{other}_x").rolling_var(window, min_samples=least)
