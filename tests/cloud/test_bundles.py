"""Training files through the bucket: by hash, each once, the manifest last; what does not match is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.bundles import LATEST, pull, push
from tasks.errors import CloudError, ManifestMismatch, ModelStoreError
from tasks.exports import check_exports
from tasks.settings import PROJECT
from tasks.storage.bucket import Bucket
from tasks.storage.files import json_bytes, read_json, write_bytes, write_json, write_parquet
from tasks.storage.hashes import sha256_of
from tasks.storage.zones import Zones
from tests.cloud.conftest import BUCKET, settings_of
from tests.cloud.storage_proxy import Fault, Proxy

HORIZONS = ("1w", "1m", "3m")


def export(zones: Zones, archive: Path, day: str, horizons: tuple[str, ...] = HORIZONS) -> dict[str, bytes]:
    """Training files in small: ZL's recorded closes to a day and the return to come, with the manifest of them."""
    bars = pd.read_csv(next((archive / "yahoo" / "ZL=F").glob("2023-09-18.csv")), usecols=["Date", "Close"])
    bars = bars[bars["Date"] <= day].rename(columns={"Date": "date", "Close": "zl_close"})
    files = {}
    for sessions, horizon in enumerate(horizons, start=5):
        table = bars.assign(target_price=bars["zl_close"].shift(-sessions))
        if horizon == "3m":
            table = table[table["date"] <= "2020-01-02"]  # the same on every day: it need not travel again
        path = write_parquet(zones.exports / f"zl_training_prod_allhistory_{horizon}.parquet", table)
        files[path.name] = {"sha256": sha256_of(path), "rows": len(table), "columns": len(table.columns)}
    write_json(zones.exports / "manifest.json", {"as_of": day, "inputs": day, "files": files})
    return contents(zones)


def contents(zones: Zones) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in zones.exports.iterdir()}


@pytest.fixture
def bucket(models_uri: str, tmp_path: Path) -> Bucket:
    return Bucket(models_uri, settings_of(tmp_path))


@pytest.fixture
def there(tmp_path: Path) -> Zones:
    return Zones(tmp_path / "there")


@pytest.fixture
def here(tmp_path: Path) -> Zones:
    return Zones(tmp_path / "here")


def test_what_is_pushed_here_is_pulled_there_and_only_what_differs_travels(
    bucket: Bucket, here: Zones, there: Zones, archive: Path, storage: Proxy
) -> None:
    first = export(here, archive, "2020-06-01")
    assert (push(here, bucket).moved, push(here, bucket).moved) == (3, 0)
    got = pull(there, bucket)
    assert (got.moved, got.present, got.as_of) == (3, 0, "2020-06-01") and contents(there) == first
    stamps = {path: path.stat().st_mtime_ns for path in there.exports.iterdir()}
    assert pull(there, bucket).moved == 0
    assert {path: path.stat().st_mtime_ns for path in there.exports.iterdir()} == stamps

    second = export(here, archive, "2020-06-02")
    assert push(here, bucket).moved == 2, "3m did not change"
    storage.requests.clear()
    got = pull(there, bucket)
    assert (got.moved, got.present) == (2, 1) and contents(there) == second
    assert check_exports(there.exports)["as_of"] == "2020-06-02"
    assert len([told for told in storage.requests if "/download/" in told and ".parquet" in told]) == 2


def test_a_file_that_is_no_longer_listed_goes(bucket: Bucket, here: Zones, there: Zones, archive: Path) -> None:
    export(there, archive, "2020-06-01")
    smaller = export(here, archive, "2020-06-02", horizons=("1w", "1m"))
    push(here, bucket)
    pull(there, bucket)
    assert contents(there) == smaller


def test_an_older_session_neither_becomes_the_latest_nor_replaces_a_later_one(
    bucket: Bucket, here: Zones, there: Zones, archive: Path
) -> None:
    later = export(here, archive, "2020-06-02")
    push(here, bucket)
    export(there, archive, "2020-06-01")
    push(there, bucket)
    pull(there, bucket)
    assert contents(there) == later
    export(there, archive, "2020-06-03")
    with pytest.raises(ManifestMismatch, match=r"2020-06-03, later than 2020-06-02"):
        pull(there, bucket)


def test_files_that_are_not_those_of_the_manifest_are_not_pushed(bucket: Bucket, here: Zones, archive: Path) -> None:
    export(here, archive, "2020-06-01")
    (here.exports / "zl_training_prod_allhistory_1m.parquet").write_bytes(b"x")
    with pytest.raises(ManifestMismatch, match=r"1m\.parquet is not the file that was exported"):
        push(here, bucket)
    assert bucket.names("exports/*") == {}


