"""The bake-off through its public functions, on real training tables cut short: named fits, judged, stored, served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ManifestMismatch, ModelStoreError, RegistryError, TrainingFailed
from tasks.evaluation.calibration import calibrate
from tasks.exports import file_name, training_table
from tasks.model_store.contest import store_and_promote
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import Version
from tasks.models.forecaster import Problem
from tasks.models.loading import load_model
from tasks.quantiles import calibrated, column, probability_above_zero, widened
from tasks.registry import Budget, load_models, load_quality_gates, load_surface
from tasks.settings import PROJECT
from tasks.storage.files import TEMPORARY, read_json, read_parquet, write_json, write_parquet
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tasks.training import bake_off, worker
from tasks.training import plan as plan_module
from tasks.training.bake_off import evaluate_fits, fit_in_process, is_fitted
from tasks.training.blending import REGIMES, ensemble
from tasks.training.folds import FINAL, walk_forward
from tasks.training.plan import Plan, plan_bake_off
from tasks.training.worker import run_work
from tests.conftest import Registry

pytestmark = pytest.mark.xdist_group("bake_off")  # what its fixtures make is dear: one process makes it

UNTIL, EARLIER = "2011-12-30", "2010-12-31"
FAMILIES = ("curve", "long_run", "pooled", "har")
MEMBERS = ("pooled", "har")
TINY = {"window": 21, "channels": 8, "batch": 32, "epochs": 1, "validation_sessions": 120, "every": 10}


@dataclass(frozen=True)
class Bench:
    """Training tables at a week and a month, and what to plan with."""

    registry: Registry
    tables: Mapping[str, pd.DataFrame]

    def exported(self, folder: Path, until: str = UNTIL, **changed: pd.DataFrame) -> Path:
        """The tables as they were known at ``until``: no later row, and no outcome that lies later."""
        for name, whole in {**self.tables, **changed}.items():
            table = whole[whole["date"] <= until].reset_index(drop=True)
            later = table["target_date"] > until
            write_parquet(
                folder / file_name("prod", name),
                table.assign(**{c: table[c].mask(later) for c in ("target_log_return", "target_price")}),
            )
        return folder

    def plan(
        self,
        exports: Path,
        families: Iterable[str] = FAMILIES,
        *,
        options: Mapping[str, Any] | None = None,
        volatility: Iterable[str] | None = None,
        last_test_years: int = 0,
    ) -> Plan:
        """Every fit of these families."""
        held = load_models(self.registry.folder, self.registry.features)
        budget = Budget(
            title="test", families=tuple(families), last_test_years=last_test_years, options=dict(options or {})
        )
        models = held.model_copy(
            update={
                "budgets": {"test": budget},
                "ensemble": MEMBERS,
                "volatility": tuple(volatility or held.volatility),
            }
        )
        horizons = self.registry.horizons
        two = horizons.model_copy(update={"horizons": {name: horizons.horizons[name] for name in self.tables}})
        hashes = {name: sha256_of(exports / file_name("prod", name)) for name in self.tables}
        surface = load_surface(self.registry.folder, self.registry.features)
        return plan_bake_off(
            exports, two, models, self.registry.features, surface, budget="test", data_snapshots=hashes
        )

    def judged(self, plan: Plan, zones: Zones, failed: Mapping[str, str] | None = None) -> pd.DataFrame:
        """The leaderboard."""
        one = next(iter(self.tables))
        as_of = read_parquet(plan.exports / file_name("prod", one), columns=["date"])["date"].iloc[-1]
        gates = load_quality_gates(self.registry.folder)
        store = FolderStore(zones.models)
        judged = evaluate_fits(plan, zones, as_of=as_of, gates=gates)
        return store_and_promote(judged, store, plan, rule=gates.promotion, code_version="c0de", failed=failed or {})


@dataclass(frozen=True)
class Contest:
    """A finished one."""

    plan: Plan
    zones: Zones
    board: pd.DataFrame

    def version(self, family: str, horizon: str = "1m") -> Version:
        """The one stored of a family."""
        [found] = FolderStore(self.zones.models).versions(family, horizon)
        return found


@pytest.fixture(scope="module")
def bench(features: pd.DataFrame, labels: pd.DataFrame, registry: Registry) -> Bench:
    columns, last = registry.features.production(), "2012-03-30"
    known, outcomes = features[features["date"] <= last], labels[labels["date"] <= last]
    return Bench(
        registry,
        {h: training_table(known, outcomes, registry.regimes, horizon=h, columns=columns) for h in ("1w", "1m")},
    )


def done(plan: Plan, zones: Zones, families: Iterable[str] = FAMILIES) -> None:
    """The fits of some families, in this process."""
    for work in plan.work([fit for fit in plan.fits if fit.family in families], zones.fits):
        run_work(work)


@pytest.fixture(scope="module")
def contest(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Contest:
    zones = Zones(tmp_path_factory.mktemp("contest"))
    plan = bench.plan(bench.exported(zones.exports))
    done(plan, zones)
    return Contest(plan, zones, bench.judged(plan, zones))


def named(plan: Plan) -> dict[tuple[str, str, int], str]:
    return {(fit.family, "+".join(fit.horizons), fit.year): fit.identity for fit in plan.fits}


def changed_years(before: Plan, after: Plan, family: str, horizon: str = "1m") -> set[int]:
    old, new = named(before), named(after)
    return {year for f, h, year in old.keys() | new.keys() if (f, h) == (family, horizon) and
            old.get((f, h, year)) != new.get((f, h, year))}  # fmt: skip


def test_a_fold_keeps_its_name_when_later_rows_come_and_loses_it_with_its_own(bench, contest, tmp_path) -> None:
    later = bench.plan(bench.exported(tmp_path / "later", "2012-03-30"))
    for family in FAMILIES:
        assert changed_years(contest.plan, later, family) == {2011, 2012, FINAL}, "the running years, and what serves"

    table = bench.tables["1m"]
    row = table.index[table["date"] >= "2009-06-01"][0]
    for name, reads in (("vix", True), ("zl_rsi_14d", False), ("target_log_return", True), ("training_weight", True)):
        moved = table.copy()
        moved.loc[row, name] += 1.0
        after = bench.plan(bench.exported(tmp_path / name, **{"1m": moved}))
        assert changed_years(contest.plan, after, "har") == ({2009, 2010, 2011, FINAL} if reads else set()), name
        assert changed_years(contest.plan, after, "har", "1w") == set(), "another horizon's file"


@pytest.mark.parametrize("family", ["har", "lightgbm", "tcn"])
def test_a_misspelt_option_is_refused_before_the_first_fit(bench, contest, family: str) -> None:
    with pytest.raises(RegistryError, match="penalti"):
        bench.plan(contest.plan.exports, [family], options={family: {"penalti": 1}})


def test_a_fold_loses_its_name_with_its_options_its_columns_and_the_code(bench, contest, tmp_path, monkeypatch) -> None:
    exports, years = contest.plan.exports, {2007, 2008, 2009, 2010, 2011, FINAL}
    plain, seeded = (bench.plan(exports, ["dense"], options=o) for o in ({}, {"dense": {"seeds": [2]}}))
    assert changed_years(plain, seeded, "dense", "1w+1m") == years
    fewer = bench.plan(exports, volatility=[n for n in contest.plan.models.volatility if n != "half_year_cos"])
    assert changed_years(contest.plan, fewer, "har") == years
    assert named(bench.plan(exports)) == named(contest.plan)
    (tmp_path / "code.py").write_text("one = 1\n")
    monkeypatch.setattr(plan_module, "MODEL_CODE", (tmp_path,))
    before = bench.plan(exports)
    (tmp_path / "code.py").write_text("one = 2\n")
    assert changed_years(before, bench.plan(exports), "har") == years


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_rerun_fits_nothing_and_stores_nothing(bench, contest) -> None:
    assert all(is_fitted(contest.zones, fit) for fit in contest.plan.fits)
    before = stamps(contest.zones.fits) | stamps(contest.zones.models)
    done(contest.plan, contest.zones)
    pd.testing.assert_frame_equal(bench.judged(contest.plan, contest.zones), contest.board)
    assert stamps(contest.zones.fits) | stamps(contest.zones.models) == before


@pytest.mark.more
def test_a_killed_process_leaves_no_half_fit_and_a_rerun_ends_with_the_same_files(bench, contest, tmp_path) -> None:
    plan = bench.plan(contest.plan.exports, ["lightgbm"])
    fits = plan.of("lightgbm", "1m")
    [undisturbed] = plan.work(fits, tmp_path / "undisturbed")
    run_work(undisturbed)
    cache = tmp_path / "killed"
    [work] = plan.work(fits, cache)
    told = write_json(tmp_path / "work.json", work)
    running = subprocess.Popen([sys.executable, "-m", "tasks.training.worker", str(told)], cwd=PROJECT)
    deadline = time.monotonic() + 300
    while not list(cache.glob("[!.]*/done.json")) or not list(cache.glob(f"{TEMPORARY}*")):  # amid a later fit
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    left = [path for path in cache.iterdir() if not path.name.startswith(TEMPORARY)]
    assert 1 <= len(left) < len(fits)
    assert all((path / "done.json").exists() for path in left)
    kept = stamps(left[0])
    fit_in_process(work)
    assert files_of(cache) == files_of(tmp_path / "undisturbed")
    assert stamps(left[0]) == kept, "what was done is not done again"


def test_training_files_that_changed_since_the_plan_are_neither_fitted_nor_judged(bench, tmp_path) -> None:
    """A daily run exports while a training runs: what was named by the earlier rows may not be made of later ones."""
    zones = Zones(tmp_path)
    plan = bench.plan(bench.exported(zones.exports, EARLIER), ("curve",))
    [work] = plan.work(plan.fits, zones.fits)
    bench.exported(zones.exports)
    told = r"1[wm]\.parquet is not the file that the training was planned on: .* changed while it ran.* again"
    with pytest.raises(ManifestMismatch, match=told):
        fit_in_process(work)
    assert not any(is_fitted(zones, fit) for fit in plan.fits)

    bench.exported(zones.exports, EARLIER)
    fit_in_process(work)
    assert all(is_fitted(zones, fit) for fit in plan.fits)
    bench.exported(zones.exports)
    with pytest.raises(ManifestMismatch, match=told):
        bench.judged(plan, zones)
    assert FolderStore(zones.models).of_horizon("1m") == []
    bench.exported(zones.exports, EARLIER)
    assert len(bench.judged(plan, zones)) == 2


def test_a_fit_outlasts_a_power_cut(bench, contest, tmp_path, monkeypatch) -> None:
    synced, sync = [], os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    final = contest.plan.of("curve", "1m")[-1]
    [work] = contest.plan.work([final], tmp_path)
    run_work(work)
    kept = tmp_path / final.identity
    assert (kept / "1m" / "model.json").exists()
    assert {path.stat().st_ino for path in (kept, *kept.rglob("*"))} <= set(synced)
    assert synced[-1] == tmp_path.stat().st_ino, "its name, once it has it"


def test_a_family_that_cannot_be_fitted_is_reported_and_left_out_and_its_return_changes_the_others_figures(
    bench, contest, tmp_path, caplog
) -> None:
    """No `vix`: HAR's process ends with an error at each horizon; then long_run is missing, a naive to be beaten."""
    without = bench.plan(contest.plan.exports, volatility=[n for n in contest.plan.models.volatility if n != "vix"])
    zones = Zones(tmp_path / "no_vix")
    done(without, zones, set(FAMILIES) - {"har"})
    failed = {}
    for work in without.work([fit for fit in without.fits if fit.family == "har"], zones.fits):
        with pytest.raises(TrainingFailed, match=r"har at 1w, 1m: its process ended with 1: .*vix") as told:
            fit_in_process(work)
        failed["har " + next(iter(work["horizons"]))] = str(told.value)
    board = bench.judged(without, zones, failed)
    assert set(board["family"]) == set(FAMILIES) - {"har"}, "and no ensemble of one"
    assert board.groupby("horizon")["champion"].sum().eq(1).all()
    assert all(reason in caplog.text for reason in failed.values())
    with pytest.raises(TrainingFailed, match=r"the baseline was not fitted at 1m, 1w: curve died"):
        bench.judged(contest.plan, Zones(tmp_path / "nothing"), {"curve 1w": "curve died"})

    zones = Zones(tmp_path / "later")
    done(contest.plan, zones, set(FAMILIES) - {"long_run"})
    first = bench.judged(contest.plan, zones)
    assert "long_run" not in set(first["better_naive"])
    done(contest.plan, zones)
    again = bench.judged(contest.plan, zones)
    numbered = ["model_version", "refusal"]  # a second version of each, but for long_run
    pd.testing.assert_frame_equal(again.drop(columns=numbered), contest.board.drop(columns=numbered))


