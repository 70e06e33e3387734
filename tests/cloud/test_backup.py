"""The second place in Cloud Storage (the emulator): what a folder does, it does too."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tasks.errors import ManifestMismatch
from tasks.operations.backup import back_up
from tasks.operations.restore import restore
from tasks.run import open_run
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tests.cloud.conftest import BUCKET
from tests.cloud.storage_proxy import Fault, Proxy
from tests.operations.test_backup import SESSIONS, contents, kept, payload, promoted, published, the_same


@pytest.fixture
def place(storage: Proxy) -> str:
    return f"gs://{BUCKET}/{uuid.uuid4().hex[:12]}/backup"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    zones = Zones(tmp_path / "home")
    published(zones, SESSIONS[0])
    promoted(zones, "a", tmp_path / "files-a")
    payload(zones, "2023-11-30T010203.000000Z")
    return zones.home


def backed_up(home: Path, place: str) -> str:
    return back_up(open_run(Settings(home=home, backup=place), origin="live", as_of=SESSIONS[-1]))


def test_a_home_comes_back_from_a_bucket_and_the_same_again_writes_nothing(
    home: Path, place: str, storage: Proxy, tmp_path: Path
) -> None:
    assert backed_up(home, place) == ""
    storage.requests.clear()
    assert backed_up(home, place) == ""
    assert not [asked for asked in storage.requests if not asked.startswith("GET")]
    for session in SESSIONS[1:]:  # the manifest before the last, and what it alone names, are dropped
        published(Zones(home), session)
        assert backed_up(home, place) == ""
    assert [asked for asked in storage.requests if asked.startswith("DELETE")]
    restore(Settings(home=tmp_path / "restored"), place)
    the_same(kept(tmp_path / "restored"), kept(home))
    assert contents(tmp_path / "restored" / "models") == contents(home / "models")


def test_a_bucket_that_does_not_answer_is_told_and_a_damaged_object_is_named(
    home: Path, place: str, storage: Proxy, tmp_path: Path
) -> None:
    assert "no place for a backup" in backed_up(home, "gs://UPPER")
    storage.faults.append(Fault("GET|POST", times=99, status=403, message="no"))
    assert backed_up(home, place)
    storage.faults.clear()
    assert backed_up(home, place) == ""
    from tasks.storage.bucket import Bucket

    bucket = Bucket(place, Settings(home=home))
    name = next(iter(bucket.names("tables/forecasts.zl_forecasts_daily/*")))
    other = tmp_path / "other"
    other.write_bytes(b"another")
    bucket.delete([name])
    assert bucket.create(name, other)
    with pytest.raises(ManifestMismatch, match=r"tables/forecasts\.zl_forecasts_daily/2023-11"):
        restore(Settings(home=tmp_path / "restored"), place)
