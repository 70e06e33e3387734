"""A home that has grown: 5,000 payloads of one series, and 2,000 days of forecasts. What the commands cost then.

`make cost-of-a-day` measures a home as 1,500 live days leave it: what each day would have served, of every series, each
payload another. Here one series has all of them, the same recorded bytes under other times: what grows with the number
of files of one folder shows by itself, and what is staged of them stays as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.settings import PROJECT
from tests.conftest import tables_of
from tests.faults.conftest import SmallHome

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
PAYLOADS, DAYS = 5_000, 2_000
QUERY = "SELECT COUNT(*) AS n, COUNT(DISTINCT as_of) AS days FROM forecasts.zl_forecasts_daily"
MOST_MB = 1_500
MOST_TIMES = 3.0
"""How many times the processor seconds of the small home a command of the grown one may take, and so many more."""
AND_S = 40.0


MEASURE = """
import json, os, subprocess, sys
with open(sys.argv[1], "wb") as out:
    process = subprocess.Popen(sys.argv[2:], stdout=out, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""
"""Starts a command from a small process: a child's greatest memory is never below its parent's when it was forked, and
a worker of pytest is larger than any run."""


def measured(command: list[str], environment: dict[str, str], log: Path) -> tuple[int, float, float]:
    """Exit code, processor seconds of the process and its children, and megabytes at most."""
    small = [sys.executable, "-I", "-S", "-c", MEASURE, str(log), *command]
    done = subprocess.run(small, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    code, seconds, megabytes = json.loads(done.stdout)
    return code, seconds, megabytes


def costs(small_home: SmallHome, home: Path, log: Path) -> dict[str, tuple[int, float, float]]:
    commands = {
        "daily": small_home.daily(),
        "health": [sys.executable, "-m", "cli", "health"],
        "audit": [sys.executable, "-m", "cli", "audit"],
        "query": [sys.executable, "-m", "cli", "query", QUERY],
    }
    found = {}
    for name, command in commands.items():
        found[name] = measured(command, small_home.environment(home), log)
        assert "Traceback (most recent call last)" not in log.read_text(), log.read_text()[-3000:]
        assert found[name][0] in ((0, 1) if name == "health" else (0,)), (name, log.read_text()[-3000:])
    return found


def with_payloads(home: Path, count: int) -> None:
    """The recorded payload of one series as so many live ones, a quarter of an hour apart."""
    folder = home / "raw" / "fred" / "VIXCLS"
    sidecar = json.loads(min(folder.glob("recorded-*.sidecar.json")).read_text())
    recorded = folder / sidecar["file"]
    for at in pd.date_range("2011-11-01", periods=count, freq="15min", tz="UTC"):
        name = f"{at:%Y-%m-%dT%H%M%S.%fZ}.csv"
        os.link(recorded, folder / name)
        told = {**sidecar, "file": name, "fetched_at": at.isoformat(), "url": "", "day_known_only": False}
        told |= {"newest": "2011-10-31", "asked_from": "2011-10-01"}
        (folder / f"{name}.sidecar.json").write_text(json.dumps(told))


def with_forecasts(home: Path, days: int) -> None:
    """The rows of the one session that was run, under so many earlier ones, in a home that no one else reads."""
    earlier = list(sessions(last="2011-12-29"))[-days:]
    with duckdb.connect(str(home / "warehouse" / "cbi.duckdb")) as connection:
        connection.register("days", pd.DataFrame({"day": [day.date() for day in earlier]}))
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (database_name, schema_name, table_name) WHERE column_name = 'as_of' AND NOT duckdb_tables.internal"
        ).fetchall()
        for schema, table in tables:
            name = f'"{schema}"."{table}"'
            connection.execute(
                f"INSERT INTO {name} SELECT held.* REPLACE (days.day AS as_of) FROM {name} AS held, days"
            )
        connection.execute("UPDATE main.publication SET revision = revision + 1")


@pytest.mark.parametrize("grown", ["payloads", "days"])
def test_a_home_that_has_grown_costs_little_more_and_shows_the_same(
    grown: str, small_home: SmallHome, tmp_path: Path, record_property: Any
) -> None:
    home, log = Path(shutil.copytree(small_home.home, tmp_path / "home")), tmp_path / "log"
    small = costs(small_home, home, log)
    wanted = tables_of(home)["forecasts.zl_forecasts_daily"]
    with_payloads(home, PAYLOADS) if grown == "payloads" else with_forecasts(home, DAYS)
    began = time.monotonic()
    first = costs(small_home, home, log)
    record_property("healed_s", time.monotonic() - began)
    again = costs(small_home, home, log)
    print(f"\n{grown}: small {small}\nfirst {first}\nagain {again}")
    held = tables_of(home)["forecasts.zl_forecasts_daily"]
    newest = held[held["as_of"] == held["as_of"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(newest.drop(columns="data_snapshot"), wanted.drop(columns="data_snapshot"))
    assert grown == "payloads" or held["as_of"].nunique() == DAYS + 1
    for name, (_, seconds, megabytes) in [*first.items(), *again.items()]:
        assert megabytes < MOST_MB, (name, megabytes)
        assert seconds < MOST_TIMES * small[name][1] + AND_S, (name, seconds, small[name])
