"""The bake-off: every family at every horizon on the same folds, calibrated, measured, stored; the best is champion."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from tasks.errors import TrainingFailed
from tasks.evaluation.calibration import calibrate_out_of_fold
from tasks.evaluation.metrics import measure
from tasks.evaluation.promotion import read_audit, refusal
from tasks.model_store.store import ModelStore, Version
from tasks.models.forecaster import BASELINE, FAMILIES, READS, Surface
from tasks.registry import Horizons, PromotionRule
from tasks.settings import PROJECT
from tasks.zones import code_fingerprint, fingerprint, read_json, read_parquet, sha256_of, write_json, write_parquet

logger = logging.getLogger(__name__)

CODE = (PROJECT / "tasks" / "models", PROJECT / "tasks" / "evaluation", PROJECT / "tasks" / "registry.py")


def train_and_compare(
    exports: Path,
    store: ModelStore,
    horizons: Horizons,
    columns: Mapping[Surface, list[str]],
    *,
    as_of: pd.Timestamp,
    rule: PromotionRule,
    code_version: str,
    workers: int,
    progress: Callable[[int, int, str], None],
) -> pd.DataFrame:
    """Fit what is not in the store yet, judge all on the origins they share, promote the best of each horizon.

    Returns the leaderboard. Champion is the family with the lowest pinball loss over the scored folds; the baseline
    where nothing beats it, where there was no fold to measure, and while the best waits for a leakage audit
    (tasks/evaluation/promotion.py): column ``refusal`` says why it is not champion.

    Args:
        exports: folder of the training files. columns: the features of each surface; a family gets those of the one
            it reads. progress: called with (done, of, what).
        rule: registry/quality_gates.yaml. code_version: which code and rules made the training files.

    Raises:
        TrainingFailed: a family's process failed; versions already stored stay, so a rerun goes on from there.
    """
    code = code_fingerprint(*CODE)
    jobs = []
    for name, horizon in horizons.horizons.items():
        training_file = exports / f"zl_training_prod_allhistory_{name}.parquet"
        data = sha256_of(training_file)
        for family in FAMILIES:
            job = {
                "family": family,
                "horizon": name,
                "sessions": horizon.sessions,
                "quantiles": list(horizons.quantiles),
                "plan": horizons.walk_forward.model_dump(),
                "training_file": str(training_file),
                "columns": columns[READS[family]],
            }
            identity = fingerprint({k: v for k, v in job.items() if k != "training_file"}, data, code)
            jobs.append(job | {"identity": identity, "data_snapshot": data})
    run = fingerprint([job["identity"] for job in jobs])
    jobs = [job | {"run": run} for job in jobs]
    missing = [job for job in jobs if store.find(str(job["family"]), str(job["horizon"]), str(job["identity"])) is None]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running = [pool.submit(_fit_and_store, job, store, horizons, as_of) for job in missing]
        for done, future in enumerate(as_completed(running), start=1):
            version = future.result()
            progress(done, len(running), version.name)
    versions = [_stored(store, job) for job in jobs]
    audit = read_audit(store.folder)
    refused = {version.name: refusal(version, rule, audit, code_version=code_version) for version in versions}
    for message in filter(None, refused.values()):
        logger.warning(message)
    leaderboard = compare(versions, refused)
    champions = leaderboard[leaderboard["champion"]]["model_version"].to_list()
    for version in versions:
        if version.name in champions:
            store.promote(version, run=run)
    return leaderboard


def champions_of(store: ModelStore, horizons: Horizons, as_of: pd.Timestamp) -> dict[str, Version]:
    """The champion of each horizon that has one trained by ``as_of``."""
    found = {name: store.champion(name, as_of) for name in horizons.horizons}
    return {name: version for name, version in found.items() if version is not None}


def measured_with(store: ModelStore, champions: dict[str, Version]) -> pd.DataFrame:
    """The leaderboard of the training runs that the champions came from, read back from the store."""
    runs = {str(version.metadata["run"]) for version in champions.values()}
    versions = [
        v
        for name in champions
        for family in FAMILIES
        for v in store.versions(family, name)
        if v.metadata["run"] in runs
    ]
    board, serving = compare(versions), [version.name for version in champions.values()]
    return board.assign(champion=board["model_version"].isin(serving))


def _stored(store: ModelStore, job: dict[str, object]) -> Version:
    version = store.find(str(job["family"]), str(job["horizon"]), str(job["identity"]))
    if version is None:
        raise TrainingFailed(f"{job['family']}/{job['horizon']} was fitted but is not in {store.folder}; run again")
    return version


def _fit_and_store(job: dict[str, object], store: ModelStore, horizons: Horizons, as_of: pd.Timestamp) -> Version:
    """Run one worker process, calibrate and measure its out-of-fold forecasts, store the version."""
    with tempfile.TemporaryDirectory(prefix="cbi-fit-") as folder:
        out = Path(folder)
        write_json(out / "job.json", job)
        command = [sys.executable, "-m", "tasks.models.worker", str(out / "job.json")]
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if ended.returncode or read_json(out / "done.json") is None:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise TrainingFailed(
                f"{job['family']}/{job['horizon']}: its process ended with {ended.returncode}: {last}. "
                f"Fits already stored are kept; run `python -m flows.training` again"
            )
        levels, sessions = tuple(horizons.quantiles), int(str(job["sessions"]))
        oof = read_parquet(out / "oof.parquet")
        metrics: dict[str, object] = {}
        shift = np.zeros(len(levels))
        if len(oof):
            table = read_parquet(Path(str(job["training_file"])), columns=list(job["columns"]))  # type: ignore[call-overload]
            step = horizons.walk_forward.origin_step_sessions
            oof, shift = calibrate_out_of_fold(oof, table.loc[oof["row"]], levels, horizon=sessions, step=step)
            scored = oof[oof["scored"]]
            metrics = dict(measure(scored, levels)) if len(scored) else {}
            write_parquet(out / "oof.parquet", oof)
        write_json(out / "calibration.json", {"shift": shift.tolist(), "quantiles": list(levels)})
        for name in ("job.json", "done.json"):
            (out / name).unlink()
        metadata = {
            "family": job["family"],
            "horizon": job["horizon"],
            "sessions": sessions,
            "identity": job["identity"],
            "run": job["run"],
            "data_snapshot": job["data_snapshot"],
            "trained_as_of": f"{as_of:%Y-%m-%d}",
            "columns": job["columns"],
            "dtype": "float64",
        }
        return store.add(out, metadata, metrics)


def compare(versions: list[Version], refused: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """The leaderboard: one row a family and horizon, skill against the no-change forecast of the same origins.

    ``refused`` gives a reason for each version that may not be champion: the baseline is it in its place.
    """
    rows = []
    baselines = {_contest(v): v.metrics.get("pinball_log_return") for v in versions if v.family == BASELINE}
    for version in versions:
        base, own = baselines[_contest(version)], version.metrics.get("pinball_log_return")
        skill = 100 * (1 - float(str(own)) / float(str(base))) if base and own else np.nan
        rows.append(
            {
                "run": version.metadata["run"],
                "trained_as_of": version.trained_as_of,
                "horizon": version.horizon,
                "family": version.family,
                "model_version": version.name,
                "skill_over_no_change_pct": skill,
                **version.metrics,
                "refusal": refused.get(version.name, ""),
            }
        )
    board = pd.DataFrame(rows)
    if "pinball_log_return" not in board:
        return board.assign(champion=board["family"] == BASELINE)
    loss = board["pinball_log_return"].where(board["refusal"] == "")
    best = loss.groupby([board["run"], board["horizon"]]).transform("min")
    wins = (loss == best) & ((board["skill_over_no_change_pct"] > 0) | (board["family"] == BASELINE))
    return board.assign(champion=wins | (board["pinball_log_return"].isna() & (board["family"] == BASELINE)))


def _contest(version: Version) -> tuple[str, str]:
    return str(version.metadata["run"]), version.horizon
