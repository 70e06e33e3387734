"""deploy/gcp/setup.sh against programs that remember what they were told to make, as Google would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.settings import PROJECT
from tasks.warehouse import scheduled
from tasks.warehouse.bigquery.warehouse import ALL_DATASETS

SCRIPT = PROJECT / "deploy" / "gcp" / "setup.sh"
ACCOUNT = "cbi@p1.iam.gserviceaccount.com"
PYTHON = Path(sys.base_prefix) / "bin" / "python3"
CHANGES = ("create", "enable", "add-iam-policy-binding", "update", "mk", "query")
STUB = r'''#!{python} -IS
"""gcloud and bq: each call is a line of calls.jsonl, what exists is in state.json."""
import json, pathlib, re, sys

folder = pathlib.Path(__file__).parent
program, args = pathlib.Path(__file__).name, sys.argv[1:]
with (folder / "calls.jsonl").open("a") as log:
    log.write(json.dumps([program, *args]) + "\n")
path = folder / "state.json"
state = json.loads(path.read_text()) if path.exists() else {{}}
options = dict(a[2:].split("=", 1) for a in args if a.startswith("--") and "=" in a)
words = [a for a in args if not a.startswith("--")]


def held(kind):
    return state.setdefault(kind, {{}})


def answer(text):
    print(text)


def missing():
    print("error: not found")
    sys.exit(1)


if program == "gcloud":
    said = " ".join(words[:3])
    if said.startswith("services list"):
        answer("\n".join(held("services")))
    elif said.startswith("services enable"):
        held("services")[words[2]] = 1
    elif said == "iam service-accounts describe":
        answer(words[3]) if words[3] in held("accounts") else missing()
    elif said == "iam service-accounts create":
        held("accounts")[words[3] + "@" + options["project"] + ".iam.gserviceaccount.com"] = 1
    elif "buckets describe" in said:
        answer(words[3]) if words[3] in held("buckets") else missing()
    elif "buckets create" in said:
        held("buckets")[words[3]] = args
    elif "buckets update" in said:
        assert words[3] in held("buckets")
    elif "get-iam-policy" in words:
        resource = words[-1]
        member = options["filter"].split("=", 1)[1]
        answer("\n".join(held("roles").get(resource + " " + member, [])))
    elif "add-iam-policy-binding" in words:
        held("roles").setdefault(words[-1] + " " + options["member"], []).append(options["role"])
    else:
        sys.exit("unknown: " + " ".join(args))
else:
    verb = words[0]
    print("Welcome to BigQuery!") if verb in ("show", "ls") else None
    if verb == "show":
        answer(json.dumps(held("datasets")[words[1]])) if words[1] in held("datasets") else missing()
    elif verb == "mk" and "--dataset" in args:
        held("datasets")[words[-1]] = {{"location": options["location"], "access": []}}
    elif verb == "query":
        role, project, dataset, who = re.search(r"GRANT `(.+)` ON SCHEMA `(.+)`.`(.+)` TO '(.+)'", words[1]).groups()
        assert role == "roles/bigquery.dataEditor"
        entry = {{"role": "WRITER", "userByEmail": who.split(":")[1]}}
        held("datasets")[project + ":" + dataset]["access"].append(entry)
    elif verb == "ls":
        answer(json.dumps(list(held("transfers").values())))
    elif verb == "mk":
        name = "projects/1/locations/x/transferConfigs/" + str(len(held("transfers")))
        held("transfers")[name] = {{"name": name, "displayName": options["display_name"],
                                   "schedule": options["schedule"],
                                   "params": json.loads(options["params"])}}
    elif verb == "update":
        held("transfers")[words[-1]] |= {{"params": json.loads(options["params"]), "schedule": options["schedule"]}}
    else:
        sys.exit("unknown: " + " ".join(args))
path.write_text(json.dumps(state))
'''


@dataclass
class Cloud:
    folder: Path

    def run(self, *options: str, script: Path = SCRIPT) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
        """The program's end, and the calls of it that change something."""
        log = self.folder / "calls.jsonl"
        log.unlink(missing_ok=True)
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", str(script), "--project", "p1", "--bucket", "b1", *options]
        done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return done, [call for call in calls if any(word in CHANGES for word in call)]

    @property
    def state(self) -> dict:
        return json.loads((self.folder / "state.json").read_text())


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    for name in ("gcloud", "bq"):
        (tmp_path / name).write_text(STUB.format(python=PYTHON))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {PYTHON} -IS "$@"\n')  # quick to start
    (tmp_path / "python3").chmod(0o755)
    return Cloud(tmp_path)


