"""Scenarios: measured on their episodes, by the code of the daily run; nothing of the future, nothing typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.features.build import build_features
from tasks.forecasting.explain import Served
from tasks.forecasting.forecast import problem_of
from tasks.forecasting.scenarios import (
    alike_days,
    analogues,
    episode_moves,
    scenarios_of_day,
    with_dependents,
    with_episode,
)
from tasks.registry.scenarios import Scenarios, load_scenarios
from tests.conftest import AS_OF, Registry
from tests.forecasting.market import Market, ReadHere


@pytest.fixture(scope="module")
def spec(registry: Registry) -> Scenarios:
    return load_scenarios(registry.folder)


@pytest.fixture(scope="module")
def served(market: Market) -> list[Served]:
    return [Served(problem_of("1m", market.horizons), market.versions["ridge"], "1 month")]


@pytest.fixture(scope="module")
def day(
    panel: pd.DataFrame,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    registry: Registry,
    spec: Scenarios,
    served: list[Served],
) -> pd.DataFrame:
    """Every scenario as of the archive's last session, by a ridge."""
    before = panel.copy()
    rows, notices = scenarios_of_day(panel, features, labels, spec, served, ReadHere(), registry.features)
    assert notices == () and rows["note"].isna().all()
    pd.testing.assert_frame_equal(panel, before), "the panel of the run is not touched"
    return rows.set_index("scenario")


def test_there_are_seven_scenarios_with_dated_episodes_and_measured_magnitudes(
    day: pd.DataFrame, spec: Scenarios
) -> None:
    asked = {"vix_spike", "china_embargo", "supply_shock", "currency_crisis", "credit_freeze", "shipping_crisis"}
    assert set(day.index) == asked | {"policy_shock"}
    text = (Path(__file__).parents[2] / "registry" / "scenarios.yaml").read_text()
    for name, row in day.iterrows():
        assert row["episode_last"] < AS_OF and "zl_roll_free" in row["magnitudes"]
        shown = row["magnitudes"].split(", ")[0].split(" ")[1].strip("+%")
        assert shown not in text, f"{name}: a magnitude is typed"
        assert row["analogues"] >= 3 and -60 < row["analogue_median_pct"] < 60
        assert row["analogue_outcomes"].count("%") == min(row["analogues"], 8)


@pytest.mark.parametrize(
    "name",
    [
        "vix_spike",
        "china_embargo",
        "supply_shock",
        "currency_crisis",
        "credit_freeze",
        "shipping_crisis",
        "policy_shock",
    ],
)
def test_a_scenario_moves_as_expected_within_bounds(name: str, day: pd.DataFrame, spec: Scenarios) -> None:
    row, expected = day.loc[name], spec.scenarios[name].expected
    assert np.sign(row["centre_change_cents_lb"]) == (1 if expected.centre == "up" else -1)
    if expected.width == "up":
        assert row["width_change_pct"] > 10
    fired = set((row["overrides"] or "").split(", "))
    assert set(expected.fires) <= fired
    assert 0 < row["scenario_p10"] < row["scenario_centre"] < row["scenario_p90"]
    assert abs(row["centre_change_cents_lb"]) < 0.4 * row["last_price"] and -40 < row["width_change_pct"] < 250
    assert abs(row["beyond_price_cents_lb"]) < 0.15 * row["last_price"], (
        "a ridge shrunk hard says little beyond the price"
    )


def test_correlated_inputs_move_as_they_did_session_by_session(panel: pd.DataFrame, spec: Scenarios) -> None:
    """The VIX spike by hand: from 14.38 on 2020-02-19 to 82.69 on 2020-03-16, on top of the last 18 sessions."""
    moves = episode_moves(panel, spec.scenarios["vix_spike"], spec)
    then = panel.set_index("date")
    ratio = then.loc["2020-03-16", "vix_last"] / then.loc["2020-02-19", "vix_last"]
    credit = then.loc["2020-03-16", "hy_oas_pct"] - then.loc["2020-02-19", "hy_oas_pct"]
    changed = with_episode(panel, moves, spec)
    assert moves.sessions == 18 and ratio == pytest.approx(82.69 / 14.38)
    assert changed["vix_last"].iloc[-1] == pytest.approx(panel["vix_last"].iloc[-1] * ratio)
    assert changed["hy_oas_pct"].iloc[-1] == pytest.approx(panel["hy_oas_pct"].iloc[-1] + credit)
    half = moves.log["vix_last"].iloc[8]
    assert changed["vix_last"].iloc[-10] == pytest.approx(panel["vix_last"].iloc[-10] * np.exp(half))
    pd.testing.assert_frame_equal(changed.iloc[:-18], panel.iloc[:-18])
    ages = [name for name in panel if name.endswith("__age_days")]
    pd.testing.assert_frame_equal(changed[ages], panel[ages])
    assert np.isnan(changed["brl_last"].iloc[-1]), "what is missing today stays missing"
    zl = changed["zl_last"].iloc[-1] / panel["zl_last"].iloc[-1]
    assert zl == pytest.approx(changed["zl_roll_free"].iloc[-1] / panel["zl_roll_free"].iloc[-1])


def test_an_episode_that_is_not_over_yet_is_not_known(
    panel: pd.DataFrame, labels: pd.DataFrame, registry: Registry, spec: Scenarios, served: list[Served]
) -> None:
    early = panel[panel["date"] <= "2018-06-29"].reset_index(drop=True)
    features = build_features(early, registry.features)
    known = labels[labels["date"] <= "2018-06-29"]
    rows, notices = scenarios_of_day(early, features, known, spec, served, ReadHere(), registry.features)
    told = rows.set_index("scenario")
    assert notices == ()
    assert "ends on 2018-07-06, after this session" in told.loc["china_embargo", "note"]
    assert np.isnan(told.loc["vix_spike", "scenario_centre"]) and told.loc["credit_freeze", "scenario_centre"] > 0


def test_only_outcomes_known_by_the_session_are_analogues(
    panel: pd.DataFrame, labels: pd.DataFrame, spec: Scenarios
) -> None:
    scenario = spec.scenarios["currency_crisis"]
    cut = panel[panel["date"] <= "2020-05-29"].reset_index(drop=True)
    moves = episode_moves(cut, scenario, spec)
    days = alike_days(cut, moves, scenario.alike)
    assert (days.to_series().diff().dropna() > pd.Timedelta(days=moves.sessions)).all()
    found = analogues(cut, labels, moves, scenario.alike, "12m")
    known = labels[(labels["horizon"] == "12m") & labels["date"].isin(days) & labels["target_log_return"].notna()]
    late = known["target_date"] > "2020-05-29"
    assert late.any(), "nothing is left out: nothing is tested"
    assert found["analogues"] == int((~late).sum())
    assert "2020-0" not in str(found["analogue_outcomes"])


def test_spreads_follow_from_their_prices_by_their_own_formulas(panel: pd.DataFrame) -> None:
    """Palm up by 4.5 cents/lb in Dalian: soybean oil less palm falls by it; ZL down by 2: the premium rises by 2."""
    changed = panel.copy()
    changed.loc[changed.index[-1], "dalian_palm_cents_lb"] += 4.5
    changed.loc[changed.index[-1], "zl_last"] -= 2.0
    found, was = with_dependents(changed, panel).iloc[-1], panel.iloc[-1]
    for name, moved in {"dalian_soyoil_less_palm_cents_lb": -4.5, "dalian_soyoil_premium_cents_lb": 2.0}.items():
        assert found[name] == pytest.approx(was[name] + moved), name
    assert found["china_crush_margin_cny_t"] == was["china_crush_margin_cny_t"]
