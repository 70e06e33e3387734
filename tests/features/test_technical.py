"""TA-Lib against pandas on the real bars from 2013 on, where every session but the dead days of a roll has one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features import technical, volatility
from tasks.features.roll_free import ROLL_FREE, roll_free_bars

FIRST = "2013-01-02"


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    made = technical.features(panel) | volatility.features(panel)
    return pd.DataFrame(made).set_axis(panel["date"])


@pytest.fixture(scope="module")
def bars(panel) -> pd.DataFrame:
    """Complete bars in a row, with volume."""
    rows = panel.assign(**roll_free_bars(panel))
    rows = rows[technical.complete_bars(panel) & (panel["zl_volume"] > 0)].set_index("date")
    return rows[["zl_open", "zl_high", "zl_low", "zl_close", "zl_volume"]].set_axis(list("ohlcv"), axis=1)


@pytest.fixture(scope="module")
def closes(panel) -> pd.Series:
    return panel.set_index("date")[ROLL_FREE].dropna()


def wilder(values: pd.Series, window: int) -> pd.Series:
    return values.ewm(alpha=1 / window, adjust=False).mean()


def true_range(bars: pd.DataFrame) -> pd.Series:
    before = bars["c"].shift()
    return pd.concat([bars["h"], before], axis=1).max(axis=1) - pd.concat([bars["l"], before], axis=1).min(axis=1)


def assert_same(built: pd.Series, reference: pd.Series, *, since: str = "2014-01-02", rtol: float = 1e-7) -> None:
    both = pd.concat([built, reference], axis=1).loc[since:].dropna()
    assert len(both) > 2000
    np.testing.assert_allclose(both.iloc[:, 0], both.iloc[:, 1], rtol=rtol, atol=1e-7)


def ema(values: pd.Series, window: int) -> pd.Series:
    return values.ewm(span=window, adjust=False).mean()


def test_moving_averages(built, closes):
    weights = np.arange(1, 22) / np.arange(1, 22).sum()
    wma = sum(closes.shift(20 - i) * weight for i, weight in enumerate(weights))
    trima = closes.rolling(11).mean().rolling(11).mean()
    once, twice = ema(closes, 21), ema(ema(closes, 21), 21)
    dema, tema = 2 * once - twice, 3 * once - 3 * twice + ema(twice, 21)
    v, e = 0.7, [closes]
    for _ in range(6):
        e.append(ema(e[-1], 10))
    t3 = (
        -(v**3) * e[6]
        + 3 * (v**2 + v**3) * e[5]
        - 3 * (2 * v**2 + v + v**3) * e[4]
        + (1 + 3 * v + v**3 + 3 * v**2) * e[3]
    )
    for name, average in {"wma": wma, "trima": trima, "dema": dema, "tema": tema}.items():
        assert_same(built[f"zl_{name}_ratio_21d"], closes / average - 1)
    assert_same(built["zl_t3_ratio_10d"], closes / t3 - 1)


def test_momentum_and_stochastic_rsi(built, closes):
    assert_same(built["zl_momentum_10d_per_volatility"], (closes - closes.shift(10)) / closes.rolling(63).std(ddof=0))
    change = closes.diff()
    rsi = 100 * wilder(change.clip(lower=0), 14) / wilder(change.abs(), 14)
    low, high = rsi.rolling(5).min(), rsi.rolling(5).max()
    fast = 100 * (rsi - low) / (high - low)
    moves = (high - low).rolling(3).min() > 1e-9
    assert_same(built["zl_stoch_rsi_14d"], fast.rolling(3).mean().where(moves), rtol=1e-4)


def test_oscillators_of_whole_bars(built, panel):
    bars = panel.assign(**roll_free_bars(panel))[technical.complete_bars(panel)].set_index("date")
    bars = bars[["zl_open", "zl_high", "zl_low", "zl_close"]].set_axis(list("ohlc"), axis=1)
    low, high = bars["l"].rolling(14).min(), bars["h"].rolling(14).max()
    slow = (100 * (bars["c"] - low) / (high - low)).rolling(3).mean()
    assert_same(built["zl_stoch_k_14d"], slow)
    assert_same(built["zl_stoch_d_14d"], slow.rolling(3).mean())
    assert_same(built["zl_williams_r_14d"], -100 * (high - bars["c"]) / (high - low))
    typical = (bars["h"] + bars["l"] + bars["c"]) / 3
    deviation = sum((typical.shift(i) - typical.rolling(20).mean()).abs() for i in range(20)) / 20
    assert_same(built["zl_cci_20d"], (typical - typical.rolling(20).mean()) / (0.015 * deviation))
    newest = bars[::-1]
    assert newest.index[0] > newest.index[-1]
    since_high = bars["h"].rolling(26).apply(lambda w: 25 - (len(w) - 1 - w[::-1].argmax()), raw=True)
    since_low = bars["l"].rolling(26).apply(lambda w: 25 - (len(w) - 1 - w[::-1].argmin()), raw=True)
    assert_same(built["zl_aroon_oscillator_25d"], 4 * (since_low - since_high))
    assert_same(built["zl_true_range_pct"], 100 * true_range(bars) / bars["c"])
    atr = wilder(true_range(bars).iloc[1:], 14)
    quoted = panel.set_index("date")["zl_last"] / panel.set_index("date")[ROLL_FREE]
    assert_same(built["zl_atr_14d_cents_lb"], atr * quoted)
    assert_same(built["zl_natr_14d_pct"], 100 * atr / bars["c"])
    up, down = bars["h"].diff(), -bars["l"].diff()
    plus = wilder(up.where((up > down) & (up > 0), 0.0), 14) / atr * 100
    minus = wilder(down.where((down > up) & (down > 0), 0.0), 14) / atr * 100
    assert_same(built["zl_directional_index_14d"], plus - minus, rtol=1e-5)
    adx = wilder((100 * (plus - minus).abs() / (plus + minus)).dropna(), 14)
    assert_same(built["zl_adx_14d"], adx, rtol=1e-5)
    assert_same(built["zl_adxr_14d"], (adx + adx.shift(13)) / 2, rtol=1e-5)


def test_volume_only_weights(built, bars):
    month = bars["v"].rolling(21).sum()
    signed = (np.sign(bars["c"].diff()) * bars["v"]).rolling(21).sum()
    assert_same(built["zl_obv_change_21d_share"], signed / month)
    flow = (2 * bars["c"] - bars["l"] - bars["h"]) / (bars["h"] - bars["l"]) * bars["v"]
    assert_same(built["zl_accumulation_change_21d_share"], flow.rolling(21).sum() / month)
    line = flow.cumsum()
    assert_same(built["zl_accumulation_oscillator_share"], (ema(line, 3) - ema(line, 10)) / month, rtol=1e-6)
    typical = (bars["h"] + bars["l"] + bars["c"]) / 3
    money = typical * bars["v"]
    rose = money.where(typical.diff() > 0, 0.0).rolling(14).sum()
    fell = money.where(typical.diff() < 0, 0.0).rolling(14).sum()
    assert_same(built["zl_money_flow_14d"], 100 * rose / (rose + fell), rtol=1e-6)
    assert built["zl_obv_change_21d_share"].abs().max() <= 1


def test_the_dead_days_before_a_roll_weigh_next_to_nothing(built):
    """2022: the July contract traded 47,682 lots on 23 June, 20 on 11 July; the August contract 17,569 on the 15th."""
    share = built["zl_volume_to_month"] / 21
    assert share["2022-07-11"] < 0.0001
    assert share.loc["2022-07-01":"2022-07-11"].sum() < 0.01, "seven days with a hundredth of the window's weight"
    assert built["zl_volume_to_month"]["2022-07-15"] > 0.5


def test_garman_klass(built, panel):
    bars = panel.where(technical.complete_bars(panel))
    spread, body = np.log(bars["zl_high"] / bars["zl_low"]), np.log(bars["zl_close"] / bars["zl_open"])
    daily = (0.5 * spread**2 - (2 * np.log(2) - 1) * body**2).set_axis(panel["date"])
    assert_same(built["zl_garman_klass_21d_pct"], np.sqrt(252 * daily.rolling(21, min_periods=14).mean()) * 100)
    ratio = built["zl_range_to_close_volatility_63d"].dropna()
    assert 0.7 < ratio.median() < 1.1, "both measure the same thing"


def test_a_bar_of_one_price_or_with_a_close_outside_is_not_complete():
    frame = pd.DataFrame({"zl_open": [5, 5, 5.0, 5], "zl_high": [6, 5, 6, np.nan], "zl_low": [4, 5, 5.5, 4]})
    frame["zl_close"] = [5.5, 5, 5.6, 5]
    assert technical.complete_bars(frame).tolist() == [True, False, False, False]


def test_where_most_bars_are_broken_there_is_no_indicator(built):
    assert built.loc["2003-06-01":"2005-06-30", "zl_adx_14d"].isna().all()
    assert built.loc["2003-06-01":"2005-06-30", "zl_wma_ratio_21d"].notna().mean() > 0.95


def test_cycles_agree_with_ta_lib_on_a_contiguous_window(built, closes):
    import talib

    window = closes.loc[FIRST:]
    period = pd.Series(talib.HT_DCPERIOD(window.to_numpy()), index=window.index)
    assert_same(built["zl_ht_period_days"], period, since="2015-01-02", rtol=1e-4)
    trendline = pd.Series(talib.HT_TRENDLINE(window.to_numpy()), index=window.index)
    assert_same(built["zl_ht_trendline_ratio"], window / trendline - 1, since="2015-01-02", rtol=1e-4)
    assert built["zl_ht_sine"].abs().max() <= 1 and built["zl_ht_trend_share_21d"].between(0, 1).sum() > 5000
    assert built["zl_ht_period_days"].dropna().between(6, 50).all(), "Ehlers' limits"


@pytest.mark.parametrize("rows", [1200, 4001, 5800])
def test_no_indicator_looks_ahead(panel, built, rows):
    """The Hilbert transform among them."""
    cut = panel.iloc[:rows]
    made = pd.DataFrame(technical.features(cut) | volatility.features(cut))
    pd.testing.assert_frame_equal(made, built.reset_index(drop=True).iloc[:rows], check_exact=True)