def test_nothing_pushed_yet_and_no_bucket_say_so(bucket: Bucket, here: Zones, storage: Proxy, tmp_path: Path) -> None:
    with pytest.raises(ManifestMismatch, match="cbi bundle push"):
        pull(here, bucket)
    with pytest.raises(CloudError, match="run deploy/gcp"):
        pull(here, Bucket("gs://no-such-bucket/models", settings_of(tmp_path)))


def test_an_overwritten_object_is_refused_and_what_is_here_stays(
    bucket: Bucket, here: Zones, there: Zones, archive: Path
) -> None:
    from google.cloud.storage import Client

    before = export(there, archive, "2020-06-01")
    export(here, archive, "2020-06-02")
    push(here, bucket)
    digest = read_json(here.exports / "manifest.json")["files"]["zl_training_prod_allhistory_1w.parquet"]["sha256"]
    name = f"{bucket.uri.removeprefix(f'gs://{BUCKET}/')}/exports/{digest}.parquet"
    Client(project=None).bucket(BUCKET).blob(name).upload_from_string(b"something else")
    with pytest.raises(ModelStoreError, match=rf"{digest}.parquet is not the object that was stored"):
        pull(there, bucket)
    assert contents(there)["manifest.json"] == before["manifest.json"]
    assert contents(there)["zl_training_prod_allhistory_1w.parquet"] == before["zl_training_prod_allhistory_1w.parquet"]


@pytest.mark.parametrize("name", ["", "..", "/planted", "../planted", "folder/planted", "..\\planted"])
def test_a_name_that_is_no_file_of_the_folder_is_refused(
    bucket: Bucket, here: Zones, there: Zones, archive: Path, name: str
) -> None:
    export(here, archive, "2020-06-01")
    manifest = read_json(here.exports / "manifest.json")
    content = json_bytes({**manifest, "files": {name: {"sha256": "0" * 64}, **manifest["files"]}})
    forged = f"exports/manifests/2020-06-01-{hashlib.sha256(content).hexdigest()}.json"
    assert bucket.create(forged, write_bytes(here.home / "forged", content))
    assert bucket.switch(LATEST, json_bytes({"as_of": "2020-06-01", "manifest": forged}), replacing=bucket.read(LATEST))
    with pytest.raises(ManifestMismatch, match=r"names .*, which is not a file of the folder"):
        pull(there, bucket)
    assert contents(there) == {}


def command(way: str, home: Path, bucket: Bucket) -> subprocess.Popen[str]:
    environment = {**os.environ, "CBI_HOME": str(home), "CBI_MODELS": bucket.uri, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "bundle", way],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_in_a_push_and_in_a_pull_and_run_again_it_is_all_there(
    bucket: Bucket, here: Zones, there: Zones, archive: Path, storage: Proxy
) -> None:
    export(there, archive, "2020-06-01")
    wanted = export(here, archive, "2020-06-02")
    running: list[subprocess.Popen[str]] = []

    def kill_at(where: str, count: int) -> None:
        seen = []

        def kill(told: str) -> None:
            seen.extend([told] if where in told and ".parquet" in told else [])
            if len(seen) == count and running[-1].poll() is None:
                os.kill(running[-1].pid, signal.SIGKILL)
                running[-1].wait()

        storage.watch = kill

    for way, zones, where in (("push", here, "POST "), ("pull", there, "/download/")):
        kill_at(where, 2)
        running.append(command(way, zones.home, bucket))
        running[-1].communicate(timeout=60)
        assert running[-1].returncode == -signal.SIGKILL
        storage.watch = None
        if way == "push":
            assert bucket.read(LATEST).generation == 0, "nobody hears of half a bundle"
        else:
            with pytest.raises(ManifestMismatch):
                check_exports(there.exports)
        if way == "push":
            assert push(here, bucket).present in (1, 2), "what arrived is not sent again; the last one was on its way"
    again = command("pull", there.home, bucket)
    told = again.communicate(timeout=60)[0]
    assert again.returncode == 0 and "pull of 2020-06-02" in told, told
    assert contents(there) == wanted
    assert not list(there.home.rglob(".tmp-*"))


def test_the_command_passes_over_what_passes_and_says_what_does_not(
    bucket: Bucket, here: Zones, archive: Path, storage: Proxy, tmp_path: Path
) -> None:
    export(here, archive, "2020-06-01")
    storage.faults = [Fault(r"^POST .*parquet", times=2, status=503), Fault(r"^POST .*latest", cut="after")]
    assert push(here, bucket).moved == 3
    assert json.loads(bucket.read(LATEST).content)["as_of"] == "2020-06-01"
    storage.faults = [Fault("/o", times=99, status=403, message="no storage.objects.list")]
    refused = command("pull", tmp_path / "new", bucket)
    told = refused.communicate(timeout=60)[0]
    assert refused.returncode == 1 and "A role is missing" in told and "Traceback" not in told
