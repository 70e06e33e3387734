"""Technical indicators of ZL, by TA-Lib. (sql/moving_averages.sql has the simple moving averages in SQL.)

Indicators of the close use the known closes. Indicators of whole bars use complete bars only (all four prices known,
the close between low and high). About half of the bars of 2002 to 2006 are incomplete, so a value is missing if fewer
than two thirds of the trailing 63 sessions have a complete bar. Volume is the front contract's, which falls to a few
lots before expiry. It is only used as a weight relative to the volume of the same window, so the dead days before a
roll count almost nothing; a volume of 0 counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from tasks.features.roll_free import ROLL_FREE, roll_free_bars

BAR_WINDOW = 63


def features(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Trend, momentum, range and flow, as ratios or oscillators, so that they do not depend on the price level."""
    import talib

    close, panel = panel[ROLL_FREE], panel.assign(**roll_free_bars(panel))
    simple, cross = simple_averages(close)
    out = dict(simple)
    for window in (12, 26, 100):
        out[f"zl_ema_ratio_{window}d"] = close / _on_known(close, partial(talib.EMA, timeperiod=window)) - 1
    out |= cross
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
    return out | _averages(close) | _of_bars(panel) | _of_volume(panel) | _cycle(close)


def simple_averages(close: pd.Series) -> tuple[dict[str, pd.Series], dict[str, pd.Series]]:
    """Close over simple moving averages of the known closes, minus one; and one average over another."""
    import talib

    sma = {window: _on_known(close, partial(talib.SMA, timeperiod=window)) for window in (10, 21, 50, 100, 200)}
    ratios = {f"zl_sma_ratio_{window}d": close / average - 1 for window, average in sma.items()}
    return ratios, {"zl_sma_cross_50_200": sma[50] / sma[200] - 1}


def _averages(close: pd.Series) -> dict[str, pd.Series]:
    """Other moving averages as close over average minus one, and oscillators of the close."""
    import talib

    out = {}
    for name, window in {"wma": 21, "dema": 21, "tema": 21, "trima": 21, "t3": 10}.items():
        average = partial(getattr(talib, name.upper()), timeperiod=window)
        out[f"zl_{name}_ratio_{window}d"] = close / _on_known(close, average) - 1
    out["zl_stoch_rsi_14d"] = _on_known(close, lambda c: talib.STOCHRSI(c, 14, 5, 3)[1])
    out["zl_momentum_10d_per_volatility"] = _on_known(close, lambda c: talib.MOM(c, 10) / talib.STDDEV(c, 63))
    return out


def _of_bars(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """Indicators of high, low and close over complete bars."""
    import talib

    complete = complete_bars(panel)
    trusted = complete.rolling(BAR_WINDOW, min_periods=1).mean() >= 2 / 3
    bars = panel.loc[complete, ["zl_high", "zl_low", "zl_close"]].to_numpy(dtype="float64").T
    high, low, close = (np.ascontiguousarray(row) for row in bars)

    def shown(values: np.ndarray) -> pd.Series:
        return pd.Series(values, index=panel.index[complete]).reindex(panel.index).where(trusted)

    slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, slowd_period=3)
    return {
        "zl_stoch_k_14d": shown(slow_k),
        "zl_stoch_d_14d": shown(slow_d),
        "zl_williams_r_14d": shown(talib.WILLR(high, low, close, 14)),
        "zl_adx_14d": shown(talib.ADX(high, low, close, 14)),
        "zl_adxr_14d": shown(talib.ADXR(high, low, close, 14)),
        "zl_directional_index_14d": shown(talib.PLUS_DI(high, low, close, 14) - talib.MINUS_DI(high, low, close, 14)),
        "zl_atr_14d_cents_lb": shown(talib.ATR(high, low, close, 14)) * panel["zl_last"] / panel[ROLL_FREE],
        "zl_natr_14d_pct": shown(talib.NATR(high, low, close, 14)),
        "zl_true_range_pct": shown(100 * talib.TRANGE(high, low, close) / close),
        "zl_aroon_oscillator_25d": shown(talib.AROONOSC(high, low, 25)),
        "zl_cci_20d": shown(talib.CCI(high, low, close, 20)),
    }


