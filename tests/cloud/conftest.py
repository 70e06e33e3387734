"""Emulators of Google Cloud on loopback, in an environment of their own: ``EMULATORS`` names its folder of programs."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.settings import Settings
from tests.cloud.storage_proxy import Proxy

BUCKET = "cbi-models"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cloud)


def emulator(program: str) -> Path:
    """A program of the environment that EMULATORS names; without it the test is skipped."""
    folder = os.environ.get("EMULATORS")
    if not folder or not (path := Path(folder) / program).exists():
        pytest.skip(f"no {program}: EMULATORS names no folder that holds it (`make test-cloud` makes one)")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def storage_emulator() -> Iterator[int]:
    """gcp-storage-emulator, in memory, with one bucket; its port."""
    program, port = emulator("gcp-storage-emulator"), free_port()
    command = [str(program), "start", "-q", "-M", "-H", "127.0.0.1", "--port", str(port), "--default-bucket", BUCKET]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
                break
            except OSError:
                assert running.poll() is None and time.monotonic() < deadline, "the storage emulator did not start"
                time.sleep(0.05)
        yield port
    finally:
        running.kill()
        running.wait()


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
