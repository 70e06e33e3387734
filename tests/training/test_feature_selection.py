"""The production surface: chosen without the final year, the same twice, noise left out, mistakes refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import tasks.registry.surface as registry_module
import tasks.training.feature_selection as surface_module
from tasks.errors import ManifestMismatch, RegistryError, TrainingFailed
from tasks.exports import training_table
from tasks.models.catalogue import EXPECTED_MOVE, FAMILIES, JOINT_FAMILIES, SCALE
from tasks.models.forecaster import without_curve_moves
from tasks.registry import FeatureRegistry, Horizons, load_models, load_surface, surface_version
from tasks.reporting.surface_chart import surface_figure
from tasks.storage.files import write_json, write_parquet
from tasks.storage.hashes import sha256_of
from tasks.training.feature_selection import (
    ShapShares,
    alike,
    before_final_year,
    candidates,
    choose,
    explain_folds,
    read_tables,
    select_surface,
    shadow,
    write_surface,
)
from tests.conftest import Registry

pytestmark = pytest.mark.xdist_group("surface")  # what its fixtures make is dear: one process makes it

FINAL = 2014


@pytest.fixture(scope="module")
def tables(features: pd.DataFrame, labels: pd.DataFrame, registry: Registry) -> dict[str, pd.DataFrame]:
    """Real training tables to the end of 2014, at a month and at three."""
    columns = registry.features.production()
    whole = {h: training_table(features, labels, registry.regimes, horizon=h, columns=columns) for h in ("1m", "3m")}
    return {h: table[table["date"].dt.year <= FINAL].reset_index(drop=True) for h, table in whole.items()}


@pytest.fixture(scope="module")
def three_folds(registry: Registry) -> Horizons:
    plan = registry.horizons.walk_forward.model_copy(update={"first_test_year": 2011, "warm_up_years": 0})
    return registry.horizons.model_copy(update={"walk_forward": plan})


@pytest.fixture(scope="module")
def every_sixth(registry: Registry) -> FeatureRegistry:
    """A sixth of the production features, of every category, in the registry's order."""
    kept = {*registry.features.production()[::6], SCALE}
    categories = registry.features.categories.items()
    return FeatureRegistry(categories={c: {n: e for n, e in group.items() if n in kept} for c, group in categories})


def test_the_file_is_the_same_twice_and_whatever_the_final_year_holds(
    tables, registry, every_sixth, three_folds, tmp_path, monkeypatch
):
    for module in (surface_module, registry_module):
        monkeypatch.setattr(module, "SURFACE_SIZE", (3, 60))  # of a sixth of the features
    surface, evidence = select_surface(tables, every_sixth, three_folds)
    first = write_surface(tmp_path / "first.yaml", surface)
    chance = np.random.default_rng(3)
    altered = {}
    for horizon, table in tables.items():
        final = (table["date"].dt.year == FINAL).to_numpy()
        reaches = final | (table["target_date"].dt.year >= FINAL).to_numpy()
        other = table.copy()
        for name in registry.features.production():
            other.loc[final, name] = chance.normal(size=final.sum())
        for name in ("target_log_return", "target_price"):
            other.loc[reaches, name] = chance.normal(size=reaches.sum())
        assert reaches.sum() > final.sum(), "rows before the year whose targets lie in it"
        altered[horizon] = other
    again, evidence_again = select_surface(altered, every_sixth, three_folds)
    second = write_surface(tmp_path / "second.yaml", again)
    assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(evidence.features, evidence_again.features, check_exact=True)
    assert surface.folds == (2011, 2012, 2013) and surface.final_test_year == FINAL
    assert str(surface.last_date_read) == "2013-12-31" and SCALE in surface.features
    assert list(surface.features) == [name for name in every_sixth.production() if name in surface.features]
    assert sum(count.chosen for count in surface.categories.values()) == len(surface.features)

    folder = Path(shutil.copytree(registry.folder, tmp_path / "registry"))
    shutil.copy(first, folder / "production_surface.yaml")
    assert load_surface(folder, registry.features) == surface, "what is written is what is read"
    picture = surface_figure(tmp_path / "surface.png", surface, evidence, every_sixth)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


def test_a_changed_row_before_the_final_year_is_seen(tables):
    table = tables["1m"]
    cut = before_final_year(table)
    assert cut["date"].max() < pd.Timestamp(f"{FINAL}-01-01")
    known = table["target_log_return"].notna() & (table["target_date"].dt.year < FINAL)
    assert cut["target_log_return"].notna().sum() == known.sum()
    assert cut["target_date"].max() < pd.Timestamp(f"{FINAL}-01-01")
    assert not cut.equals(before_final_year(table.assign(zl_return_1d=table["zl_return_1d"] + 1)))


