"""kill -9 anywhere in a publish; a rerun ends where an undisturbed run does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse

pytestmark = [
    pytest.mark.faults,
    pytest.mark.xdist_group("crash"),
]  # what its fixtures make is dear: one process makes it

# One process pays for the imports, then forks a child per kill. It opens no DuckDB file itself: threads do not fork.
KILLER = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from tasks.warehouse import duckdb as module
from tasks.storage.zones import Zones

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_while_copying():
    copy = module.write_atomically
    module.write_atomically = lambda path, write: copy(path, lambda temporary: (write(temporary), die()))

def frames(shift):
    dates = pd.date_range("2010-01-01", periods=1000, unit="us")
    values = np.arange(1000 * 40, dtype=float).reshape(1000, 40) + shift
    wide = pd.DataFrame(values, columns=[f"f{i}" for i in range(40)])
    wide.insert(0, "date", dates)
    regimes = pd.DataFrame({"regime": ["a"], "start_date": dates[:1], "end_date": dates[-1:]})
    regimes["training_weight"] = shift
    return {"features.zl_daily_v1": wide, "training.regime_calendar": regimes}

def publish(home, shift):
    zones = Zones(Path(home))
    module.DuckDbWarehouse(zones).publish(frames(shift), as_of="2024-01-02", staging=zones.staging)

POINTS = {
    "before merging": lambda: setattr(module.DuckDbWarehouse, "_merge", die),
    "before commit": lambda: setattr(module.DuckDbWarehouse, "_commit", die),
    "after commit": lambda: setattr(module.DuckDbWarehouse, "_copy", die),
    "while copying": die_while_copying,
    "before the switch": lambda: setattr(module, "write_bytes", die),
    "before old snapshots go": lambda: setattr(module.DuckDbWarehouse, "_drop_old_snapshots", die),
}

def forked(action):
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
    return child

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for line in sys.stdin:
    job = json.loads(line)
    if "point" in job:
        status = ended(forked(lambda: (POINTS[job["point"]](), publish(job["home"], job["shift"]))))
    elif "after_ms" in job:
        child = forked(lambda: publish(job["home"], job["shift"]))
        time.sleep(job["after_ms"] / 1000)
        os.kill(child, signal.SIGKILL)
        status = ended(child)
    else:
        status = ended(forked(lambda: publish(job["home"], job["shift"])))
    print(status, flush=True)
"""
POINTS = (
    "before merging", "before commit", "after commit", "while copying", "before the switch", "before old snapshots go"
)  # fmt: skip


@pytest.fixture(scope="module")
def killer():
    with subprocess.Popen([sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def run(home: Path, shift: int, **how) -> int:
            process.stdin.write(json.dumps({"home": str(home), "shift": shift, **how}).encode() + b"\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def state(home: Path) -> dict[str, list]:
    """Everything readers see, and everything the writer's file holds."""
    zones = Zones(home)
    warehouse = DuckDbWarehouse(zones)
    seen: dict[str, list] = {}
    for name in ("features.zl_daily_v1", "training.regime_calendar"):
        seen[name] = warehouse.query(f"SELECT * FROM {name} ORDER BY 1").to_numpy().tolist()
        with duckdb.connect(str(zones.warehouse / "cbi.duckdb"), read_only=True) as writer:
            seen[f"writer {name}"] = writer.execute(f"SELECT * FROM {name} ORDER BY 1").df().to_numpy().tolist()
    seen["counts"] = sorted(warehouse.row_counts().items())
    return seen


@pytest.fixture(scope="module")
def undisturbed(killer, tmp_path_factory) -> dict[int, dict[str, list]]:
    home = tmp_path_factory.mktemp("undisturbed")
    states = {}
    for shift in (1, 2):
        assert killer(home, shift) == 0
        states[shift] = state(home)
    assert states[1] != states[2]
    return states


def only_whole_files(home: Path) -> None:
    published = home / "warehouse" / "published"
    left = [path.name for path in published.iterdir()]
    assert not [name for name in left if name.startswith(".tmp-")]
    assert 1 <= len([name for name in left if name.endswith(".duckdb")]) <= 2


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_step_then_run_again(point, killer, undisturbed, tmp_path):
    assert killer(tmp_path, 1) == 0
    assert killer(tmp_path, 2, point=point) == -9
    seen = DuckDbWarehouse(Zones(tmp_path)).query("SELECT training_weight FROM training.regime_calendar").iloc[0, 0]
    assert seen == (2 if point == "before old snapshots go" else 1)
    assert killer(tmp_path, 2) == 0
    assert state(tmp_path) == undisturbed[2]
    only_whole_files(tmp_path)


def test_killed_while_the_file_is_made_leaves_none(killer, undisturbed, tmp_path):
    assert killer(tmp_path, 1, point="while copying") == -9  # the first thing it writes whole is the writer's file
    assert not (tmp_path / "warehouse" / "cbi.duckdb").exists()
    assert killer(tmp_path, 1) == 0
    assert state(tmp_path) == undisturbed[1]
    only_whole_files(tmp_path)
    assert sorted(path.name for path in (tmp_path / "warehouse").iterdir()) == ["cbi.duckdb", "published"]


@pytest.mark.more
def test_killed_at_any_moment_then_run_again(killer, undisturbed, tmp_path):
    killed = 0
    for number, after_ms in enumerate((5, 40, 80, 120, 160, 220)):
        home = tmp_path / str(number)
        killed += killer(home, 1, after_ms=after_ms) == -9
        assert killer(home, 1) == 0
        assert state(home) == undisturbed[1]
        only_whole_files(home)
    assert killed >= 3
