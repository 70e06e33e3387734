"""Rows that fail a `quarantine` expectation are set aside with rule and reason; nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import RegistryError
from tasks.gates.quarantine import set_aside
from tasks.gates.run import run_gate
from tasks.gates.suites import build_expectations, load_suites, suite_path
from tasks.settings import PROJECT

EXPECTATIONS = PROJECT / "expectations"
Tables = dict[str, pd.DataFrame]


def part(observations: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = set_aside("POST_STAGING", "observations", observations, expectations=EXPECTATIONS)
    return found.kept, found.rows


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([1.0, 20.0, -3.0, 0.0, np.nan, np.inf]), min_size=1, max_size=12))
def test_every_row_is_kept_or_set_aside_and_a_second_time_nothing_is(values: list[float]) -> None:
    frame = pd.DataFrame({"source": "yahoo", "series": "ZL=F", "field": "close", "value": values})
    kept, lost = part(frame)
    assert list(kept["value"]) == [value for value in values if value in (1.0, 20.0)]
    assert len(kept) + len(lost) == len(values)
    assert set(lost["rule"]) <= {
        "gate:expect_column_values_to_not_be_null",
        "gate:expect_no_infinite_values",
        "gate:expect_prices_positive",
    }
    assert lost["reason"].str.len().gt(10).all()
    again, nothing = part(kept)
    assert nothing.empty and again.equals(kept)


def test_a_row_met_at_the_gate_that_was_not_set_aside_blocks(staging: Tables) -> None:
    staging["observations"].loc[2, "value"] = -1.0
    (failed,) = run_gate("POST_STAGING", staging, expectations=EXPECTATIONS).failed("block")
    assert failed.reason.startswith("the failing data was not set aside before the gate")


def test_what_was_set_aside_is_part_of_the_report_and_of_its_table(staging: Tables) -> None:
    staging["observations"].loc[[2, 4], "value"] = [-1.0, np.nan]
    found = set_aside("POST_STAGING", "observations", staging["observations"], expectations=EXPECTATIONS)
    tables = staging | {"observations": found.kept}
    report = run_gate("POST_STAGING", tables, expectations=EXPECTATIONS, set_aside=found.results)
    report.require()
    told = report.frame().query("on_fail == 'quarantine' and not success").set_index("expectation")
    assert told["unexpected_count"].to_dict() == {
        "expect_column_values_to_not_be_null": 1,
        "expect_prices_positive": 1,
    }
    assert '"observation_date": "2002-06-05"' in told.at["expect_prices_positive", "examples"]


def write(folder: Path, table: str, kind: str, **kwargs: object) -> Path:
    meta = {"on_fail": "quarantine", "reason": "so that the test has one"}
    suite = {"name": table, "table": table, "expectations": [{"type": kind, "kwargs": kwargs, "meta": meta}]}
    (folder / "staging").mkdir()
    (folder / "staging" / f"{table}.json").write_text(json.dumps(suite))
    return folder


def test_a_table_that_cannot_lose_rows_refuses_quarantine(tmp_path: Path) -> None:
    folder = write(tmp_path, "series_summary", "expect_no_infinite_values")
    with pytest.raises(
        RegistryError, match=r"series_summary\.json: .*series_summary cannot lose rows or columns at POST_STAGING"
    ):
        load_suites("POST_STAGING", folder)


def test_an_expectation_that_finds_no_rows_refuses_quarantine(tmp_path: Path) -> None:
    folder = write(tmp_path, "observations", "expect_table_row_count_to_be_between", min_value=1)
    suite = load_suites("POST_STAGING", folder)["observations"]
    with pytest.raises(RegistryError, match="`quarantine`, but it finds no rows"):
        build_expectations(suite, suite_path("POST_STAGING", "observations", folder))
