"""Permutation and ablation find the group that a forecast draws from, and say about zero of one that says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from tasks.models.catalogue import SCALE
from tasks.models.forecaster import Problem
from tasks.quantiles import probability_above_zero
from tasks.registry import WalkForwardPlan
from tasks.training.importance import ablation, draws, grouped_permutation

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Z = np.array([-1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449])
PLAN = WalkForwardPlan(first_test_year=2005, warm_up_years=0, origin_step_sessions=5)
WEEK = Problem("1w", 5, LEVELS)
GROUPS = {"cause": "causes", "noise_a": "noises", "noise_b": "noises", SCALE: "volatility"}


class Linear:
    """A median by least squares of all columns but the scale, with bands as wide as what is left."""

    family: ClassVar[str] = "linear"

    def __init__(self, problem: Problem, options: Mapping[str, Any] | None = None) -> None:
        self.problem = problem

    def fit(self, features: pd.DataFrame, target: pd.Series, *, weights: np.ndarray | None = None) -> None:
        self.columns = [name for name in features.columns if name != SCALE]
        inputs = features[self.columns].to_numpy()
        self.weights = np.linalg.lstsq(inputs, target.to_numpy(), rcond=None)[0]
        self.spread = float((target.to_numpy() - inputs @ self.weights).std())

    def predict_quantiles(self, features: pd.DataFrame) -> np.ndarray:
        return (features[self.columns].to_numpy() @ self.weights)[:, None] + self.spread * Z

    def direction_probability(self, quantiles: np.ndarray) -> np.ndarray:
        return probability_above_zero(quantiles, LEVELS)


@pytest.fixture
def table() -> pd.DataFrame:
    """Eight years in which the coming week is the cause and noise of the same size."""
    dates = pd.bdate_range("2002-01-01", "2009-12-31")
    rng = np.random.default_rng(5)
    cause = rng.normal(0, 0.02, len(dates))
    target = pd.Series(cause + rng.normal(0, 0.02, len(dates)))
    target.iloc[-5:] = np.nan
    return pd.DataFrame(
        {
            "date": dates,
            "target_date": pd.Series(dates).shift(-5),
            "target_log_return": target,
            "target_price": 50.0,
            "cause": cause,
            "noise_a": rng.normal(0, 1, len(dates)),
            "noise_b": rng.normal(0, 1, len(dates)),
            SCALE: 20.0,
        }
    )


def test_permutation_finds_the_planted_cause_and_gives_noise_about_nothing(table: pd.DataFrame) -> None:
    found = grouped_permutation(Linear, WEEK, table, list(GROUPS), GROUPS, PLAN).set_index("group")
    assert found.index[0] == "causes"
    assert found.loc["causes", "increase_pct"] > 20
    assert found.loc["causes", "folds_above_zero"] == found.loc["causes", "folds"] == 4  # 2005 to 2008
    assert abs(found.loc["noises", "increase_pct"]) < 1
    assert found.loc["volatility", "increase_pct"] == 0  # the model does not read it
    again = grouped_permutation(Linear, WEEK, table, list(GROUPS), GROUPS, PLAN).set_index("group")
    pd.testing.assert_frame_equal(found, again)


def test_ablation_misses_the_cause_and_not_the_noise(table: pd.DataFrame) -> None:
    found = ablation(Linear, WEEK, table, list(GROUPS), GROUPS, PLAN, kept=(SCALE,)).set_index("group")
    assert list(found.index) == ["causes", "noises"]  # what is kept is never left out
    assert found.loc["causes", "skill_pct_low"] > 10
    assert abs(found.loc["noises", "skill_pct"]) < 1


def test_the_final_year_changes_nothing(table: pd.DataFrame) -> None:
    turned = table.copy()
    late = turned["date"].dt.year == 2009
    turned.loc[late, ["target_log_return", "cause"]] *= -7
    for measured in (grouped_permutation, ablation):
        pd.testing.assert_frame_equal(
            measured(Linear, WEEK, table, list(GROUPS), GROUPS, PLAN),
            measured(Linear, WEEK, turned, list(GROUPS), GROUPS, PLAN),
        )


def test_what_stands_in_is_of_the_training_window_in_blocks() -> None:
    train = np.arange(100, 900)
    for rows in draws(train, 50, 5, seed=2010):
        assert len(rows) == 50 and set(rows) <= set(train)
        steps = np.diff(rows)
        assert (steps == 5).sum() >= 0.6 * len(steps)  # blocks of five origins, a step apart
    assert not np.array_equal(*draws(train, 50, 5, seed=2010, repeats=2))


def test_without_a_scored_fold_before_the_final_year_there_is_nothing(table: pd.DataFrame) -> None:
    late = WalkForwardPlan(first_test_year=2009, warm_up_years=1, origin_step_sessions=5)
    for measured in (grouped_permutation, ablation):
        assert measured(Linear, WEEK, table, list(GROUPS), GROUPS, late).empty
