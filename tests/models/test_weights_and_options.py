"""What a fit may have otherwise: options by name, and how much each row counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import RegistryError, TrainingFailed
from tasks.exports import file_name
from tasks.models.catalogue import FAMILIES, WEIGHTED
from tasks.models.forecaster import Problem, forecaster
from tasks.registry import Horizons, Models, SampleWeights, load_models, load_regime_calendar, load_surface
from tasks.settings import PROJECT
from tasks.training.folds import walk_forward
from tasks.training.multi_horizon import row_weights
from tasks.training.plan import plan_bake_off
from tasks.training.worker import forecast_fold
from tests.conftest import Registry

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
PROBLEM = Problem("1m", 21, LEVELS)
ALONE = tuple(family for family in WEIGHTED if family in FAMILIES)
ANOTHER = {
    "har": {"scale_penalty": 3.0},
    "har_seasonal": {"scale_penalty": 3.0},
    "ridge": {"median_penalty": 0.5},
    "lightgbm": {"own_share": 0.5, "num_leaves": 4},
    "xgboost": {"own_share": 0.5, "max_depth": 1},
}


@dataclass(frozen=True)
class Rows:
    """Sessions of 2004 to 2008 as a training table, and the columns that families read."""

    table: pd.DataFrame
    columns: list[str]


@pytest.fixture(scope="module")
def models(registry: Registry) -> Models:
    return load_models(PROJECT / "registry", registry.features)


@pytest.fixture(scope="module")
def rows(features: pd.DataFrame, labels: pd.DataFrame, registry: Registry, models: Models) -> Rows:
    own = labels[labels["horizon"] == "1m"].set_index("date")[["target_date", "target_log_return", "target_price"]]
    columns = [*models.volatility, "big8_vix_stress", "zl_rsi_14d"]
    table = features.set_index("date")[columns].loc["2004":"2008"].join(own).reset_index()
    calendar = load_regime_calendar(PROJECT / "registry")[["start", "training_weight"]]
    return Rows(pd.merge_asof(table, calendar, left_on="date", right_on="start"), columns)


def forecasts(family: str, rows: Rows, registry: Registry, **given: object) -> np.ndarray:
    plan = registry.horizons.walk_forward
    [_, fold] = walk_forward(pd.DatetimeIndex(rows.table["date"]), plan, horizon=21)
    made = forecast_fold(forecaster(family), PROBLEM, rows.table, rows.columns, fold, **given)  # type: ignore[arg-type]
    return made[[f"p{round(100 * level):02d}" for level in LEVELS]].to_numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_option_is_refused_with_those_that_are_known(family: str) -> None:
    with pytest.raises(RegistryError, match=f"unknown options of {family}: penalti; known: "):
        forecaster(family)(PROBLEM, {"penalti": 1.0})


@pytest.mark.parametrize("family", ANOTHER)
def test_options_change_a_fit_and_a_saved_model_keeps_them(family: str, rows: Rows, registry, tmp_path: Path) -> None:
    assert not np.allclose(
        forecasts(family, rows, registry, options=ANOTHER[family]), forecasts(family, rows, registry)
    )
    model = forecaster(family)(PROBLEM, ANOTHER[family])
    known = rows.table[rows.table["target_log_return"].notna()]
    model.fit(known[rows.columns], known["target_log_return"])
    model.save(tmp_path)
    loaded = forecaster(family).load(tmp_path, PROBLEM)
    later = rows.table[rows.columns].tail(50)
    np.testing.assert_array_equal(loaded.predict_quantiles(later), model.predict_quantiles(later))
    pd.testing.assert_frame_equal(loaded.explain(later), model.explain(later))


@pytest.mark.parametrize("family", ALONE)
def test_weights_change_a_fit_and_only_their_ratios_matter(family: str, rows: Rows, registry: Registry) -> None:
    plain = forecasts(family, rows, registry)
    for setting in (SampleWeights(regimes=True), SampleWeights(half_life_sessions=252)):
        assert not np.allclose(forecasts(family, rows, registry, weights=setting), plain)
    np.testing.assert_array_equal(forecasts(family, rows, registry, weights=SampleWeights()), plain)
    regimes = SampleWeights(regimes=True)
    heavier = Rows(rows.table.assign(training_weight=64 * rows.table["training_weight"]), rows.columns)
    found, expected = (forecasts(family, given, registry, weights=regimes) for given in (heavier, rows))
    np.testing.assert_array_equal(found, expected)


def test_a_row_with_double_weight_counts_as_two(rows: Rows) -> None:
    known = rows.table[rows.table["target_log_return"].notna()].reset_index(drop=True)
    model = forecaster("har")(PROBLEM)
    doubled = np.where(np.arange(len(known)) < 400, 2.0, 1.0)
    model.fit(known[rows.columns], known["target_log_return"], weights=doubled)
    state = model.state["all"]  # type: ignore[attr-defined]
    alike = forecaster("har")(PROBLEM)
    alike.fit(known[rows.columns], known["target_log_return"], weights=None)
    assert state["intercept"] != alike.state["all"]["intercept"]  # type: ignore[attr-defined]
    inputs = model._inputs(known[rows.columns])  # type: ignore[attr-defined]
    from tasks.models.volatility_scaled import realised_ahead_pct

    held = ~np.isnan(inputs).any(axis=1) & ~np.isnan(realised_ahead_pct(known, 21))
    np.testing.assert_allclose(state["mean"], np.repeat(inputs[held], doubled[held].astype(int), axis=0).mean(axis=0))


def test_recency_halves_by_its_half_life_and_later_rows_do_not_matter(rows: Rows) -> None:
    found = row_weights(rows.table, SampleWeights(half_life_sessions=252))
    assert found is not None
    assert found[-1] == 1.0
    np.testing.assert_allclose(found[252:] / found[:-252], 2.0)
    both = row_weights(rows.table, SampleWeights(regimes=True, half_life_sessions=252))
    np.testing.assert_allclose(both, found * rows.table["training_weight"])
    assert row_weights(rows.table, SampleWeights()) is None


def test_a_row_outside_of_the_regime_calendar_is_not_given_a_weight(rows: Rows) -> None:
    table = rows.table.assign(training_weight=rows.table["training_weight"].where(rows.table["date"] >= "2004-01-06"))
    with pytest.raises(TrainingFailed, match=r"2004-01-02 to 2004-01-05, are outside of registry/regime_calendar.csv"):
        row_weights(table, SampleWeights(regimes=True))


def test_weights_are_part_of_the_identity_of_their_familys_fits_only(
    rows: Rows, registry: Registry, models: Models, tmp_path: Path
) -> None:
    others = [name for name in registry.features.production() if name not in rows.table]
    table = pd.concat([rows.table, pd.DataFrame(0.0, index=rows.table.index, columns=others)], axis=1)
    table.to_parquet(tmp_path / file_name("prod", "1m"))
    one = Horizons.model_validate(
        registry.horizons.model_dump() | {"horizons": {"1m": registry.horizons.horizons["1m"].model_dump()}}
    )

    def identities(given: Models) -> dict[str, str]:
        surface = load_surface(PROJECT / "registry", registry.features)
        plan = plan_bake_off(
            tmp_path, one, given, registry.features, surface, budget="daily", data_snapshots={"1m": "x"}
        )
        told = {work["family"]: work["weights"] for work in plan.work(plan.fits, tmp_path)}
        assert told == {name: given.families[name].weights.model_dump() for name in told}
        return {fit.name: fit.identity for fit in plan.fits}

    weighed = models.families["ridge"].model_copy(update={"weights": SampleWeights(regimes=True)})
    plain = identities(models)
    other = identities(models.model_copy(update={"families": {**models.families, "ridge": weighed}}))
    assert {name for name in plain if plain[name] != other[name]} == {name for name in plain if "ridge" in name}


def test_a_family_that_counts_all_rows_alike_is_not_given_weights(registry: Registry, tmp_path: Path) -> None:
    text = (PROJECT / "registry" / "models.yaml").read_text()
    line = '  pooled: {title: "No change, shape shrunk to that of weekly moves", surface: volatility'
    assert line in text
    (tmp_path / "models.yaml").write_text(text.replace(line, f"{line}, weights: {{regimes: true}}"))
    with pytest.raises(RegistryError, match="pooled does not support row weights"):
        load_models(tmp_path, registry.features)
