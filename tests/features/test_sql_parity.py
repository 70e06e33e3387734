"""SQL and the build within 1e-9 of each other on the archive's panel; both on small cases by hand.

Correlations and betas are also held to their definition, window by window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel

from tasks.errors import RegistryError
from tasks.features import cross_asset, in_sql, regimes, technical
from tasks.features.rolling import log_return

FILES = (*in_sql.OVER_PANEL, *in_sql.OVER_FEATURES)
WITHIN = 1e-9


def correlation_and_beta(zl: pd.Series, other: pd.Series, window: int) -> tuple[pd.Series, pd.Series]:
    """By the definition: deviations from the window's own means, window by window."""
    both = zl.notna() & other.notna()
    y, x = (trailing(values.where(both), window) for values in (zl, other))
    enough = 3 * np.isfinite(x).sum(axis=1) >= 2 * window
    n = np.maximum(np.isfinite(x).sum(axis=1), 1)
    y, x = (values - (np.nansum(values, axis=1) / n)[:, None] for values in (y, x))
    covariance, var_x, var_y = (np.nansum(part, axis=1) / n for part in (x * y, x * x, y * y))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(enough & (var_x * var_y > 1e-24), covariance / np.sqrt(var_x * var_y), np.nan)
        beta = np.where(enough & (var_x > 1e-12), covariance / var_x, np.nan)
    return pd.Series(correlation), pd.Series(beta)


def trailing(values: pd.Series, window: int) -> np.ndarray:
    padded = np.concatenate([np.full(window - 1, np.nan), values.to_numpy(dtype="float64")])
    return np.lib.stride_tricks.sliding_window_view(padded, window)


def correlations(panel: pd.DataFrame) -> dict[str, pd.Series]:
    zl = log_return(panel["zl_roll_free"], 1)

    def own_bars(column: str) -> pd.Series:
        return log_return(panel[column], 1).where(panel[f"{column}__age_days"] == 0)

    out = {}
    for name in ("zs", "zm", "zc", "cl", "ho", "cpo", "gc", "hg", "sp500", "dxy"):
        out[f"zl_{name}_correlation_63d"] = correlation_and_beta(zl, log_return(panel[f"{name}_last"], 1), 63)[0]
    for name in ("brl", "myr"):  # priced at 18:00 Chicago of the session before
        other = log_return(panel[f"{name}_last"], 1)
        out[f"zl_{name}_correlation_63d"] = correlation_and_beta(zl.shift(), other, 63)[0]
    out["zl_cl_correlation_252d"] = correlation_and_beta(zl, log_return(panel["cl_last"], 1), 252)[0]
    for name in ("dalian_soyoil", "dalian_palm"):
        other = own_bars(f"{name}_cny_t")
        out[f"zl_{name}_correlation_63d"], out[f"zl_{name}_beta_63d"] = correlation_and_beta(zl, other, 63)
        out[f"zl_{name}_correlation_252d"] = correlation_and_beta(zl, other, 252)[0]
        out[f"zl_after_{name}_correlation_63d"] = correlation_and_beta(zl, other.shift(), 63)[0]
    palm = own_bars("cpo_last")
    out["zl_cpo_beta_63d"] = correlation_and_beta(zl, palm, 63)[1]
    out["zl_after_cpo_correlation_63d"] = correlation_and_beta(zl, palm.shift(), 63)[0]
    return out


@pytest.fixture(scope="module")
def made(panel) -> dict[str, pd.Series]:
    return in_sql.over_panel(panel)


@pytest.fixture(scope="module")
def products(features) -> dict[str, pd.Series]:
    return in_sql.over_features(features)


def in_python(panel: pd.DataFrame) -> dict[str, pd.Series]:
    ratios, cross = technical.simple_averages(panel["zl_roll_free"])
    built = cross_asset.features(panel) | ratios | cross | regimes.thresholds(panel)
    return {name: pd.Series(values, panel.index) for name, values in built.items()}


