"""Emulators of Google Cloud on loopback, in an environment of their own: ``EMULATORS`` names its folder of programs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.settings import Settings
from tests.cloud.storage_proxy import Proxy
from tests.emulators import free_port, program, running

BUCKET = "cbi-models"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cloud)


@pytest.fixture(scope="session")
def storage_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """gcp-storage-emulator, in memory, with one bucket; its port."""
    port = free_port()
    command = [str(program("gcp-storage-emulator")), "start", "-q", "-M", "-H", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("storage") / "log"
    with running([*command, "--default-bucket", BUCKET], f"http://127.0.0.1:{port}/", log):
        yield port


@pytest.fixture(scope="session")
def _storage_proxy(storage_emulator: int) -> Iterator[Proxy]:
    proxy = Proxy(storage_emulator)
    yield proxy
    proxy.close()


@pytest.fixture
def storage(_storage_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Cloud Storage on loopback, as the clients of this process and its children see it; without faults."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _storage_proxy.url)
    _storage_proxy.clear()
    yield _storage_proxy
    _storage_proxy.clear()


@pytest.fixture
def models_uri(storage: Proxy) -> str:
    """A prefix that no other test has used."""
    return f"gs://{BUCKET}/{uuid.uuid4().hex[:12]}/models"


def settings_of(home: Path, models: str = "folder") -> Settings:
    return Settings(home=home, models=models)
