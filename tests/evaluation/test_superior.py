"""Gains over the best naive: one surely better family is found among many, and the luckiest of many is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.groups import group_length, groups_of, interval
from tasks.evaluation.standings import Losses
from tasks.evaluation.superior import family_wise_p_values
from tests.evaluation.test_comparison import LEVELS, simulated

OVERLAP = 5


def noise(rng: np.random.Generator, families: int, origins: int = 650) -> np.ndarray:
    """Gains without skill whose neighbors overlap as monthly outcomes at weekly origins do."""
    raw = rng.normal(size=(origins + OVERLAP - 1, families))
    return np.stack([np.convolve(raw[:, k], np.ones(OVERLAP), "valid") for k in range(families)], axis=1)


def test_a_p_value_by_hand_counts_the_changes_of_signs() -> None:
    """Five groups, all positive: of the 32 changes of signs only the unchanged one has as high a t-statistic."""
    gains = np.repeat([1.0, 1.1, 0.9, 1.2, 0.8], 65)[:, None]
    assert family_wise_p_values(gains, overlap=OVERLAP)[0] == pytest.approx(1 / 32)
    assert family_wise_p_values(-gains, overlap=OVERLAP)[0] == 1.0
    assert np.isnan(family_wise_p_values(gains[:260], overlap=OVERLAP)[0]), "four groups decide nothing"
    assert np.isnan(family_wise_p_values(0 * gains, overlap=OVERLAP)[0]), "the reference itself"


def test_without_skill_the_luckiest_of_ten_is_called_sure_as_often_as_is_said() -> None:
    rng = np.random.default_rng(5)
    drawn = [noise(rng, 10) for _ in range(300)]
    luckiest = np.mean([family_wise_p_values(gains, overlap=OVERLAP).min() <= 0.05 for gains in drawn])
    alone = np.mean(
        [family_wise_p_values(gains[:, [k]], overlap=OVERLAP)[0] <= 0.05 for gains in drawn for k in (0, 1)]
    )
    assert 0.01 < luckiest < 0.09 and 0.02 < alone < 0.08
    each = np.mean(
        [
            min(family_wise_p_values(gains[:, [k]], overlap=OVERLAP)[0] for k in range(10)) <= 0.05
            for gains in drawn[:60]
        ]
    )
    assert each > 0.25, "one by one, some family is called sure again and again"


def test_a_better_family_is_found_and_hopeless_ones_do_not_hide_it() -> None:
    rng = np.random.default_rng(6)
    gains = noise(rng, 3) + np.array([0.7, 0.0, 0.0])
    found = family_wise_p_values(gains, overlap=OVERLAP)
    assert found[0] <= 0.05 < min(found[1:])
    hopeless = noise(rng, 20) - 3.0
    beside = family_wise_p_values(np.column_stack([gains, hopeless]), overlap=OVERLAP)
    np.testing.assert_allclose(beside[:3], found)
    assert (beside[3:] == 1).all()


def test_a_family_is_judged_as_it_would_be_served() -> None:
    """It has the true width in the calm half only; where it has no forecast, the baseline's loss counts."""
    base, true = simulated(650, width=1.3), simulated(650)
    half = true.copy()
    half.loc[half.index >= 325, [name for name in half if name.startswith("p")]] = np.nan
    oofs = {"curve": base, "no_change": simulated(650, width=1.4), "ridge": true, "tcn": half}
    found = Losses(oofs, LEVELS).standings(sessions=21, step=5).set_index("family")
    assert found["best_naive"].unique().tolist() == ["curve"]
    assert 0 < found.loc["tcn", "served_gain_pct"] < 0.7 * found.loc["ridge", "served_gain_pct"]
    assert found.loc["curve", "served_gain_pct"] == 0 and found.loc["ridge", "independent_periods"] == 154
    early = Losses(oofs, LEVELS).standings(sessions=21, step=5, known_by=pd.Timestamp("2012-01-02"))
    assert early["independent_periods"].iloc[0] == 24 and early["promotion_p_value"].isna().all()


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)

    def ratio(means: np.ndarray) -> np.ndarray:
        return means[:, [0]] / means[:, [1]]

    held = []
    for _ in range(300):
        values = 5 + np.column_stack([noise(rng, 1), noise(rng, 1)])
        low, high = interval(values, ratio, length=group_length(OVERLAP))
        held.append(low[0] <= 1 <= high[0])
    assert 0.84 < np.mean(held) < 0.96
    few = interval(values[:100], ratio, length=group_length(OVERLAP))
    assert np.isnan(few).all() and len(groups_of(values, length=26)) == 25


def test_outcomes_that_were_read_to_choose_a_family_prove_nothing_of_it() -> None:
    oofs = {"curve": simulated(650, width=1.5), "no_change": simulated(650, width=1.6), "ridge": simulated(650)}
    whole = Losses(oofs, LEVELS).standings(sessions=21, step=5).set_index("family").loc["ridge"]
    chosen = {"ridge": pd.Timestamp("2018-12-31").date()}
    later = Losses(oofs, LEVELS, chosen).standings(sessions=21, step=5).set_index("family").loc["ridge"]
    assert whole["promotion_p_value"] <= 0.05 < later["promotion_p_value"]
    assert 0 < later["served_gain_pct"] < 0.4 * whole["served_gain_pct"]
    assert later["independent_periods"] == (oofs["ridge"]["date"] > "2018-12-31").sum() * 5 // 21
    before = Losses(oofs, LEVELS, chosen).standings(sessions=21, step=5, known_by=pd.Timestamp("2018-12-31"))
    assert before.set_index("family").loc["ridge", "served_gain_pct"] == 0
