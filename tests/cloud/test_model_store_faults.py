"""Cloud Storage in trouble: nothing lost, nothing doubled, and a message that says what to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.alerts.of_run import raise_alerts
from tasks.errors import CloudError, CloudUnreachable, ModelStoreError
from tasks.model_store.champions import CHAMPIONS, HISTORY, current_champions, of_lines
from tasks.settings import PROJECT
from tasks.storage.bucket import CHUNK_BYTES, Bucket, PointerContent
from tests.cloud.conftest import BUCKET, free_port, settings_of
from tests.cloud.models import CHILD, PROBLEM, Fitted, Place, fit_baseline, metadata, names
from tests.cloud.storage_proxy import Fault, Proxy

DAY = pd.Timestamp("2022-01-03")


@pytest.fixture(scope="module")
def fitted(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_baseline(archive, tmp_path_factory.mktemp("fitted"))


@pytest.fixture
def place(models_uri: str, tmp_path: Path) -> Place:
    return Place(models_uri, tmp_path / "machines")


def child(place: Place, fitted: Fitted, machine: str, work: list[dict]) -> subprocess.Popen[str]:
    told = json.dumps({"machine": machine, "work": work})
    command = [sys.executable, "-c", CHILD, place.uri, str(place.home), str(fitted.files), told]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)


def agree(place: Place) -> list[dict[str, str]]:
    """The history, once champions.json was found to follow from it."""
    history = of_lines(place.pointer(HISTORY), "")
    assert json.loads(place.pointer(CHAMPIONS)) == current_champions(history)
    return history


def test_two_processes_store_and_promote_at_once_and_nothing_is_lost_or_doubled(place: Place, fitted: Fitted) -> None:
    days = [f"2020-01-{day:02d}" for day in (2, 3, 6)]
    work = {
        machine: [{"metadata": {"identity": machine + day, "day": day}, "promoted": 1} for day in days]
        for machine in "ab"
    }
    running = [child(place, fitted, machine, held) for machine, held in work.items()]
    told = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    versions = place.store("c").versions("no_change", "1w")
    assert sorted(told[0] + told[1]) == names(versions) and len(set(names(versions))) == 6
    history = agree(place)
    assert sorted(line["version"] for line in history) == sorted(version.number for version in versions)
    last = [line for line in history if line["trained_as_of"] == days[-1]][-1]
    assert place.store("c").champion("1w", DAY).number == last["version"]  # type: ignore[union-attr]


@pytest.mark.parametrize("pointer", [HISTORY, CHAMPIONS])
def test_a_promoter_that_comes_second_reads_again_and_decides_by_the_same_rule(
    place: Place, fitted: Fitted, storage: Proxy, pointer: str
) -> None:
    first, second = (place.store().add(fitted.files, metadata(identity), {}) for identity in "ab")
    ahead = iter([lambda: place.store("b").promote(second, run="b")])

    def overtake(told: str) -> None:
        if told.startswith("POST") and told.endswith(pointer) and (promote := next(ahead, None)):
            promote()

    storage.watch = overtake
    place.store("a").promote(first, run="a")
    assert next(ahead, None) is None, "the other promoted in between"
    history = agree(place)
    assert sorted(line["run"] for line in history) == ["a", "b"], "neither promotion is lost"
    assert place.store("c").champion("1w", DAY).number == history[-1]["version"]  # type: ignore[union-attr]


def test_a_pointer_of_unknown_generation_is_never_switched(place: Place) -> None:
    with pytest.raises(CloudError, match="generation is unknown"):
        Bucket(place.uri, settings_of(place.home)).switch(CHAMPIONS, b"{}", replacing=PointerContent(b"", None))  # type: ignore[arg-type]


@pytest.mark.parametrize("at", ["members/har/calibration.json", "model.json", "metadata.json"])
def test_killed_in_an_upload_and_run_again_it_is_one_version(
    place: Place, fitted: Fitted, storage: Proxy, at: str
) -> None:
    running: list[subprocess.Popen[str]] = []

    def kill(told: str) -> None:
        if told.startswith("POST") and told.endswith(f"/{at}") and running[0].poll() is None:
            os.kill(running[0].pid, signal.SIGKILL)
            running[0].wait()

    storage.watch = kill
    running.append(child(place, fitted, "a", [{"metadata": {"identity": "a"}}]))
    running[0].communicate(timeout=60)
    assert running[0].returncode == -signal.SIGKILL
    storage.watch = None
    if at != "metadata.json":  # there, the request was on its way when its sender died
        assert place.store("b").versions("no_change", "1w") == [], "complete or absent"
    for _ in range(2):
        assert place.store("a").add(fitted.files, metadata("a"), {"loss": 1.0}).number == "v0001"
    [held] = place.store("b").versions("no_change", "1w")
    np.testing.assert_array_equal(held.load(PROBLEM).predict_quantiles(fitted.features), fitted.forecast)


TROUBLE: dict[str, Callable[[str], Fault]] = {
    "503": lambda where: Fault(where, times=2, status=503),
    "429": lambda where: Fault(where, times=2, status=429),
    "cut before it arrived": lambda where: Fault(where, cut="before"),
    "cut before the answer, so that it is sent twice": lambda where: Fault(where, cut="after"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_what_passes_is_tried_again_and_done_once(place: Place, fitted: Fitted, storage: Proxy, trouble: str) -> None:
    storage.faults = [
        TROUBLE[trouble](where)
        for where in (
            r"^GET .*matchGlob",
            r"^POST .*/model\.json$",
            r"^POST .*/metadata\.json$",
            r"^POST .*/history\.jsonl$",
            r"^POST .*/champions\.json$",
            r"^GET /download/.*/model\.json",
        )
    ]
    store = place.store()
    store.promote(store.add(fitted.files, metadata("a"), {}), run="r")
    champion = place.store("b").champion("1w", DAY)
    assert champion is not None and champion.load(PROBLEM) is not None
    assert all(fault.happened == fault.times for fault in storage.faults)
    assert names(place.store("b").versions("no_change", "1w")) == ["no_change/1w/v0001"]
    assert len(agree(place)) == 1


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_large_upload_that_is_cut_resumes(place: Place, storage: Proxy, tmp_path: Path, cut: str, chunk: int) -> None:
    large = tmp_path / "weights.bin"
    large.write_bytes(np.random.default_rng(7).bytes(CHUNK_BYTES + 1000))
    bucket = Bucket(place.uri, settings_of(place.home))
    sent: list[str] = []

    def count(told: str) -> None:
        if told.startswith("PUT"):
            sent.append(told)
            if len(sent) == chunk:
                storage.faults = [Fault(r"^PUT .*upload_id", cut=cut)]

    storage.watch = count
    assert bucket.create("weights.bin", large)
    assert [fault.happened for fault in storage.faults] == [1]
    assert len([told for told in sent if "upload_id" in told]) >= 3, "two chunks, one of them twice"
    assert bucket.create("weights.bin", large), "again: it is there"
    [(name, digest)] = bucket.names("*.bin").items()
    assert bucket.download(name, digest, tmp_path / "back").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("name", ["model.json", "metrics.json", "metadata.json"])
def test_an_overwritten_object_is_never_served(place: Place, fitted: Fitted, storage: Proxy, name: str) -> None:
    from google.cloud.storage import Client

    version = place.store().add(fitted.files, metadata("a"), {"loss": 1.0})
    path = place.uri.removeprefix(f"gs://{BUCKET}/") + f"/{version.name}/{name}"
    blob = Client(project=None).bucket(BUCKET).get_blob(path)
    kept = dict(blob.metadata)
    blob = Client(project=None).bucket(BUCKET).blob(path)
    blob.metadata = kept
    blob.upload_from_string(b'{"quantiles": [0.5]}')
    with pytest.raises(ModelStoreError, match=rf"{name} is not the object that was stored"):
        _ = place.store("b").versions("no_change", "1w")[0].folder


REFUSALS = {
    "bucket": (404, "The specified bucket does not exist.", "check CBI_WAREHOUSE and CBI_MODELS, or run deploy/gcp"),
    "role": (403, "caller does not have storage.objects.list access", "A role is missing: docs/google_cloud.md"),
    "quota": (403, "The project exceeded its rate limit quota", "A quota is used up"),
    "credentials": (401, "Invalid Credentials", "gcloud auth application-default login"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_says_what_to_do_and_no_copy_hides_it(place: Place, fitted: Fitted, storage: Proxy, why: str) -> None:
    status, message, advice = REFUSALS[why]
    version = place.store().add(fitted.files, metadata("a"), {})
    place.store().promote(version, run="r")
    storage.faults = [Fault("/o", times=99, status=status, message=message)]
    for ask in (
        lambda: place.store().champion("1w", DAY),
        lambda: place.store().versions("no_change", "1w"),
        lambda: place.store().add(fitted.files, metadata("b"), {}),
        lambda: place.store().promote(version, run="r"),
        lambda: place.store().require_writable(),
    ):
        with pytest.raises(CloudError) as told:
            ask()
        assert advice in str(told.value) and place.uri in str(told.value)
        assert not isinstance(told.value, CloudUnreachable)


def test_a_bucket_that_is_missing_is_no_empty_store(storage: Proxy, tmp_path: Path) -> None:
    store = Place("gs://no-such-bucket/models", tmp_path).store()
    for ask in (store.history, lambda: store.of_horizon("1w"), store.require_writable):
        with pytest.raises(CloudError, match=r"gs://no-such-bucket/models.*CBI_MODELS, or run deploy/gcp"):
            ask()


def test_expired_credentials_say_how_to_log_in(
    place: Place, storage: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "client_email": "cbi@example.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "1",
        "project_id": "example",
        "token_uri": f"{storage.url}/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", storage.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    storage.faults = [Fault("^POST /token", times=99, status=400, message="invalid_grant: Token has been expired")]
    with pytest.raises(CloudError, match=r"expired.*run `gcloud auth application-default login`") as told:
        place.store().require_writable()
    assert "PRIVATE KEY" not in str(told.value)


def test_without_the_network_the_last_known_champion_serves_and_it_is_said(
    place: Place, fitted: Fitted, storage: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.store("b")
    version = place.store("a").add(fitted.files, metadata("a"), {"loss": 1.0})
    later = place.store("a").add(fitted.files, metadata("b", day="2021-01-04"), {"loss": 0.5})
    place.store("a").promote(version, run="r")
    known = before.champion("1w", DAY)
    assert known == version and known.folder
    assert before.of_horizon("1w") == [version, later] and before.notices() == ()
    place.store("a").promote(later, run="r")  # b does not hear of it any more

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    store = place.impatient("b")
    champion = store.champion("1w", DAY)
    assert champion == version
    np.testing.assert_array_equal(champion.load(PROBLEM).predict_quantiles(fitted.features), fitted.forecast)
    assert store.of_horizon("1w") == [version, later]
    [told] = store.notices()
    assert "0.0 days old" in told and "Champions then: 1w no_change/v0001 of 2020-01-02." in told and place.uri in told
    series = pd.DataFrame({"source": [], "series": []})
    alerts = raise_alerts([], series, pd.DataFrame({"degraded": pd.Series(dtype=bool)}), notices=(told,))
    assert alerts[["kind", "message"]].to_numpy().tolist() == [["models", told]]
    with pytest.raises(CloudUnreachable, match="no answer"):
        _ = store.versions("no_change", "1w")[1].folder  # its files were never fetched
    for write in (
        lambda: store.require_writable(),
        lambda: store.add(fitted.files, metadata("c"), {}),
        lambda: store.promote(later, run="r"),
        lambda: store.keep_audit({"passed": True}),
    ):
        with pytest.raises(CloudUnreachable, match="Check the network"):
            write()
    with pytest.raises(CloudUnreachable, match="No copy of the models is on this machine"):
        place.impatient("never").champion("1w", DAY)

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
    again = place.store("b")
    assert again.champion("1w", DAY) == later and again.notices() == ()


def test_a_version_is_fetched_once(place: Place, fitted: Fitted, storage: Proxy) -> None:
    place.store("a").add(fitted.files, metadata("a"), {})
    for _ in range(3):
        assert place.store("b").versions("no_change", "1w")[0].load(PROBLEM)
    for name in ("model.json", "members/har/calibration.json", "metadata.json"):
        fetched = [told for told in storage.requests if "/download/" in told and f"/v0001/{name}?" in told]
        assert len(fetched) == (2 if name == "metadata.json" else 1), name  # by a, to say what it stored, and by b