def test_planted_noise_is_left_out_and_a_planted_cause_is_chosen(tables, registry, three_folds):
    real = ["zl_return_1d", "zl_return_21d", "zl_rsi_7d", SCALE, "zl_skew_126d", "dgs10_pct", "oil_share", "year_sin"]
    table = before_final_year(tables["1m"])
    chance = np.random.default_rng(1)  # with three folds, one draw in four lets one of the two noises through
    planted = {}
    for name in ("cause", "noise_slow", "noise_fast"):
        keep, steps = (0.9 if name == "noise_fast" else 0.99), chance.normal(size=len(table))
        planted[name] = pd.Series(steps).ewm(alpha=1 - keep, adjust=False).mean()
    cause = planted["cause"] / planted["cause"].std()
    moved = table["target_log_return"] + 0.5 * table["target_log_return"].std() * cause
    table = table.assign(**planted, target_log_return=moved)
    known, entry = registry.features, next(iter(registry.features.features.values()))
    groups: dict[str, dict[str, object]] = {"planted": dict.fromkeys(planted, entry)}
    for name in real:
        groups.setdefault(known.category_of[name], {})[name] = known.features[name]
    small = FeatureRegistry.model_validate({"categories": groups})
    columns = candidates(table, small.production())
    evidence = explain_folds({"1m": table}, alike(table, columns), three_folds)
    chosen = choose(evidence, small)
    assert "cause" in chosen and chosen["cause"].stability == 1.0
    assert not {"noise_slow", "noise_fast"} & set(chosen)
    with pytest.raises(TrainingFailed, match=r"only \d+ groups of features outrank noise"):
        select_surface({"1m": table}, small, three_folds)


def test_what_every_family_scales_by_is_in_and_every_category_before_a_second_of_one(registry, monkeypatch):
    """By hand, ten fits: a group's share is 0.3 in so many of them, else 0; shadows have 0.1 always."""
    above: dict[tuple[str, ...], int] = {
        (SCALE, "zl_volatility_126d_pct"): 0,
        ("zl_return_1d",): 9,
        ("zl_return_5d", "zl_rsi_7d"): 8,
        ("zl_return_21d",): 7,
        ("dgs10_pct",): 6,
        ("year_sin",): 0,
    }
    fits = pd.MultiIndex.from_product([["1m"], range(2010, 2020)], names=["horizon", "fold"])
    groups = pd.DataFrame({i: [0.3] * n + [0.0] * (10 - n) for i, n in enumerate(above.values())}, index=fits)
    features = pd.DataFrame(0.1, index=fits, columns=[name for group in above for name in group])
    features = features.assign(zl_volatility_126d_pct=0.9, zl_rsi_7d=0.9)
    evidence = ShapShares(tuple(above), groups, groups * 0 + 0.1, features)
    chosen = choose(evidence, registry.features)
    assert list(chosen) == ["zl_return_1d", "zl_return_21d", "zl_rsi_7d", SCALE, "dgs10_pct"]
    assert chosen[SCALE].stands_for == ("zl_volatility_126d_pct",) and chosen[SCALE].stability == 0
    assert chosen["zl_rsi_7d"].stands_for == ("zl_return_5d",), "the member with the most SHAP"
    assert (chosen["dgs10_pct"].stability, chosen["dgs10_pct"].shap_share_pct) == (0.6, 18.0)
    monkeypatch.setattr(surface_module, "SURFACE_SIZE", (1, 4))
    assert list(choose(evidence, registry.features)) == ["zl_return_1d", "zl_rsi_7d", SCALE, "dgs10_pct"]


def test_features_that_rank_sessions_alike_are_one_group_and_short_ones_no_candidates(tables, registry):
    table = tables["1m"]
    table = table.assign(
        twin=-(table["dgs10_pct"] ** 3), constant=1.0, short=table["dgs10_pct"].where(table["date"] >= "2013-01-01")
    )
    columns = candidates(table, ["zl_return_1d", "dgs10_pct", "twin", "constant", "short"])
    assert columns == ["zl_return_1d", "dgs10_pct", "twin"]
    assert alike(table, columns) == (("zl_return_1d",), ("dgs10_pct", "twin"))


def test_a_shadow_has_the_values_and_gaps_of_its_feature_but_not_their_dates():
    feature = pd.Series([np.nan, 1.0, 2.0, np.nan, 3.0, 4.0])
    pd.testing.assert_series_equal(shadow(feature), pd.Series([np.nan, 3.0, 4.0, np.nan, 1.0, 2.0]))


def test_the_surface_in_use_is_sound_and_every_family_has_a_surface(registry):
    surface = load_surface(registry.folder, registry.features)
    assert SCALE in surface.features and set(surface.features) <= set(registry.features.production())
    assert max(surface.folds) < surface.final_test_year
    models = load_models(registry.folder, registry.features)
    assert set(models.families) == {*FAMILIES, *JOINT_FAMILIES}


def renamed(features: dict, old: str, new: str) -> dict:
    return {new if name == old else name: entry for name, entry in features.items()}