def test_a_short_budget_promotes_nothing(bench, contest, tmp_path) -> None:
    zones = Zones(tmp_path)
    plan = bench.plan(contest.plan.exports, ["curve", "pooled"], last_test_years=2)
    assert {fit.year for fit in plan.fits} == {2009, 2010, FINAL}, "without the running year"
    done(plan, zones)
    board = bench.judged(plan, zones)
    assert not board["champion"].any() and len(board) == 4
    assert FolderStore(zones.models).history() == []
    assert set(contest.board.loc[contest.board["champion"], "horizon"]) == {"1w", "1m"}


def test_before_the_first_scored_year_nothing_is_measured_and_the_baseline_serves(bench, tmp_path) -> None:
    zones = Zones(tmp_path)
    plan = bench.plan(bench.exported(zones.exports, "2009-12-30"), ["curve", "pooled"])
    done(plan, zones)
    board = bench.judged(plan, zones)
    assert board["skill_pct"].isna().all() and board["pinball_log_return"].isna().all()
    assert list(board.loc[board["champion"], "family"]) == ["curve", "curve"]


def test_the_served_ensemble_is_the_measured_one_carried_to_today(contest) -> None:
    """By the bake-off's own way: today's row beside the past ones, its outcome missing."""
    levels, step = tuple(contest.plan.horizons.quantiles), contest.plan.horizons.walk_forward.origin_step_sessions
    problem, names = Problem("1m", 21, levels), [column(level) for level in levels]
    table = read_parquet(contest.plan.exports / file_name("prod", "1m"))
    today = table.iloc[[-1]]
    members = {}
    for family in MEMBERS:
        *folds, final = contest.plan.of(family, "1m")
        parts = [read_parquet(contest.zones.fits / fit.identity / "forecasts.1m.parquet") for fit in folds]
        model = load_model(family, contest.zones.fits / final.identity / "1m", problem, {"1m": 21})
        quantiles = model.predict_quantiles(today[list(contest.plan.columns[family])])
        coming = (
            parts[-1]
            .iloc[[-1]]
            .assign(
                date=today["date"].item(),
                target_date=today["date"].item() + pd.Timedelta(days=30),
                target_log_return=np.nan,
                **dict(zip(names, quantiles[0], strict=True)),
            )
        )
        members[family], _ = calibrate(pd.concat([*parts, coming], ignore_index=True), levels, horizon=21, step=step)
    blended = ensemble(members, table[["date", *REGIMES]], levels, horizon=21, step=step)
    expected, _ = calibrate(blended, levels, horizon=21, step=step)

    version = contest.version("ensemble")
    served = version.load(problem)
    held = read_json(version.folder / "calibration.json")
    told = calibrated(served.predict_quantiles(today), levels, held)
    np.testing.assert_allclose(told[0], expected[names].iloc[-1].to_numpy(), rtol=1e-9)
    assert held["log_width"] != 0
    np.testing.assert_array_equal(served.direction_probability(told), probability_above_zero(told, levels))
    past = read_parquet(version.folder / "oof.parquet")
    np.testing.assert_allclose(past[names], expected[names].iloc[:-1], rtol=1e-12)


