"""``cbi replay``: forecasts of past sessions as they would have been made, with models trained before each of them."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pandas as pd

from flows.runtime import Steps

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.forecasting.replay import ReplayInputs
    from tasks.run import RunContext

ENDS_HERE = "Quarters that are complete are kept; the same command continues."


def open_replay() -> RunContext:
    """The run of this home's newest session, whose training files a replay reads.

    Raises:
        ManifestMismatch: there has been none yet.
    """
    from tasks.errors import ManifestMismatch
    from tasks.run import newest_session, open_run
    from tasks.settings import load_settings
    from tasks.storage.zones import Zones

    settings = load_settings()
    newest = newest_session(Zones(settings.home))
    if newest is None:
        raise ManifestMismatch("there are no training files yet; run `make demo` or `make daily` first")
    return open_run(settings, origin="live", as_of=f"{newest:%Y-%m-%d}")


def read_inputs(run: RunContext) -> ReplayInputs:
    """The training files, features and panel of the newest session, and the registry.

    Raises:
        ManifestMismatch: there are none yet, or they were altered.
    """
    from tasks.exports import check_exports, file_name
    from tasks.forecasting.replay import ReplayInputs, columns_read
    from tasks.registry import load_models, load_quality_gates, load_surface

    manifest = check_exports(run.zones.exports)
    models = load_models(run.settings.registry, run.features)
    surface = load_surface(run.settings.registry, run.features)
    columns = columns_read(models, run.features, surface)
    return ReplayInputs(
        tables={
            name: pd.read_parquet(run.zones.exports / file_name("prod", name), columns=columns)
            for name in run.horizons.horizons
        },
        features=pd.read_parquet(run.zones.features / "features.parquet"),
        panel=pd.read_parquet(run.zones.panel / "panel.parquet"),
        registry=run.features,
        horizons=run.horizons,
        models=models,
        surface=surface,
        gates=load_quality_gates(run.settings.registry),
        rolls=run.rolls.rolls["ZL"],
        data_snapshot=str(manifest["inputs"]),
        code_version=run.code_version,
    )


def folder_of(run: RunContext, inputs: ReplayInputs) -> Path:
    """Where the replay of these data by this code keeps its trainings and forecasts."""
    from tasks.storage.hashes import fingerprint

    return run.settings.home / "replay" / fingerprint(inputs.data_snapshot, inputs.code_version)[:12]


def run_replay(run: RunContext, first: pd.Timestamp, last: pd.Timestamp | None) -> pd.DataFrame:
    """Train each quarter and forecast each week; returns the rows, and publishes them with the outcomes that are due.

    Args:
        last: the last day; default: the newest session of this home.

    Raises:
        CbiError: see tasks/forecasting/replay.py.
    """
    from tasks import clock
    from tasks.forecasting.apart import isolated_models
    from tasks.forecasting.replay import replay
    from tasks.storage.locks import exclusive
    from tasks.warehouse.open import open_warehouse

    inputs = read_inputs(run)
    folder = folder_of(run, inputs)
    with (
        exclusive(run.zones, "replay", wait_s=0),
        ProcessPoolExecutor(run.settings.workers, mp_context=get_context("spawn")) as workers,
        isolated_models() as models,
        Steps("replay") as progress,
    ):
        newest = inputs.features["date"].max()
        until = newest if last is None else min(last, newest)
        rows = replay(inputs, folder, first, until, workers=workers, models=models, progress=progress)
    open_warehouse(run.settings).publish(
        {"forecasts.zl_replays_daily": rows.assign(created_at=clock.now().floor("s"))},
        as_of=run.as_of,
        staging=run.zones.staging,
    )
    score_replays(run, rows)
    return rows


def score_replays(run: RunContext, rows: pd.DataFrame) -> None:
    """Publish the outcomes of the replayed forecasts that are due, each beside no change on the same session."""
    from tasks.forecasting.replay import REPLAYS
    from tasks.models.naive import NoChange
    from tasks.reporting.track_record import publish_due
    from tasks.staging.gather import gather
    from tasks.staging.stage import read_staged

    priced = [name for name, spec in run.sources.sources.items() if any(one.critical for one in spec.series.values())]
    staged = [part for part in (read_staged(run.zones, name) for name in priced) if part is not None]
    observations, _ = gather(staged, as_of=run.as_of)
    still = rows[rows["replay"] == NoChange.family]
    for name in REPLAYS:
        publish_due(
            run,
            observations,
            replay=name,
            baselines=still.assign(replay=name, created_at=pd.Series(pd.NaT, index=still.index)),
        )
