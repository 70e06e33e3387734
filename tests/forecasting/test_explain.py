"""The reasons of a forecast: they add up for every family, read in plain words, and cannot harm the forecast."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.day import InputNotes
from tasks.errors import CbiError
from tasks.forecasting import explain
from tasks.forecasting.attribution import BASE, Reasons, reasons_of
from tasks.forecasting.explain import driver_rows, width_in_cents
from tasks.forecasting.forecast import problem_of
from tasks.models import shapley
from tasks.models.catalogue import BASELINE, FAMILIES, JOINT_FAMILIES, SCALE, expected_move
from tasks.models.ensemble import Ensemble
from tasks.models.forecaster import FittedModel, JointProblem, forecaster, joint_forecaster
from tasks.models.loading import SingleHorizonModel
from tasks.quantiles import column
from tasks.registry.explanations import load_explanations
from tests.conftest import Registry
from tests.forecasting.market import TRAINED, Market

RANDOM_DATES = 50
RISING_OR_FALLING = ("2014-12-30", "2014-06-16", "2014-03-05", "2013-03-05", "2012-05-22", "2012-02-07", "2011-09-13")
TINY_NET: dict[str, Any] = {"window": 21, "channels": 4, "batch": 32, "epochs": 2, "validation_sessions": 120}
MORE = pytest.mark.more
HORIZONS = ["3m", *(pytest.param(name, marks=MORE) for name in ("1w", "1m", "6m", "12m"))]
EVERY_FAMILY = [*FAMILIES, "ensemble", *(pytest.param(name, marks=MORE) for name in JOINT_FAMILIES)]


def inputs_of(market: Market, horizon: str) -> list[str]:
    needs = ["vix", SCALE, "zl_ewma_volatility_94_pct", "zl_ewma_volatility_97_pct", "zl_volatility_252d_pct"]
    needs += ["zl_percentile_1260d", "year_sin", "year_cos", "half_year_sin", "half_year_cos"]
    drivers = ["boho_usd_gal", "board_crush_usd_bu", "oil_share_z_252d", "cl_return_21d", "big8_vix_stress"]
    sessions = market.registry.horizons.horizons[horizon].sessions
    return [*needs, *drivers, "zl_return_1d", "zl_return_5d", "cot_zl_noncommercial_net_share", expected_move(sessions)]


def fitted(family: str, horizon: str, market: Market, labels: pd.DataFrame) -> FittedModel:
    """The family, fitted on what was known by ``TRAINED``."""
    problem = problem_of(horizon, market.registry.horizons)
    targets = labels[labels["horizon"] == horizon].set_index("date")
    known = targets[(targets["target_date"] <= TRAINED) & targets["reachable"]].index
    rows = market.features[market.features["date"].isin(known) & market.features[SCALE].notna()].reset_index(drop=True)
    target = targets["target_log_return"].reindex(rows["date"]).reset_index(drop=True)
    columns = inputs_of(market, horizon)
    if family == "ensemble":
        members = {name: fitted(name, horizon, market, labels) for name in ("har", "ridge", "lightgbm")}
        width = {"quantiles": list(problem.quantiles), "log_width": 0.05}
        weights = {"regime_prob_calm": [2, 1, 1], "regime_prob_tense": [1, 1, 1], "unknown": [1, 1, 2]}
        shares = {name: dict(zip(members, parts, strict=True)) for name, parts in weights.items()}
        return Ensemble(problem, members, dict.fromkeys(members, width), shares)
    if family in JOINT_FAMILIES:
        joint = joint_forecaster(family)(JointProblem({horizon: problem.sessions}, problem.quantiles), TINY_NET)
        joint.fit(rows[columns], pd.DataFrame({horizon: target}))
        return SingleHorizonModel(joint, horizon, joint.history_sessions)
    model = forecaster(family)(problem, {"rounds": 20} if family in ("lightgbm", "xgboost") else {})
    model.fit(rows[columns], target)
    return model


def published(reasons: Reasons, levels: tuple[float, ...], last_price: float, horizon: str) -> pd.Series:
    prices = {column(level): last_price * np.exp(q) for level, q in zip(levels, reasons.quantiles, strict=True)}
    row = {"as_of": pd.Timestamp(reasons.session), "horizon": horizon, "model_version": "m", "family": "f"}
    return pd.Series({**row, "last_price": last_price, "point": prices["p50"], **prices})


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_groups_add_up_for_every_family_on_fifty_random_dates(
    family: str, horizon: str, market: Market, labels: pd.DataFrame, registry: Registry
) -> None:
    """To the centre less the last price within 0.01 cents/lb, and to the width of the 80% band."""
    model, words = fitted(family, horizon, market, labels), load_explanations(registry.folder, registry.features)
    columns = [*inputs_of(market, horizon), "regime_prob_calm", "regime_prob_tense", "date"]
    later = market.features[market.features["date"] > TRAINED].index
    chosen = np.random.default_rng(7).choice(later, RANDOM_DATES, replace=False)
    levels, checked, sizes = registry.horizons.quantiles, 0, []
    prices = market.panel.set_index("date")["zl_last"]
    for row in sorted(chosen):
        known = market.features.loc[: int(row), columns]
        for reasons in reasons_of(model, known, tuple(levels), 1):
            told = published(reasons, tuple(levels), float(prices[reasons.session]), horizon)
            drivers = driver_rows(told, reasons, known.iloc[-1], registry.features, words)
            groups = drivers.groupby("group")[["shap_cents_lb", "width_cents_lb"]].sum()
            assert abs(groups["shap_cents_lb"].sum() - (told["point"] - told["last_price"])) < 0.01, reasons.session
            assert abs(groups["width_cents_lb"].sum() - (told["p90"] - told["p10"])) < 0.01, reasons.session
            assert set(groups.index) <= set(words.groups)
            checked += 1
            sizes.append(drivers["shap_cents_lb"].abs().sum())
    assert checked >= 0.9 * RANDOM_DATES, "too few dates had a forecast"
    assert max(sizes) > 0.01 or family in ("no_change", "historical", "long_run"), "nothing moved: nothing is tested"


def test_contributions_come_from_shap_and_are_the_known_ones() -> None:
    """Of a linear function, weight times input; of any other, their sum is the difference from the reference."""
    weights, rows = np.array([0.5, -2.0, 0.0]), np.array([[1.0, 3.0, 5.0], [0.0, -1.0, 2.0]])
    np.testing.assert_allclose(shapley.linear_values(weights, rows), rows * weights, atol=1e-12)
    one, base = shapley.permutation_values(lambda x: np.exp(x[:, 0]), np.array([[2.0]]), np.array([1.0]))
    assert one[0, 0] == pytest.approx(np.exp(2) - np.exp(1)) and base[0] == pytest.approx(np.exp(1))


@pytest.mark.more
def test_permutation_values_share_a_product_evenly() -> None:
    values, base = shapley.permutation_values(
        lambda x: x[:, 0] * x[:, 1] + x[:, 2], np.array([[2.0, 3.0, 4.0]]), np.zeros(3)
    )
    np.testing.assert_allclose(values, [[3.0, 3.0, 4.0]], atol=1e-9)
    assert base[0] == 0.0


def test_the_width_is_shared_in_proportion_and_adds_up() -> None:
    """Twice the ordinary width, three quarters of the log of it from one input."""
    found = width_in_cents({"vix": 0.75 * np.log(2), "year_sin": 0.25 * np.log(2), BASE: -1.0}, 10.0)
    assert found.round(9).to_dict() == {"vix": 3.75, "year_sin": 1.25, BASE: 5.0}
    assert width_in_cents({BASE: -1.0}, 10.0).to_dict() == {BASE: 10.0}


def test_what_drives_the_width_is_not_mixed_with_what_drives_the_centre(market: Market, tmp_path: Path) -> None:
    """The baseline has no view beyond the curve: recent volatility is the driver of its band, and of that alone."""
    row, drivers = market.day(market.served_by(BASELINE, tmp_path / "store"))
    of = drivers.set_index("feature")
    assert np.isnan(of.loc[SCALE, "shap_cents_lb"]) and abs(of.loc[SCALE, "width_cents_lb"]) > 0.01
    assert np.isnan(of.loc[expected_move(21), "width_cents_lb"])
    assert of["width_cents_lb"].sum() == pytest.approx(row["p90"] - row["p10"])
    _, of_ridge = market.day(market.served_by("ridge", tmp_path / "ridge"))
    widths = of_ridge.dropna(subset="width_cents_lb").set_index("feature")["width_cents_lb"]
    assert {"vix", "zl_percentile_1260d", SCALE} < set(widths.index)


def sentence(market: Market, store: Any, *at: pd.Timestamp, **given: Any) -> tuple[pd.Series, str]:
    day = market.whole_day(store, *at, **given)
    return day.forecasts.iloc[0], str(market.explained(day).sentences["centre_sentence"].iloc[0])


def adds_up(text: str) -> None:
    """The printed numbers do, to the cent."""
    shape = r".*?: ([\d.]+), (?:(?:up|down) ([\d.]+) from|unchanged from) today's ([\d.]+)"
    found = re.match(shape, text)
    assert found, text
    point, moved, last = found.groups()
    terms = [float(value) for value in re.findall(r" ([+-]\d+\.\d\d)(?:,|$| \()", text)]
    change = round(float(point) - float(last), 2)
    assert abs(change) == float(moved or 0) and round(sum(terms), 2) == (change if terms else 0.0), text


def test_a_sentence_of_a_rising_and_of_a_falling_day(market: Market, tmp_path: Path) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    seen = {}
    for day in RISING_OR_FALLING:
        row, text = sentence(market, store, pd.Timestamp(day))
        adds_up(text)
        way = "up" if row["point"] > row["last_price"] else "down"
        assert text.startswith(f"1 month: {row['point']:.2f}, {way} ")
        seen[way] = text
    assert set(seen) == {"up", "down"}, "no such day among them"


def test_a_sentence_of_a_flat_and_of_a_degraded_day(market: Market, tmp_path: Path) -> None:
    store = market.served_by(BASELINE, tmp_path / "store")
    flat = market.features.assign(**{expected_move(21): np.nan})
    row, _ = market.day(store, features=flat)
    day = market.whole_day(store, features=flat)
    text = market.explained(day, features=flat).sentences["centre_sentence"].iloc[0]
    price = f"{row['last_price']:.2f}"
    assert text == f"1 month: {price}, unchanged from today's {price}: nothing that the model reads moves it"
    notes = InputNotes(unconfirmed={"yahoo ZL=F": "the bar repeats"})
    row, text = sentence(market, store, notes=notes)
    assert row["degraded"] and text.endswith(" (degraded: the close of yahoo ZL=F is unconfirmed: the bar repeats)")
    assert "the curve" in text


class Broken:
    """A model whose reasons fail in any way that an exception can."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *given: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("a fault"), CbiError("a reason"), MemoryError(), ImportError("no shap")]
)
def test_a_fault_in_the_reasons_leaves_the_forecast_as_published(
    error: Exception, market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = market.served_by("ridge", tmp_path / "store")
    sound = market.whole_day(store)
    monkeypatch.setattr(forecaster("ridge"), "explain", Broken(error))
    monkeypatch.setattr(explain, "width_in_cents", Broken(error))
    day = market.whole_day(store)
    found = market.explained(day)
    pd.testing.assert_frame_equal(day.forecasts, sound.forecasts)
    assert found.drivers.empty and len(found.notices) == 1 and found.notices[0].startswith("no drivers at 1m: ")
    assert not day.forecasts["degraded"].any()


def test_every_feature_has_one_group_and_each_group_a_feature(registry: Registry) -> None:
    words = load_explanations(registry.folder, registry.features)
    groups = {words.group_of(name, category) for name, category in registry.features.category_of.items()}
    assert groups == set(words.groups) - {"calibration"}
    asked = [
        "curve",
        "soy complex",
        "energy",
        "macro",
        "supply",
        "weather",
        "positioning",
        "policy",
        "Big 8",
        "technical",
    ]
    assert set(words.groups) == {*asked, "calibration"}
    assert words.group_of("vix_override_flag", "overrides") == "Big 8" and words.group_of("vix", "macro") == "macro"
    assert words.topic_of("oil_less_palm_z_252d", "soy complex") == "palm spread"


def test_where_quantiles_cross_the_one_that_is_published_as_median_is_explained(
    market: Market, labels: pd.DataFrame
) -> None:
    """The published median is the middle one after sorting; here another booster's than that of 50%."""
    model: Any = fitted("lightgbm", "3m", market, labels)
    boosters = list(model.boosters)
    boosters[3], boosters[5] = boosters[5], boosters[3]
    model.boosters = tuple(boosters)
    rows = market.features[market.features["date"] > TRAINED].iloc[::100]
    parts, quantiles = model.explain(rows), model.predict_quantiles(rows)
    np.testing.assert_allclose(parts.sum(axis=1), quantiles[:, 3], atol=1e-9)
    own = model.contributions(model._inputs(rows), 3)[:, :-1] * model.options["own_share"]
    assert not np.allclose(own.sum(axis=1), 0.0), "the boosters say the same: nothing is tested"