def test_a_second_run_creates_and_grants_nothing(cloud):
    options = ["--prefix", "x_", "--scheduled", "--user", "a@b.c"]
    done, calls = cloud.run(*options)
    assert done.returncode == 0, done.stderr
    state = cloud.state
    assert set(state["datasets"]) == {f"p1:x_{name}" for name in ALL_DATASETS}
    for held in state["datasets"].values():
        assert held["access"] == [{"role": "WRITER", "userByEmail": ACCOUNT}] and held["location"] == "us-central1"
    assert state["roles"] == {
        f"p1 serviceAccount:{ACCOUNT}": ["roles/bigquery.jobUser", "roles/bigquery.readSessionUser"],
        f"gs://b1 serviceAccount:{ACCOUNT}": ["roles/storage.objectUser"],
        f"{ACCOUNT} user:a@b.c": ["roles/iam.serviceAccountTokenCreator"],
    }
    assert {"--uniform-bucket-level-access", "--soft-delete-duration=7d"} <= set(state["buckets"]["gs://b1"])
    queries = {held["displayName"]: held["params"]["query"] for held in state["transfers"].values()}
    assert set(queries) == {f"cbi x_refreshed {Path(name).stem}" for name in scheduled.scripts()}
    assert all("`p1`.`x_refreshed`" in query and "${" not in query for query in queries.values())
    [scratch] = [call for call in calls if "p1:x_scratch" in call]
    assert "--default_table_expiration=86400" in scratch
    assert not any("keys" in call for call in calls), "no key file"
    again, calls = cloud.run(*options)
    assert again.returncode == 0, again.stderr
    assert [call[1:4] for call in calls] == [["storage", "buckets", "update"]], "which sets what is set"
    assert cloud.state == state
    for held in state["transfers"].values():
        held["params"] = {"query": "SELECT 1"} if "regimes" in held["displayName"] else held["params"]
    (cloud.folder / "state.json").write_text(json.dumps(state))
    _, calls = cloud.run(*options)
    assert [call[4:7] for call in calls[1:]] == [["--location=us-central1", "update", "--transfer_config"]]
    assert "SELECT 1" not in json.dumps(cloud.state["transfers"]), "a script that changed is what is scheduled"
    assert "CBI_WAREHOUSE=bigquery://p1?location=us-central1&prefix=x_" in again.stdout


def test_a_run_that_was_cut_off_is_finished_by_the_next(cloud):
    grants = {"location": "us-central1", "access": [{"role": "WRITER", "userByEmail": ACCOUNT}]}
    state = {
        "datasets": {f"p1:{name}": grants for name in sorted(ALL_DATASETS - {"forecasts"})},
        "accounts": {ACCOUNT: 1},
    }
    state["datasets"]["p1:ops"] = {"location": "us-central1", "access": []}
    (cloud.folder / "state.json").write_text(json.dumps(state))
    done, calls = cloud.run()
    assert done.returncode == 0, done.stderr
    assert sum("query" in call for call in calls) == 2 and sum("mk" in call for call in calls) == 1
    assert all(held["access"] for held in cloud.state["datasets"].values())


def test_a_dry_run_prints_the_commands_and_asks_nothing(cloud):
    done, _ = cloud.run("--dry-run")
    assert done.returncode == 0 and not (cloud.folder / "calls.jsonl").exists()
    printed = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    _, calls = cloud.run()
    assert len(printed) == len(calls)


@pytest.mark.parametrize(
    "options, told",
    [
        (["--prefix", "a-b"], "--prefix a-b: letters, digits and _ only"),
        (["--user"], "--user needs a value"),
        (["--zone", "x"], "unknown option --zone"),
    ],
)
def test_a_wrong_option_is_told_and_nothing_runs(cloud, options, told):
    done, calls = cloud.run(*options)
    assert done.returncode == 2 and told in done.stderr and not calls


def test_a_dataset_elsewhere_is_told(cloud):
    there = {"p1:raw_intelligence": {"location": "us-central1", "access": []}}
    (cloud.folder / "state.json").write_text(json.dumps({"datasets": there}))
    done, _ = cloud.run("--location", "EU")
    assert done.returncode == 2 and list(cloud.state["datasets"]) == list(there)
    assert "dataset p1:raw_intelligence is in us-central1, not in EU" in done.stderr


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck on this machine")
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
