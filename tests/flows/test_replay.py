"""A replay's forecasts are those that a daily run of that day publishes, and a second replay changes nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flows.replay import folder_of, open_replay, read_inputs, run_replay
from tasks.errors import ManifestMismatch
from tasks.forecasting.replay import training_days, weekly_sessions
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.conftest import tables_of

TRAINED, FORECAST, LAST = (pd.Timestamp(day) for day in ("2011-10-03", "2011-11-11", "2011-12-30"))
QUANTILES = ["p05", "p10", "p25", "p50", "p75", "p90", "p95"]
CHANGES = ("forecasts.zl_replays_daily", "performance.forecast_outcomes")


@pytest.fixture
def home(copied_home: Path, first_run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(first_run.registry))
    return copied_home


@pytest.mark.slow
@pytest.mark.more
@pytest.mark.xdist_group("daily")
def test_a_replay_forecasts_what_a_daily_run_of_that_day_publishes(home, first_run, run_daily, tmp_path) -> None:
    run = open_replay()
    rows = run_replay(run, FORECAST, LAST)
    assert rows["as_of"].nunique() == len(weekly_sessions(FORECAST, LAST)) == 8
    assert (rows["trained_as_of"] == TRAINED).all() and (rows["trained_as_of"] <= rows["as_of"]).all()

    fresh = tmp_path / "fresh"
    for day in (TRAINED, FORECAST):  # the second finds models that are young enough, as a replay does
        run_daily(fresh, first_run.archive, f"{day:%Y-%m-%d}")
    published = DuckDbWarehouse(Zones(fresh)).query("SELECT * FROM forecasts.zl_forecasts_daily")
    published = published[(pd.to_datetime(published["as_of"]) == FORECAST) & (published["family"] == "curve")]
    assert len(published), "the baseline serves somewhere, or this test compares nothing"
    of_day = rows[(rows["as_of"] == FORECAST) & (rows["replay"] == "curve")].set_index("horizon")
    for _, row in published.iterrows():
        mine = of_day.loc[row["horizon"]]
        assert mine[QUANTILES].tolist() == pytest.approx(row[QUANTILES].tolist(), abs=1e-9), row["horizon"]
        assert (mine["target_date"], mine["last_price"]) == (pd.Timestamp(row["target_date"]), row["last_price"])

    before = tables_of(home)
    folder = folder_of(run, read_inputs(run))
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    run_replay(run, FORECAST, LAST)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == written, "nothing is done again"
    after = tables_of(home)
    for name in CHANGES:
        pd.testing.assert_frame_equal(after[name], before[name])
    assert len(after["performance.forecast_outcomes"]), "what was due by the home's session has its outcome"


def test_a_home_without_a_run_names_what_to_run_first(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    with pytest.raises(ManifestMismatch, match="make demo"):
        open_replay()


def test_a_replay_trains_on_the_first_session_of_each_quarter_from_before_its_first_day() -> None:
    days = training_days(pd.Timestamp("2012-02-15"), pd.Timestamp("2012-07-10"))
    assert [f"{day:%Y-%m-%d}" for day in days] == ["2012-01-03", "2012-04-02", "2012-07-02"]


def test_a_week_is_forecast_on_its_last_session() -> None:
    days = weekly_sessions(pd.Timestamp("2012-04-02"), pd.Timestamp("2012-04-11"))
    assert [f"{day:%Y-%m-%d}" for day in days] == ["2012-04-05", "2012-04-11"], "Good Friday is no session"