@pytest.fixture(params=[in_python, in_sql.over_panel], ids=["python", "sql"])
def make(request) -> Callable[[pd.DataFrame], dict[str, pd.Series]]:
    """Either way to make what the files over the panel define."""
    return request.param


@pytest.mark.parametrize("name", [feature for file in FILES for feature in in_sql.query(file).features])
def test_a_feature_is_the_same_in_sql(name, features, made, products):
    built, by_sql = features[name], (made | products)[name]
    assert built.notna().sum() > 1800
    np.testing.assert_array_equal(built.isna(), by_sql.isna())
    np.testing.assert_allclose(built, by_sql, rtol=0, atol=WITHIN)


def test_correlations_and_betas_are_what_their_definition_says(panel, features, made):
    reference = correlations(panel)
    assert set(reference) == set(in_sql.query("correlations").features)
    for name, by_definition in reference.items():
        for values in (features[name], made[name]):
            np.testing.assert_array_equal(values.isna(), by_definition.isna(), err_msg=name)
            np.testing.assert_allclose(values, by_definition, rtol=0, atol=WITHIN, err_msg=name)


@pytest.mark.parametrize("rows", [1, 700, 2049, 4097, 5800])
def test_nothing_changes_bit_by_bit_when_later_rows_are_removed(panel, made, rows):
    """A window's sum of floats would: DuckDB adds by segment tree, over all markets' rows in one."""
    cut = pd.DataFrame(in_sql.over_panel(panel.iloc[:rows]))
    pd.testing.assert_frame_equal(cut, pd.DataFrame(made).iloc[:rows], check_exact=True)


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_one_select_in_bigquerys_dialect_and_plans_in_duckdb(file, panel, features):
    text = (in_sql.FOLDER / f"{file}.sql").read_text()
    [statement] = sqlglot.parse(text, read="bigquery", error_level=ErrorLevel.RAISE)
    assert isinstance(statement, exp.Select) and statement.named_selects[0] == "date"
    again = sqlglot.parse_one(statement.sql("bigquery"), read="bigquery")
    assert again.sql("duckdb", comments=False) == in_sql.query(file).duckdb
    empty = in_sql.over_panel(panel.head(0)) | in_sql.over_features(features.head(0))
    assert set(in_sql.query(file).features) <= set(empty)


@pytest.mark.parametrize("file", FILES)
def test_no_file_adds_floats(file):
    """Every SUM is of whole numbers, and no other aggregate adds: what comes out does not hang on an order."""
    statement = sqlglot.parse_one((in_sql.FOLDER / f"{file}.sql").read_text(), read="bigquery")
    used = {type(node) for node in statement.find_all(exp.AggFunc)}
    assert used <= {exp.Sum, exp.Count, exp.CountIf, exp.Max, exp.Lag, exp.RowNumber}
    whole = {
        alias.alias
        for alias in statement.find_all(exp.Alias)
        if isinstance(alias.this, exp.Cast) and alias.this.is_type("bigint")
    }
    for total in statement.find_all(exp.Sum):
        of = total.this
        literals = [node for node in of.find_all(exp.Literal) if node.is_string or "." in node.name]
        assert (
            (isinstance(of, exp.Cast) and of.is_type("bigint"))
            or (isinstance(of, exp.Column) and of.name in whole)
            or (isinstance(of, exp.If) and not literals)
        ), total.sql()


def small(rows: int, **columns: object) -> pd.DataFrame:
    """A panel of so many sessions; what is not given is missing."""
    mentioned = set().union(*(in_sql.query(name).mentions for name in in_sql.OVER_PANEL)) - {"date"}
    mentioned |= {*cross_asset.MARKETS.values(), *cross_asset.CHINA.values()}
    dates = pd.Series(pd.bdate_range("2020-01-02", periods=rows))
    blank = {name: np.nan for name in mentioned if name.endswith(("_last", "_cny_t", "__age_days"))}
    return pd.DataFrame({"date": dates} | blank | columns)


