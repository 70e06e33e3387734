"""A model too good to be true is no champion before a leakage audit of its own data and code has passed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import RegistryError
from tasks.evaluation.metrics import measure
from tasks.evaluation.promotion import Audit, aspirations_met, refusal, unmet_gates, verdict
from tasks.exports import file_name, training_table
from tasks.features.build import build_features
from tasks.model_store.contest import judged, read_audit, store_and_promote, write_audit
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import Version
from tasks.models.catalogue import EXPECTED_MOVE, SCALE
from tasks.models.forecaster import Problem
from tasks.proofs.permutation import Analogues
from tasks.proofs.truncation import ProofInputs, truncation_proof
from tasks.registry import load_derived, load_models, load_quality_gates, load_surface
from tasks.storage.files import write_parquet
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tasks.training.bake_off import evaluate_fits
from tasks.training.blending import REGIMES
from tasks.training.plan import plan_bake_off
from tasks.training.worker import out_of_fold, run_work
from tests.conftest import AS_OF

pytestmark = pytest.mark.xdist_group("promotion")  # what its fixtures make is dear: one process makes it

CODE, DATA = "c0de", "sha-of-1m"
PASSED = Audit(passed=True, data_snapshots={"1m": DATA}, code_version=CODE, as_of="2023-12-29")


def version(tmp_path: Path, *, hit: float | None, family: str = "lightgbm", horizon: str = "1m", loss: float = 0.009):
    metadata = {"family": family, "horizon": horizon, "data_snapshot": DATA, "run": "r", "trained_as_of": "2023-12-29"}
    metrics = {} if hit is None else {"direction_hit_rate": hit, "pinball_log_return": loss, **GOOD}
    return Version("v0001", metadata, metrics, lambda: tmp_path)


@pytest.fixture(scope="module")
def rule(registry):
    return load_quality_gates(registry.folder).promotion


@pytest.mark.parametrize(
    ("changed", "wanting"),
    [
        (None, "there is no leakage audit"),
        ({"data_snapshots": {"1m": "of yesterday"}}, "the leakage audit is of other training data"),
        ({"data_snapshots": {"3m": DATA}}, "the leakage audit is of other training data"),
        ({"code_version": "0ld"}, "the leakage audit is of other code (0ld, now c0de)"),
        ({"passed": False, "findings": ("features p at 2020",)}, "the leakage audit failed: features p at 2020"),
    ],
)
def test_a_hit_rate_above_the_limit_needs_a_passing_audit_of_the_same_data_and_code(tmp_path, rule, changed, wanting):
    audit = None if changed is None else replace(PASSED, **changed)
    told = refusal(version(tmp_path, hit=0.601), rule, audit, code_version=CODE)
    assert wanting in told
    for words in ("lightgbm/1m/v0001 is not promoted", "60.1% is above 60%", "curve is served", "make proofs"):
        assert words in told
    assert refusal(version(tmp_path, hit=0.601), rule, PASSED, code_version=CODE) == ""


@pytest.mark.parametrize(
    "harmless",
    [{"hit": 0.60}, {"hit": None}, {"hit": 0.7, "horizon": "1w"}, {"hit": 0.7, "family": "curve"}],
    ids=["at the limit", "not measured", "a week", "the baseline"],
)
def test_what_needs_no_audit(tmp_path, rule, harmless):
    assert refusal(version(tmp_path, **harmless), rule, None, code_version=CODE) == ""


GOOD = {
    "best_naive": "long_run",
    "served_gain_pct": 1.4,
    "promotion_p_value": 0.03,
    "independent_periods": 40,
    "coverage_80": 0.83,
}


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({}, ()),
        ({"coverage_80": 0.75, "promotion_p_value": 0.04, "served_gain_pct": 0.5, "independent_periods": 8}, ()),
        (
            {"promotion_p_value": 0.049},
            ("without skill, the best of all families tried does as well with a chance of 5%, above 4%",),
        ),
        ({"promotion_p_value": float("nan")}, ("how sure that is cannot be measured with this history",)),
        ({"served_gain_pct": 0.49}, ("its gain over long_run is +0.49%, below 0.5%",)),
        ({"served_gain_pct": None}, ("its gain over long_run is not measured",)),
        (
            {"independent_periods": 7},
            (
                "its record has 7 periods that do not overlap, and 8 are needed: not promotable at this horizon with "
                "this history",
            ),
        ),
        ({"coverage_80": 0.7499}, ("its 80% band covered 75.0% of the outcomes, more than 5 points from 80%",)),
        ({"coverage_80": None}, ("the coverage of its 80% band is not measured",)),
        (
            {"served_gain_pct": -3.0, "coverage_80": 0.9},
            (
                "its gain over long_run is -3.00%, below 0.5%",
                "its 80% band covered 90.0% of the outcomes, more than 5 points from 80%",
            ),
        ),
    ],
)
def test_promotion_needs_sure_skill_and_honest_bands_and_names_what_is_wanting(tmp_path, rule, changed, reasons):
    assert unmet_gates(GOOD | changed, rule) == reasons
    told = verdict(version(tmp_path, hit=0.5), GOOD | changed, rule, None, code_version=CODE)
    assert bool(told) == bool(reasons)
    assert all(reason in told for reason in reasons)


def test_the_leak_rule_stands_beside_the_gates_and_the_baseline_always_may(tmp_path, rule):
    leaky = version(tmp_path, hit=0.7)
    assert "there is no leakage audit" in verdict(leaky, GOOD, rule, None, code_version=CODE)
    assert verdict(leaky, GOOD, rule, PASSED, code_version=CODE) == ""
    both = verdict(leaky, {}, rule, None, code_version=CODE)
    assert "its gain over the best naive is not measured" in both and "there is no leakage audit" in both
    assert verdict(version(tmp_path, hit=0.5, family="curve"), {}, rule, None, code_version=CODE) == ""


def test_aspirations_are_told_met_or_not_and_unmeasured_ones_are_neither(registry):
    limits = load_quality_gates(registry.folder).aspirations
    row = {"mape_pct": 2.6, "sharpe": 1.0, "direction_hit_rate": float("nan"), "calibration_error": 0.05}
    found = aspirations_met(row, limits)
    assert found == {"mape_pct": True, "sharpe": False, "direction_hit_rate": None, "calibration_error": True}


def test_the_baseline_is_champion_while_the_best_is_refused(tmp_path, rule):
    best, base = version(tmp_path, hit=0.7), version(tmp_path, hit=0.5, family="curve", loss=0.010)
    board = judged([base, best], rule, None, code_version=CODE).set_index("family")
    assert board["champion"].to_dict() == {"curve": True, "lightgbm": False}
    assert board.loc["curve", "refusal"] == "" and "there is no leakage audit" in board.loc["lightgbm", "refusal"]
    audited = judged([base, best], rule, PASSED, code_version=CODE).set_index("family")
    assert audited["champion"].to_dict() == {"curve": False, "lightgbm": True}


def test_an_audit_is_read_as_it_was_written_and_a_damaged_one_counts_as_none(tmp_path):
    store = FolderStore(tmp_path)
    assert read_audit(store) is None
    path = Path(write_audit(store, replace(PASSED, findings=("a", "b"))))
    assert read_audit(store) == replace(PASSED, findings=("a", "b"))
    for damaged in ('{"passed": true}', "{", "[1]"):
        path.write_text(damaged)
        assert read_audit(store) is None, damaged


def test_an_unknown_horizon_in_the_rule_is_refused_by_name(registry, tmp_path):
    folder = shutil.copytree(registry.folder, tmp_path / "registry")
    path = folder / "quality_gates.yaml"
    path.write_text(path.read_text().replace("[1m,", "[1mo,"))
    with pytest.raises(RegistryError, match=r"quality_gates\.yaml: promotion\.horizons: no horizon 1mo"):
        load_quality_gates(folder)


def planted(panel: pd.DataFrame, registry) -> pd.DataFrame:
    """The features and, among them, the price a month ahead over today's."""
    return build_features(panel, registry).assign(planted=panel["zl_last"].shift(-21) / panel["zl_last"])