MISTAKES = {
    "unknown": (lambda f: renamed(f, SCALE, "zl_sentiment"), True, "no feature zl_sentiment in feature_registry.yaml"),
    "revised": (lambda f: renamed(f, SCALE, "nfci"), True, "the history of nfci is rewritten after the fact"),
    "order": (lambda f: dict(reversed(f.items())), True, "stands where the registry has zl_"),
    "category": (lambda f: f | {SCALE: f[SCALE] | {"category": "macro"}}, True, f"{SCALE}: not the category"),
    "too few": (lambda f: dict(list(f.items())[:29]), True, "29 features; a surface has 30 to 60"),
    "dtype": (lambda f: f | {SCALE: f[SCALE] | {"dtype": "float32"}}, True, f"features.{SCALE}.dtype"),
    "by hand": (lambda f: {n: e for n, e in f.items() if n != SCALE}, False, "not those of `version`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_surface_with_a_mistake_is_refused_by_name(registry, tmp_path, mistake):
    change, relocked, told = MISTAKES[mistake]
    folder = Path(shutil.copytree(registry.folder, tmp_path / "registry"))
    path = folder / "production_surface.yaml"
    held, sound = yaml.safe_load(path.read_text()), load_surface(folder, registry.features)
    features = change(held["features"])
    if relocked:
        entries = {name: sound.features.get(name, sound.features[SCALE]) for name in features}
        held["version"] = surface_version(entries)
    path.write_text(yaml.safe_dump(held | {"features": features}, sort_keys=False))
    with pytest.raises(RegistryError, match=r"production_surface\.yaml") as refused:
        load_surface(folder, registry.features)
    assert told in str(refused.value)


def test_a_surface_that_saw_the_final_year_or_is_missing_is_refused(registry, tmp_path):
    folder = Path(shutil.copytree(registry.folder, tmp_path / "registry"))
    path = folder / "production_surface.yaml"
    held = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(held | {"final_test_year": max(held["folds"])}, sort_keys=False))
    with pytest.raises(RegistryError, match="chosen on the final test year"):
        load_surface(folder, registry.features)
    path.unlink()
    with pytest.raises(RegistryError, match=r"production_surface\.yaml is missing"):
        load_surface(folder, registry.features)


def test_training_files_older_than_the_registry_are_refused(tables, registry, tmp_path):
    one = registry.horizons.model_copy(update={"horizons": {"1m": registry.horizons.horizons["1m"]}})
    name = "zl_training_prod_allhistory_1m.parquet"
    path = write_parquet(tmp_path / name, tables["1m"].drop(columns="zl_rsi_7d").tail(5))
    write_json(tmp_path / "manifest.json", {"files": {name: {"sha256": sha256_of(path)}}})
    with pytest.raises(ManifestMismatch, match="has no zl_rsi_7d; run `make demo`"):
        read_tables(tmp_path, registry.features, one)
    write_parquet(path, tables["1m"].tail(5))
    with pytest.raises(ManifestMismatch, match="is not the file that was exported"):
        read_tables(tmp_path, registry.features, one)


def test_each_family_is_given_the_features_of_the_surface_it_reads(registry):
    models, surface = load_models(registry.folder, registry.features), load_surface(registry.folder, registry.features)
    read = {family: models.columns(family, registry.features, surface) for family in models.families}
    for columns in read.values():
        assert sum(name.startswith(EXPECTED_MOVE) for name in columns) == len(registry.horizons.horizons), "centres"
    read = {family: without_curve_moves(columns) for family, columns in read.items()}
    production, category = registry.features.production(), registry.features.category_of
    assert read["lightgbm"] == list(surface.features)
    assert read["xgboost"] == without_curve_moves(production)
    assert read["har"] == [name for name in production if name in models.volatility]
    groups = models.families["ridge"].groups
    assert groups and read["ridge"] == [n for n in production if n in models.volatility or category[n] in groups]
    assert all(SCALE in columns for columns in read.values()), "what every family scales by"


MODEL_MISTAKES = {
    "a budget's family": (
        lambda m: m["budgets"]["daily"]["families"].append("prophet"),
        "budget daily: unknown family ['prophet']",
    ),
    "a budget's option": (
        lambda m: m["budgets"]["full"]["options"].update(nbeats={"seeds": [1]}),
        "budget full: unknown family ['nbeats']",
    ),
    "a member": (lambda m: m["ensemble"].append("bagged"), "ensemble: unknown family ['bagged']"),
    "a family without code": (
        lambda m: m["families"].update(prophet=m["families"]["har"]),
        "families: no code for prophet",
    ),
    "a surface": (lambda m: m["families"]["har"].update(surface="half"), "families.har.surface"),
    "a group": (lambda m: m["families"]["ridge"]["groups"].append("tides"), "no category tides"),
    "a context": (lambda m: m["context"].append("tides"), "no category tides"),
    "a revised feature": (lambda m: m["volatility"].append("nfci"), "volatility: no production feature nfci"),
    "the scale": (lambda m: m["volatility"].remove(SCALE), f"volatility: {SCALE} is missing"),
}


@pytest.mark.parametrize("mistake", MODEL_MISTAKES)
def test_models_with_a_mistake_are_refused_by_name(registry, tmp_path, mistake):
    change, told = MODEL_MISTAKES[mistake]
    held = yaml.safe_load((registry.folder / "models.yaml").read_text())
    change(held)
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(held, sort_keys=False))
    with pytest.raises(RegistryError, match=r"models\.yaml") as refused:
        load_models(tmp_path, registry.features)
    assert told in str(refused.value)
