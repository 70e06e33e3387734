"""Tiny nets on a slice of the real feature table: small enough that a fit takes a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from tasks.models.catalogue import SCALE
from tasks.models.forecaster import JointProblem

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
PROBLEM = JointProblem({"1w": 5, "1m": 21, "3m": 63}, LEVELS)
OWN = ["zl_return_1d", "zl_return_21d", SCALE, "zl_rsi_14d"]
OTHER = ["cl_return_21d", "cot_zs_noncommercial_net_share", "vix"]  # beans' positions begin in 2009
TINY: dict[str, Any] = {
    "other_markets": tuple(OTHER),
    "window": 21,
    "channels": 8,
    "batch": 32,
    "epochs": 3,
    "learning_rate": 3e-3,
    "own_share": 1.0,
    "validation_sessions": 120,
    "every": 3,
    "device": "cpu",
}


@dataclass(frozen=True)
class Slice:
    """Sessions of 2008 to 2011, and their targets."""

    features: pd.DataFrame
    targets: pd.DataFrame
    tables: dict[str, pd.DataFrame]


@pytest.fixture(scope="session")
def rows(features: pd.DataFrame, labels: pd.DataFrame) -> Slice:
    table = features.set_index("date")[OWN + OTHER].loc["2008":"2011"]
    by_horizon = {name: part.set_index("date") for name, part in labels.groupby("horizon", observed=True)}
    wanted = ["target_date", "target_log_return", "target_price"]
    tables = {
        name: table.join(by_horizon[name].reindex(table.index)[wanted]).reset_index() for name in PROBLEM.sessions
    }
    targets = pd.DataFrame({name: held["target_log_return"] for name, held in tables.items()})
    return Slice(table.reset_index(drop=True), targets, tables)
