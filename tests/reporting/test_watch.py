"""The control charts as a run draws them: from the outcomes and unserved forecasts of the warehouse."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.model_store.folder import FolderStore
from tasks.reporting.watch import control_alarms, control_states
from tasks.run import RunContext, open_run
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import tables
from tests.forecasting.test_control import PLANTED, closes, forecasts, narrowed, of_family, trained

__all__ = ["closes", "forecasts"]
STAMP = pd.Timestamp("2016-12-30T00:30Z")
DAYS = ("2015-12-01", "2016-12-23")


def declared(name: str, table: pd.DataFrame, **more: object) -> pd.DataFrame:
    """Rows with every column of a table, its other values missing."""
    kinds = {"DATE": "datetime64[us]", "FLOAT64": "float64", "STRING": "object", "BOOL": "object", "INT64": "Int64"}
    columns = tables()[name].columns
    found = table.assign(**more).reindex(columns=list(columns))
    return found.astype({c: kinds[kind] for c, kind in columns.items() if kind in kinds})


@pytest.fixture
def run(forecasts: pd.DataFrame, tmp_path: Path) -> RunContext:
    """A home in which har has served a week since 2011, with bands that are half as wide from 2016 on."""
    zones = Zones(tmp_path / "home")
    days = forecasts[forecasts["as_of"].between(*DAYS)]
    champion, base = of_family(narrowed(days, 0.5, PLANTED), "har"), of_family(days, "curve")
    settled = pd.Series(days["target_date"].to_numpy() + pd.Timedelta(days=3), index=days.index)
    outcomes = declared(
        "performance.forecast_outcomes", champion, origin="live", replay="", settled_on=settled, created_at=STAMP
    ).assign(superseded=False, published_late=False)
    published = declared("forecasts.zl_forecasts_daily", champion, origin="live", created_at=STAMP)
    unserved = declared("forecasts.zl_shadow_daily", base, origin="live", is_baseline=True, created_at=STAMP)
    frames = {
        "performance.forecast_outcomes": outcomes[outcomes["settled_on"] <= pd.Timestamp(DAYS[1])],
        "forecasts.zl_forecasts_daily": published.assign(is_baseline=False, degraded=False),
        "forecasts.zl_shadow_daily": unserved.assign(degraded=False),
    }
    DuckDbWarehouse(zones).publish(frames, as_of=DAYS[1], staging=zones.staging)
    zones.models.mkdir(parents=True)
    (zones.models / "history.jsonl").write_text(json.dumps(trained("har", "2011-12-30")) + "\n")
    return open_run(Settings(home=zones.home), origin="live", as_of="2016-12-29")


def test_a_run_finds_the_planted_champion_out_of_control_and_the_same_run_again_too(run: RunContext) -> None:
    store = FolderStore(run.zones.models)
    found, notices = control_alarms(run, store)
    assert notices == [] and list(found) == ["1w"] and "`cbi models promote` returns it" in found["1w"]
    state = control_states(run, store)["1w"]
    early = open_run(run.settings, origin="live", as_of=f"{state.out_since:%Y-%m-%d}")
    assert control_alarms(early, store) == ({}, []), "the day it came due, the outcome was not published before"
    assert control_alarms(run, store) == (found, [])


@pytest.mark.parametrize(
    "changed",
    [{"origin": "replay", "replay": "weekly"}, {"origin": "recorded"}, {"superseded": True}, {"published_late": True}],
    ids=["a replay", "another origin", "not shown to readers", "published after its outcome"],
)
def test_what_was_no_forecast_of_this_origin_is_no_evidence(
    run: RunContext, tmp_path: Path, changed: dict[str, object]
) -> None:
    warehouse, store, other = DuckDbWarehouse(run.zones), FolderStore(run.zones.models), Zones(tmp_path / "other")
    names = ("performance.forecast_outcomes", "forecasts.zl_forecasts_daily")
    frames = {name: warehouse.read(name).to_pandas() for name in names}
    frames[names[0]] = frames[names[0]].assign(**changed)
    DuckDbWarehouse(other).publish(frames, as_of=DAYS[1], staging=other.staging)
    there = open_run(Settings(home=other.home), origin="live", as_of="2016-12-29")
    assert control_states(run, store)["1w"].outcomes > 200
    assert control_states(there, store)["1w"].outcomes == 0


def test_a_chart_that_cannot_be_drawn_is_a_notice(run: RunContext) -> None:
    store = FolderStore(run.zones.models)
    (store.folder / "history.jsonl").write_text("not a line\n")
    found, [notice] = control_alarms(run, store)
    assert found == {} and notice.startswith("the control chart of the champions cannot be drawn: ModelStoreError")


def test_a_home_without_a_warehouse_has_no_chart(tmp_path: Path) -> None:
    run = open_run(Settings(home=tmp_path / "home"), origin="live", as_of="2016-12-29")
    assert control_alarms(run, FolderStore(run.zones.models)) == ({}, [])
