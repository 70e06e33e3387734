"""``make up`` on a fresh home, as a person does it: real server, real worker, and nothing left after ``make down``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest
import yaml

from tasks.operations.services import MARK, free_port, log_path, running, server_password
from tasks.settings import PROJECT
from tasks.storage.zones import Zones
from tests.conftest import EARLY, FinishedRun, tables_of

pytestmark = [pytest.mark.long, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(2400)]
ANSWER_S = 120  # a server on a busy machine answers late; one that hangs does not


def of_home(home: Path) -> list[psutil.Process]:
    """Every process that belongs to the services of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(f"{home}:") or str(home) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


class Home:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        # a run that waits for another's slot asks again soon, not after half a minute
        soon = {"PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2"}
        self.environment = {**kept, **soon, "CBI_HOME": str(folder)}
        self.port = free_port("127.0.0.1")
        self.api = f"http://127.0.0.1:{self.port}/api"

    @property
    def auth(self) -> tuple[str, str]:
        """What this home's server asks of everybody."""
        user, _, password = server_password(Zones(self.folder)).partition(":")
        return user, password

    def command(self, *words: str) -> str:
        command = [sys.executable, "-m", "cli", "services", *words]
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def logs(self) -> str:
        logs = [log_path(Zones(self.folder), name) for name in ("server", "worker")]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())

    def ask(self, path: str, **content: object) -> list[dict]:
        answer = httpx.post(f"{self.api}{path}", json=content, auth=self.auth, timeout=ANSWER_S)
        answer.raise_for_status()
        return answer.json()

    def run(self, deployment: str, due: datetime, **parameters: object) -> str:
        """Ask for a run that was due at an instant; returns its id."""
        found = httpx.get(f"{self.api}/deployments/name/{deployment}", auth=self.auth, timeout=ANSWER_S)
        found = found.raise_for_status().json()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        return self.ask(f"/deployments/{found['id']}/create_flow_run", state=state, parameters=parameters)["id"]  # type: ignore[call-overload]

    def state(self, run: str) -> dict:
        told = httpx.get(f"{self.api}/flow_runs/{run}", auth=self.auth, timeout=ANSWER_S)
        return told.raise_for_status().json()["state"]

    def until(self, seen: Callable[[], object], within_s: float = 600) -> None:
        deadline = time.monotonic() + within_s
        while not seen():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def task_begun(self, task: str) -> bool:
        return bool(self.ask("/task_runs/filter", task_runs={"name": {"like_": task}}))

    def ended(self, run: str, within_s: float = 600) -> dict:
        deadline = time.monotonic() + within_s
        while (state := self.state(run))["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            assert time.monotonic() < deadline, f"{state} {self.logs()}"
            time.sleep(0.5)
        return state


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    for process in of_home(made.folder):  # a failed test leaves no server behind
        process.kill()


def engines(home: Path) -> list[psutil.Process]:
    """The processes that run a flow for the worker."""
    return [one for one in of_home(home) if "prefect.engine" in " ".join(one.cmdline())]


@pytest.fixture
def few(home: Home, few_families: Path, archive: Path) -> tuple[Home, dict[str, object]]:
    """A home whose daily runs train a few families, up; and what to ask of its deployment daily/daily."""
    home.environment["CBI_REGISTRY"] = str(few_families)
    home.command("up", "--port", str(home.port))
    return home, {"origin": str(archive), "as_of": EARLY}


def like_undisturbed(home: Home, undisturbed: FinishedRun) -> None:
    """The tables of a run that nobody disturbed, no temporary file, no run that seems to run, and no process."""
    wanted, held = tables_of(undisturbed.home), tables_of(home.folder)
    assert held.keys() == wanted.keys()
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(held[name], frame, obj=name)
    assert not list(home.folder.rglob(".tmp-*"))
    unfinished = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    home.until(lambda: not home.ask("/flow_runs/filter", flow_runs=unfinished))
    home.command("down")
    assert of_home(home.folder) == []


def test_worker_killed_in_a_run_and_the_next_trigger_heals(
    few: tuple[Home, dict[str, object]], first_run: FinishedRun, record_property: Callable[..., None]
) -> None:
    home, given = few
    for task in ("ingest yahoo", "fit ridge"):
        run = home.run("daily/daily", datetime.now(UTC), **given)
        home.until(lambda task=task: home.task_begun(task))
        worker = running(Zones(home.folder), "worker")
        assert worker and home.state(run)["type"] == "RUNNING"
        os.kill(worker.pid, signal.SIGKILL)
        began = time.monotonic()
        # what it prints goes to nobody now: it ends at its next word, and says so itself
        assert home.ended(run)["name"] == "Crashed"
        assert "worker: started" in home.command("up", "--port", str(home.port))
        assert engines(home.folder) == [], "a new worker starts with nothing half-done beside it"
    assert home.ended(home.run("daily/daily", datetime.now(UTC), **given))["name"] == "Completed"
    record_property("healed_s", time.monotonic() - began)
    like_undisturbed(home, first_run)


def test_server_killed_under_a_run_on_the_worker_is_not_missed_once_it_is_up_again(
    few: tuple[Home, dict[str, object]], first_run: FinishedRun, record_property: Callable[..., None]
) -> None:
    home, given = few
    run = home.run("daily/daily", datetime.now(UTC), **given)
    home.until(lambda: home.task_begun("gate POST_COLLECTION"))
    server = running(Zones(home.folder), "server")
    assert server and home.state(run)["type"] == "RUNNING"
    os.kill(server.pid, signal.SIGKILL)
    began = time.monotonic()
    told = home.command("up", "--port", str(home.port))
    assert "server: started" in told and "worker: up already" in told
    assert home.ended(run)["name"] == "Completed"
    record_property("healed_s", time.monotonic() - began)
    like_undisturbed(home, first_run)


def test_up_run_catch_up_crash_down(home: Home, archive: Path, record_property: Callable[..., None]) -> None:
    told = home.command("up", "--port", str(home.port))
    declared = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert f"{len(declared)} deployments. UI: http://127.0.0.1:{home.port}" in told
    assert len(re.findall(r"\d\d:\d\d [A-Z+\-0-9]+ ", told)) == len(declared), "each with its next run"
    assert httpx.get(f"http://127.0.0.1:{home.port}/dashboard", timeout=ANSWER_S).status_code == 200
    scheduled = home.ask("/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}}, limit=200)
    assert {run["deployment_id"] for run in scheduled} == {one["id"] for one in home.ask("/deployments/filter")}
    assert [one["status"] for one in home.ask("/work_pools/mac/workers/filter")] == ["ONLINE"]
    before = sorted((one["id"], one["name"]) for one in home.ask("/automations/filter"))
    assert len(before) == 5
    kept = httpx.get(f"{home.api}/admin/settings", auth=home.auth, timeout=ANSWER_S).json()["server"]["services"][
        "db_vacuum"
    ]
    assert set(kept["enabled"]) == {"events", "flow_runs"}, "or its database would grow for ever"

    # missed twice: it is done once, and the other ends at once
    now = datetime.now(UTC)
    given: dict[str, object] = {"origin": str(archive)}
    missed = [home.run("ingest/policy_events", now - timedelta(days=days), **given) for days in (2, 1)]
    assert sorted(home.ended(run)["name"] for run in missed) == ["Completed", "Skipped"]

    # killed in the middle: told as crashed, and its slot is free for the next, which does it
    pid_of = {one.pid for one in of_home(home.folder)}
    given["again"] = True
    crashing = home.run("ingest/policy_events", now, **given)
    deadline = time.monotonic() + 600
    while home.state(crashing)["type"] != "RUNNING":
        assert time.monotonic() < deadline, home.logs()
        time.sleep(0.1)
    for process in of_home(home.folder):
        if process.pid not in pid_of and "prefect.engine" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert home.ended(crashing)["name"] == "Crashed"
    assert home.ended(home.run("ingest/policy_events", now, **given))["name"] == "Completed"
    record_property("healed_s", time.monotonic() - began)

    # a second `up` finds all there
    again = home.command("up", "--port", str(home.port))
    assert f"server: up already, http://127.0.0.1:{home.port}\nworker: up already" in again
    assert sorted((one["id"], one["name"]) for one in home.ask("/automations/filter")) == before
    assert json.loads((home.folder / "services" / "server.json").read_text())["address"].endswith(str(home.port))
    assert home.command("down") == "worker: ended\nserver: ended\n"
    assert of_home(home.folder) == []
    assert home.command("down") == "worker: was not up\nserver: was not up\n"
