"""Keys of sources, asked for by their environment name: never in a file of ours, never logged."""

from __future__ import annotations

import os
from importlib import import_module

KEYCHAIN = "cbi"


def find_secret(name: str) -> str | None:
    """The value from the environment, else from the keychain (`keyring set cbi NAME`), else None."""
    return os.environ.get(name, "").strip() or _from_keychain(name)


def _from_keychain(name: str) -> str | None:
    try:
        keyring = import_module("keyring")
    except ImportError:  # optional: only a machine with a keychain has use for it
        return None
    try:
        return (keyring.get_password(KEYCHAIN, name) or "").strip() or None
    except keyring.errors.KeyringError:  # locked, or no keychain on this machine
        return None
