"""Families that forecast the move around what the curve expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.models.catalogue import BASELINE, FAMILIES, SCALE, expected_move
from tasks.models.forecaster import Problem, forecaster
from tasks.storage.files import read_json, write_json

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
PROBLEM = Problem("1m", 21, LEVELS)
CENTRE = expected_move(21)
OF_THE_PRICE = ("no_change", "historical", "long_run", "drift")


@pytest.fixture(scope="module")
def rows(features, labels, registry):
    target = labels[labels["horizon"] == "1m"].set_index("date")["target_log_return"]
    table = features.set_index("date")[registry.features.production()].loc["2004":"2009"]
    table = table[target.reindex(table.index).notna() & table[SCALE].notna()]
    return table.drop(columns=[name for name in table if name.startswith("curve_expected")]), target.reindex(
        table.index
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forecast_around_the_curve_is_the_expected_move_and_that_of_the_rest(family, rows, tmp_path: Path):
    """What a family learns of (return - expected move) without a curve, it forecasts on top of the move with one."""
    table, target = rows
    moves = pd.Series(0.03 * np.sin(np.arange(len(table)) / 40), index=table.index)
    options = {"rounds": 5} if family in ("lightgbm", "xgboost") else {}
    around, plain = (forecaster(family)(PROBLEM, options) for _ in range(2))
    around.fit(table.assign(**{CENTRE: moves}), target)
    plain.fit(table, target if family in OF_THE_PRICE else target - moves)
    later = table.iloc[-200:].assign(**{CENTRE: 0.02})
    shift = 0.0 if family in OF_THE_PRICE else 0.02
    quantiles = around.predict_quantiles(later)
    np.testing.assert_allclose(quantiles, shift + plain.predict_quantiles(table.iloc[-200:]), atol=1e-12)
    assert around.around_curve == (family not in OF_THE_PRICE)
    up = around.direction_probability(quantiles)
    if shift:
        assert CENTRE in (around.reads or [CENTRE]) and (up[quantiles[:, 3] > 0.01] > 0.5).all()
        unknown = around.predict_quantiles(later.assign(**{CENTRE: np.nan}))
        np.testing.assert_allclose(unknown, quantiles - shift, atol=1e-12)  # the centre is the price
    around.save(tmp_path)
    loaded = type(around).load(tmp_path, PROBLEM)
    np.testing.assert_array_equal(loaded.predict_quantiles(later), quantiles)
    contributions = around.explain(later)
    np.testing.assert_allclose(contributions.sum(axis=1).iloc[:5], quantiles[:5, 3], atol=0.02)
    assert CENTRE not in contributions if family in OF_THE_PRICE else contributions[CENTRE].eq(0.02).all()


def test_a_model_of_before_the_curve_forecasts_as_it_did(rows, tmp_path: Path):
    table, target = rows
    model = forecaster("har")(PROBLEM)
    model.fit(table, target)
    model.save(tmp_path)
    stored = read_json(tmp_path / "har.json")
    assert stored is not None and stored.pop("around_curve") is False
    write_json(tmp_path / "har.json", stored)
    old = forecaster("har").load(tmp_path, PROBLEM)
    later = table.iloc[-20:].assign(**{CENTRE: 0.05})
    np.testing.assert_array_equal(old.predict_quantiles(later), model.predict_quantiles(table.iloc[-20:]))


def test_the_baseline_reads_the_centre_that_the_features_have(registry):
    assert BASELINE == "curve"
    for horizon in registry.horizons.horizons.values():
        assert expected_move(horizon.sessions) in registry.features.production()
