"""The files between the product's environment and the peers': plain parquet and JSON, nothing pickled.

To a contender: `plan.json` (quantiles, horizons, folds with their purged training rows and origins, parameters),
`closes.parquet` (date, close in cents/lb), `table.parquet` (the columns of the families, `scale`: the standard
deviation of a day's log return, `target_<horizon>`: log returns) and `inputs.<year>.parquet` (the nets' channels,
scaled on the sessions before the fold). From it: `forecasts.<name>.parquet` (horizon, row, one column per quantile of
the log return) and `costs.<name>.json` (seconds per fold). Rows count the sessions of the training table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evidence.measurement import BenchError
from tasks.models.catalogue import SCALE
from tasks.quantiles import column, probability_above_zero
from tasks.registry import Horizons
from tasks.storage.files import read_json, read_parquet, write_json, write_parquet
from tasks.training.folds import walk_forward
from tasks.training.worker import usable

CLOSE = "zl_close_cents_lb"


@dataclass(frozen=True)
class Contest:
    """The data and the folds of one run. ``tables``: one training table per horizon, all with the same sessions."""

    tables: Mapping[str, pd.DataFrame]
    horizons: Horizons
    years: tuple[int, ...]
    columns: tuple[str, ...]
    other_markets: tuple[str, ...]

    @property
    def sessions(self) -> dict[str, int]:
        """Sessions of each horizon."""
        return {name: self.horizons.horizons[name].sessions for name in self.tables}

    @property
    def levels(self) -> tuple[float, ...]:
        """The published quantiles."""
        return tuple(self.horizons.quantiles)

    def folds(self) -> list[dict[str, Any]]:
        """Training rows and origins, purged by each horizon's own length, as in the bake-off."""
        by_year: dict[int, dict[str, Any]] = {
            year: {"year": year, "first_row": 0, "train": {}, "origins": {}} for year in self.years
        }
        for name, table in self.tables.items():
            known = usable(table).to_numpy()
            dates = pd.DatetimeIndex(table["date"])
            for fold in walk_forward(dates, self.horizons.walk_forward, horizon=self.sessions[name]):
                if fold.year in by_year:
                    by_year[fold.year]["first_row"] = int(fold.test[0])
                    by_year[fold.year]["train"][name] = fold.train[known[fold.train]].tolist()
                    by_year[fold.year]["origins"][name] = fold.test[known[fold.test]].tolist()
        return list(by_year.values())


def write_contest(folder: Path, contest: Contest, parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """Write all inputs of the peers. ``parameters``: by family, including its `columns`."""
    first = next(iter(contest.tables.values()))
    write_parquet(folder / "closes.parquet", first[["date", CLOSE]].rename(columns={CLOSE: "close"}))
    read = dict.fromkeys(
        [*contest.columns, *(name for given in parameters.values() for name in given.get("columns", ()))]
    )
    table = first[["date", *read]].assign(scale=first[SCALE] / 100 / np.sqrt(252))
    targets = {f"target_{name}": frame["target_log_return"].to_numpy() for name, frame in contest.tables.items()}
    write_parquet(folder / "table.parquet", table.assign(**targets))
    plan = {"quantiles": contest.levels, "horizons": contest.sessions, "folds": contest.folds(), **parameters}
    write_json(folder / "plan.json", plan)


def write_net_inputs(folder: Path, contest: Contest) -> None:
    """Write the input channels of the product's nets, scaled by the sessions before each fold, as its own nets do."""
    from tasks.models.neural.windows import Layout, RobustScaler, net_inputs

    features = next(iter(contest.tables.values()))[list(contest.columns)]
    layout = Layout.of(list(contest.columns), contest.other_markets)
    for fold in contest.folds():
        scaler = RobustScaler.fit(features.iloc[: fold["first_row"]], layout.columns)
        channels = net_inputs(features, scaler, layout).numpy()
        named = pd.DataFrame(channels, columns=[f"c{i:03d}" for i in range(channels.shape[1])])
        write_parquet(folder / f"inputs.{fold['year']}.parquet", named)


def read_forecasts(folder: Path, name: str, contest: Contest) -> dict[str, pd.DataFrame]:
    """A contender's forecasts as out-of-fold frames (tasks/evaluation/metrics.py), one per horizon.

    Raises:
        BenchError: an origin is missing, repeated or not requested, or a forecast is not finite.
    """
    answers = read_parquet(folder / f"forecasts.{name}.parquet")
    names, frames = [column(level) for level in contest.levels], {}
    folds = contest.folds()
    for horizon, table in contest.tables.items():
        own = answers[answers["horizon"] == horizon].sort_values("row").reset_index(drop=True)
        requested = sorted(row for fold in folds for row in fold["origins"][horizon])
        if own["row"].tolist() != requested:
            raise BenchError(f"{name}, {horizon}: {len(own)} forecasts for {len(requested)} origins, or for other ones")
        quantiles = own[names].to_numpy(dtype="float64")
        if not np.isfinite(quantiles).all():
            lost = int((~np.isfinite(quantiles).all(axis=1)).sum())
            raise BenchError(f"{name}, {horizon}: {lost} of {len(own)} forecasts are not finite")
        rows = table.loc[requested, ["date", "target_date", "target_log_return"]].reset_index(drop=True)
        frames[horizon] = rows.assign(
            fold=rows["date"].dt.year,
            scored=True,
            row=requested,
            last_price=table.loc[requested, CLOSE].to_numpy(),
            direction_probability=probability_above_zero(quantiles, contest.levels),
            **dict(zip(names, quantiles.T, strict=True)),
        )
    return frames


def has_run(folder: Path, name: str) -> bool:
    """Whether a contender has finished: its seconds are written last."""
    return (folder / f"costs.{name}.json").exists()


def read_costs(folder: Path, name: str) -> dict[str, Any]:
    """Seconds per fold, the package, and the time of measurement.

    Raises:
        BenchError: it has no costs.
    """
    path = folder / f"costs.{name}.json"
    costs = read_json(path)
    if not costs:
        raise BenchError(f"no seconds of {name} in {folder}: run it (`make bench-peers`)")
    return {**costs, "measured": f"{pd.Timestamp(path.stat().st_mtime, unit='s', tz='UTC'):%Y-%m-%d %H:%M}"}


def write_answer(
    folder: Path,
    name: str,
    forecasts: Mapping[str, pd.DataFrame],
    levels: Collection[float],
    costs: Mapping[str, Any],
) -> None:
    """Write the results of one of our contenders, in the format of the peers."""
    names = ["row", *(column(level) for level in levels)]
    parts = [frame[names].assign(horizon=horizon) for horizon, frame in forecasts.items()]
    write_parquet(folder / f"forecasts.{name}.parquet", pd.concat(parts, ignore_index=True))
    write_json(folder / f"costs.{name}.json", dict(costs))
