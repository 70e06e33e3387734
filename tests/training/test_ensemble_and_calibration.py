"""The ensemble and the adaptive bands: what they may know, how they weigh, and what they recover from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.errors import TrainingFailed
from tasks.evaluation.calibration import STEP, adapt_out_of_fold, static_and_adaptive
from tasks.models.forecaster import Problem
from tasks.models.naive import NoChange
from tasks.quantiles import column, coverage, pinball, price_quantiles, widened
from tasks.registry import load_models, load_surface
from tasks.training.blending import REGIMES, ensemble, regime_weights
from tasks.training.plan import context_columns
from tasks.training.worker import out_of_fold
from tests.conftest import Registry

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
NAMES = [column(level) for level in LEVELS]
Z = np.array([-1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449])


def simulated(target: np.ndarray, *, width: float = 1.0, ahead: int = 7, median: float = 0.0) -> pd.DataFrame:
    dates = pd.date_range("2007-01-05", periods=len(target), freq="7D")
    return pd.DataFrame(
        {
            "date": dates,
            "target_date": dates + pd.Timedelta(days=ahead),
            "target_log_return": target,
            "last_price": 50.0,
            "fold": dates.year,
            "scored": True,
            "direction_probability": 0.5 + median,
            **{name: median + width * z for name, z in zip(NAMES, Z, strict=True)},
        }
    )


def regimes_of(oof: pd.DataFrame, crisis: np.ndarray) -> pd.DataFrame:
    held = {"regime_prob_calm": 1 - crisis, "regime_prob_tense": 0.0, "regime_prob_crisis": crisis}
    return pd.DataFrame({"date": oof["date"], **held})


def as_known_on(day: pd.Timestamp, oof: pd.DataFrame) -> pd.DataFrame:
    """The origins to ``day``, outcomes of later target dates missing."""
    known = oof["target_log_return"].where(oof["target_date"] <= day)
    return oof.assign(target_log_return=known)[oof["date"] <= day]


@pytest.fixture(scope="module")
def three_months(features: pd.DataFrame, labels: pd.DataFrame, registry: Registry) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Real out-of-fold forecasts of the baseline at three months, and the features of its table."""
    own = labels[labels["horizon"] == "3m"]
    table = features.merge(own[["date", "target_date", "target_log_return", "target_price"]], on="date", how="inner")
    table = table[table["date"] < "2021"].reset_index(drop=True)
    problem = Problem("3m", 63, LEVELS)
    columns = ["zl_ewma_volatility_99_pct"]
    return out_of_fold(NoChange, problem, table, columns, registry.horizons.walk_forward), table


def test_bands_recover_within_a_year_of_a_break_and_return_within_three_of_its_end() -> None:
    rng = np.random.default_rng(5)
    spread = np.repeat([1.0, 2.0, 1.0], 400)
    oof = simulated(rng.normal(0, spread))
    adapted, log_width = adapt_out_of_fold(oof, LEVELS, horizon=5, step=5)

    def held(frame: pd.DataFrame, part: slice) -> float:
        of = frame[part]
        return coverage(of["target_log_return"].to_numpy(), of["p10"].to_numpy(), of["p90"].to_numpy())

    assert held(oof, slice(450, 800)) < 0.55
    assert 0.75 < held(adapted, slice(450, 800)) < 0.85
    assert 0.75 < held(adapted, slice(950, 1200)) < 0.85
    assert abs(log_width) < 0.4
    assert (adapted["p50"] == 0).all()
    assert (np.diff(adapted[NAMES].to_numpy(), axis=1) > 0).all()


@pytest.mark.parametrize("ahead", [7, 70])
def test_adaptive_bands_know_no_outcome_before_its_target_date(ahead: int) -> None:
    oof = simulated(np.random.default_rng(6).normal(size=200), ahead=ahead)
    horizon = 5 * ahead // 7
    whole, _ = adapt_out_of_fold(oof, LEVELS, horizon=horizon, step=5)
    cut = oof["date"].iloc[120]
    changed = oof.assign(target_log_return=oof["target_log_return"].where(oof["target_date"] <= cut, 9.0))
    again, _ = adapt_out_of_fold(changed, LEVELS, horizon=horizon, step=5)
    pd.testing.assert_frame_equal(whole[NAMES][:121], again[NAMES][:121])
    known = oof.assign(target_log_return=oof["target_log_return"].where(oof["target_date"] < cut, 9.0))
    last, _ = adapt_out_of_fold(known, LEVELS, horizon=horizon, step=5)
    assert last["p95"].iloc[120] > whole["p95"].iloc[120], "an outcome of the very day is known, and was missed"
    begun, state = adapt_out_of_fold(oof[:120], LEVELS, horizon=horizon, step=5)
    pd.testing.assert_frame_equal(begun[NAMES], whole[NAMES][:120])
    if ahead == 7:
        following = widened(oof[NAMES].to_numpy()[[120]], LEVELS, np.array([state]))
        np.testing.assert_allclose(following[0], whole[NAMES].to_numpy()[120])