def _of_volume(panel: pd.DataFrame) -> dict[str, pd.Series]:
    """OBV, accumulation/distribution and money flow: changes over a window as shares of that window's volume."""
    import talib

    complete = complete_bars(panel) & (panel["zl_volume"] > 0)
    trusted = complete.rolling(BAR_WINDOW, min_periods=1).mean() >= 2 / 3
    index = panel.index[complete]
    bars = panel.loc[complete, ["zl_high", "zl_low", "zl_close", "zl_volume"]].to_numpy(dtype="float64").T
    high, low, close, volume = (np.ascontiguousarray(row) for row in bars)
    traded = pd.Series(volume, index=index)
    month = traded.rolling(21).sum()
    obv, line = pd.Series(talib.OBV(close, volume), index=index), pd.Series(talib.AD(high, low, close, volume), index)
    oscillator = pd.Series(talib.ADOSC(high, low, close, volume, 3, 10), index=index)
    flows = {
        "zl_obv_change_21d_share": (obv - obv.shift(21)) / month,
        "zl_accumulation_change_21d_share": (line - line.shift(21)) / month,
        "zl_accumulation_oscillator_share": oscillator / month,
        "zl_money_flow_14d": pd.Series(talib.MFI(high, low, close, volume, 14), index=index),
        "zl_volume_to_month": traded / (month / 21),
    }
    return {name: values.reindex(panel.index).where(trusted) for name, values in flows.items()}


def _cycle(close: pd.Series) -> dict[str, pd.Series]:
    """Ehlers' Hilbert transform, which is causal (TA-Lib filters the past only; tests truncate it)."""
    import talib

    return {
        "zl_ht_period_days": _on_known(close, talib.HT_DCPERIOD),
        "zl_ht_sine": _on_known(close, lambda c: talib.HT_SINE(c)[0]),
        "zl_ht_lead_sine": _on_known(close, lambda c: talib.HT_SINE(c)[1]),
        "zl_ht_inphase_pct": 100 * _on_known(close, lambda c: talib.HT_PHASOR(c)[0]) / close,
        "zl_ht_quadrature_pct": 100 * _on_known(close, lambda c: talib.HT_PHASOR(c)[1]) / close,
        "zl_ht_trendline_ratio": close / _on_known(close, talib.HT_TRENDLINE) - 1,
        "zl_ht_trend_share_21d": _on_known(close, _trend_share),
    }


def _trend_share(close: np.ndarray) -> np.ndarray:
    """Share of 21 sessions in trend mode. TA-Lib gives 0 during its lookback, which is cut off."""
    import talib

    mode = np.asarray(talib.HT_TRENDMODE(close), dtype="float64")
    mode[:63] = np.nan
    return pd.Series(mode).rolling(21).mean().to_numpy()


def complete_bars(panel: pd.DataFrame) -> pd.Series:
    """Sessions whose own bar has four prices and a range, with open and close within it.

    A bar with four equal prices only has a close: the early archive has many, and the days before a roll some.
    """
    opened, high, low, close = (
        panel[f"zl_{name}"].to_numpy(dtype="float64") for name in ("open", "high", "low", "close")
    )
    inside = (low <= close) & (close <= high) & (low <= opened) & (opened <= high)
    return pd.Series(inside & (high > low), panel.index)


def _on_known(close: pd.Series, indicator: Callable[[np.ndarray], np.ndarray]) -> pd.Series:
    """The indicator over the known closes: TA-Lib never recovers from a missing value. Missing stays missing."""
    known = close.dropna()
    return pd.Series(indicator(known.to_numpy()), index=known.index).reindex(close.index)
