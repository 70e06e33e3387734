"""The bake-off: fits side by side, then every family calibrated, measured and stored; what beats the naive is champion.

Fits are files under CBI_HOME/fits, named by what they are made of (tasks/evaluation/plan.py, tasks/models/worker.py).
Judging them is quick and changes nothing there, so that it may be done again.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import ModelStoreError, TrainingFailed
from tasks.evaluation.calibration import calibrate
from tasks.evaluation.comparison import leaderboard
from tasks.evaluation.ensemble import REGIMES, ensemble, regime_weights
from tasks.evaluation.plan import Fit, Plan
from tasks.evaluation.promotion import read_audit, verdict
from tasks.evaluation.walk_forward import FINAL
from tasks.exports import file_name, planned_on
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.forecaster import BASELINE, ENSEMBLE, SCALE, column, probability_above_zero
from tasks.registry import Horizons, QualityGates
from tasks.settings import PROJECT
from tasks.zones import (
    UTF_8,
    Zones,
    code_fingerprint,
    fingerprint,
    read_parquet,
    write_bytes,
    write_json,
    write_parquet,
)

logger = logging.getLogger(__name__)

JUDGING_CODE = (PROJECT / "tasks" / "evaluation",)


def fit_held(zones: Zones, fit: Fit) -> bool:
    """Whether a fit was done before."""
    return (zones.fits / fit.identity / "done.json").exists()


def fit_in_process(work: dict[str, Any]) -> None:
    """Do the fits of ``work`` (Plan.work) in a process of their own; those done before are left alone.

    Fits are named by the rows that were planned on: the process reads copies, found to be of those files, which a
    daily run cannot replace. (Here, not in tasks/models: a change of that code gives every fit another name.)

    Raises:
        ManifestMismatch: a training file changed since the plan. TrainingFailed: the process failed, with its last
            line.
    """
    with tempfile.TemporaryDirectory(prefix="cbi-fit-") as folder:
        copies = {}
        for name, path in work["training_files"].items():
            content = planned_on(Path(path), work["data_snapshots"][name])
            copies[name] = str(write_bytes(Path(folder) / Path(path).name, content))
        told = Path(folder) / "work.json"
        write_json(told, {**work, "training_files": copies})
        command = [sys.executable, "-m", "tasks.models.worker", str(told)]
        ended = subprocess.run(
            command,
            cwd=PROJECT,
            env={**os.environ, **UTF_8},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingFailed(
            f"{work['family']} at {', '.join(work['horizons'])}: its process ended with {ended.returncode}: {last}. "
            f"Fits already done are kept; run `python -m flows.training` again"
        )


def judge_fits(
    plan: Plan,
    zones: Zones,
    store: ModelStore,
    *,
    as_of: pd.Timestamp,
    gates: QualityGates,
    code_version: str,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Calibrate, measure and store every family that has all its fits; promote the best that may be.

    Returns the leaderboard, a row a horizon and family. Champion is the family with the highest skill of those
    that meet the promotion gates (registry/quality_gates.yaml): column ``refusal`` says why another is not. Where none
    does, and of what there was no fold to measure, the baseline is champion. A budget of a few folds promotes nothing.

    Args:
        as_of: the session of the training files. code_version: which code and rules made them. failed: fits that
            failed twice, with the reason.

    Raises:
        TrainingFailed: the baseline itself has no fits. ManifestMismatch: a training file changed since the plan.
    """
    tables = {name: _planned_table(plan, name) for name in plan.horizons.horizons}
    # what is held, not what was planned: a family is measured against those beside it
    held = [fit.identity for fit in plan.fits if fit_held(zones, fit)]
    cost = gates.trading_cost.round_trip_cents_lb
    run = fingerprint(
        held,
        plan.budget_name,
        dict(plan.data_snapshots),
        list(plan.models.ensemble),
        cost,
        code_fingerprint(*JUDGING_CODE),
    )
    versions = []
    for horizon in plan.horizons.horizons:
        versions += _judge_horizon(plan, zones, store, horizon, tables[horizon], run=run, as_of=as_of, gates=gates)
    baselines = {version.horizon for version in versions if version.family == BASELINE}
    if missing := sorted(set(plan.horizons.horizons) - baselines):
        raise TrainingFailed(f"the baseline was not fitted at {', '.join(missing)}: {'; '.join(failed.values())}")
    audit = read_audit(store)
    refused = {
        version.name: verdict(version, version.metrics, gates.promotion, audit, code_version=code_version)
        for version in versions
    }
    board = compare(versions, refused)
    for name, reason in failed.items():
        logger.warning("%s: %s", name, reason)
    if plan.budget.last_test_years:
        return board.assign(champion=False)
    champions = board[board["champion"]]["model_version"].to_list()
    store.promote(*(version for version in versions if version.name in champions), run=run)
    return board


def _planned_table(plan: Plan, horizon: str) -> pd.DataFrame:
    content = planned_on(plan.exports / file_name("prod", horizon), plan.data_snapshots[horizon])
    return pd.read_parquet(BytesIO(content), columns=["date", SCALE, *REGIMES])


