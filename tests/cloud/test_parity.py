"""DuckDB and BigQuery show the same rows: every view, and every feature that BigQuery refreshes by itself."""

from __future__ import annotations

import secrets

import numpy as np
import pandas as pd
import pytest

from cli.app import main
from tasks.features import cross_asset, in_sql, regimes, technical
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse import scheduled, sql_check
from tasks.warehouse.bigquery.connection import BigQueryAddress
from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
from tasks.warehouse.daily_tables import panel_in_sql
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import FEATURES, PANEL, tables
from tasks.warehouse.views import views
from tests.conftest import AS_OF

pytestmark = pytest.mark.cloud
WITHIN = 1e-9
SESSIONS = 300  # of the wide tables, for the views: the emulator is slow with many cells
NAMED = frozenset().union({"date"}, in_sql.query("interactions").mentions, *(view.columns for view in views()))
"""What SQL names of the feature table."""


@pytest.fixture
def bigquery(bigquery_emulator, tmp_path) -> BigQueryWarehouse:
    place = BigQueryAddress("test-project", prefix=f"t{secrets.token_hex(4)}_")
    return BigQueryWarehouse(place, Zones(tmp_path / "bigquery"), Settings(home=tmp_path / "bigquery"))


def run_script(warehouse: BigQueryWarehouse, text: str) -> None:
    """As BigQuery's scheduler runs what deploy/gcp/setup.sh gave it."""
    filled = text.replace("${PROJECT}", warehouse.place.project).replace("${PREFIX}", warehouse.place.prefix)
    warehouse.connection.client.query(filled).result()


def in_python(panel: pd.DataFrame) -> dict[str, pd.Series]:
    ratios, cross = technical.simple_averages(panel["zl_roll_free"])
    built = cross_asset.features(panel) | ratios | cross | regimes.thresholds(panel)
    return {name: pd.Series(values, panel.index) for name, values in built.items()}


@pytest.mark.parametrize("file", [*in_sql.OVER_PANEL, *in_sql.OVER_FEATURES])
def test_each_feature_refreshed_in_bigquery_is_that_of_the_python_build(file, bigquery, panel, features, tmp_path):
    """The archive's panel and what the interactions read are published; the script runs, and runs again."""
    built = features[["date", *sorted(in_sql.query("interactions").mentions - {"date"})]]
    bigquery.publish({PANEL: panel_in_sql(panel), FEATURES: built}, as_of=AS_OF, staging=tmp_path / "none")
    for _ in range(2):
        run_script(bigquery, scheduled.script(file))
    held = bigquery.query(f"SELECT * FROM {scheduled.refreshed(file)} ORDER BY date")
    by_python = features if file in in_sql.OVER_FEATURES else in_python(panel)
    assert held["date"].tolist() == panel["date"].tolist()
    assert list(held) == ["date", *in_sql.query(file).features]
    for name in in_sql.query(file).features:
        values = by_python[name].to_numpy()
        assert np.isfinite(values).sum() > 200, name
        np.testing.assert_allclose(held[name], values, rtol=0, atol=WITHIN, equal_nan=True, err_msg=name)


@pytest.mark.xdist_group("daily")
def test_every_view_shows_the_same_rows_on_both_engines(bigquery_server_address, bigquery, first_run, tmp_path):
    home = DuckDbWarehouse(Zones(first_run.home))
    held = {name: home.read(name).to_pandas(date_as_object=False) for name in tables() if name in home.row_counts()}
    for name, frame in held.items():
        if tables()[name].wide:
            kept = frame.sort_values("date").tail(SESSIONS).reset_index(drop=True)
            held[name] = kept[[c for c in kept if c in NAMED or c in kept.columns[-10:]]]
    duckdb = DuckDbWarehouse(Zones(tmp_path / "duckdb"))
    for warehouse in (duckdb, bigquery):
        warehouse.publish(held, as_of=first_run.summary.as_of, staging=tmp_path / "none")
    names = [view.name for view in views()]
    assert {"api.vw_latest_forecast", "features.zl_regimes", "training.vw_zl_12m_v1"} <= set(names)
    counted = bigquery.row_counts()
    assert counted == duckdb.row_counts()
    for name in names:
        ours, theirs = (in_order(warehouse.query(f"SELECT * FROM {name}")) for warehouse in (duckdb, bigquery))
        assert len(ours) or not counted[name]
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, check_exact=False, rtol=0, atol=1e-12, obj=name)
    assert sum(counted[name] > 0 for name in names) >= len(names) - 1


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(list(frame), ignore_index=True)


@pytest.fixture
def few_columns(registry, monkeypatch) -> dict[str, dict[str, str]]:
    """The wide tables' columns, those left out that no SQL file names: the emulator is slow with many."""
    trained = {"target_log_return", "target_price", "target_date", "training_weight", "regime"}
    named = NAMED | trained | in_sql.panel_columns()
    columns = {
        table: {name: kind for name, kind in held.items() if name in named}
        for table, held in sql_check.wide_columns(registry.folder).items()
    }
    monkeypatch.setattr(sql_check, "wide_columns", lambda folder: columns)
    return columns


def test_every_statement_passes_a_dry_run(bigquery, few_columns, monkeypatch, capsys, tmp_path):
    """Over the tables that a publish leaves; the emulator says 0 bytes to each."""
    values = {"DATE": AS_OF, "FLOAT64": 1.0, "STRING": "x"}
    frames = {name: pd.DataFrame([{c: values[k] for c, k in held.items()}]) for name, held in few_columns.items()}
    bigquery.publish(frames, as_of=AS_OF, staging=tmp_path / "none")
    place = f"bigquery://{bigquery.place.project}?prefix={bigquery.place.prefix}"
    monkeypatch.setenv("CBI_WAREHOUSE", place)
    assert main(["project", "sql-check"]) == 0, capsys.readouterr().err
    assert "0.000000" in capsys.readouterr().out
    with monkeypatch.context() as wrong:
        wrong.setenv("CBI_WAREHOUSE", f"{place}elsewhere_")
        assert main(["project", "sql-check"]) == 1, "nothing is published there"
