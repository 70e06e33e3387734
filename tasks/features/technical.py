"""Technical indicators of the ZL close, by TA-Lib."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Trend and momentum, each as a ratio or an oscillator so that it does not carry the price level."""
    import talib

    close = panel["zl_last"]
    out = {}
    for window in (10, 21, 50, 100, 200):
        out[f"zl_sma_ratio_{window}d"] = close / _on_known(close, partial(talib.SMA, timeperiod=window)) - 1
    for window in (12, 26, 100):
        out[f"zl_ema_ratio_{window}d"] = close / _on_known(close, partial(talib.EMA, timeperiod=window)) - 1
    out["zl_sma_cross_50_200"] = _on_known(close, lambda c: talib.SMA(c, 50) / talib.SMA(c, 200) - 1)
    out["zl_kama_ratio_30d"] = close / _on_known(close, lambda c: talib.KAMA(c, 30)) - 1
    for window in (7, 14, 28):
        out[f"zl_rsi_{window}d"] = _on_known(close, partial(talib.RSI, timeperiod=window))
    out["zl_macd_pct"] = 100 * _on_known(close, lambda c: talib.MACD(c)[0]) / close
    out["zl_macd_histogram_pct"] = 100 * _on_known(close, lambda c: talib.MACD(c)[2]) / close
    upper = _on_known(close, lambda c: talib.BBANDS(c, 20)[0])
    middle = _on_known(close, lambda c: talib.BBANDS(c, 20)[1])
    lower = _on_known(close, lambda c: talib.BBANDS(c, 20)[2])
    out["zl_bollinger_position_20d"] = (close - lower) / (upper - lower).where(upper > lower)
    out["zl_bollinger_width_20d_pct"] = 100 * (upper - lower) / middle
    for window in (10, 63):
        out[f"zl_roc_{window}d_pct"] = _on_known(close, partial(talib.ROC, timeperiod=window))
    out["zl_trix_15d"] = _on_known(close, lambda c: talib.TRIX(c, 15))
    out["zl_cmo_14d"] = _on_known(close, lambda c: talib.CMO(c, 14))
    out["zl_slope_63d_pct"] = 100 * _on_known(close, lambda c: talib.LINEARREG_SLOPE(c, 63)) / close
    return out


def _on_known(close: pd.Series, indicator: Callable[[np.ndarray], np.ndarray]) -> pd.Series:
    """The indicator over the known closes: TA-Lib never recovers from a missing value. Missing stays missing."""
    known = close.dropna()
    return pd.Series(indicator(known.to_numpy()), index=known.index).reindex(close.index)
