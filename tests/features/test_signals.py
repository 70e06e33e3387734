"""Big 8, overrides and regimes on dated real episodes, and causal."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from tasks.errors import RegistryError
from tasks.features import big8, overrides, regimes
from tasks.registry import load_overrides
from tasks.settings import load_settings

FLAGS = load_overrides(load_settings().registry).overrides


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    made = big8.features(panel) | overrides.features(panel, FLAGS) | regimes.features(panel)
    return pd.DataFrame(made).set_axis(panel["date"])


@pytest.mark.parametrize("name", FLAGS)
def test_an_override_fires_in_its_episode_and_rests_in_a_calm_month(built, name):
    entry = FLAGS[name]
    assert built.loc[entry.fires, name].max() == 1
    assert (built.loc[entry.calm, name] == 0).all()


@pytest.mark.parametrize("name", FLAGS)
def test_an_overrides_signal_stays_in_its_range_and_passes_the_threshold(panel, name):
    signal, entry = overrides.signal_of(panel, FLAGS[name].signal).dropna(), FLAGS[name]
    assert signal.between(*entry.range).all()
    share = (signal >= entry.at_least).mean()
    assert 0.01 < share < 0.3, "neither never nor the usual state"


def test_the_three_dated_episodes(built, panel):
    """VIX 82.69 on 2020-03-16; China's 25% from 2018-07-06; palm at its dearest after Indonesia's ban of 2022-04-22."""
    vix = panel.set_index("date")["vix_last"]
    assert vix["2020-03-16"] == pytest.approx(82.69) and (built.loc["2020-03", "vix_override_flag"] == 1).sum() >= 20
    assert built["tariff_override_flag"]["2018-07-05"] == 0 and built["tariff_override_flag"]["2018-07-06"] == 1
    assert (built.loc["2022-04-22":"2022-04-29", "palm_override_flag"] == 1).all()
    assert (built.loc["2020-03-09":"2020-03-31", "master_regime_classification"] == big8.FINANCIAL).all()
    assert (built.loc["2018-07-06":"2018-07-31", "master_regime_classification"] == big8.TRADE).all()


def test_a_threshold_out_of_reach_is_refused(registry, tmp_path):
    folder = shutil.copytree(registry.folder, tmp_path / "registry")
    path = folder / "override_thresholds.yaml"
    path.write_text(path.read_text().replace("unit: share, at_least: 0.9,", "unit: share, at_least: 1.2,", 1))
    with pytest.raises(RegistryError, match=r"harvest_override_flag.*out of the signal's reach"):
        load_overrides(folder)


def test_signals_are_shares_and_coverage_counts_them(built):
    signals = built[[f"big8_{name}" for name in big8.DRIVERS]]
    assert len(signals.columns) == 8
    assert signals.min().min() >= 0 and signals.max().max() <= 1
    pd.testing.assert_series_equal(built["big8_coverage"], signals.notna().sum(axis=1) / 8, check_names=False)
    assert built["big8_coverage"].iloc[0] == 0 and built["big8_coverage"].iloc[-1] == 1
    day = pd.Timestamp("2020-03-16")
    assert built.at[day, "big8_composite"] == pytest.approx(signals.loc[day].mean())
    assert built.at[day, "crisis_intensity_score"] == pytest.approx(100 * signals.loc[day].nlargest(3).mean())


def test_a_signal_without_an_input_is_missing_and_never_a_half(panel):
    blanked = panel.assign(cny_last=np.nan, vix_last=np.nan)
    made = pd.DataFrame(big8.features(blanked))
    whole = pd.DataFrame(big8.features(panel))
    assert made["big8_china_relations"].isna().all() and made["big8_vix_stress"].isna().all()
    late = panel["date"] >= "2019-01-02"
    assert (made["big8_coverage"][late] == whole["big8_coverage"][late] - 2 / 8).all()
    four_gone = panel.assign(cny_last=np.nan, vix_last=np.nan, gc_last=np.nan, zl_last=np.nan)
    made = pd.DataFrame(big8.features(four_gone))
    assert made[["big8_composite", "crisis_intensity_score", "master_regime_classification"]].isna().all().all()
    assert pd.DataFrame(overrides.features(blanked, FLAGS))["vix_override_flag"].isna().all()


def test_every_driver_of_a_signal_can_be_shown(panel, built):
    shown = big8.drivers(panel).set_index("date")
    assert {name.split(".")[0] for name in shown} == set(big8.DRIVERS) and len(shown.columns) == 13
    assert shown.min().min() >= 0 and shown.max().max() <= 1
    china = shown[["china_relations.weak_demand", "china_relations.yuan_fall"]]
    pd.testing.assert_series_equal(china.mean(axis=1, skipna=False), built["big8_china_relations"], check_names=False)


def test_signals_by_hand(panel, built):
    at = panel.index[panel["date"] == "2022-04-28"][0]
    window = panel.loc[at - 1259 : at, "vix_last"]
    assert built["big8_vix_stress"].iloc[at] == pytest.approx((window <= window.iloc[-1]).mean(), abs=2e-3)
    assert built["big8_tariff_threat"]["2018-07-06"] == pytest.approx(1 - 2**-3)
    drivers = big8.DRIVERS["biofuel_margin"](panel)
    assert built["big8_biofuel_margin"].iloc[at] == pytest.approx(
        (drivers["biodiesel"].iloc[at] + drivers["ethanol"].iloc[at]) / 2
    )


def test_the_crop_shortfall_of_the_2012_south_american_drought(panel, staged):
    """WASDE of 2011-05-11, the first of these crops, and of 2012-03-09, in tonnes (60 lb a bushel)."""
    held = staged.observations
    held = held[(held["source"] == "usda_wasde") & (held["observation_date"].dt.year == 2011)]

    def projected(series: str, by: str) -> float:
        rows = held[(held["series"] == series) & (held["available_at"] <= pd.Timestamp(by, tz="UTC"))]
        return float(rows.sort_values("available_at")["value"].iloc[-1])

    crops = {"soybeans.us.production": 0.0272155, "soybeans.brazil.production": 1, "soybeans.argentina.production": 1}
    assert projected("soybeans.brazil.production", "2012-03-15") == 68.5
    assert projected("soybeans.argentina.production", "2012-03-15") == 46.5
    first, now = (sum(projected(name, by) * t for name, t in crops.items()) for by in ("2011-05-12", "2012-03-15"))
    shortfall = panel.set_index("date")["crop_shortfall"]
    assert shortfall["2012-03-15"] == pytest.approx(1 - now / first) and 0.05 < shortfall["2012-03-15"] < 0.1
    assert shortfall["2014-10-15"] < 0, "a record crop"
    assert shortfall.first_valid_index() == pd.Timestamp("2010-05-11"), "the archive's first reports begin mid-crop"


def test_the_highest_code_wins():
    calm = dict.fromkeys(big8.DRIVERS, 0.2)
    frame = pd.DataFrame([calm, calm | {"biofuel_margin": 0.9}, calm | {"harvest_pace": 0.9, "vix_stress": 0.95}])
    assert big8.classify(frame).tolist() == [big8.FUNDAMENTALS, big8.BIOFUEL, big8.FINANCIAL]
    assert set(big8.LEGEND) == set(range(6))


def test_regime_probabilities_name_the_episodes(built):
    probabilities = built[[f"regime_prob_{state}" for state in regimes.STATES]]
    known = probabilities.dropna()
    np.testing.assert_allclose(known.sum(axis=1), 1)
    assert len(known) == probabilities.notna().any(axis=1).sum() > 4500
    assert known.min().min() >= 0
    assert known.loc["2008-10", "regime_prob_crisis"].min() > 0.9
    assert known.loc["2020-03-16":"2020-03-31", "regime_prob_crisis"].min() > 0.8
    assert known.loc["2017-07", "regime_prob_calm"].min() > 0.9
    assert built["regime_refit_agreement"].dropna().between(0.6, 1).all(), "a refit renames no regime"
    assert 0.9 < built["regime_stability_63d"].mean() < 1


def test_a_years_fit_knows_the_years_before_only(panel, built):
    """Another 2020 changes nothing before it, and in 2020 itself only the sessions that differ."""
    changed = panel.copy()
    later = changed["date"] >= "2020-06-01"
    changed.loc[later, "vix_last"] *= 3
    made = pd.DataFrame(regimes.features(changed)).set_axis(panel["date"])
    columns = [f"regime_prob_{state}" for state in regimes.STATES]
    pd.testing.assert_frame_equal(made.loc[:"2020-05-29", columns], built.loc[:"2020-05-29", columns], check_exact=True)
    assert not made.loc["2020-07", columns].equals(built.loc["2020-07", columns])


@pytest.mark.parametrize("rows", [2300, 4800, 5500])
def test_nothing_looks_ahead(panel, built, rows):
    cut = panel.iloc[:rows]
    made = pd.DataFrame(big8.features(cut) | overrides.features(cut, FLAGS) | regimes.features(cut))
    pd.testing.assert_frame_equal(made, built.reset_index(drop=True).iloc[:rows], check_exact=True)