def test_an_outcome_that_overlaps_others_counts_by_its_share() -> None:
    oof = simulated(np.full(1, 5.0))
    _, alone = adapt_out_of_fold(oof, LEVELS, horizon=5, step=5)
    _, shared = adapt_out_of_fold(oof, LEVELS, horizon=50, step=5)
    assert alone == pytest.approx(STEP * (0.95 + 0.9 + 0.75 - 0.05 - 0.1 - 0.25) / 6)
    assert shared == pytest.approx(alone / 10)


def test_a_forecast_that_is_missing_stays_missing_and_teaches_nothing() -> None:
    oof = simulated(np.full(3, 5.0))
    oof.loc[0, NAMES] = np.nan
    adapted, _ = adapt_out_of_fold(oof, LEVELS, horizon=5, step=5)
    assert adapted.loc[0, NAMES].isna().all()
    pd.testing.assert_series_equal(adapted.loc[1, NAMES], oof.loc[1, NAMES])


def test_static_and_adaptive_are_measured_on_the_same_real_origins(three_months) -> None:
    oof, table = three_months
    found = static_and_adaptive(
        oof, table.loc[oof["row"]], LEVELS, horizon=63, step=5, first="2014-01-01", last="2018-12-31"
    ).set_index("calibration")
    assert found["origins"].nunique() == 1
    assert found.loc["adaptive", "pinball_log_return"] < found.loc["static", "pinball_log_return"]
    part = oof[oof["date"].between("2014-01-01", "2018-12-31")]
    held = coverage(part["target_log_return"].to_numpy(), part["p10"].to_numpy(), part["p90"].to_numpy())
    assert found.loc["uncalibrated", "coverage_80"] == held


def test_the_weights_of_an_origin_know_no_outcome_before_its_target_date(three_months) -> None:
    oof, table = three_months
    wide = oof.assign(**{name: 1.3 * oof[name] for name in NAMES})
    late = oof.assign(**{name: oof[name] + 0.01 for name in NAMES}).iloc[200:]
    families = {"no_change": oof, "wide": wide, "late": late}
    given = {"probabilities": table[["date", *REGIMES]], "levels": LEVELS, "horizon": 63, "step": 5}
    whole = ensemble(families, **given)
    weights = [f"weight_{family}" for family in families]
    np.testing.assert_allclose(whole[weights].sum(axis=1), 1)
    assert set(oof) <= set(whole) and (whole["row"] == oof["row"]).all(), "an out-of-fold frame like any other"
    assert (whole["weight_late"][:200] == 0).all() and (whole["weight_late"][200:] > 0).all()
    assert (np.diff(whole[NAMES].to_numpy(), axis=1) >= 0).all()
    for row in (150, 400, len(whole) - 1):
        day = whole["date"].iloc[row]
        cut = {family: as_known_on(day, frame) for family, frame in families.items()}
        past = given | {"probabilities": table.loc[table["date"] <= day, ["date", *REGIMES]]}
        as_then = ensemble(cut, **past)
        pd.testing.assert_frame_equal(as_then[[*weights, *NAMES]], whole[[*weights, *NAMES]][: row + 1])
    changed = {
        family: frame.assign(target_log_return=frame["target_log_return"].where(frame["target_date"] != day, 0.5))
        for family, frame in families.items()
        for day in [whole["target_date"].iloc[300]]
    }
    other = ensemble(changed, **given)
    differs = (other[weights] != whole[weights]).any(axis=1)
    assert whole["date"][differs].min() >= whole["target_date"].iloc[300]
    assert differs.any()


def test_weights_go_to_the_family_that_was_better_in_the_regime_and_change_smoothly_between() -> None:
    rng = np.random.default_rng(7)
    crisis = np.tile(np.repeat([0.0, 1.0], 100), 4).astype("float64")
    target = rng.normal(0, 1 + 2 * crisis)
    crisis[-3:] = (0.0, 0.5, 1.0)
    narrow, wide = simulated(target), simulated(target, width=3.0)
    found = ensemble({"narrow": narrow, "wide": wide}, regimes_of(narrow, crisis), LEVELS, horizon=5, step=5)
    calm, between, stormy = found["weight_narrow"].iloc[-3:]
    assert calm > 0.7 > 0.3 > stormy
    assert between == pytest.approx((calm + stormy) / 2, abs=0.02)
    assert found["weight_narrow"].iloc[0] == 0.5, "no outcome known: equal"
    expected = calm * narrow["p90"].iloc[-3] + (1 - calm) * wide["p90"].iloc[-3]
    assert found["p90"].iloc[-3] == pytest.approx(expected)
    few = ensemble({"narrow": narrow, "wide": wide}, regimes_of(narrow, crisis), LEVELS, horizon=250, step=5)
    assert abs(few["weight_narrow"].iloc[-3] - 0.5) < abs(calm - 0.5), "few independent outcomes: nearer to equal"


