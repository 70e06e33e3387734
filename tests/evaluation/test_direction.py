"""The chances of a higher price on past origins: by hand, and the wrong way round."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.metrics import FEWEST_VIEWS, direction_reliability


def frame(chance: list[float], higher: list[int], p50: float = 0.01) -> pd.DataFrame:
    moved = np.where(np.array(higher) == 1, 0.05, -0.05)
    return pd.DataFrame({"direction_probability": chance, "target_log_return": moved, "p50": p50})


def test_brier_score_and_slope_by_hand():
    """Half of the origins at 0.7, of which 8 in 10 rose; half at 0.3, of which 2 in 10 did."""
    chance = [0.7] * 50 + [0.3] * 50
    higher = [1] * 40 + [0] * 10 + [1] * 10 + [0] * 40
    found = direction_reliability(frame(chance, higher))
    assert found["brier"] == pytest.approx(0.8 * 0.3**2 + 0.2 * 0.7**2)
    assert found["direction_slope"] == pytest.approx((0.8 - 0.2) / (0.7 - 0.3))


def test_chances_the_wrong_way_round_have_a_slope_below_zero_and_lose_to_a_coin():
    rng = np.random.default_rng(4)
    chance = rng.uniform(0.2, 0.8, 2000)
    higher = (rng.uniform(size=2000) < chance).astype(int).tolist()
    right, inverted = (direction_reliability(frame(list(p), higher)) for p in (chance, 1 - chance))
    assert right["brier"] < 0.25 < inverted["brier"]
    assert right["direction_slope"] == pytest.approx(1, abs=0.15) and inverted["direction_slope"] < 0


def test_without_views_nothing_is_measured():
    """Where the median is the last price there is no view; a constant has no slope; a few origins say nothing."""
    none = direction_reliability(frame([0.6] * 100, [1, 0] * 50, p50=0.0))
    assert np.isnan(none["brier"]) and np.isnan(none["direction_slope"])
    constant = direction_reliability(frame([0.6] * 100, [1, 0] * 50))
    assert constant["brier"] == pytest.approx(0.5 * 0.16 + 0.5 * 0.36) and np.isnan(constant["direction_slope"])
    few = FEWEST_VIEWS - 1
    assert np.isnan(direction_reliability(frame([0.6] * few, [1] * few))["brier"])


def test_the_upper_bound_of_the_score_needs_groups_of_origins_that_do_not_overlap():
    rng = np.random.default_rng(5)
    chance = rng.uniform(0.2, 0.8, 650)
    higher = (rng.uniform(size=650) < chance).astype(int).tolist()
    dated = frame(list(chance), higher).assign(date=pd.date_range("2010-01-04", periods=650, freq="7D"))
    found = direction_reliability(dated, overlap=5)
    assert found["brier"] < found["brier_high"] < 0.25
    assert direction_reliability(dated.sample(frac=1, random_state=1), overlap=5) == pytest.approx(found)
    assert np.isnan(direction_reliability(dated, overlap=100)["brier_high"]), "three groups bound nothing"
    assert np.isnan(direction_reliability(dated)["brier_high"])
