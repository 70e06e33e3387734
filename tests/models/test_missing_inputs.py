"""What a family does without an input for 60 sessions: HAR has a second regression, ridge counts it as its mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.forecasting.questions import Question, answer
from tasks.models.catalogue import SCALE, expected_move
from tasks.models.forecaster import Problem, forecaster
from tasks.quantiles import pinball
from tasks.storage.files import write_json

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
PROBLEM = Problem("1m", 21, LEVELS)
GONE = 60


@pytest.fixture(scope="module")
def rows(features, labels, registry):
    target = labels[labels["horizon"] == "1m"].set_index("date")["target_log_return"]
    table = features.set_index("date")[registry.features.production()].loc["2004":"2012"]
    table = table[target.reindex(table.index).notna() & table[SCALE].notna()]
    groups = ("price", "volatility", "soy_complex", "positioning", "seasonal", "curve")
    read = [name for name in table if registry.features.category_of[name] in groups or name == "vix"]
    return table[read], target.reindex(table.index)


def asked(family: str, rows, folder: Path, without: list[str]):
    """The answer of a model of all but the last 60 sessions, which lack some inputs."""
    table, target = rows
    model = forecaster(family)(PROBLEM)
    model.fit(table.iloc[:-GONE], target.iloc[:-GONE])
    model.save(folder)
    write_json(folder / "calibration.json", {"quantiles": list(LEVELS), "log_width": 0.0})
    late = table.copy()
    late.loc[late.index[-GONE:], without] = np.nan
    question = Question("x/1m/v0001", family, str(folder), "1m", 21, LEVELS, {"1m": 21})
    return answer(question, late), answer(question, table), model


def test_har_without_the_vix_forecasts_by_its_regression_without_it(rows, tmp_path: Path) -> None:
    found, whole, model = asked("har", rows, tmp_path, ["vix"])
    assert not found.error and not found.without and found.quantiles != whole.quantiles
    assert "vix" in (found.reads or []), "so that the forecast says that it is missing"
    table, target = rows
    late, outcome = table.iloc[-500:], target.iloc[-500:].to_numpy()
    reduced = pinball(outcome, model.predict_quantiles(late.assign(vix=np.nan)), LEVELS).mean()
    full = pinball(outcome, model.predict_quantiles(late), LEVELS).mean()
    assert abs(reduced / full - 1) < 0.05, "a refit without it, not a hole in the regression with it"
    other, _, _ = asked("har", rows, tmp_path, ["zl_percentile_1260d"])
    assert other.without == "zl_percentile_1260d"


def test_every_family_around_the_curve_forecasts_around_the_price_without_it(rows, tmp_path: Path) -> None:
    move = expected_move(21)
    for family in ("curve", "har", "ridge"):
        (folder := tmp_path / family).mkdir()
        found, whole, _ = asked(family, rows, folder, [move])
        assert not found.error and not found.without and found.around_curve
        shift = float(rows[0][move].iloc[-1])
        np.testing.assert_allclose(np.array(whole.quantiles) - np.array(found.quantiles), shift, atol=1e-12)


def test_ridge_counts_a_missing_driver_as_its_mean_says_so_and_stops_at_half(rows, tmp_path: Path) -> None:
    drivers = asked("ridge", rows, tmp_path, [])[2].state["columns"][:5]
    found, whole, model = asked("ridge", rows, tmp_path, drivers)
    assert found.at_mean == drivers and not whole.at_mean
    assert found.quantiles[3] != whole.quantiles[3]
    most = model.state["columns"][: len(model.state["columns"]) // 2 + 1]
    stopped, _, _ = asked("ridge", rows, tmp_path, most)
    assert stopped.without.startswith(", ".join(most[:5])) and f"and {len(most) - 5} more" in stopped.without
