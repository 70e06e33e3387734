"""A gate reports every fault at once, stops only for what blocks, and makes no noise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.errors import GateFailed, RegistryError
from tasks.gates.run import REPORT_COLUMNS, GateReport, run_gate
from tasks.settings import PROJECT

EXPECTATIONS = PROJECT / "expectations"
Tables = dict[str, pd.DataFrame]


def refused(report: GateReport) -> str:
    with pytest.raises(GateFailed) as caught:
        report.require()
    return str(caught.value)


def one_suite(folder: Path, table: str, *checks: dict) -> Path:
    path = folder / "features" / f"{table}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"name": f"test.{table}", "table": table, "expectations": checks}))
    return folder


def check(kind: str, on_fail: str = "block", **kwargs: object) -> dict:
    return {"type": kind, "kwargs": kwargs, "meta": {"on_fail": on_fail, "reason": "so that the test has one"}}


def test_sound_tables_pass_every_gate(staging: Tables, features: Tables, assembly: Tables) -> None:
    for gate, tables in {"POST_STAGING": staging, "POST_FEATURES": features, "POST_ASSEMBLY": assembly}.items():
        report = run_gate(gate, tables, expectations=EXPECTATIONS)
        assert [str(result) for result in report.results if not result.success] == []
        report.require()


def test_the_report_is_a_table_unique_on_its_key(staging: Tables) -> None:
    frame = run_gate("POST_STAGING", staging, expectations=EXPECTATIONS).frame()
    assert list(frame.columns) == list(REPORT_COLUMNS)
    assert not frame.duplicated(["gate", "suite", "expectation", "column_name"]).any()
    assert frame["success"].dtype == bool and frame["unexpected_count"].dtype == "int64"
    assert set(frame["examples"]) == {"[]"}
    assert "" in set(frame["column_name"])


def test_a_missing_price_is_reported_with_its_rows(staging: Tables) -> None:
    staging["observations"].loc[[2, 5, 6, 9], "value"] = np.nan
    message = refused(run_gate("POST_STAGING", staging, expectations=EXPECTATIONS))
    assert "POST_STAGING" in message and "staging.observations, column `value`: 4 of 20 fail" in message
    assert message.count('"series": "ZL=F"') == 3 and '"observation_date": "2002-06-05"' in message
    assert "belongs in quarantine" in message and "cbi ingest" in message


def test_a_feature_at_a_placeholder_is_named_with_its_value(features: Tables) -> None:
    days = sessions(last="2006-12-29")
    longer = np.random.default_rng(7).normal(size=len(days))
    longer[-1000:-100] = 0.5
    table = pd.DataFrame({"date": days, "feature_3": longer})
    report = run_gate("POST_FEATURES", features | {"features": table}, expectations=EXPECTATIONS)
    report.require()
    (told,) = report.failed("warn")
    assert "features.features, column `feature_3`: 1 of 1 fail expect_no_placeholder" in str(told)
    assert '"value": 0.5' in str(told)


def test_a_filled_target_is_reported_with_horizon_and_date(assembly: Tables) -> None:
    labels = assembly["labels"]
    labels.loc[labels["horizon"].eq("1w") & ~labels["reachable"], "target_log_return"] = 0.01
    message = refused(run_gate("POST_ASSEMBLY", assembly, expectations=EXPECTATIONS))
    assert "assembly.labels, table: 5 of" in message and "expect_target_exact" in message
    assert '"horizon": "1w", "date": "2002-06-24"' in message


def test_all_faults_are_reported_at_once(staging: Tables) -> None:
    staging["observations"].loc[3, "value"] = np.inf
    staging["observations"].loc[4, "vintage"] = 0
    staging["series_summary"].loc[0, "age_days"] = 9
    staging["cftc"]["commercial_long"] = 0.0
    message = refused(run_gate("POST_STAGING", staging, expectations=EXPECTATIONS))
    assert "4 of " in message.splitlines()[0]
    for part in ("no_infinite_values", "column `vintage`", "column `age_days`", "longs_equal_open_interest"):
        assert part in message


def test_a_stale_series_that_is_not_critical_only_warns(staging: Tables) -> None:
    staging["series_summary"].loc[1, ["age_days", "refused_share"]] = [90, 0.5]
    report = run_gate("POST_STAGING", staging, expectations=EXPECTATIONS)
    report.require()
    assert [result.column_name for result in report.failed("warn")] == ["age_days", "refused_share"]
    assert report.failed("warn")[0].examples[0]["series"] == "DFF"


def test_a_field_that_loses_many_cells_warns_with_both_counts_and_the_price_s_close_stops_the_run(
    staging: Tables,
) -> None:
    staging["field_summary"].loc[1, ["refused_share", "year_refused_share"]] = [0.084, 0.36]
    report = run_gate("POST_STAGING", staging, expectations=EXPECTATIONS)
    report.require()
    (warned,) = report.failed("warn")
    assert (warned.suite, warned.column_name) == ("staging.field_summary", "year_refused_share")
    told = {"year_refused_share": 0.36, "max_refused_share": 0.05, "refused_share": 0.084, "dates_refused_share": 0.0}
    assert warned.examples == ({"source": "yahoo", "series": "ZL=F", "field": "high"} | told,)
    staging["field_summary"].loc[0, "critical_year_refused_share"] = 0.34
    run_gate("POST_STAGING", staging, expectations=EXPECTATIONS).require()
    staging["field_summary"].loc[0, "critical_year_refused_share"] = 0.35
    message = refused(run_gate("POST_STAGING", staging, expectations=EXPECTATIONS))
    assert "column `critical_year_refused_share`: 1 of 3 fail" in message


def test_an_absent_critical_series_stops_the_run(staging: Tables) -> None:
    summary = staging["series_summary"].astype({"age_days": "float64"})
    summary.loc[0, ["observations", "age_days"]] = [0, np.nan]
    message = refused(run_gate("POST_STAGING", staging | {"series_summary": summary}, expectations=EXPECTATIONS))
    assert "expect_critical_series_present" in message and "age_days" in message


def test_a_value_published_after_the_as_of_stops_the_run(staging: Tables, assembly: Tables) -> None:
    for gate, tables, table, column in (
        ("POST_STAGING", staging, "series_summary", "last_available_at"),
        ("POST_ASSEMBLY", assembly, "panel_summary", "latest_available_at"),
    ):
        tables[table].loc[0, column] += pd.Timedelta(hours=1)
        assert f"column `{column}`: 1 of" in refused(run_gate(gate, tables, expectations=EXPECTATIONS))


def test_a_missing_column_is_an_error_of_its_own_even_where_the_suite_only_warns(tmp_path: Path) -> None:
    folder = one_suite(
        tmp_path,
        "prices",
        check("expect_column_values_to_be_between", "warn", column="close", min_value=0),
        check("expect_column_strictly_increasing", "warn", column="date"),
        check("expect_compound_columns_to_be_unique", "warn", column_list=["open", "close"]),
    )
    report = run_gate("POST_FEATURES", {"prices": pd.DataFrame({"open": [1.0]})}, expectations=folder)
    reasons = [result.reason for result in report.failed("block")]
    assert reasons == ["column `close` is missing", "column `date` is missing", "column `close` is missing"]
    assert "column `close` is missing" in refused(report)


def test_an_expectation_that_raises_blocks_and_says_why(tmp_path: Path) -> None:
    folder = one_suite(
        tmp_path,
        "prices",
        check("expect_column_not_above_column", "warn", column="close", limit="name"),
        check("expect_column_values_to_be_between", "warn", column="name", min_value=0),
    )
    table = pd.DataFrame({"close": [1.0], "name": ["x"]})
    report = run_gate("POST_FEATURES", {"prices": table}, expectations=folder)
    assert [result.reason.split(":")[0] for result in report.failed("block")] == ["it could not be evaluated"] * 2


def test_mostly_lets_its_share_pass_and_still_reports_the_rows(tmp_path: Path) -> None:
    kwargs = {"column": "close", "min_value": 0, "mostly": 0.9}
    folder = one_suite(tmp_path, "prices", check("expect_column_values_to_be_between", **kwargs))
    table = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=20), "close": [-1.0] + [1.0] * 19})
    table.index = table.index + 100
    (result,) = run_gate("POST_FEATURES", {"prices": table}, expectations=folder).results
    assert result.success and result.unexpected_count == 1
    assert result.examples == ({"date": "2020-01-01", "close": -1.0},)


def test_a_table_without_a_suite_and_a_suite_without_its_table_are_refused(features: Tables) -> None:
    with pytest.raises(RegistryError, match=r"no suite for weather; write .*features/weather\.json"):
        run_gate("POST_FEATURES", features | {"weather": pd.DataFrame()}, expectations=EXPECTATIONS)
    with pytest.raises(GateFailed, match="table board_crush, feature_columns, feature_starts, features was not given"):
        run_gate("POST_FEATURES", {}, expectations=EXPECTATIONS)


def test_empty_tables_fail_for_what_they_lack_not_with_an_exception(staging: Tables) -> None:
    empty = {name: table.head(0) for name, table in staging.items()}
    failed = run_gate("POST_STAGING", empty, expectations=EXPECTATIONS).failed("block")
    expected = ["expect_table_row_count_to_be_between", "expect_critical_series_present"]
    assert [result.expectation for result in failed] == expected


def test_the_tables_given_are_not_changed(staging: Tables) -> None:
    before = {name: table.copy(deep=True) for name, table in staging.items()}
    run_gate("POST_STAGING", staging, expectations=EXPECTATIONS)
    for name, table in staging.items():
        pd.testing.assert_frame_equal(table, before[name])


def test_a_failing_gate_prints_and_logs_nothing(
    staging: Tables, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    staging["observations"] = staging["observations"].drop(columns="vintage")
    refused(run_gate("POST_STAGING", staging, expectations=EXPECTATIONS))
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_a_fresh_process_prints_nothing_and_writes_nothing(features: Tables, tmp_path: Path) -> None:
    features["features"].to_parquet(tmp_path / "features.parquet")
    only = tmp_path / "expectations" / "features"
    only.mkdir(parents=True)
    (only / "features.json").write_bytes((EXPECTATIONS / "features" / "features.json").read_bytes())
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys, pandas as pd; from pathlib import Path; from tasks.gates.run import run_gate; "
        "assert 'great_expectations' not in sys.modules; "
        "run_gate('POST_FEATURES', {'features': pd.read_parquet(sys.argv[1])}, expectations=Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "features.parquet"), str(only.parent)],
        cwd=home,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
