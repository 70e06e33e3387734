"""Keys: from the environment, then the keychain; asked for by name."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from tasks.secrets import KEYCHAIN, find_secret


class KeyringError(Exception):
    pass


@pytest.fixture
def keychain(monkeypatch) -> dict[tuple[str, str], str]:
    """A keychain in place of the machine's; the value ``locked`` cannot be read."""
    held: dict[tuple[str, str], str] = {}

    def get_password(service: str, name: str) -> str | None:
        if held.get((service, name)) == "locked":
            raise KeyringError
        return held.get((service, name))

    module = ModuleType("keyring")
    module.get_password, module.errors = get_password, SimpleNamespace(KeyringError=KeyringError)
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.delenv("EIA_API_KEY", raising=False)
    return held


def test_the_environment_comes_before_the_keychain(keychain, monkeypatch):
    keychain[KEYCHAIN, "EIA_API_KEY"] = "from-keychain"
    assert find_secret("EIA_API_KEY") == "from-keychain"
    monkeypatch.setenv("EIA_API_KEY", " from-environment ")
    assert find_secret("EIA_API_KEY") == "from-environment"


@pytest.mark.parametrize("held", ["", "locked"])
def test_an_empty_variable_a_locked_keychain_and_no_keychain_are_no_key(keychain, monkeypatch, held):
    keychain[KEYCHAIN, "EIA_API_KEY"] = held
    monkeypatch.setenv("EIA_API_KEY", "")
    assert find_secret("EIA_API_KEY") is None
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert find_secret("EIA_API_KEY") is None
