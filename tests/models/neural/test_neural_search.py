"""A search for a net's options: every horizon in one study, on the training window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.registry import ModelFamily, SampleWeights, SearchChoices, SearchRange, WalkForwardPlan
from tasks.training.search import SearchBudget, Subject, search
from tests.models.neural.conftest import LEVELS, OTHER, OWN, PROBLEM, TINY, Slice

PLAN = WalkForwardPlan(first_test_year=2011, warm_up_years=1, origin_step_sessions=5)


def test_a_net_is_searched_at_every_horizon_at_once_and_never_sees_a_scored_year(rows: Slice, tmp_path: Path) -> None:
    entry = ModelFamily(
        title="Dense",
        surface="production",
        weights=SampleWeights(half_life_sessions=252),
        search={
            "own_share": SearchRange(low=0.1, high=1.0),
            "channels": SearchChoices(choices=(4, 8)),
            "validation_sessions": SearchChoices(choices=(60, 2000)),  # more than there are: cannot be fitted
        },
    )
    options = {**TINY, "epochs": 1, "window": 10, "validation_sessions": 60}
    subject = Subject("dense", entry, (*OWN, *OTHER), options, PROBLEM.sessions, LEVELS, PLAN)
    tables = {name: table.assign(training_weight=np.nan) for name, table in rows.tables.items()}  # no calendar here
    changed = {
        name: table.assign(
            target_log_return=table["target_log_return"].where(table["target_date"] < "2011", 9.0),
            **{column: table[column].where(table["date"] < pd.Timestamp("2011-01-01"), 9.0) for column in OWN},
        )
        for name, table in tables.items()
    }
    [found] = search(subject, tables, SearchBudget(trials=4), tmp_path / "whole", device="cpu")
    assert (found.horizons, found.trials) == (("1w", "1m", "3m"), 4)
    assert 0 < found.pruned < 4, "some trials cannot be fitted, and the search goes on"
    assert found.best_options.get("validation_sessions", 60) == 60
    assert [found] == search(subject, changed, SearchBudget(trials=4), tmp_path / "changed", device="cpu")
