"""Forecasts as they would have been made: on past sessions, by models trained before each of them.

A replay trains on a calendar, with the bake-off, the promotion rule and the store of production, on training files that
end on the training's session. A row of the features table is the same whether later sessions exist or not
(tasks/proofs), so that one table serves every session, cut by row.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.calendar import sessions
from tasks.errors import ModelStoreError
from tasks.exports import KEYS, file_name
from tasks.forecasting.apart import IsolatedModels
from tasks.forecasting.contract import with_contracts
from tasks.forecasting.forecast import forecast_day
from tasks.model_store.contest import store_and_promote
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import Version
from tasks.models.catalogue import BASELINES, SCALE
from tasks.registry import FeatureRegistry, Horizons, Models, ProductionSurface, QualityGates, RollRule
from tasks.storage.files import write_parquet
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tasks.training.bake_off import evaluate_fits, is_fitted
from tasks.training.blending import REGIMES
from tasks.training.plan import Plan, plan_bake_off
from tasks.training.worker import run_work

BUDGET = "replay"
CHAMPIONS = "champions"
"""The replay in which the promotion rule decides. The others are named by the family that always serves."""
REPLAYS = (CHAMPIONS, *BASELINES)
QUARTER_MONTHS = 3
"""A champion older than a quarter is called too old (registry/horizons.yaml), so that is how often a replay trains."""


@dataclass(frozen=True)
class ReplayInputs:
    """What every training and forecast of a replay reads.

    Args:
        tables: by horizon its training table (tasks/exports.py) of the newest session, with the columns of ``BUDGET``.
    """

    tables: Mapping[str, pd.DataFrame]
    features: pd.DataFrame
    panel: pd.DataFrame
    registry: FeatureRegistry
    horizons: Horizons
    models: Models
    surface: ProductionSurface
    gates: QualityGates
    rolls: RollRule
    data_snapshot: str
    code_version: str


class AlwaysServes(FolderStore):
    """A store in which one family is champion at every horizon, whatever the promotion rule says."""

    def __init__(self, folder: Path, family: str) -> None:
        super().__init__(folder)
        self.family = family

    def champion(self, horizon: str, as_of: pd.Timestamp) -> Version | None:
        """The newest version of the family that was trained by ``as_of``."""
        trained = [version for version in self.versions(self.family, horizon) if version.trained_as_of <= as_of]
        return max(trained, key=lambda version: version.trained_as_of, default=None)


def columns_read(models: Models, features: FeatureRegistry, surface: ProductionSurface) -> list[str]:
    """The columns of a training file that the families of the replay's budget and their evaluation read."""
    read = {name for family in models.budgets[BUDGET].families for name in models.columns(family, features, surface)}
    return list(dict.fromkeys([*KEYS, SCALE, *REGIMES, *sorted(read)]))


def training_days(first: pd.Timestamp, last: pd.Timestamp) -> list[pd.Timestamp]:
    """The first session of each quarter that begins by ``last``, from the newest one that is not after ``first``."""
    since = first - pd.DateOffset(months=2 * QUARTER_MONTHS)
    days = pd.Series(sessions(first=since, last=last))
    starts = days[days.dt.quarter != days.shift().dt.quarter].iloc[1:]
    return list(starts[starts >= starts[starts <= first].max()])


def weekly_sessions(first: pd.Timestamp, last: pd.Timestamp) -> list[pd.Timestamp]:
    """The last session of each week between two days; the week of ``last`` may be unfinished."""
    days = pd.Series(sessions(first=first, last=last))
    return list(days.groupby(days.dt.to_period("W")).max())


def known_at(table: pd.DataFrame, session: pd.Timestamp) -> pd.DataFrame:
    """A training table as of a session: its rows to that day, and the targets whose price was known by then."""
    rows = table[table["date"] <= session].reset_index(drop=True)
    later = ~(rows["target_date"] <= session)
    return rows.assign(
        target_log_return=rows["target_log_return"].mask(later), target_price=rows["target_price"].mask(later)
    )


def train(
    inputs: ReplayInputs,
    session: pd.Timestamp,
    folder: Path,
    workers: Executor,
) -> pd.DataFrame:
    """The bake-off of one session in the replay's own store: its leaderboard. What is stored is not trained again.

    Args:
        folder: of the replay; its models lie in ``models``, its fits in ``fits``. workers: processes that fit.

    Invariants: only the champions and the baselines stay in the store, and only fits that the next training may use.
    """
    zones, store = Zones(folder), FolderStore(folder / "models")
    snapshots = {}
    for horizon, table in inputs.tables.items():
        path = write_parquet(zones.exports / file_name("prod", horizon), known_at(table, session))
        snapshots[horizon] = sha256_of(path)
    plan = plan_bake_off(
        zones.exports,
        inputs.horizons,
        inputs.models,
        inputs.registry,
        inputs.surface,
        budget=BUDGET,
        data_snapshots=snapshots,
    )
    missing = [fit for fit in plan.fits if not is_fitted(zones, fit)]
    for done in [workers.submit(run_work, work) for work in plan.work(missing, zones.fits)]:
        done.result()
    board = store_and_promote(
        evaluate_fits(plan, zones, as_of=session, gates=inputs.gates),
        store,
        plan,
        rule=inputs.gates.promotion,
        code_version=inputs.code_version,
    )
    _forget_the_rest(plan, zones, store, board)
    return board


