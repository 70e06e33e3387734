"""No feature knows the future: restaged and rebuilt as of an earlier day, each past row is bit for bit the same."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from tasks.calendar import as_of_instant, sessions
from tasks.features.build import build_features
from tasks.sources.payloads import landed
from tasks.staging.stage import known_by, stage_payloads
from tests.conftest import panel_of


def some_days() -> list[pd.Timestamp]:
    chance = random.Random("truncation")
    return [pd.Timestamp("2015-12-31"), *sorted(chance.sample(list(sessions("2003-01-02", "2023-11-30")), 3))]


def assert_past_is_unchanged(full: pd.DataFrame, cut: pd.DataFrame, day: pd.Timestamp) -> None:
    past = full[full["date"] <= day].reset_index(drop=True)
    assert len(cut) == len(past) and cut["date"].iloc[-1] == day
    pd.testing.assert_frame_equal(past, cut.reset_index(drop=True), check_exact=True)


def test_features_from_payloads_restaged_as_of_2015_are_those_from_all_data(staged, registry, documents, features):
    day = some_days()[0]
    parts = [
        stage_payloads(name, spec, landed(staged.zones, name), through=as_of_instant(day))[0]
        for name, spec in registry.sources.sources.items()
    ]
    text = dict.fromkeys(["source", "series", "field", "unit"], "category")
    observations = pd.concat(parts, ignore_index=True).astype(text)
    assert observations["available_at"].max() <= as_of_instant(day)
    panel = panel_of(observations, registry, documents[documents["available_at"] <= as_of_instant(day)], day)
    assert_past_is_unchanged(features, build_features(panel, registry.features), day)


@pytest.mark.parametrize("day", some_days()[1:], ids=lambda day: f"{day:%Y-%m-%d}")
def test_features_from_observations_cut_at_a_day_are_those_from_all_data(staged, registry, documents, features, day):
    panel = panel_of(
        known_by(staged.observations, day), registry, documents[documents["available_at"] <= as_of_instant(day)], day
    )
    assert_past_is_unchanged(features, build_features(panel, registry.features), day)


LEAKS = {
    "tomorrow's close": lambda panel: panel["zl_last"].shift(-1),
    "a mean of all the sample": lambda panel: panel["zl_last"] - panel["zl_last"].mean(),
    "a centred window": lambda panel: panel["zl_last"].rolling(21, center=True).mean(),
    "a rank in all the sample": lambda panel: panel["vix_last"].rank(pct=True),
    "filled backwards": lambda panel: panel["cpo_last"].bfill(),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leaky_feature_would_be_caught(panel, leak):
    day = pd.Timestamp("2013-12-31")
    past = panel[panel["date"] <= day]
    full = pd.DataFrame({"date": panel["date"], "leaky": LEAKS[leak](panel)})
    cut = pd.DataFrame({"date": past["date"], "leaky": LEAKS[leak](past)})
    with pytest.raises(AssertionError, match="leaky"):
        assert_past_is_unchanged(full, cut, day)


def test_observations_dated_instead_of_published_would_be_caught(staged, registry, documents, features):
    """The older system used a Tuesday's COT from Tuesday: the same build from such observations is not the same."""
    day = pd.Timestamp("2022-04-28")
    early = staged.observations.assign(
        available_at=staged.observations["observation_date"].dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    )
    panel = panel_of(early, registry, documents, day)
    with pytest.raises(AssertionError):
        assert_past_is_unchanged(features, build_features(panel, registry.features), day)