def _judge_horizon(
    plan: Plan,
    zones: Zones,
    store: ModelStore,
    horizon: str,
    table: pd.DataFrame,
    *,
    run: str,
    as_of: pd.Timestamp,
    gates: QualityGates,
) -> list[Version]:
    levels, sessions = tuple(plan.horizons.quantiles), plan.horizons.horizons[horizon].sessions
    step = plan.horizons.walk_forward.origin_step_sessions
    oofs: dict[str, pd.DataFrame] = {}
    calibrations: dict[str, dict[str, object]] = {}
    for family in plan.columns:
        fits = plan.of(family, horizon)
        if not all(fit_held(zones, fit) for fit in fits):
            continue
        parts = [
            read_parquet(zones.fits / f.identity / f"forecasts.{horizon}.parquet") for f in fits if f.year != FINAL
        ]
        held = [part for part in parts if len(part)]
        oof = pd.concat(held, ignore_index=True) if held else pd.DataFrame()
        oofs[family], calibrations[family] = calibrate(oof, levels, horizon=sessions, step=step)
    measured = {family: oof for family, oof in oofs.items() if len(oof)}
    members = {family: oof for family, oof in measured.items() if family in plan.models.ensemble}
    weights: pd.DataFrame | None = None
    if len(members) > 1:
        blended = ensemble(members, table[["date", *REGIMES]], levels, horizon=sessions, step=step)
        names = [column(level) for level in levels]
        blended = blended.assign(
            direction_probability=probability_above_zero(blended[names].to_numpy(), levels),
            row=np.searchsorted(table["date"].to_numpy(), blended["date"].to_numpy()),
        )
        oofs[ENSEMBLE], calibrations[ENSEMBLE] = calibrate(blended, levels, horizon=sessions, step=step)
        measured[ENSEMBLE] = oofs[ENSEMBLE]
        weights = regime_weights(members, table, levels, horizon=sessions, step=step)
    cost = gates.trading_cost.round_trip_cents_lb
    board = leaderboard(measured, levels, sessions=sessions, step=step, round_trip_cost_cents_lb=cost)
    figures: dict[str, dict[str, object]] = {
        str(row.pop("family")): {str(name): value for name, value in row.items()} for row in board.to_dict("records")
    }
    versions = []
    for family, oof in oofs.items():
        parts_of = list(members) if family == ENSEMBLE else [family]
        made_from = [fit.identity for part in parts_of for fit in plan.of(part, horizon)]
        metadata = {
            "family": family,
            "horizon": horizon,
            "sessions": sessions,
            "horizons": {name: h.sessions for name, h in plan.horizons.horizons.items()},
            "identity": fingerprint(family, made_from, run),
            "run": run,
            "budget": plan.budget_name,
            "fits": {part: {str(fit.year): fit.identity for fit in plan.of(part, horizon)} for part in parts_of},
            "data_snapshot": plan.data_snapshots[horizon],
            "trained_as_of": f"{as_of:%Y-%m-%d}",
            "columns": sorted({name for part in parts_of for name in plan.columns[part]}),
            "dtype": "float64",
        }
        with tempfile.TemporaryDirectory(prefix="cbi-version-") as folder:
            out = Path(folder)
            if family == ENSEMBLE:
                for member in parts_of:
                    _copy_model(plan, zones, member, horizon, out / "members" / member)
                    write_json(out / "members" / member / "calibration.json", calibrations[member])
                assert weights is not None
                write_json(out / "weights.json", weights.T.to_dict())
            else:
                _copy_model(plan, zones, family, horizon, out)
            write_json(out / "calibration.json", calibrations[family])
            write_parquet(out / "oof.parquet", oof)
            versions.append(store.add(out, metadata, figures.get(family, {})))
    return versions


def _copy_model(plan: Plan, zones: Zones, family: str, horizon: str, to: Path) -> None:
    final = plan.of(family, horizon)[-1]
    shutil.copytree(zones.fits / final.identity / horizon, to, dirs_exist_ok=True)


def champions_of(store: ModelStore, horizons: Horizons, as_of: pd.Timestamp) -> dict[str, Version]:
    """The champion of each horizon that has one trained by ``as_of``; one that is damaged is none."""
    found = {}
    for name in horizons.horizons:
        with suppress(ModelStoreError):  # the forecast of its horizon says what is wrong with it
            found[name] = store.champion(name, as_of)
    return {name: version for name, version in found.items() if version is not None}


BOARD_OF_NONE = ("run", "trained_as_of", "horizon", "family", "model_version", "refusal")


def measured_with(store: ModelStore, champions: dict[str, Version]) -> pd.DataFrame:
    """The leaderboard of the training runs that the champions came from, read back from the store."""
    runs = {str(version.metadata["run"]) for version in champions.values()}
    versions = [
        version for name in champions for version in store.of_horizon(name) if str(version.metadata["run"]) in runs
    ]
    board, serving = compare(versions), [version.name for version in champions.values()]
    return board.assign(champion=board["model_version"].isin(serving))


def compare(versions: list[Version], refused: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """The leaderboard: one row a family and horizon, with what was measured when the version was stored.

    ``refused`` gives a reason for each version that may not be champion: the baseline is it in its place.
    """
    rows = [
        {
            "run": version.metadata["run"],
            "trained_as_of": version.trained_as_of,
            "horizon": version.horizon,
            "family": version.family,
            "model_version": version.name,
            **version.metrics,
            "refusal": refused.get(version.name, ""),
        }
        for version in versions
    ]
    # where no champion can be read there is no version to measure: a leaderboard of no row
    board = pd.DataFrame(rows, columns=None if rows else [*BOARD_OF_NONE])
    # before the first scored fold nothing is measured: the figures are missing, not their columns
    board = board.reindex(
        columns=[*board, *(name for name in ("pinball_log_return", "skill_pct") if name not in board)]
    )
    base, contest = board["family"] == BASELINE, [board["run"], board["horizon"]]
    # by skill, which is measured on the origins a family has: a net's five years are no fourteen
    base_loss = board["pinball_log_return"].where(base).groupby(contest).transform("min")
    skill = board["skill_pct"].fillna(100 * (1 - board["pinball_log_return"] / base_loss)).astype("float64")
    able = skill.where(~base & (board["refusal"] == "") & (skill > 0))
    best = able.groupby(contest).transform("max")
    return board.assign(champion=(able == best) | (base & best.isna()))