def _forget_the_rest(plan: Plan, zones: Zones, store: FolderStore, board: pd.DataFrame) -> None:
    """Delete the versions that nobody serves, and fits that are of no later plan."""
    for row in board.to_dict("records"):
        if not row["champion"] and row["family"] not in BASELINES:
            shutil.rmtree(store.folder / str(row["model_version"]), ignore_errors=True)
    needed = {fit.identity for fit in plan.fits}
    for path in zones.fits.iterdir():
        if path.name not in needed:
            shutil.rmtree(path, ignore_errors=True)


def is_trained(folder: Path, session: pd.Timestamp, horizons: Horizons) -> bool:
    """Whether the replay's store has a champion of this session at every horizon."""
    day = f"{session:%Y-%m-%d}"
    try:
        trained = {
            entry["horizon"] for entry in FolderStore(folder / "models").history() if entry["trained_as_of"] == day
        }
    except ModelStoreError:
        return False
    return trained >= set(horizons.horizons)


def forecasts_between(
    inputs: ReplayInputs, folder: Path, days: Sequence[pd.Timestamp], models: IsolatedModels
) -> Iterator[pd.DataFrame]:
    """The rows of ``forecasts.zl_replays_daily`` of each session and replay, without ``created_at``.

    A session without a recent price, or before the first training, has no rows.
    """
    for replay in REPLAYS:
        store = FolderStore(folder / "models") if replay == CHAMPIONS else AlwaysServes(folder / "models", replay)
        trained: dict[str, pd.Timestamp] = {}
        for day in days:
            rows = int(np.searchsorted(inputs.features["date"].to_numpy(), np.datetime64(day), side="right"))
            panel = inputs.panel.iloc[:rows]
            forecasts = forecast_day(
                inputs.features.iloc[:rows],
                panel,
                store,
                registry=inputs.registry,
                horizons=inputs.horizons,
                as_of=day,
                data_snapshot=inputs.data_snapshot,
                code_version=inputs.code_version,
                models=models,
            ).forecasts
            for name in set(forecasts["model_version"]) - set(trained):
                family, horizon, number = str(name).split("/")
                version = next(v for v in store.versions(family, horizon) if v.number == number)
                trained[str(name)] = version.trained_as_of
            priced_on = day - pd.Timedelta(days=float(panel["zl_last__age_days"].iloc[-1]))
            yield with_contracts(forecasts, inputs.rolls, priced_on=priced_on).assign(
                replay=replay, trained_as_of=forecasts["model_version"].map(trained), origin="replay"
            )


def replay(
    inputs: ReplayInputs,
    folder: Path,
    first: pd.Timestamp,
    last: pd.Timestamp,
    *,
    workers: Executor,
    models: IsolatedModels,
    progress: Callable[[int, int, str], Any] = lambda done, of, what: None,
) -> pd.DataFrame:
    """Every weekly session's forecasts from ``first`` to ``last``, for each of ``REPLAYS``; a quarter at a time.

    Args:
        folder: what the replay keeps; a quarter that is complete there is neither trained nor forecast again.

    Raises:
        StaleSource: a session has no recent price of ZL.
    """
    days, trainings = weekly_sessions(first, last), training_days(first, last)
    ends = [*trainings[1:], last + pd.Timedelta(days=1)]
    parts = []
    for number, (session, end) in enumerate(zip(trainings, ends, strict=True)):
        part = [day for day in days if session <= day < end]
        path = folder / "forecasts" / f"{session:%Y-%m-%d}_{len(part)}.parquet"
        progress(number, len(trainings), f"{session:%Y-%m-%d}")
        if not is_trained(folder, session, inputs.horizons):
            train(inputs, session, folder, workers)
        if not path.exists() and part:
            frames = list(forecasts_between(inputs, folder, part, models))
            write_parquet(path, pd.concat(frames, ignore_index=True))
        if part:
            parts.append(pd.read_parquet(path))
    progress(len(trainings), len(trainings), "done")
    return pd.concat(parts, ignore_index=True)