def test_where_regimes_are_missing_all_past_origins_count_alike() -> None:
    target = np.random.default_rng(8).normal(size=100)
    narrow, wide = simulated(target), simulated(target, width=3.0)
    unknown = regimes_of(narrow, np.full(100, np.nan))
    one = regimes_of(narrow, np.zeros(100))
    families = {"narrow": narrow, "wide": wide}
    blind, seen = (ensemble(families, p, LEVELS, horizon=5, step=5) for p in (unknown, one))
    np.testing.assert_allclose(blind["weight_narrow"], seen["weight_narrow"])


def test_families_of_other_outcomes_are_not_averaged() -> None:
    with pytest.raises(TrainingFailed, match="other outcomes at 2007-01-05"):
        ensemble(
            {"a": simulated(np.ones(3)), "b": simulated(np.zeros(3))},
            regimes_of(simulated(np.ones(3)), np.zeros(3)),
            LEVELS,
            horizon=5,
            step=5,
        )


def test_price_quantiles_are_exact_transforms_of_return_quantiles() -> None:
    returns = np.random.default_rng(9).normal(0, 0.2, 999)
    prices = price_quantiles(np.array([47.84]), np.quantile(returns, LEVELS)[None, :])[0]
    np.testing.assert_allclose(prices, np.quantile(47.84 * np.exp(returns), LEVELS, method="linear"), rtol=1e-3)
    shares = [(47.84 * np.exp(returns) <= price).mean() for price in prices]
    np.testing.assert_allclose(shares, LEVELS, atol=1 / 999)


def test_weights_by_hand_where_no_regime_is_known() -> None:
    """Loss relative to the mean of both, to the power of -30 n / (n + 20); an outcome counts once its date has come."""
    rng = np.random.default_rng(3)
    target = rng.normal(size=60)
    good, bad = simulated(target), simulated(target, width=2.0)
    unknown = regimes_of(good, np.full(60, np.nan)).assign(regime_prob_tense=np.nan)
    found = ensemble({"good": good, "bad": bad}, unknown, LEVELS, horizon=5, step=5)
    losses = [pinball(target, oof[NAMES].to_numpy(), LEVELS) for oof in (good, bad)]
    n = 59  # the outcome of the last origin is known a week later
    mean = (losses[0][:n].sum() + losses[1][:n].sum()) / 2
    power = -30 * n / (n + 20)
    raw = [(loss[:n].sum() / mean) ** power for loss in losses]
    assert found["weight_good"].iloc[-1] == pytest.approx(raw[0] / sum(raw))
    assert found["weight_good"].iloc[0] == pytest.approx(0.5), "nothing is known yet"
    assert found["p90"].iloc[-1] == pytest.approx(
        found["weight_good"].iloc[-1] * good["p90"].iloc[-1] + found["weight_bad"].iloc[-1] * bad["p90"].iloc[-1]
    )


def test_the_weights_of_each_regime_after_all_outcomes() -> None:
    """Narrow bands are better in calm times, wide ones in a crisis, and each regime's row says so."""
    rng = np.random.default_rng(4)
    crisis = (np.arange(400) % 4 == 0).astype("float64")
    target = rng.normal(size=400) * np.where(crisis == 1, 3.0, 0.5)
    oofs = {"narrow": simulated(target, width=0.5), "wide": simulated(target, width=3.0)}
    weights = regime_weights(oofs, regimes_of(oofs["narrow"], crisis), LEVELS, horizon=5, step=5)
    assert list(weights.index) == [*REGIMES, "unknown"] and list(weights.columns) == ["narrow", "wide"]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert weights.at["regime_prob_calm", "narrow"] > 0.99 and weights.at["regime_prob_crisis", "wide"] > 0.99
    assert weights.at["regime_prob_tense", "narrow"] == pytest.approx(0.5), "no origin was tense"
    everything = ensemble(
        oofs,
        regimes_of(oofs["narrow"], np.full(400, np.nan)).assign(regime_prob_tense=np.nan),
        LEVELS,
        horizon=5,
        step=5,
    )
    assert weights.at["unknown", "wide"] == pytest.approx(everything["weight_wide"].iloc[-1], abs=0.02)


def test_the_ends_of_a_band_are_inside_it() -> None:
    ends = np.array([1.0, 2.0, 3.0])
    assert coverage(ends, np.full(3, 1.0), np.full(3, 3.0)) == 1.0
    assert coverage(ends, np.full(3, 1.5), np.full(3, 2.0)) == pytest.approx(1 / 3)


def test_a_net_reads_the_categories_of_the_registry_as_context(registry: Registry) -> None:
    surface, models = load_surface(registry.folder, registry.features), load_models(registry.folder, registry.features)
    context = context_columns(models, surface)
    assert context and {surface.features[name].category for name in context} <= set(models.context)
    rest = set(surface.features) - set(context)
    assert rest and not {surface.features[name].category for name in rest} & set(models.context)