def test_an_average_is_of_known_closes_by_hand(make):
    closes = [10.0, np.nan, 11, 12, 13, 14, 15, np.nan, 16, 17, 18, 30]
    made = make(small(12, zl_roll_free=closes))["zl_sma_ratio_10d"]
    assert made.isna().tolist() == [True] * 11 + [False]
    assert made.iloc[-1] == pytest.approx(30 / ((10 + 11 + 12 + 13 + 14 + 15 + 16 + 17 + 18 + 30) / 10) - 1)


def prices(returns: np.ndarray) -> np.ndarray:
    return 50 * np.exp(np.cumsum(returns))


def test_correlation_and_beta_of_what_moves_with_against_and_not_at_all(make):
    moves = np.random.default_rng(5).normal(scale=0.01, size=90)
    panel = small(
        90,
        zl_roll_free=prices(moves),
        cl_last=prices(2 * moves),
        gc_last=prices(-moves),
        brl_last=prices(np.concatenate([[0.0], -moves[:-1]])),
        myr_last=3.8,
        dalian_palm_cny_t=prices(moves / 2),
        dalian_palm_cny_t__age_days=0.0,
    )
    made = pd.DataFrame(make(panel))
    assert made["zl_cl_correlation_63d"].iloc[-1] == pytest.approx(1)
    assert made["zl_gc_correlation_63d"].iloc[-1] == pytest.approx(-1)
    assert made["zl_brl_correlation_63d"].iloc[-1] == pytest.approx(-1), "its price is of the session before"
    assert made["zl_myr_correlation_63d"].isna().all(), "a peg has no correlation"
    assert made["zl_dalian_palm_beta_63d"].iloc[-1] == pytest.approx(2)
    assert made["zl_cl_correlation_63d"].first_valid_index() == 42, "two thirds of 63 returns"
    assert made["zl_after_dalian_palm_correlation_63d"].first_valid_index() == 43
    assert made["zl_cl_correlation_252d"].isna().all() and made["zl_hg_correlation_63d"].isna().all()


def test_a_price_that_is_not_positive_has_no_return_and_breaks_nothing(make):
    moves = np.random.default_rng(6).normal(scale=0.01, size=80)
    crude = prices(2 * moves)
    crude[60] = -37.63
    made = make(small(80, zl_roll_free=prices(moves), cl_last=crude))["zl_cl_correlation_63d"]
    assert made.iloc[42:].notna().all() and made.iloc[-1] == pytest.approx(1)


def test_regimes_by_hand(make):
    """A close 6% over its mean is an uptrend; the VIX is in its highest fifth by its place, ties in the middle."""
    closes = np.full(1300, 50.0)
    closes[-1] = 53.5
    vix = np.r_[np.full(700, 20.0), np.arange(600) / 10]
    made = pd.DataFrame(make(small(1300, zl_roll_free=closes, vix_last=vix)))
    assert made["regime_uptrend"].iloc[[148, 149, -2, -1]].fillna(-1).tolist() == [-1, 0, 0, 1]
    assert made["regime_downtrend"].iloc[-1] == 0
    assert made["regime_risk_off"].iloc[376:378].fillna(-1).tolist() == [-1, 0], "all the same: the middle of all"
    assert made["regime_risk_off"].iloc[-1] == 1 and made["regime_risk_off"].iloc[800] == 0
    assert made["regime_calm"].first_valid_index() == 42 + 629, "half of five years of volatilities"


def test_a_missing_measure_has_no_regime(make):
    made = pd.DataFrame(make(small(900, zl_roll_free=50.0, vix_last=[*range(899), np.nan])))
    assert np.isnan(made["regime_risk_off"].iloc[-1]) and made["regime_risk_off"].iloc[-2] == 1
    assert made.filter(like="correlation").isna().all(axis=None)


def test_a_panel_without_a_column_is_told_with_the_file(panel):
    with pytest.raises(RegistryError, match=r"sql/correlations\.sql does not run over the panel: .*hg_last"):
        in_sql.over_panel(panel.tail(50).drop(columns="hg_last"))


def test_rows_keep_the_panels_index(panel):
    made = in_sql.over_panel(panel.tail(50))
    assert all(values.index.equals(panel.tail(50).index) for values in made.values())
