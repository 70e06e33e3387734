"""The bake-off: parallel fits, then calibration and measurement per family. tasks/model_store/contest.py promotes.

Fits are files under CBI_HOME/fits, named by a hash of their inputs (tasks/training/plan.py, tasks/training/worker.py).
Evaluating them is quick and leaves them unchanged, so that it can be repeated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.errors import TrainingFailed
from tasks.evaluation.calibration import calibrate
from tasks.evaluation.comparison import leaderboard
from tasks.evaluation.standings import Losses
from tasks.exports import file_name, planned_on
from tasks.models.catalogue import BASELINE, ENSEMBLE, LIBRARIES, SCALE
from tasks.quantiles import column, probability_above_zero
from tasks.registry import QualityGates
from tasks.settings import PROJECT
from tasks.storage.files import UTF_8, read_parquet, write_bytes, write_json, write_parquet
from tasks.storage.hashes import code_fingerprint, fingerprint
from tasks.storage.zones import Zones
from tasks.training.blending import REGIMES, ensemble, regime_weights
from tasks.training.folds import FINAL
from tasks.training.plan import TRAINING, Fit, Plan
from tasks.training.worker import run_work

EVALUATION_CODE = (PROJECT / "tasks" / "evaluation", TRAINING / "bake_off.py", TRAINING / "blending.py")


def is_fitted(zones: Zones, fit: Fit) -> bool:
    """Whether the fit is stored, complete."""
    return (zones.fits / fit.identity / "done.json").exists()


def fit_in_process(work: dict[str, Any]) -> None:
    """Do the fits of ``work`` (Plan.work) in their own process. Stored fits are not fitted again.

    Fits are named by the planned rows. So the process reads verified copies of the training files, which a
    daily run cannot replace. (Here, not in tasks/models: a change of that code renames every fit.)

    Raises:
        ManifestMismatch: a training file changed since the plan. TrainingFailed: the process failed, with its last
            line.
    """
    with _verified_copies(work) as (copied, folder):
        request = folder / "work.json"
        write_json(request, copied)
        command = [sys.executable, "-m", "tasks.training.worker", str(request)]
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
            f"Fits already done are kept; run `cbi train` again"
        )


def fit_on_worker(work: dict[str, Any]) -> None:
    """As ``fit_in_process``, on a worker of Dask or Ray: in the worker's own process, which has its imports already.

    A family that brings an OpenMP runtime of its own still gets a process: two of them can crash one on macOS.

    Raises:
        ManifestMismatch, TrainingFailed: as there.
    """
    if work["family"] in LIBRARIES:
        fit_in_process(work)
        return
    with _verified_copies(work) as (copied, _):
        run_work(copied)


@contextmanager
def _verified_copies(work: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Path]]:
    """The work on verified copies of its training files, and their folder."""
    with tempfile.TemporaryDirectory(prefix="cbi-fit-") as folder:
        copies = {}
        for name, path in work["training_files"].items():
            content = planned_on(Path(path), work["data_snapshots"][name])
            copies[name] = str(write_bytes(Path(folder) / Path(path).name, content))
        yield {**work, "training_files": copies}, Path(folder)


@dataclass(frozen=True)
class EvaluatedModel:
    """A family at one horizon, calibrated and measured. A model store keeps it as a version.

    ``files`` is the folder of its model, calibration and out-of-fold forecasts; it exists until the next one is
    evaluated.
    """

    files: Path
    metadata: Mapping[str, Any]
    metrics: Mapping[str, Any]


def evaluate_fits(plan: Plan, zones: Zones, *, as_of: pd.Timestamp, gates: QualityGates) -> Iterator[EvaluatedModel]:
    """Calibrate and measure every family whose fits are complete, horizon by horizon.

    Args:
        as_of: the session of the training files.

    Raises:
        ManifestMismatch: a training file changed since the plan.
    """
    tables = {name: _planned_table(plan, name) for name in plan.horizons.horizons}
    # what is stored, not what was planned: a family is compared with those present
    stored = [fit.identity for fit in plan.fits if is_fitted(zones, fit)]
    cost = gates.trading_cost.round_trip_cents_lb
    run = fingerprint(
        stored,
        plan.budget_name,
        dict(plan.data_snapshots),
        list(plan.models.ensemble),
        dict(plan.chosen_until),
        cost,
        code_fingerprint(*EVALUATION_CODE),
    )
    for horizon in plan.horizons.horizons:
        yield from _evaluate_horizon(plan, zones, horizon, tables[horizon], run=run, as_of=as_of, cost=cost)


def _planned_table(plan: Plan, horizon: str) -> pd.DataFrame:
    content = planned_on(plan.exports / file_name("prod", horizon), plan.data_snapshots[horizon])
    return pd.read_parquet(BytesIO(content), columns=["date", SCALE, *REGIMES])


def _evaluate_horizon(
    plan: Plan,
    zones: Zones,
    horizon: str,
    table: pd.DataFrame,
    *,
    run: str,
    as_of: pd.Timestamp,
    cost: float,
) -> Iterator[EvaluatedModel]:
    levels, sessions = tuple(plan.horizons.quantiles), plan.horizons.horizons[horizon].sessions
    step = plan.horizons.walk_forward.origin_step_sessions
    oofs: dict[str, pd.DataFrame] = {}
    calibrations: dict[str, dict[str, object]] = {}
    for family in plan.columns:
        fits = plan.of(family, horizon)
        if not all(is_fitted(zones, fit) for fit in fits):
            continue
        parts = [
            read_parquet(zones.fits / f.identity / f"forecasts.{horizon}.parquet") for f in fits if f.year != FINAL
        ]
        known = [part for part in parts if len(part)]
        oof = pd.concat(known, ignore_index=True) if known else pd.DataFrame()
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
    board = leaderboard(measured, levels, sessions=sessions, step=step, round_trip_cost_cents_lb=cost)
    if BASELINE in measured and len(board):
        losses = Losses({family: measured[family] for family in board["family"]}, levels, plan.chosen_until)
        standings = losses.standings(sessions=sessions, step=step).drop(columns="coverage_80")
        board = board.merge(standings, on="family", how="left", validate="one_to_one")
    figures: dict[str, dict[str, object]] = {
        str(row.pop("family")): {str(name): value for name, value in row.items()} for row in board.to_dict("records")
    }
    for family, oof in oofs.items():
        parts_of = list(members) if family == ENSEMBLE else [family]
        inputs = [fit.identity for part in parts_of for fit in plan.of(part, horizon)]
        metadata = {
            "family": family,
            "horizon": horizon,
            "sessions": sessions,
            "horizons": {name: h.sessions for name, h in plan.horizons.horizons.items()},
            "identity": fingerprint(family, inputs, run),
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
            yield EvaluatedModel(out, metadata, figures.get(family, {}))


def _copy_model(plan: Plan, zones: Zones, family: str, horizon: str, to: Path) -> None:
    final = plan.of(family, horizon)[-1]
    shutil.copytree(zones.fits / final.identity / horizon, to, dirs_exist_ok=True)
