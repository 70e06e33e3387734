"""Features of alternatives to the last session equal those of panels that end with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features.alternatives import alternative_features
from tasks.features.build import build_features
from tasks.forecasting.what_if import moves_of, with_moves
from tasks.registry.scenarios import load_scenarios
from tests.conftest import Registry

POINTS = (
    ["palm=+10%"], ["crude=-20%"], ["vix=+150%"], ["zl=-12%"], ["dollar=+8%"], ["rain=-2"], ["beans=+5%"],
    ["palm=-20%", "vix=+100%", "crude=+20%"], ["credit=+2", "rates=-1"], ["tariff=25"],
)  # fmt: skip


@pytest.fixture(scope="module")
def alternatives(panel: pd.DataFrame, registry: Registry) -> pd.DataFrame:
    spec = load_scenarios(registry.folder)
    moves = [moves_of(words, panel, spec) for words in POINTS]
    return pd.concat([panel.tail(1), *(with_moves(panel.tail(1), one) for one in moves)])


def test_each_row_is_the_last_row_of_a_panel_that_ends_with_it(
    panel: pd.DataFrame, features: pd.DataFrame, alternatives: pd.DataFrame, registry: Registry
) -> None:
    names = list(registry.features.features)
    found = alternative_features(panel, features, alternatives, registry.features, wanted=names)
    assert len(found) == len(POINTS) + 1 and (found["date"] == panel["date"].iloc[-1]).all()
    changed = 0
    for place in range(len(alternatives)):
        ended = pd.concat([panel.iloc[:-1], alternatives.iloc[[place]]], ignore_index=True)
        whole = build_features(ended, registry.features)[names].iloc[-1].to_numpy()
        own = found.loc[place, names].to_numpy(dtype="float64")
        assert (np.isnan(own) == np.isnan(whole)).all(), place
        known = ~np.isnan(own)
        assert own[known] == pytest.approx(whole[known], rel=2e-9, abs=2e-9), place
        changed += int((own[known] != features[names].iloc[-1].to_numpy()[known]).sum())
    assert changed > 100, "the alternatives must change something"


def test_what_an_alternative_does_not_change_is_exactly_todays(
    panel: pd.DataFrame, features: pd.DataFrame, alternatives: pd.DataFrame, registry: Registry
) -> None:
    names = list(registry.features.features)
    found = alternative_features(panel, features, alternatives.iloc[:2], registry.features, wanted=names)
    today = features[names].iloc[-1]
    pd.testing.assert_series_equal(found.loc[0, names].astype("float64"), today, check_names=False, check_exact=True)
    moved = [name for name in names if not (found.loc[1, name] == today[name] or np.isnan(today[name]))]
    assert moved and all("cpo" in name or "palm" in name or "big8" in name for name in moved)


def test_a_feature_that_nobody_reads_is_not_built_again(
    panel: pd.DataFrame, features: pd.DataFrame, alternatives: pd.DataFrame, registry: Registry
) -> None:
    found = alternative_features(panel, features, alternatives.iloc[3:4], registry.features, wanted=["vix_z_252d"])
    assert found["vix_z_252d"].iloc[0] != features["vix_z_252d"].iloc[-1]
    assert found["regime_prob_crisis"].iloc[0] == features["regime_prob_crisis"].iloc[-1]
