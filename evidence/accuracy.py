"""Pinball loss and 80% coverage of every family at every horizon, out of fold, from the cold run's model store.

Peer: plain historical quantiles. For each fold, the empirical quantiles of every h-session log return known before it
(the same purge), not scaled to today's volatility and not centered; forecast at the same origins. The leaderboard in
the warehouse is measured again from the stored forecasts and must agree, and all families must share their origins.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from evidence.inputs import Inputs
from evidence.measurement import ReportTable
from tasks.quantiles import column, coverage, pinball
from tasks.registry import Horizons
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones
from tasks.training.folds import walk_forward
from tasks.warehouse.duckdb import DuckDbWarehouse

NOTE = (
    "Out-of-fold forecasts of purged walk-forward folds. Pinball loss is the mean over the published quantiles: lower "
    "is better. The ratio is the family's loss over that of unscaled historical quantiles of the same folds at the "
    "same origins. The targets of neighboring origins overlap, so at twelve months few of them are independent. There "
    "is no limit: it is reported as it is."
)


def measure(inputs: Inputs) -> list[ReportTable]:
    assert inputs.first_run
    zones, levels = Zones(inputs.home), tuple(inputs.run.horizons.quantiles)
    board = DuckDbWarehouse(zones).query("SELECT * FROM performance.leaderboard")
    labels = read_parquet(zones.labels / "labels.parquet")
    lines = []
    for name in inputs.run.horizons.horizons:
        entries = board[board["horizon"] == name].sort_values("pinball_log_return").to_dict("records")
        forecasts = [_scored(zones, str(entry["model_version"])) for entry in entries]
        origins = forecasts[0]
        naive, share = _measured(historical_quantiles(labels, origins, inputs.run.horizons, name), levels)
        span = f"{len(origins)}, {origins['date'].min():%Y-%m-%d} to {origins['date'].max():%Y-%m-%d}"
        for entry, oof in zip(entries, forecasts, strict=True):
            assert oof["date"].tolist() == origins["date"].tolist(), f"{entry['model_version']}: other origins"
            loss, inside = _measured(oof, levels)
            np.testing.assert_allclose([loss, inside], [entry["pinball_log_return"], entry["coverage_80"]], rtol=1e-9)
            family = f"{entry['family']} (champion)" if entry["champion"] else str(entry["family"])
            lines.append((name, family, span, f"{loss:.5f}", f"{inside:.1%}", f"{loss / naive:.3f}"))
        lines.append((name, "historical quantiles (peer)", span, f"{naive:.5f}", f"{share:.1%}", "1"))
    columns = ["horizon", "family", "origins", "pinball loss (log return)", "80% band covered", "ratio to the peer"]
    return [ReportTable("Accuracy", pd.DataFrame(lines, columns=columns), NOTE)]


def _scored(zones: Zones, version: str) -> pd.DataFrame:
    """Stored out-of-fold forecasts of the scored folds."""
    oof = read_parquet(zones.models / version / "oof.parquet")
    return oof[oof["scored"]].reset_index(drop=True)


def historical_quantiles(labels: pd.DataFrame, origins: pd.DataFrame, horizons: Horizons, horizon: str) -> pd.DataFrame:
    """Forecasts at ``origins`` from the quantiles of all log returns known before each origin's fold."""
    sessions, levels = horizons.horizons[horizon].sessions, list(horizons.quantiles)
    own = labels[labels["horizon"] == horizon].sort_values("date").reset_index(drop=True)
    target = own["target_log_return"]
    at_origin = own.set_index("date")["target_log_return"].reindex(origins["date"]).to_numpy()
    np.testing.assert_allclose(at_origin, origins["target_log_return"], rtol=1e-12)
    out = origins[["date", "target_log_return"]].copy()
    for fold in walk_forward(pd.DatetimeIndex(own["date"]), horizons.walk_forward, horizon=sessions):
        rows = (origins["fold"] == fold.year).to_numpy()
        past = target.iloc[fold.train].dropna()
        for level in levels:
            out.loc[rows, column(level)] = np.quantile(past, level)
    assert not out.isna().any().any()
    return out


def _measured(oof: pd.DataFrame, levels: tuple[float, ...]) -> tuple[float, float]:
    """Pinball loss and share of outcomes inside the 80% band."""
    target = oof["target_log_return"].to_numpy()
    quantiles = oof[[column(level) for level in levels]].to_numpy()
    return float(pinball(target, quantiles, levels).mean()), coverage(
        target, oof["p10"].to_numpy(), oof["p90"].to_numpy()
    )