def test_a_tampered_member_of_the_ensemble_is_found(contest) -> None:
    version = contest.version("ensemble", "1w")
    path = version.folder / "members" / "har" / "har.json"
    sound = path.read_text()
    path.write_text(json.dumps(json.loads(sound) | {"up_share": 0.99}))
    with pytest.raises(ModelStoreError, match=r"members/har/har\.json is not the file that was stored"):
        version.load(Problem("1w", 5, tuple(contest.plan.horizons.quantiles)))
    path.write_text(sound)
    version.load(Problem("1w", 5, tuple(contest.plan.horizons.quantiles)))


@pytest.mark.more
def test_two_contests_give_the_same_files_and_figures(bench, contest, tmp_path) -> None:
    """Every family that is no net, and one tiny net: fitted twice, in two homes."""
    names = [f for f in load_models(bench.registry.folder, bench.registry.features).budgets["quick"].families]
    families = [f for f in names if f not in ("tcn", "lstm_attention", "nbeatsx", "tft")]
    assert len(families) == 13 and "dense" in families
    week = Bench(bench.registry, {"1w": bench.tables["1w"]})
    plan = week.plan(contest.plan.exports, families, options={"dense": TINY}, last_test_years=1)
    made = []
    for home in ("first", "second"):
        zones = Zones(tmp_path / home)
        done(plan, zones, families)
        made.append((files_of(zones.fits), week.judged(plan, zones)))
    assert made[0][0] == made[1][0]
    pd.testing.assert_frame_equal(made[0][1], made[1][1])
    assert set(made[0][1]["family"]) == {*families, "ensemble"}


