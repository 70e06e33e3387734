"""Sizes by BigQuery's rules on a warehouse small enough to count by hand, and what is billed for them."""

from __future__ import annotations

import pandas as pd
import pytest

from evidence import bigquery_cost as cost
from tasks.storage.zones import Zones
from tasks.warehouse import prices
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.warehouse.conftest import forecast, rows

MB = prices.MB


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, cost.Size]:
    zones = Zones(tmp_path_factory.mktemp("sizes") / "home")
    warehouse = DuckDbWarehouse(zones)
    dates = pd.to_datetime(["2023-12-28", "2023-12-29", "2024-01-02"])
    features = pd.DataFrame({"date": dates, "close": [48.1, 48.2, 47.9], "vix": [12.5, None, 13.2]})
    forecasts = rows("forecasts.zl_forecasts_daily", forecast(regime="größe"), forecast("12m"))
    frames = {
        "forecasts.zl_forecasts_daily": forecasts,
        "features.zl_daily_v1": features,
        "features.zl_panel_daily_v1": features[["date"]].assign(zl_last=1.0, vix_last=[1.0, None, 2.0]),
    }
    warehouse.publish(frames, as_of="2024-01-02", staging=zones.staging)
    return cost.sizes(warehouse)


def test_logical_bytes_by_hand(found):
    held = found["forecasts.zl_forecasts_daily"]
    assert (held.rows, held.rows_a_session, held.staged_whole) == (2, 2.0, False)
    assert held.bytes_of["regime"] == 2 + 7, "a text in UTF-8; a NULL is nothing"
    assert held.bytes_of["horizon"] == (2 + 2) + (2 + 3)
    assert held.bytes_of["is_baseline"] == 2 and held.bytes_of["as_of"] == held.bytes_of["point"] == 16
    assert found["features.zl_daily_v1"].bytes_of == {"date": 24, "close": 24, "vix": 16}


def test_a_statement_reads_the_columns_it_names_and_is_billed_10_mb_a_table(found):
    jobs = {(job.kind, job.name): job for job in cost.daily_jobs(found)}
    compare = jobs["compare", "features.zl_daily_v1"]
    assert compare.bytes_read("full") == 2 * 64 and compare.billed("full") == 20 * MB
    regimes = jobs["scheduled query", "refreshed.zl_regimes"]
    assert regimes.bytes_read("full") == 24 + 24 + 16 and regimes.billed("thin") == 0
    averages = jobs["scheduled query", "refreshed.zl_moving_averages"]
    assert averages.bytes_read("full") == 24 + 24, "not the VIX"
    assert jobs["keep latest", "features.zl_daily_v1"].billed("full") == 0
    forecasts = jobs["merge", "forecasts.zl_forecasts_daily"]
    assert forecasts.bytes_read("full", 9) == pytest.approx(11 / 2 * forecasts.bytes_read("full")), (
        "ten sessions, one staged"
    )


def test_prices_by_hand():
    assert prices.billed([100.0, 15.5 * MB]) == 26 * MB and prices.billed([]) == 0
    assert prices.query_usd(2**40) == 6.25


def test_a_thin_table_stops_growing_and_old_partitions_get_cheaper(found):
    size = cost.Size("features.zl_daily_v1", 6000, {"date": 48_000}, 1.0, True)
    assert size.held("thin", 0) == size.held("thin", 2520) == 100 and size.held("full", 2520) == 8520
    active, long_term = cost.stored(size, "full", 0)
    assert active + long_term == 48_000 and 0 < active < 48_000 * 0.06
    page = cost.report(found, commit="abc", now=pd.Timestamp("2024-01-02"))
    assert "| full | 10 years |" in page and "| thin | a day |" in page and "| compare | features.zl_daily_v1 |" in page
