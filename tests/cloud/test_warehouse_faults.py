"""What happens to a publish and a sync when BigQuery is in trouble: nothing lost, nothing doubled, a clear message."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from tasks.errors import CloudError, SettingsError, WarehouseError
from tasks.settings import PROJECT, Settings
from tasks.storage.files import write_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.bigquery import connection
from tasks.warehouse.bigquery.connection import BigQueryAddress, Connection
from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
from tasks.warehouse.checksum import checksum
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.frames import conform
from tasks.warehouse.ledger import Ledger
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.tables import tables
from tests.cloud.storage_proxy import Fault, Proxy
from tests.warehouse.conftest import rows

FORECASTS = "forecasts.zl_forecasts_daily"
WIDE = "features.zl_daily_v1"
STAMP = pd.Timestamp("2024-01-03", tz="UTC")


@pytest.fixture(scope="module")
def _proxy(bigquery_server_address: str) -> Iterator[Proxy]:
    proxy = Proxy(int(urlsplit(bigquery_server_address).port or 0))
    yield proxy
    proxy.close()


@pytest.fixture
def wire(_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """BigQuery on loopback, through a proxy that can be told to fail."""
    _proxy.clear()
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", _proxy.url)
    monkeypatch.setenv("CBI_WAREHOUSE", f"bigquery://test-project?prefix=f{secrets.token_hex(4)}_")
    return _proxy


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    return Zones(tmp_path / "home")


@pytest.fixture
def warehouse(wire: Proxy, zones: Zones) -> BigQueryWarehouse:
    made = open_warehouse(Settings(home=zones.home, warehouse=os.environ["CBI_WAREHOUSE"]))
    assert isinstance(made, BigQueryWarehouse)
    return made


def forecasts(point: float) -> pd.DataFrame:
    key = {"as_of": pd.Timestamp("2024-01-02"), "model_version": "har/v1", "created_at": STAMP, "point": point}
    return rows(FORECASTS, *({**key, "horizon": horizon} for horizon in ("1w", "1m")))


def wide(shift: float) -> pd.DataFrame:
    dates = pd.date_range("2020-01-01", periods=50, unit="us")
    return pd.DataFrame({"date": dates, "close": np.arange(50.0) + shift, "vix": np.arange(50.0) / 3})


def publish(warehouse: BigQueryWarehouse | DuckDbWarehouse, zones: Zones, value: float):
    return warehouse.publish(
        {FORECASTS: forecasts(value), WIDE: wide(value)}, as_of="2024-01-02", staging=zones.staging
    )


def held(warehouse: BigQueryWarehouse) -> tuple[list[float], float, int]:
    points = warehouse.query(f"SELECT point FROM {FORECASTS} ORDER BY horizon")["point"].tolist()
    total = warehouse.query(f"SELECT SUM(close) AS total, COUNT(*) AS days FROM {WIDE}").iloc[0]
    return points, float(total["total"]), int(total["days"])


ONE = ([1.0, 1.0], 50 * 49 / 2 + 50, 50)
TWO = ([2.0, 2.0], 50 * 49 / 2 + 100, 50)
PASSING = {
    "a job is refused with 503": Fault(r"POST .*/jobs", status=503, times=2),
    "a job is refused with 429": Fault(r"POST .*/jobs", status=429, message="Exceeded rate limits", times=2),
    "looking at a table fails with 503": Fault(r"GET .*/tables/", status=503, times=2),
    "the upload is cut before it arrives": Fault(r"(PUT|POST) .*upload", cut="before", times=1),
    "the answer to the upload is lost": Fault(r"(PUT|POST) .*upload", cut="after", times=2),
    "the answer to a job is lost": Fault(r"POST .*/jobs\?", cut="after", times=1),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_fault_that_passes_loses_and_doubles_nothing(fault, wire, warehouse, zones):
    publish(warehouse, zones, 1.0)
    fault.happened = 0
    wire.faults = [fault]
    done = publish(warehouse, zones, 2.0)
    assert fault.happened == fault.times
    assert done.changed == {FORECASTS: 2, WIDE: 50}
    assert held(warehouse) == TWO


LASTING = {
    "503": (503, "backendError", "outage|did not answer"),
    "429": (429, "Exceeded rate limits", "Too many requests|did not answer"),
    "403 quota": (403, "Quota exceeded: free query bytes scanned", "A quota is used up"),
    "403 role": (403, "Access Denied: User does not have bigquery.jobs.create permission", "A role is missing"),
    "401": (401, "Invalid Credentials", "gcloud auth application-default login"),
    "404 location": (404, "Not found: Dataset p:d was not found in location EU", "in another location"),
    "404 project": (404, "The project nope has not enabled BigQuery", "Project, dataset or bucket is missing"),
}


@pytest.mark.parametrize("status, says, advice", LASTING.values(), ids=LASTING.keys())
def test_a_fault_that_lasts_leaves_what_was_and_says_what_to_do(
    status, says, advice, wire, warehouse, zones, monkeypatch
):
    publish(warehouse, zones, 1.0)
    monkeypatch.setattr(connection, "PATIENCE_S", 2.0)
    wire.faults = [Fault(r"POST .*/jobs", status=status, message=says, times=10**6)]
    with pytest.raises((CloudError, WarehouseError), match=advice):
        publish(warehouse, zones, 2.0)
    wire.clear()
    assert held(warehouse) == ONE
    assert publish(warehouse, zones, 2.0).switched
    assert held(warehouse) == TWO


def test_a_script_that_fails_halfway_is_undone(warehouse, zones, monkeypatch):
    publish(warehouse, zones, 1.0)
    whole = BigQueryWarehouse._transact

    def break_it(self: BigQueryWarehouse, script: str, expected_bytes: int) -> None:
        whole(
            self, script.replace(";\nCOMMIT", ";\nINSERT INTO nowhere.at_all (a) VALUES (1);\nCOMMIT"), expected_bytes
        )

    with monkeypatch.context() as broken:
        broken.setattr(BigQueryWarehouse, "_transact", break_it)
        with pytest.raises(CloudError):
            publish(warehouse, zones, 2.0)
    assert held(warehouse) == ONE
    publish(warehouse, zones, 2.0)
    assert held(warehouse) == TWO


def test_another_machine_that_wrote_first_is_waited_out(wire, warehouse, zones):
    publish(warehouse, zones, 1.0)
    says = "Transaction is aborted due to concurrent update against table forecasts.zl_forecasts_daily"
    # The script is the last job of a publish: let those before it pass.
    publish_jobs = len(jobs_of_a_publish(wire, warehouse, zones, 1.5))
    fault = Fault(r"POST .*/jobs\?", status=400, message=says, times=1)
    seen = {"jobs": 0}

    def arm(told: str) -> None:
        if re.search(r"POST .*/jobs\?", told):
            seen["jobs"] += 1
            if seen["jobs"] == publish_jobs:
                wire.faults = [fault]

    wire.watch = arm
    publish(warehouse, zones, 2.0)
    assert fault.happened == 1
    assert held(warehouse) == TWO


def jobs_of_a_publish(wire: Proxy, warehouse: BigQueryWarehouse, zones: Zones, value: float) -> list[str]:
    before = len(wire.requests)
    publish(warehouse, zones, value)
    return [told for told in wire.requests[before:] if re.search(r"POST .*/jobs\?", told)]


def test_rows_are_appended_once_however_often_they_are_sent(wire, warehouse, monkeypatch):
    """The emulator runs a job of the same name again and does not find it by name; BigQuery answers as here."""
    warehouse.migrate()
    table = tables()[FORECASTS]
    part = conform(table, forecasts(1.0), table.columns)
    warehouse.connection.load(FORECASTS, part, table.columns, append=True, layout=table)
    asked: list[str] = []
    ended = SimpleNamespace(result=lambda: None)
    monkeypatch.setattr(warehouse.connection.client, "get_job", lambda job: asked.append(job) or ended)
    for rows_sent in (part, part, part.slice(0, 1)):
        wire.faults = [Fault(r"POST .*upload.*jobs", status=409, message="Already Exists: Job")]
        warehouse.connection.load(FORECASTS, rows_sent, table.columns, append=True, layout=table)
    assert warehouse.rows_of(FORECASTS) == 2
    assert asked[0] == asked[1] != asked[2], "a job is named by the rows it brings"


PUBLISH = """
import os
import sys
from pathlib import Path
from tasks.settings import Settings
from tasks.warehouse.open import open_warehouse
from tasks.storage.zones import Zones
from tests.cloud.test_warehouse_faults import publish
zones = Zones(Path(sys.argv[1]))
print("ready", flush=True)
publish(open_warehouse(Settings(home=zones.home, warehouse=os.environ["CBI_WAREHOUSE"])), zones, float(sys.argv[2]))
"""


def started(home: Path, value: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PUBLISH, str(home), str(value)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_machines_that_publish_the_same_day_leave_one_of_the_two(warehouse, zones, tmp_path):
    publish(warehouse, zones, 3.0)
    both = [started(tmp_path / name, 2.0) for name in ("left", "right")]  # a home each: no lock between them
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert held(warehouse) == TWO
    assert warehouse.row_counts()[FORECASTS] == 2


@pytest.mark.parametrize("at", ["POST .*upload", "POST .*/jobs\\?"])
def test_a_publish_that_is_killed_is_whole_or_absent_and_a_rerun_heals(at, wire, warehouse, zones, tmp_path):
    publish(warehouse, zones, 1.0)
    child = started(tmp_path / "other", 2.0)
    killed: list[str] = []

    def kill(told: str) -> None:
        if not killed and re.search(at, told):
            killed.append(told)
            os.kill(child.pid, signal.SIGKILL)

    wire.watch = kill
    child.wait(60)
    wire.watch = None
    assert child.returncode == -signal.SIGKILL
    assert held(warehouse) in (ONE, TWO)
    publish(warehouse, zones, 2.0)
    assert held(warehouse) == TWO


def test_a_thin_warehouse_holds_all_forecasts_and_the_latest_rows_of_the_rest(wire, zones):
    thin = open_warehouse(Settings(home=zones.home, warehouse=os.environ["CBI_WAREHOUSE"], warehouse_mode="thin"))
    dates = pd.date_range("2023-01-02", periods=150, unit="us")
    many = rows(
        FORECASTS,
        *({"as_of": d, "horizon": "1w", "model_version": "m", "point": 1.0, "created_at": STAMP} for d in dates),
    )
    frames = {FORECASTS: many, WIDE: pd.DataFrame({"date": dates, "close": np.arange(150.0)})}
    assert thin.publish(frames, as_of="2023-06-01", staging=zones.staging).changed == {FORECASTS: 150, WIDE: 100}
    counts = thin.row_counts()
    assert (counts[FORECASTS], counts[WIDE]) == (150, 100)
    later = pd.DataFrame({"date": dates + pd.Timedelta(days=1), "close": np.arange(150.0)})
    thin.publish({WIDE: later}, as_of="2023-06-01", staging=zones.staging)
    shown = thin.query(f"SELECT MIN(date) AS first, MAX(date) AS last, COUNT(*) AS n FROM {WIDE}").iloc[0]
    assert (shown["first"], shown["last"], shown["n"]) == (later["date"].iloc[50], later["date"].iloc[149], 100)
    assert not thin.publish({WIDE: later}, as_of="2023-06-01", staging=zones.staging).switched


@pytest.fixture
def published(zones: Zones) -> DuckDbWarehouse:
    made = DuckDbWarehouse(zones)
    when = pd.Timestamp("2024-01-02", tz="UTC")
    seen = {"source": "fred", "series": "DGS10", "observation_date": pd.Timestamp("2024-01-02"), "field": "value"}
    observed = pd.DataFrame(
        [{**seen, "value": 4.1, "unit": "pct", "available_at": when, "fetched_at": when, "vintage": 1}]
    )
    write_parquet(zones.staging / "fred" / "observations.parquet", observed)
    publish(made, zones, 1.0)
    return made


SYNC = [sys.executable, "-m", "cli", "sync"]


def synced(home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CBI_HOME": str(home)}
    return subprocess.run(SYNC, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)


def test_a_sync_makes_both_sides_say_the_same_and_again_loads_nothing(warehouse, published, zones):
    first = synced(zones.home)
    assert first.returncode == 0, first.stderr
    assert warehouse.row_counts() == published.row_counts()
    for name in (FORECASTS, WIDE):
        key = tables()[name].key
        assert checksum(warehouse.read(name), key) == checksum(published.read(name), key)
    again = synced(zones.home)
    assert again.returncode == 0 and "loaded" not in again.stdout
    shown = "SELECT * FROM staging.observations"
    pd.testing.assert_frame_equal(warehouse.query(shown), published.query(shown))


def test_a_sync_killed_halfway_goes_on_where_it_was(wire, warehouse, published, zones):
    child = subprocess.Popen(SYNC, cwd=PROJECT, env={**os.environ, "CBI_HOME": str(zones.home)}, stdout=subprocess.PIPE)
    loads = 0

    def kill(told: str) -> None:
        nonlocal loads
        loads += bool(re.search(r"POST .*upload", told))
        if loads == 2:
            os.kill(child.pid, signal.SIGKILL)

    wire.watch = kill
    child.wait(60)
    wire.watch = None
    assert child.returncode == -signal.SIGKILL
    time.sleep(0.2)
    assert synced(zones.home).returncode == 0
    assert warehouse.row_counts() == published.row_counts()
    assert checksum(warehouse.read(WIDE), ("date",)) == checksum(published.read(WIDE), ("date",))


def test_a_query_dearer_than_allowed_does_not_run(wire, warehouse, zones, monkeypatch):
    publish(warehouse, zones, 1.0)
    monkeypatch.setattr(Connection, "bytes_of", lambda self, sql: 11 * 10**9)  # the emulator's dry run says 0
    before = len(wire.requests)
    with pytest.raises(WarehouseError, match=r"would read 11.00 GB, more than CBI_QUERY_LIMIT_GB \(10\)"):
        warehouse.query(f"SELECT * FROM {FORECASTS}")
    assert not [told for told in wire.requests[before:] if "/jobs" in told]


def test_a_month_that_is_used_up_stops_every_query_and_a_cut_line_does_not(zones):
    ledger = Ledger(zones, "p", Settings(home=zones.home, month_limit_gb=1.0))
    ledger.note("a", 600_000_000, "query")
    ledger.allow(300_000_000, "query")
    ledger.note("b", 300_000_000, "publish")
    [path] = (zones.warehouse / "billed").iterdir()
    with path.open("a") as cut:
        cut.write('{"job": "c", "byt')
    assert ledger.billed_bytes() == 900_000_000
    with pytest.raises(WarehouseError, match=r"0.90 GB were billed .* more than CBI_MONTH_LIMIT_GB \(1\)"):
        ledger.allow(200_000_000, "query")
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("address", ["bigquery://", "bigquery://p/dataset", "bigquery://p?region=eu", "postgres://p"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(SettingsError, match="bigquery://PROJECT"):
        BigQueryAddress.of(address)


def test_a_dataset_in_another_location_is_named(warehouse, zones):
    warehouse.connection.client.create_dataset(f"{warehouse.place.prefix}api")  # the client's own location: us-central1
    elsewhere = BigQueryAddress(warehouse.place.project, "europe-west3", warehouse.place.prefix)
    with pytest.raises(SettingsError, match=r"_api is in us-central1, CBI_WAREHOUSE says europe-west3: write \?loc"):
        BigQueryWarehouse(elsewhere, zones, Settings(home=zones.home)).migrate()


def test_a_checksum_sees_a_bit_and_a_gap_but_no_order():
    table, types = tables()["features.zl_daily_v1"], {"date": "DATE", "close": "FLOAT64", "vix": "FLOAT64"}
    said = checksum(conform(table, wide(1.0), types), ("date",))
    shuffled = wide(1.0).sample(frac=1, random_state=0)[["vix", "date", "close"]]
    assert checksum(conform(table, shuffled, types), ("date",)) == said
    bit = wide(1.0)
    bit.loc[7, "vix"] = np.nextafter(bit.loc[7, "vix"], 9)
    gap = wide(1.0)
    gap.loc[7, "vix"] = np.nan
    for other in (bit, gap, wide(1.0).iloc[1:]):
        assert checksum(conform(table, other, types), ("date",)) != said