def test_a_planted_future_column_is_found_and_its_model_refused_until_the_audit_passes(
    staged, documents, registry, panel, features, labels, rule, tmp_path
):
    given = ProofInputs(
        observations=staged.observations,
        documents=documents,
        sources=registry.sources,
        joins=registry.joins,
        derived=load_derived(registry.folder, registry.sources),
        features=registry.features,
        as_of=AS_OF,
        payloads=lambda source: [],
        build=planted,
    )
    small = replace(given, observations=given.relevant(staged.observations).reset_index(drop=True))
    found = truncation_proof(small, [pd.Timestamp("2016-06-30")], restaged=0)
    assert found["column"].tolist() == ["planted"]

    columns = [SCALE, "planted"]
    table = training_table(planted(panel, registry.features), labels, registry.regimes, horizon="1m", columns=columns)
    levels = registry.horizons.quantiles
    oof = out_of_fold(Analogues, Problem("1m", 21, levels), table, columns, registry.horizons.walk_forward)
    measured = measure(oof[oof["scored"]], levels)
    assert measured["direction_hit_rate"] > 0.9

    # the bake-off: fits of honest families, and beside them under LightGBM's name what was just measured
    zones, store = Zones(tmp_path / "home"), FolderStore(tmp_path / "home" / "models")
    moves = [name for name in features if name.startswith(EXPECTED_MOVE)]
    exported = write_parquet(zones.exports / file_name("prod", "1m"), table.assign(**features[[*REGIMES, *moves]]))
    data = sha256_of(exported)
    one_month = registry.horizons.model_copy(update={"horizons": {"1m": registry.horizons.horizons["1m"]}})
    daily = load_models(registry.folder, registry.features)
    two = daily.budgets["daily"].model_copy(update={"families": ("curve", "lightgbm")})
    models = daily.model_copy(update={"volatility": (SCALE,), "budgets": {"daily": two}})
    plan = plan_bake_off(
        zones.exports,
        one_month,
        models.model_copy(update={"families": {n: models.families["curve"] for n in two.families}}),
        registry.features,
        load_surface(registry.folder, registry.features),
        budget="daily",
        data_snapshots={"1m": data},
    )
    for work in plan.work(plan.fits, zones.fits):
        run_work(work | {"family": "curve"})
    for fit in plan.of("lightgbm", "1m")[:-1]:
        write_parquet(zones.fits / fit.identity / "forecasts.1m.parquet", oof[oof["fold"] == fit.year])
    # bands that hold too much are refused as well: that gate stands aside here, so that the audit alone decides
    gates = load_quality_gates(registry.folder)
    lenient = gates.model_copy(update={"promotion": rule.model_copy(update={"coverage_80_within": 0.199})})
    champions = []
    for audit_passed in (None, False, True):
        if audit_passed is not None:
            write_audit(store, Audit(audit_passed, {"1m": data}, CODE, "2023-12-29", ("features planted",)))
        judged = evaluate_fits(plan, zones, as_of=AS_OF, gates=lenient)
        board = store_and_promote(judged, store, plan, rule=lenient.promotion, code_version=CODE).set_index("family")
        champions.append(store.champion("1m", AS_OF).family)
        assert board.loc["lightgbm", "champion"] == bool(audit_passed)
        assert board.loc["lightgbm", "served_gain_pct"] > 50, "no other gate is in its way"
    assert champions == ["curve", "curve", "lightgbm"]
