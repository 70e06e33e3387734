"""Where Google's credentials come from."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints, entry_points

import pytest

from tasks.errors import CloudError
from tasks.gcp import ENTRY_POINT, credentials
from tasks.settings import Settings


@pytest.fixture
def of_block(monkeypatch):
    pytest.importorskip("google.auth")
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)

    def ask(*loaders: str):
        found = EntryPoints(EntryPoint("one", loader, ENTRY_POINT) for loader in loaders)
        monkeypatch.setattr("tasks.gcp.entry_points", lambda group: found)
        return credentials(Settings(gcp_block="ours"), emulator="BIGQUERY_EMULATOR_HOST")

    return ask


def a_loader(name: str) -> str:
    return f"credentials of {name}"


def test_a_block_is_read_by_the_loader_that_is_installed(of_block):
    assert of_block(f"{__name__}:a_loader") == "credentials of ours"
    (installed,) = entry_points(group=ENTRY_POINT)
    assert installed.value == "flows.gcp_block:credentials"


def test_a_block_without_credentials_or_loader_says_what_to_do(of_block):
    with pytest.raises(CloudError, match=r"gcp-credentials/ours of CBI_GCP_BLOCK gives no credentials"):
        of_block(f"{__name__}:no_such_loader")
    with pytest.raises(CloudError, match="make setup"):
        of_block()