def past_forecasts(bench: Bench, home: Path, until: str) -> pd.DataFrame:
    """What the whole way from training file to judged forecast makes of the origins before 2010, known at ``until``."""
    zones, month = Zones(home), Bench(bench.registry, {"1m": bench.tables["1m"]})
    plan = month.plan(month.exported(zones.exports, until))
    done(plan, zones)
    month.judged(plan, zones)
    kept = [column(level) for level in plan.horizons.quantiles]
    frames = {
        family: read_parquet(Contest(plan, zones, pd.DataFrame()).version(family).folder / "oof.parquet")
        for family in (*FAMILIES, "ensemble")
    }
    together = pd.concat(frames, names=["family", None]).reset_index(level=0)
    return together.loc[together["date"] < "2010-01-01", ["family", "date", *kept]].reset_index(drop=True)


def calibrated_on_everything(oof, levels, *, horizon, step):
    """Planted: the width that all outcomes ask for, on every origin."""
    adapted, held = calibrate(oof, levels, horizon=horizon, step=step)
    names = [column(level) for level in levels]
    if len(oof):
        wide = widened(oof[names].to_numpy(), levels, np.full(len(oof), held["log_width"]))
        adapted = oof.assign(**dict(zip(names, wide.T, strict=True)))
    return adapted, held


def fitted_on_everything(dates, plan, *, horizon):
    """Planted: every row is trained on, the test year and what comes after it too."""
    return [replace(fold, train=np.arange(len(dates))) for fold in walk_forward(dates, plan, horizon=horizon)]


@pytest.mark.parametrize("planted", ["nothing", "calibrator", "scaler"])
def test_what_comes_later_changes_no_past_forecast_and_a_planted_leak_is_found(
    bench, tmp_path, monkeypatch, planted
) -> None:
    if planted == "calibrator":
        monkeypatch.setattr(bake_off, "calibrate", calibrated_on_everything)
    if planted == "scaler":  # of the quantiles and of the predicted scale
        monkeypatch.setattr(worker, "walk_forward", fitted_on_everything)
    long, short = (past_forecasts(bench, tmp_path / until, until) for until in (UNTIL, EARLIER))
    assert len(long) == len(short) > 5 * 100
    if planted == "nothing":
        pd.testing.assert_frame_equal(long, short, check_exact=True)
    else:
        with pytest.raises(AssertionError):
            pd.testing.assert_frame_equal(long, short)
